/* Puts tasks into a queue that nobody created: ended by the kernel at the first task, after a successful register. */
#include "scx.h"

#define NOWHERE 4711

void BPF_STRUCT_OPS(wrong_dsq_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, NOWHERE, SCX_SLICE_DFL, enq_flags);
}

void BPF_STRUCT_OPS(wrong_dsq_exit, struct scx_exit_info *info)
{
	note_end(info);
}

SCX_OPS(wrong_dsq_ops,
	.enqueue = (void *)wrong_dsq_enqueue,
	.exit = (void *)wrong_dsq_exit,
	.timeout_ms = 5000,
	.name = "wrong_dsq");
