/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Arguments for kretprobes, which see only the result.
 *
 * A call is recognised by where its frame is on the stack: no two live frames share an address, whatever interrupts
 * what, which cannot be said of a task or of a CPU.
 */
#ifndef TCPTRACE_FRAME_H
#define TCPTRACE_FRAME_H

struct frame {
	u64 sk;
	u64 other;
};

/* Inserted: by the kprobe. Deleted: by its kretprobe; LRU for calls whose return was missed. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, u64);
	__type(value, struct frame);
} frames SEC(".maps");

#if defined(__TARGET_ARCH_x86)
/* call pushed the return address, ret has popped it. */
#define RETURN_ADDRESS_SIZE 8
#else
/* The return address is in a register. */
#define RETURN_ADDRESS_SIZE 0
#endif

static void enter_frame(struct pt_regs *ctx, void *sk, void *other)
{
	u64 key = PT_REGS_SP(ctx) + RETURN_ADDRESS_SIZE;
	struct frame frame = { .sk = (u64)sk, .other = (u64)other };

	bpf_map_update_elem(&frames, &key, &frame, BPF_ANY);
}

static bool leave_frame(struct pt_regs *ctx, struct frame *frame)
{
	u64 key = PT_REGS_SP(ctx);
	struct frame *found = bpf_map_lookup_elem(&frames, &key);

	if (!found)
		return false;
	*frame = *found;
	bpf_map_delete_elem(&frames, &key);
	return true;
}

#endif
