/* A scheduler with a program in it that is none: it would see each signal that is sent on the machine. */
#include "scx.h"

u64 signals;

SEC("tracepoint/signal/signal_generate")
int wrong_type_listen(void *context)
{
	__sync_fetch_and_add(&signals, 1);
	return 0;
}

void BPF_STRUCT_OPS(wrong_type_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

SCX_OPS(wrong_type_ops, .enqueue = (void *)wrong_type_enqueue, .timeout_ms = 5000, .name = "wrong_type");
