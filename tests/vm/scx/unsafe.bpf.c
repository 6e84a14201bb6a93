/* Uses a task that may not be there: the kernel's verifier refuses it. */
#include "scx.h"

void BPF_STRUCT_OPS(unsafe_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct task_struct *first = scx_bpf_dsq_peek(SCX_DSQ_GLOBAL);

	scx_bpf_dsq_insert(first, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

void BPF_STRUCT_OPS(unsafe_exit, struct scx_exit_info *info)
{
	note_end(info);
}

SCX_OPS(unsafe_ops,
	.enqueue = (void *)unsafe_enqueue,
	.exit = (void *)unsafe_exit,
	.timeout_ms = 5000,
	.name = "unsafe");
