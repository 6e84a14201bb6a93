/* Does not compile: the function in line 6 is none that is declared. */
#include "scx.h"

void BPF_STRUCT_OPS(compile_error_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

void BPF_STRUCT_OPS(compile_error_exit, struct scx_exit_info *info)
{
	note_end(info);
}

SCX_OPS(compile_error_ops,
	.enqueue = (void *)compile_error_enqueue,
	.exit = (void *)compile_error_exit,
	.timeout_ms = 5000,
	.name = "compile_error");
