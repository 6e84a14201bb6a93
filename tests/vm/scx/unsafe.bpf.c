/* Uses a task that may not be there: the kernel's verifier refuses it. */
#include "scx.h"

void BPF_STRUCT_OPS(unsafe_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct task_struct *first = scx_bpf_dsq_peek(SCX_DSQ_GLOBAL);

	scx_bpf_dsq_insert(first, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

SCX_OPS(unsafe_ops, .enqueue = (void *)unsafe_enqueue, .timeout_ms = 5000, .name = "unsafe");
