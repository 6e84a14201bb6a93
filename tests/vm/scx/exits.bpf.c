/* Exits by itself after some tasks, with a code and no error. */
#include "scx.h"

#define ENOUGH 200
#define CODE 7

u64 enqueued;

void BPF_STRUCT_OPS(exits_enqueue, struct task_struct *p, u64 enq_flags)
{
	static char format[] = "done after %llu tasks";
	unsigned long long figures[] = { __sync_fetch_and_add(&enqueued, 1) };

	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
	if (figures[0] == ENOUGH)
		scx_bpf_exit_bstr(CODE, format, figures, sizeof(figures));
}

void BPF_STRUCT_OPS(exits_exit, struct scx_exit_info *info)
{
	note_end(info);
}

SCX_OPS(exits_ops,
	.enqueue = (void *)exits_enqueue,
	.exit = (void *)exits_exit,
	.timeout_ms = 5000,
	.name = "exits");
