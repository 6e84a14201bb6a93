/* What a scheduler needs beside vmlinux.h, the kernel's own types, constants and functions. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/* A function of the scheduler; the second kind may sleep (init and a few others). */
#define BPF_STRUCT_OPS(name, args...) SEC("struct_ops/" #name) BPF_PROG(name, ##args)
#define BPF_STRUCT_OPS_SLEEPABLE(name, args...) SEC("struct_ops.s/" #name) BPF_PROG(name, ##args)

/* The scheduler itself, which is loaded for as long as its link is held. */
#define SCX_OPS(variable, fields...) SEC(".struct_ops.link") struct sched_ext_ops variable = { fields }

/* How the scheduler ended, in the object's map .bss, which stays as long as the link is pinned. */
struct {
	s32 kind;
	u32 unused;
	s64 exit_code;
	char reason[128];
	char message[256];
} ended;

static __always_inline void note_end(struct scx_exit_info *info)
{
	bpf_probe_read_kernel_str(ended.reason, sizeof(ended.reason), info->reason);
	bpf_probe_read_kernel_str(ended.message, sizeof(ended.message), info->msg);
	ended.exit_code = info->exit_code;
	ended.kind = info->kind;
}

char _license[] SEC("license") = "GPL";
