/* Calls a function that no kernel has: libbpf does not even hand it to the kernel. */
#include "scx.h"

extern void scx_bpf_does_not_exist(struct task_struct *p) __ksym;

void BPF_STRUCT_OPS(no_kfunc_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_does_not_exist(p);
}

SCX_OPS(no_kfunc_ops, .enqueue = (void *)no_kfunc_enqueue, .timeout_ms = 5000, .name = "no_kfunc");
