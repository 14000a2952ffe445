/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Reading the kernel's memory. Everything is read at the very address that a hook gave, or a map, and whatever is there
 * by now: an address that holds nothing reads as 0.
 *
 * The same programs are compiled twice: with READ_BY_LOADS for kernels that have bpf_rdonly_cast and types of their own,
 * else for all. A load takes less than 1 ns, a call of bpf_probe_read_kernel 4, and a connection that is told of from its
 * beginning to its end is read 300 times. One object that asked for the function at each reading was tried: the verifier
 * of Linux 6.1 took branches away that were not dead.
 */
#ifndef TCPTRACE_READ_H
#define TCPTRACE_READ_H

#ifdef READ_BY_LOADS

/*
 * Object as a pointer to the type with that number in the kernel's own BTF, through which may be read. The verifier makes
 * nothing of the call but a move.
 */
extern void *bpf_rdonly_cast(const void *object, u32 type) __ksym;

#define KERNEL_OBJECT(object) \
	((typeof(*(object)) *)bpf_rdonly_cast(object, bpf_core_type_id_kernel(typeof(*(object)))))

/* A field of object, or READ(object, a, b) for object->a->b. */
#define READ(object, ...) ___arrow(KERNEL_OBJECT(object), __VA_ARGS__)

#else

#define READ(object, ...) BPF_CORE_READ(object, __VA_ARGS__)

#endif

/*
 * Makes the verifier forget what it knows of a variable, as what a helper wrote is anything. Where many ways lead to a
 * variable, and much follows, it would else go through all that follows once for each of them. The variable holds no
 * pointers but as numbers.
 */
#define BLUR(variable) bpf_probe_read_kernel(&(variable), sizeof(variable), &(variable))

#endif
