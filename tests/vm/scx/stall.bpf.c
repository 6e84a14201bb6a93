/* Never dispatches: programs wait in a queue that nobody takes from, until the kernel's watchdog ends it. */
#include "scx.h"

#define GRAVE 7
#define KERNEL_THREAD 0x00200000 /* PF_KTHREAD, a macro, which vmlinux.h has none of */

void BPF_STRUCT_OPS(stall_enqueue, struct task_struct *p, u64 enq_flags)
{
	/* The watchdog, the disk and the console go on. */
	u64 queue = p->flags & KERNEL_THREAD ? SCX_DSQ_GLOBAL : GRAVE;

	scx_bpf_dsq_insert(p, queue, SCX_SLICE_DFL, enq_flags);
}

s32 BPF_STRUCT_OPS_SLEEPABLE(stall_init)
{
	return scx_bpf_create_dsq(GRAVE, -1);
}

void BPF_STRUCT_OPS(stall_exit, struct scx_exit_info *info)
{
	note_end(info);
}

SCX_OPS(stall_ops,
	.enqueue = (void *)stall_enqueue,
	.init = (void *)stall_init,
	.exit = (void *)stall_exit,
	.timeout_ms = 3000,
	.name = "stall");
