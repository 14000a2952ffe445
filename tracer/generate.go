package tracer

// The BPF objects and the Go side of bpf/event.h are generated and committed, so that building tcptrace needs no
// clang. `make generate` checks that the pinned compiler and headers are there first. The second objects have the same programs
// and maps, compiled to read the kernel's memory by loads: see bpf/read.bpf.h.
//
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -cflags "-O2 -g -Wall -Werror" -target amd64,arm64 -type event -type settings -type traffic -type event_with_settings -type event_with_traffic -type details -type event_with_details -type context -type queue -type event_with_queue -type stage -type action -type refusal -type trigger -type event_kind -type role -type connection_flags -type event_flags -type settings_flags -type filter_dimension -type socket_flags -type socket_record -type packet -type event_with_packet -type direction -type hook -type drop_class -type handshake bpf ../bpf/tcptrace.bpf.c -- -I/usr/include/x86_64-linux-gnu
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -cflags "-O2 -g -Wall -Werror -DREAD_BY_LOADS" -target amd64,arm64 -no-global-types -output-stem bpf_loads bpfLoads ../bpf/tcptrace.bpf.c -- -I/usr/include/x86_64-linux-gnu
