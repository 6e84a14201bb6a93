"""Why a scheduler ended: every form in which the kernel, libbpf, programs and systemd say so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.core.schedulers.endings import (
    HOTPLUG,
    LONGEST,
    RESTART,
    ending,
    of_exit_info,
    of_kernel,
    of_output,
    of_unit,
)
from agentd.core.schedulers.model import Ending, Exit

ENABLED = 'sched_ext: BPF scheduler "simple" enabled'
USER = "unregistered from user space"
NOISE = [
    "sched_ext: Writing directly to p->scx.slice/dsq_vtime is deprecated, use scx_bpf_task_set_slice() instead",
    "sched_ext: ops->cpu_acquire/release() are deprecated, use sched_switch TP instead",
    "bpf_scx_btf_struct_access: 12 callbacks suppressed",
    'sched_ext: "simple" does not implement cgroup cpu.weight',
]


def disabled(reason: str, name: str = "simple") -> str:
    return f'sched_ext: BPF scheduler "{name}" disabled ({reason})'


@pytest.mark.parametrize(
    ("reason", "kind", "restart"),
    [
        (USER, "unregistered", False),
        ("unregistered from BPF", "unregistered", False),
        ("unregistered from the main kernel", "hotplug", True),
        ("disabled by sysrq-S", "sysrq", False),
        ("runtime error", "error", False),
        ("scx_bpf_error", "bpf-error", False),
        ("runnable task stall", "stall", False),
        ("parent exiting", "unregistered", False),
        ("killed by parent scheduler", "unregistered", False),
        ("reenqueue limit", "error", False),
        ("rescue bandwidth overload", "error", False),
        ("<UNKNOWN>", "unknown", False),
    ],
)
def test_the_kernel_says_why(reason: str, kind: str, restart: bool) -> None:
    assert of_kernel([ENABLED, disabled(reason)]) == Ending(kind=kind, reason=reason, restart=restart)


@pytest.mark.parametrize(
    ("reason", "message", "kind"),
    [
        ("runtime error", "non-existent DSQ 0x1267", "error"),
        ("runtime error", "ops.init_task() failed (-12) for systemd[1]", "error"),
        ("runtime error", "soft lockup - CPU 1 stuck for 22s", "lockup"),
        ("runtime error", "hard lockup - CPU 1", "lockup"),
        ("runtime error", "RCU CPU stall detected!", "lockup"),
        ("scx_bpf_error", "scx_qmap.bpf.c:388: test triggering error", "bpf-error"),
        ("runnable task stall", "systemd-journal[124] failed to run for 5.172s", "stall"),
        ("runnable task stall", "watchdog failed to check in for 30.001s", "stall"),
    ],
)
def test_the_kernels_message_belongs_to_its_reason_whatever_stands_between(
    reason: str, message: str, kind: str
) -> None:
    log = [ENABLED, disabled(reason), *NOISE, f"sched_ext: simple: {message}", "   scx_ops_error_kind+0x5b/0x80"]
    assert of_kernel(log) == Ending(kind=kind, reason=reason, message=message)


def test_a_soft_lockup_is_told_before_the_end() -> None:
    stuck = [ENABLED, 'sched_ext: Soft lockup - CPU1 stuck for 26s, disabling "simple"']
    assert of_kernel([*stuck, disabled("runtime error")]) == Ending(
        kind="lockup", reason="runtime error", message="Soft lockup - CPU1 stuck for 26s"
    )
    assert of_kernel([*stuck, disabled("scx_bpf_error")]) == Ending(kind="bpf-error", reason="scx_bpf_error")


def test_lines_of_dmesg_with_their_times_are_understood() -> None:
    log = ["[    1.250000] " + ENABLED + " (partial)", "[   12.000012] " + disabled("scx_bpf_error")]
    assert of_kernel([*log, "[   12.000013] sched_ext: simple: enough"]) == Ending(
        kind="bpf-error", reason="scx_bpf_error", message="enough"
    )


def test_the_end_of_a_sub_scheduler_is_not_that_of_the_machines_scheduler() -> None:
    log = [ENABLED, 'sched_ext: BPF sub-scheduler "cell" disabled (runtime error)', "sched_ext: cell: no such DSQ"]
    assert of_kernel(log) is None
    assert of_kernel([*log, disabled(USER)]) == Ending(kind="unregistered", reason=USER)


def test_the_end_of_another_scheduler_is_not_taken_for_the_one_asked_about() -> None:
    log = [disabled("runtime error", "bpfland_1.1.4_x86_64_unknown_linux_gnu"), ENABLED, disabled(USER)]
    found = of_kernel(log, "bpfland")
    assert found is not None
    assert found.kind == "error"
    assert of_kernel(log, "rusty") is None
    assert of_kernel(log, "bpf") is None


def test_an_end_before_the_scheduler_was_enabled_again_is_over() -> None:
    assert of_kernel([ENABLED, disabled("runnable task stall"), ENABLED]) is None


def test_a_scheduler_that_never_became_enabled_has_an_end() -> None:
    log = [disabled("runtime error"), "sched_ext: simple: ops.cgroup_init() failed (-12)"]
    assert of_kernel(log, "simple") == Ending(
        kind="error", reason="runtime error", message="ops.cgroup_init() failed (-12)"
    )


def test_a_kernel_with_isolated_processors_refuses() -> None:
    log = ['sched_ext: Not compatible with "isolcpus=" domain isolation']
    assert of_kernel(log) == Ending(kind="refused", reason='Not compatible with "isolcpus=" domain isolation')


def test_a_log_without_a_word_about_schedulers_tells_nothing() -> None:
    assert of_kernel([*NOISE, "sysrq: Disable sched_ext and revert all tasks to CFS"]) is None
    assert of_kernel([]) is None


@pytest.mark.parametrize(
    ("lines", "kind", "reason", "message"),
    [
        (["EXIT: unregistered from user space", "[INFO] Unregister scx_bpfland scheduler"], "unregistered", USER, ""),
        (
            ["EXIT: scx_bpf_error (scx_qmap.bpf.c:388: test triggering error) on CPU 0"],
            "bpf-error",
            "scx_bpf_error",
            "scx_qmap.bpf.c:388: test triggering error",
        ),
        (
            ["DEBUG DUMP", "Error: EXIT: runtime error (ops.init_task() failed (-12) for systemd[1]) on CPU 0"],
            "error",
            "runtime error",
            "ops.init_task() failed (-12) for systemd[1]",
        ),
        (["Error: EXIT: disabled by sysrq-S"], "sysrq", "disabled by sysrq-S", ""),
        (
            ["EXIT: unregistered from the main kernel (cpu 1 going offline, exiting scheduler)"],
            "hotplug",
            "unregistered from the main kernel",
            "cpu 1 going offline, exiting scheduler",
        ),
        (
            ["EXIT: runnable task stall (stress[412] failed to run for 5.1s)"],
            "stall",
            "runnable task stall",
            "stress[412] failed to run for 5.1s",
        ),
        (["Error: No layer spec"], "exited", "No layer spec", ""),
        (["error: unexpected argument '--timely' found"], "exited", "unexpected argument '--timely' found", ""),
        (
            ["thread 'main' panicked at src/main.rs:900:9:", "No debugfs mount found", "note: run with RUST_BACKTRACE"],
            "exited",
            "it panicked at src/main.rs:900:9",
            "No debugfs mount found",
        ),
        (
            ["Error: another sched_ext scheduler is already running"],
            "refused",
            "another sched_ext scheduler is already running",
            "",
        ),
        (
            ["Error: can't register struct_ops explicit_ops: Device or resource busy"],
            "refused",
            "can't register struct_ops explicit_ops: Device or resource busy",
            "",
        ),
        (
            ["Error: no struct_ops found in /usr/local/lib/agentd/schedulers/scx_mine.bpf.o"],
            "refused",
            "no struct_ops found in /usr/local/lib/agentd/schedulers/scx_mine.bpf.o",
            "",
        ),
        (
            ["Error: can't pin link 93 for wrong_ops: File exists"],
            "refused",
            "can't pin link 93 for wrong_ops: File exists",
            "",
        ),
        (
            ["[SCX_BUG] scx_simple.c:95 (Device or resource busy)", "Failed to attach struct_ops"],
            "refused",
            "Failed to attach struct_ops",
            "",
        ),
        (
            [
                "libbpf: extern (func ksym) 'scx_bpf_does_not_exist': not found in kernel or module BTFs",
                "libbpf: failed to load object 'no_kfunc.bpf.o'",
                "Error: failed to load object",
            ],
            "refused",
            "extern (func ksym) 'scx_bpf_does_not_exist': not found in kernel or module BTFs",
            "",
        ),
        (
            ["libbpf: extern (func ksym) 'scx_bpf_create_dsq': func_proto [91] incompatible with vmlinux [4711]"],
            "refused",
            "extern (func ksym) 'scx_bpf_create_dsq': func_proto [91] incompatible with vmlinux [4711]",
            "",
        ),
        (
            [
                "libbpf: prog 'qmap_dispatch': BPF program load failed: -EACCES",
                "libbpf: prog 'qmap_dispatch': -- BEGIN PROG LOAD LOG --",
                "; struct cpu_ctx *c = &ctx[cpu];",
                "R7 invalid mem access 'scalar'",
                "processed 211 insns (limit 1000000) max_states_per_insn 0",
                "-- END PROG LOAD LOG --",
                "libbpf: prog 'qmap_dispatch': failed to load: -EACCES",
                "libbpf: failed to load object 'scx_qmap'",
            ],
            "refused",
            "prog 'qmap_dispatch': failed to load: -EACCES",
            "R7 invalid mem access 'scalar'",
        ),
        (
            ["kfunc 'scx_bpf_reenqueue' is referenced but wasn't resolved", "libbpf: failed to load object 'x'"],
            "refused",
            "kfunc 'scx_bpf_reenqueue' is referenced but wasn't resolved",
            "",
        ),
        (["libbpf: map 'arena': failed to create: -ENOMEM"], "refused", "map 'arena': failed to create: -ENOMEM", ""),
        (
            ["Error: Failed to load BPF program", "", "Caused by:", "    Cannot allocate memory (os error 12)"],
            "refused",
            "Failed to load BPF program",
            "Cannot allocate memory (os error 12)",
        ),
        (
            ["Error: Failed to start", "", "Caused by:", "    0: attaching", "    1: the ring is gone", "done"],
            "exited",
            "Failed to start",
            "the ring is gone",
        ),
        (
            [
                "12:00:01 WARN scx_utils::libbpf_logger: rust/x.rs:12: libbpf: failed to open system Kconfig",
                "Error: Failed to load BPF program",
                "",
                "Caused by:",
                "    Invalid argument (os error 22)",
            ],
            "refused",
            "failed to open system Kconfig",
            "Invalid argument (os error 22)",
        ),
        (
            ["libbpf: Error in bpf_object__probe_loading(): -EPERM. Couldn't load trivial BPF program."],
            "refused",
            "Couldn't load trivial BPF program.",
            "",
        ),
        (["Error: Operation not permitted (os error 1)"], "refused", "Operation not permitted (os error 1)", ""),
        (
            ["Error: failed to open object file: No such file or directory"],
            "refused",
            "failed to open object file: No such file or directory",
            "",
        ),
        (
            ["start-scheduler: /usr/bin/scx_rusty can be changed by others than root: it is not started"],
            "refused",
            "/usr/bin/scx_rusty can be changed by others than root: it is not started",
            "",
        ),
    ],
)
def test_programs_say_why(lines: list[str], kind: str, reason: str, message: str) -> None:
    found = of_output(["local=1 global=2", *lines])
    assert found == Ending(kind=kind, reason=reason, message=message, restart=kind == "hotplug")


def test_a_program_that_only_counted_tells_nothing() -> None:
    assert of_output(["local=1 global=2", "local=5 global=9"]) is None
    assert of_output([]) is None


@pytest.mark.parametrize(
    ("unit", "kind", "reason"),
    [
        (Exit("signal", "killed", 9), "killed", "its process was ended by SIGKILL"),
        (Exit("core-dump", "dumped", 11), "killed", "its process was ended by SIGSEGV"),
        (Exit("oom-kill", "killed", 9), "killed", "the kernel killed it for want of memory (or its MemoryMax=)"),
        (Exit("timeout", "killed", 9), "killed", "systemd killed it: timeout"),
        (Exit("exit-code", "exited", 1), "exited", "its process ended with status 1"),
        (Exit("success", "exited", 0), "exited", "its process ended with status 0"),
        (Exit("success", "killed", 2), "exited", "its process was ended by SIGINT"),
        (Exit("resources"), "unknown", "systemd says: resources"),
        (Exit("signal", "killed", 999), "killed", "its process was ended by signal 999"),
    ],
)
def test_systemd_says_how_the_process_ended(unit: Exit, kind: str, reason: str) -> None:
    assert of_unit(unit) == Ending(kind=kind, reason=reason)


def test_the_kernels_numbers_mean_what_its_words_do() -> None:
    assert of_exit_info(1024, 0, "non-existent DSQ 0x1267") == Ending(
        kind="error", reason="runtime error", message="non-existent DSQ 0x1267"
    )
    assert of_exit_info(1026, 0).kind == "stall"
    assert of_exit_info(67, 0) == Ending(kind="sysrq", reason="disabled by sysrq-S")
    assert of_exit_info(66, RESTART | HOTPLUG) == Ending(
        kind="hotplug", reason="unregistered from the main kernel", restart=True
    )
    assert of_exit_info(66, RESTART | 2 << 32).kind == "unregistered"
    assert of_exit_info(65, RESTART).restart
    assert of_exit_info(4711, 0) == Ending(reason="exit kind 4711")


# All three together


def test_what_the_kernel_says_of_a_fault_is_believed_before_all_else() -> None:
    log, output = [disabled("runnable task stall")], ["EXIT: unregistered from user space"]
    found = ending(log, output, Exit("exit-code", "exited", 1))
    assert found.kind == "stall"


def test_the_program_adds_the_message_that_the_log_lacks() -> None:
    log = [ENABLED, disabled("unregistered from the main kernel")]
    output = ["EXIT: unregistered from the main kernel (cpu 1 going online, exiting scheduler)"]
    found = ending(log, output, Exit("success", "exited", 0), "simple")
    assert (found.kind, found.restart, found.message) == ("hotplug", True, "cpu 1 going online, exiting scheduler")


def test_a_program_that_was_killed_left_the_kernel_no_other_reason() -> None:
    found = ending([ENABLED, disabled(USER)], [], Exit("signal", "killed", 9))
    assert found == Ending(kind="killed", reason="its process was ended by SIGKILL")


def test_a_program_that_fell_over_says_why() -> None:
    output = ["thread 'main' panicked at src/main.rs:1:", "index out of bounds"]
    found = ending([ENABLED, disabled(USER)], output, Exit("exit-code", "exited", 101))
    assert (found.kind, found.message) == ("exited", "index out of bounds")


def test_a_program_that_ended_by_itself_without_a_word_did_so() -> None:
    assert ending([ENABLED, disabled(USER)], [], Exit("exit-code", "exited", 3)).kind == "exited"


def test_a_scheduler_that_was_stopped_was_unregistered() -> None:
    found = ending([ENABLED, disabled(USER)], [f"EXIT: {USER}"], Exit("success", "exited", 0))
    assert found == Ending(kind="unregistered", reason=USER)


def test_without_the_log_the_program_is_believed() -> None:
    found = ending([], ["EXIT: scx_bpf_error (enough after 200 tasks) on CPU 1"], Exit("success", "exited", 0))
    assert found == Ending(kind="bpf-error", reason="scx_bpf_error", message="enough after 200 tasks")


def test_nobody_knows() -> None:
    assert ending([], []) == Ending()
    assert ending([], [], Exit()) == Ending()


def test_what_is_printed_becomes_one_line_of_bounded_length() -> None:
    found = of_output([f"Error: a\x1b[31m\tb {'x' * 9999}"])
    assert found is not None
    assert len(found.reason) == LONGEST
    assert found.reason.startswith("a [31m b xxx")


WORDS = st.sampled_from(
    [
        *NOISE,
        ENABLED,
        disabled("runtime error"),
        disabled(USER),
        "sched_ext: simple: ",
        "EXIT: ",
        "Error: ",
        "libbpf: ",
        "Caused by:",
        " (",
        ")",
        " on CPU 0",
        "processed 1 insns",
        "thread 'main' panicked at ",
        "-EACCES",
    ]
)
LINES = st.lists(st.lists(st.one_of(WORDS, st.text(max_size=20)), max_size=5).map("".join), max_size=20)


@given(LINES, LINES, st.sampled_from(["", "simple", "s", "("]))
def test_whatever_is_printed_gives_an_end_that_a_sentence_can_hold(log: list[str], output: list[str], ops: str) -> None:
    found = ending(log, output, Exit("exit-code", "exited", 1), ops)
    assert found.kind in {"unregistered", "sysrq", "error", "bpf-error", "stall", "hotplug", "lockup", "refused"} | {
        "killed",
        "exited",
        "unknown",
    }
    for text in (found.reason, found.message):
        assert len(text) <= LONGEST
        assert text.isprintable()
    assert found.restart == (found.kind == "hotplug")
