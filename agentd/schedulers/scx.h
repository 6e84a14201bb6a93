/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The little that a scheduler in BPF C needs beside the running kernel's own vmlinux.h, which has the kernel's types, the
 * SCX_* constants as they are in that kernel, and what a scheduler may call (scx_bpf_*).
 *
 * A scheduler that agentd verifies looks like this:
 *
 *	#include "scx.h"
 *
 *	void BPF_STRUCT_OPS(first_enqueue, struct task_struct *p, u64 enq_flags)
 *	{
 *		scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
 *	}
 *
 *	void BPF_STRUCT_OPS(first_exit, struct scx_exit_info *ei)
 *	{
 *		record_end(ei);
 *	}
 *
 *	SCX_OPS(first_ops,
 *		.enqueue = (void *)first_enqueue,
 *		.exit = (void *)first_exit,
 *		.timeout_ms = 5000,
 *		.name = "first");
 */
#ifndef AGENTD_SCX_H
#define AGENTD_SCX_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/* Begins a function that the kernel calls: its name, then its arguments as struct sched_ext_ops has them. One that may
 * sleep (init, init_task, cgroup_init, exit and so on) may be of the second kind.
 */
#define BPF_STRUCT_OPS(name, args...) SEC("struct_ops/" #name) BPF_PROG(name, ##args)
#define BPF_STRUCT_OPS_SLEEPABLE(name, args...) SEC("struct_ops.s/" #name) BPF_PROG(name, ##args)

/* Defines the scheduler: a name for the compiler, then its functions and settings as members of struct sched_ext_ops.
 * Only with a link, as here, does a scheduler end with the process that loaded it.
 */
#define SCX_OPS(var, ...) SEC(".struct_ops.link") struct sched_ext_ops var = { __VA_ARGS__ }

/* The end of the scheduler in the kernel's words. agentd reads this from its map of its own: the kernel's log is closed to
 * who may do no more than load BPF. agentd/core/schedulers/trials.py knows the layout.
 */
struct agentd_end {
	s32 kind;
	u32 unused;
	s64 exit_code;
	char reason[128];
	char msg[256];
};

struct agentd_end agentd_ended SEC(".data.ended");

/* Notes why the scheduler ends. To be called by the scheduler's .exit. */
static __always_inline void record_end(struct scx_exit_info *ei)
{
	bpf_probe_read_kernel_str(agentd_ended.reason, sizeof(agentd_ended.reason), ei->reason);
	bpf_probe_read_kernel_str(agentd_ended.msg, sizeof(agentd_ended.msg), ei->msg);
	agentd_ended.exit_code = ei->exit_code;
	agentd_ended.kind = ei->kind; /* last: who sees a kind finds the rest */
}

/* Ends the scheduler with a message, written as for bpf_printk(). */
#define scx_bpf_error(format, args...)                                                   \
	({                                                                               \
		static char agentd_format[] = format;                                    \
		unsigned long long agentd_values[___bpf_narg(args) ?: 1] = {};           \
		___bpf_fill(agentd_values, args);                                        \
		scx_bpf_error_bstr(agentd_format, agentd_values, sizeof(agentd_values)); \
	})

char _license[] SEC("license") = "GPL";

#endif
