/* Gives up with an error of its own after some tasks: fine while little happens, gone under load. */
#include "scx.h"

#define ENOUGH 200

u64 enqueued;

void BPF_STRUCT_OPS(explicit_enqueue, struct task_struct *p, u64 enq_flags)
{
	static char format[] = "enough after %llu tasks";
	unsigned long long figures[] = { __sync_fetch_and_add(&enqueued, 1) };

	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
	if (figures[0] == ENOUGH)
		scx_bpf_error_bstr(format, figures, sizeof(figures));
}

void BPF_STRUCT_OPS(explicit_exit, struct scx_exit_info *info)
{
	note_end(info);
}

SCX_OPS(explicit_ops,
	.enqueue = (void *)explicit_enqueue,
	.exit = (void *)explicit_exit,
	.timeout_ms = 5000,
	.name = "explicit");
