"""The judgement of a trial, and the record of a scheduler's end."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from agentd.core.quantities import SECOND
from agentd.core.schedulers.model import Ending, Observed
from agentd.core.schedulers.trials import GRACE, PATIENCE, SPAN, Look, Trial, Verdict, ending, words
from tests.unit.schedulers.custom_fakes import record

OFF = Observed(state="disabled", seq=7)
OURS = Observed(state="enabled", ops="custom_fifo_12345678", seq=8)
GONE = Observed(state="disabled", seq=8)


def judged(*looks: tuple[float, Look]) -> Verdict | None:
    """The verdict after looks at these seconds."""
    trial = Trial("custom_fifo_12345678", OFF, 0, 5 * SECOND)
    for at, look in looks:
        if verdict := trial.seen(int(at * SECOND), look):
            return verdict
    return None


def steady(seconds: float, begin: float = 0.5) -> list[tuple[float, Look]]:
    return [(begin + at / 10, Look(observed=OURS, progress=(at, at * 2))) for at in range(int(seconds * 10) + 1)]


def test_a_scheduler_that_holds_is_good() -> None:
    verdict = judged((0.1, Look(observed=OFF)), *steady(SPAN / SECOND))
    assert verdict is not None
    assert verdict.ok
    assert "on at each of 100 looks in 10.0 s under load" in verdict.sentence


def test_a_trial_is_not_over_before_its_time() -> None:
    assert judged(*steady(SPAN / SECOND - 0.2)) is None


def test_the_kernels_reason_is_told() -> None:
    end = Ending(kind="stall", reason="runnable task stall", message="cat[12] failed to run for 5.1s")
    verdict = judged(*steady(3), (3.6, Look(observed=GONE, end=end)))
    assert verdict is not None
    assert not verdict.ok
    assert verdict.sentence == ("the kernel ended it after 3.1 s: runnable task stall (cat[12] failed to run for 5.1s)")
    assert verdict.ending == end


def test_one_that_was_ended_before_anybody_looked_is_seen() -> None:
    end = Ending(kind="error", reason="runtime error", message="non-existent DSQ 0x1267")
    verdict = judged((0.1, Look(observed=GONE, end=end)))
    assert verdict is not None
    assert verdict.sentence == "the kernel ended it within 0.1 s: runtime error (non-existent DSQ 0x1267)"


def test_the_reason_may_come_a_moment_after_the_end() -> None:
    end = Ending(kind="error", reason="runtime error")
    for before in ([], steady(1)):
        at = 2.0
        verdict = judged(*before, (at, Look(observed=GONE)), (at + 0.1, Look(observed=GONE, end=end)))
        assert verdict is not None
        assert verdict.ending == end


def test_an_end_without_a_reason_is_told_as_such() -> None:
    for before in ([], steady(1)):
        verdict = judged(*before, (2, Look(observed=GONE)), (2 + GRACE / SECOND, Look(observed=GONE)))
        assert verdict is not None
        assert not verdict.ok
        assert "no reason was recorded" in verdict.sentence


def test_a_single_look_at_a_bad_moment_ends_nothing() -> None:
    torn = Look(observed=Observed(state="enabled", ops="", seq=8), progress=(99, 99))
    verdict = judged(*steady(1), (1.6, torn), *steady(10, begin=1.7))
    assert verdict is not None
    assert verdict.ok


def test_another_scheduler_in_its_place_is_no_success() -> None:
    for other in (
        Observed(state="enabled", ops="bpfland_1.1.4", seq=9),
        Observed(state="enabled", ops="custom_fifo_1234567", seq=8),
        Observed(state="enabled", ops=OURS.ops, seq=9),
    ):
        verdict = judged(*steady(1), *((2 + at, Look(observed=other)) for at in range(20)))
        assert verdict is not None
        assert not verdict.ok
        assert "in its place" in verdict.sentence


def test_another_scheduler_that_was_there_before_is_told() -> None:
    other = Observed(state="enabled", ops="bpfland_1.1.4", seq=7)
    verdict = judged((0.1, Look(observed=other)))
    assert verdict is not None
    assert verdict.sentence == "another scheduler, bpfland_1.1.4, is on"


def test_a_scheduler_that_takes_only_tasks_that_ask_proves_nothing() -> None:
    partial = msgspec.structs.replace(OURS, switched_all=False)
    verdict = judged((0.1, Look(observed=partial)), (3, Look(observed=partial)))
    assert verdict is not None
    assert "SCX_OPS_SWITCH_PARTIAL" in verdict.sentence


def test_one_that_never_begins_is_given_up() -> None:
    enabling = Look(observed=Observed(state="enabling", seq=7))
    verdict = judged((1, enabling), (PATIENCE / SECOND, enabling), (PATIENCE / SECOND + 0.1, enabling))
    assert verdict is not None
    assert verdict.sentence == "it was not on after 30 s: the kernel says enabling"


def test_a_task_that_stands_still_is_found_where_the_kernel_did_not() -> None:
    looks = [(0.5 + at / 10, Look(observed=OURS, progress=(at, min(at, 20)))) for at in range(100)]
    verdict = judged(*looks)
    assert verdict is not None
    assert not verdict.ok
    assert "a task of the load did not run for 6.1 s" in verdict.sentence


def test_refused_tasks_are_told() -> None:
    some = msgspec.structs.replace(OURS, rejected=3)
    verdict = judged(*((at / 10, Look(observed=some)) for at in range(102)))
    assert verdict is not None
    assert verdict.sentence.endswith("; it refused 3 tasks")


STATES = st.sampled_from(["disabled", "enabling", "enabled", "disabling", "absent"])
OBSERVED = st.builds(
    Observed, state=STATES, ops=st.sampled_from(["", OURS.ops, "x"]), seq=st.integers(6, 9), switched_all=st.booleans()
)


@given(st.lists(st.tuples(st.integers(1, 2 * SECOND), OBSERVED), max_size=80))
def test_only_one_that_was_on_for_the_whole_time_is_good(course: list[tuple[int, Observed]]) -> None:
    trial, now, ours = Trial(OURS.ops, OFF, 0, 5 * SECOND), 0, 0
    for passed, observed in course:
        now += passed
        ours += msgspec.structs.replace(observed, switched_all=True) == OURS and observed.switched_all
        if verdict := trial.seen(now, Look(observed=observed)):
            assert not verdict.ok or (ours > 0 and now >= SPAN)
            assert verdict.sentence
            break


def test_the_record_of_an_end_is_read() -> None:
    assert ending(record()) is None
    assert ending(b"") is None
    assert ending(record(1025, 3, b"scx_bpf_error", b"enough after 200 tasks")) == Ending(
        kind="bpf-error", reason="scx_bpf_error", message="enough after 200 tasks"
    )
    assert ending(record(67, 0, b"disabled by sysrq-S")) == Ending(kind="sysrq", reason="disabled by sysrq-S")
    assert ending(record(1026, 0, b"a\x1b[2Jb\n\xff")) == Ending(kind="stall", reason="a [2Jb �")
    unknown = ending(record(4000, 0))
    assert unknown is not None
    assert words(unknown) == "unknown"


def test_a_processor_that_came_or_went_is_no_fault() -> None:
    hotplug = ending(record(66, (1 << 48) | (1 << 32), b"unregistered from the main kernel", b"cpu 1 going offline"))
    assert hotplug == Ending(
        kind="hotplug", reason="unregistered from the main kernel", message="cpu 1 going offline", restart=True
    )
    verdict = judged((1, Look(observed=GONE, end=hotplug)))
    assert verdict is not None
    assert verdict.sentence.endswith("a processor came or went meanwhile, try again")
    assert ending(record(1024, 1 << 48)) == Ending(kind="error")  # an error asks for nothing


@given(st.binary(min_size=400, max_size=400))
def test_any_record_can_be_told(data: bytes) -> None:
    end = ending(data)
    assert end is None or words(end).isprintable()
