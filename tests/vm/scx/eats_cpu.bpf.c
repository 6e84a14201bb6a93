/* Eats the processor: whenever a program is woken, the kernel counts for a while first. */
#include "scx.h"

#define WHILE 120000000 /* nanoseconds */
#define MOST 8000000 /* as far as bpf_for() counts */
#define KERNEL_THREAD 0x00200000 /* PF_KTHREAD, a macro, which vmlinux.h has none of */

void BPF_STRUCT_OPS(eats_cpu_enqueue, struct task_struct *p, u64 enq_flags)
{
	u64 end = bpf_ktime_get_ns() + WHILE;
	int count;

	/* The watchdog, the disk and the console go on. */
	if ((enq_flags & SCX_ENQ_WAKEUP) && !(p->flags & KERNEL_THREAD))
		bpf_for(count, 0, MOST)
			if (bpf_ktime_get_ns() > end)
				break;
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

void BPF_STRUCT_OPS(eats_cpu_exit, struct scx_exit_info *info)
{
	note_end(info);
}

SCX_OPS(eats_cpu_ops,
	.enqueue = (void *)eats_cpu_enqueue,
	.exit = (void *)eats_cpu_exit,
	.timeout_ms = 30000,
	.name = "eats_cpu");
