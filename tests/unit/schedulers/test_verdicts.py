"""What compilers, libbpf and the verifier say, made readable."""

from hypothesis import given
from hypothesis import strategies as st

from agentd.core.schedulers.verdicts import MOST_LINES, WIDEST, compiled_badly, readable, refused

VERIFIER = """\
libbpf: prog 'unsafe_enqueue': BPF program load failed: Permission denied
libbpf: prog 'unsafe_enqueue': -- BEGIN PROG LOAD LOG --
0: R1=ctx() R10=fp0
; void BPF_STRUCT_OPS(unsafe_enqueue, struct task_struct *p, u64 enq_flags) @ unsafe.bpf.c:4
0: (79) r6 = *(u64 *)(r1 +8)          ; R1=ctx() R6_w=scalar()
; struct task_struct *q = scx_bpf_dsq_peek(1); @ unsafe.bpf.c:6
1: (b7) r1 = 1                        ; R1_w=1
; scx_bpf_dsq_insert(q, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags); /* q may be NULL */ @ unsafe.bpf.c:8
9: (85) call scx_bpf_dsq_insert#93011
Possibly NULL pointer passed to trusted R1
processed 10 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
-- END PROG LOAD LOG --
libbpf: prog 'unsafe_enqueue': failed to load: -13
libbpf: failed to load object 'unsafe'
"""


def test_the_verifiers_complaint_has_its_program_and_its_place() -> None:
    sentence, excerpt = refused(VERIFIER)
    assert sentence == (
        "the verifier refuses unsafe_enqueue at unsafe.bpf.c:8: Possibly NULL pointer passed to trusted R1"
    )
    assert excerpt[-1] == "Possibly NULL pointer passed to trusted R1"
    assert not any("processed" in line or "libbpf" in line for line in excerpt)


def test_what_libbpf_itself_refuses_is_told_in_its_words() -> None:
    log = (
        "libbpf: Failed to bump RLIMIT_MEMLOCK (err = -1), you might need to do it explicitly!\n"
        "libbpf: extern (func ksym) 'scx_bpf_does_not_exist': not found in kernel or module BTFs\n"
        "libbpf: failed to load object 'no_kfunc'\n"
    )
    sentence, excerpt = refused(log)
    assert sentence == "extern (func ksym) 'scx_bpf_does_not_exist': not found in kernel or module BTFs"
    assert len(excerpt) == 3


def test_a_log_that_says_little_is_told_all_the_same() -> None:
    assert refused("")[0] == "said nothing"
    assert refused("libbpf: failed to load object 'x'\n")[0] == "failed to load object 'x'"
    cut = VERIFIER[: VERIFIER.index("Possibly")]
    assert refused(cut)[0].startswith("the verifier refuses unsafe_enqueue at unsafe.bpf.c:8: ")
    assert refused("libbpf: prog 'x': -- BEGIN PROG LOAD LOG --\n")[0] == "the verifier refuses x: it did not say why"


def test_diagnostics_lose_their_folder_and_what_is_for_the_compilers_authors() -> None:
    said = "/run/work/x.bpf.c:9:10: error: no\n\n./scx.h:3:1: note: here\nStack dump:\n#0 0x7f\n"
    lines = readable(said, folder="/run/work")
    assert lines == ("x.bpf.c:9:10: error: no", "scx.h:3:1: note: here")
    assert compiled_badly(lines) == "x.bpf.c:9:10: no"


def test_a_compiler_without_memory_is_told_as_such() -> None:
    lines = readable("x.bpf.c:1:1: error: no\nLLVM ERROR: out of memory\nPLEASE submit a bug report to\n")
    assert compiled_badly(lines) == "the source wants more memory to be compiled than it may"


def test_long_diagnostics_are_cut() -> None:
    lines = readable("".join(f"x.bpf.c:{line}:1: error: {'x' * 500}\n" for line in range(100)))
    assert len(lines) == MOST_LINES
    assert lines[-1] == "… 61 more lines"
    assert len(lines[0]) == WIDEST


@given(st.text(max_size=400), st.booleans())
def test_any_words_become_printable_lines(text: str, verifier: bool) -> None:
    sentence, excerpt = refused(VERIFIER.replace("Possibly", text) if verifier else text)
    for line in (sentence, *excerpt, *readable(text), compiled_badly(readable(text))):
        assert line.isprintable()
    assert len(excerpt) <= MOST_LINES
