"""One switch after another: how the machine comes from one scheduler to the next, and what it does where that fails."""

import pytest

from agentd.core.part import Decided, Refused
from agentd.core.schedulers.model import Chosen, Ending, Observed, SchedulerFailed, SchedulerStarts, SchedulerStops
from agentd.core.schedulers.settings import Choice, SchedulerSettings
from tests.unit.schedulers.world import DAY, HOUR, MINUTE, MS, SECOND, Program, World


def test_nothing_is_wanted_and_nothing_is_done() -> None:
    world = World()
    assert world.core.wakeup() is None
    world.after(DAY)
    assert world.on == "none"
    assert world.told_of(SchedulerStarts) == world.told_of(SchedulerStops) == []
    assert world.core.waits(world.now) == ""


def test_nothing_is_decided_before_the_machine_was_looked_at() -> None:
    world = World(SchedulerSettings(default=Choice("scx_rusty")), take_up=False)
    world.after(MINUTE)
    assert world.counts["started"] == 0
    assert world.core.wakeup() is None
    assert world.core.waits(world.now) == "agentd has not looked at the kernel yet"
    with pytest.raises(Refused, match="has not looked"):
        world.want("scx_lavd")


def test_the_default_is_started_at_boot_and_proves_good() -> None:
    world = World(SchedulerSettings(default=Choice("scx_rusty")))
    world.after(5 * SECOND)
    assert world.on == "scx_rusty"
    assert world.core.tenure is not None
    assert world.core.tenure.probation
    world.after(2 * MINUTE)
    assert world.core.tenure.probation == 0
    assert world.core.last_good is not None
    assert world.core.last_good.name == "scx_rusty"
    assert world.core.wakeup() is None


def test_a_switch_looks_first_then_stops_the_old_then_starts_the_new() -> None:
    world = World(SchedulerSettings(default=Choice("scx_rusty")))
    world.after(5 * MINUTE)
    seen = len(world.seen)
    world.want("scx_lavd", mode="gaming")
    world.after(10 * SECOND)
    kinds = [type(effect).__name__ for effect in world.seen[seen:]]
    order = [kind for kind in kinds if kind in {"SchedulerChecked", "SchedulerStops", "SchedulerStarts"}]
    assert order == ["SchedulerChecked", "SchedulerStops", "SchedulerStarts"]
    tenure = world.core.tenure
    assert tenure is not None
    assert (tenure.chosen.name, tenure.chosen.mode, tenure.source, tenure.wanted_by) == (
        "scx_lavd",
        "gaming",
        "person",
        "alice",
    )
    assert tenure.ops == "lavd_1.1.4_x86_64"
    assert 700 * MS <= tenure.gap < SECOND
    old = world.disk.tenures[tenure.number - 1]
    assert old.ending == Ending(kind="stopped", reason="scx_lavd is wanted by person alice")


def test_a_scheduler_that_the_look_finds_unfit_never_has_the_old_one_leave() -> None:
    world = World(SchedulerSettings(default=Choice("scx_rusty")))
    world.after(5 * MINUTE)
    stopped = world.counts["stopped"]
    world.checks["scx_lavd"] = "scx_lavd is not installed"
    want = world.want("scx_lavd")
    assert world.core.fate(want, world.now) is None
    world.after(10 * SECOND)
    assert world.on == "scx_rusty"
    assert world.counts["stopped"] == stopped
    assert "scx_lavd is not installed" in str(world.core.fate(want, world.now))
    assert world.core.wakeup() is None  # the wish is dropped with its failure


def test_a_look_that_is_not_answered_counts_as_one_that_finds_trouble() -> None:
    world = World()
    world.want("scx_lavd")
    world._events.clear()  # the answer is lost
    world.after(MINUTE)
    assert "was not over within 30s" in world.reasons_told()
    assert world.core.phase == "resting"


@pytest.mark.parametrize("does", ["refuses", "exits", "hangs", "misnames"])
def test_a_scheduler_that_does_not_come_up_leads_back_to_the_old_one(does: str) -> None:
    world = World(SchedulerSettings(default=Choice("scx_rusty")))
    world.after(5 * MINUTE)
    world.programs["scx_lavd"].does = does
    want = world.want("scx_lavd")
    world.after(MINUTE)
    assert world.on == "scx_rusty"
    (failed,) = world.told_of(SchedulerFailed)
    expected = {"refuses": "refused", "exits": "exited", "hangs": "timeout", "misnames": "mistaken"}[does]
    assert failed.ending.kind == expected
    assert failed.until == world.disk.store.quarantines[0].failed + MINUTE
    assert "the wish of alice for it is dropped" in failed.sentence
    fate = world.core.fate(want, world.now)
    assert fate


@pytest.mark.parametrize("lives", [0, 1, 2 * SECOND, 20 * SECOND])
def test_a_scheduler_that_is_ejected_on_probation_leads_back_to_the_old_one(lives: int) -> None:
    world = World(SchedulerSettings(default=Choice("scx_rusty")))
    world.after(5 * MINUTE)
    world.programs["scx_lavd"] = Program(does="ejects", lives=lives, pinned=True)
    world.want("scx_lavd")
    world.after(MINUTE)
    assert world.on == "scx_rusty"
    (failed,) = world.told_of(SchedulerFailed)
    assert failed.ending.kind == "stall"
    assert "a task could not run for too long (runnable task stall: x[1] failed to run for 5.0s)" in failed.sentence


def test_a_persons_choice_that_fails_leads_back_to_the_choice_before_it() -> None:
    world = World()
    world.want("scx_bpfland")
    world.after(5 * MINUTE)
    world.programs["scx_lavd"].does = "refuses"
    world.want("scx_lavd", holder="bob")
    world.after(MINUTE)
    assert world.on == "scx_bpfland"
    assert [want.choice.name for want in world.disk.store.wants] == ["scx_bpfland"]


def test_a_choice_that_has_proved_good_stays_wanted_however_it_fails_later() -> None:
    world = World(SchedulerSettings(default=Choice("scx_rusty")))
    world.want("scx_bpfland")
    world.after(HOUR)
    world.kill()
    world.after(30 * SECOND)
    assert world.on == "scx_rusty"
    assert "scx_bpfland failed: its program was killed (signal 9)" in world.core.waits(world.now)
    world.after(MINUTE)
    assert world.on == "scx_bpfland"


def test_choices_before_one_that_proved_good_are_forgotten() -> None:
    world = World()
    world.want("scx_bpfland")
    world.after(5 * MINUTE)
    world.want("scx_lavd")
    world.after(5 * MINUTE)
    assert [(want.choice.name, want.proven) for want in world.disk.store.wants] == [("scx_lavd", True)]


def test_other_flags_of_a_good_scheduler_that_fail_lead_back_to_those_that_were_good() -> None:
    world = World()
    world.want("scx_bpfland")
    world.after(5 * MINUTE)
    world.programs["scx_bpfland"] = Program(does="ejects", lives=SECOND)
    world.want("scx_bpfland", mode="gaming")
    world.after(1800 * MS)
    world.programs["scx_bpfland"] = Program()
    world.after(10 * SECOND)
    assert world.on == "scx_bpfland"
    assert world.core.tenure is not None
    assert world.core.tenure.chosen.mode == "auto"


def test_none_is_a_choice_that_wins_over_the_default_until_it_is_taken_back() -> None:
    world = World(SchedulerSettings(default=Choice("scx_rusty")))
    world.after(5 * MINUTE)
    world.want("none")
    world.after(5 * SECOND)
    assert world.on == "none"
    assert world.core.waits(world.now) == ""
    world.core.restore(world.now)
    world.after(MINUTE)
    assert world.on == "scx_rusty"


def test_another_wish_while_one_starts_has_it_leave_without_a_failure() -> None:
    world = World()
    world.programs["scx_lavd"].enables = 20 * SECOND
    world.want("scx_lavd")
    world.after(5 * SECOND)
    assert world.core.phase == "starting"
    world.want("none")
    world.after(30 * SECOND)
    assert world.on == "none"
    assert world.told_of(SchedulerFailed) == []


def test_a_wish_while_another_is_looked_at_takes_its_place() -> None:
    world = World()
    world.want("scx_lavd")
    world.want("scx_flash")
    world.after(10 * SECOND)
    assert world.on == "scx_flash"
    assert world.counts["started"] == 1


def test_a_unit_that_does_not_stop_is_asked_again_and_nothing_is_started_meanwhile() -> None:
    world = World()
    world.programs["scx_lavd"].stops = 100 * SECOND
    world.want("scx_lavd")
    world.after(5 * MINUTE)
    world.want("scx_flash")
    world.after(90 * SECOND)
    assert world.core.phase == "stopping"
    assert "scx_lavd is not down after 30s: it is asked to stop again" in world.reasons_told()
    world.after(MINUTE)
    assert world.on == "scx_flash"


def test_a_unit_that_never_stops_is_asked_less_and_less_often() -> None:
    world = World()
    world.programs["scx_lavd"].stops = 2 * DAY
    world.want("scx_lavd")
    world.after(5 * MINUTE)
    world.want("none")
    world.after(DAY)
    assert world.core.phase == "stopping"
    assert 8 < world.reasons_told().count("it is asked to stop again") < 14


def test_the_gap_of_a_scheduler_that_none_left_for_is_not_known() -> None:
    world = World()
    world.want("scx_lavd")
    world.after(5 * MINUTE)
    world.want("none")
    world.after(5 * MINUTE)
    world.want("scx_lavd")
    world.after(5 * MINUTE)
    assert [one.gap for one in world.disk.tenures.values()] == [-1, -1]


def test_nothing_is_started_while_the_kernel_is_between_two_states() -> None:
    world = World()
    world.state = "enabling"
    world.tell()
    world.want("scx_lavd")
    world.after(10 * SECOND)
    assert world.counts["started"] == 0
    world.state = "disabled"
    world.after(5 * SECOND)
    assert world.on == "scx_lavd"


def test_each_switch_has_its_reason_stored_before() -> None:
    world = World(SchedulerSettings(default=Choice("scx_rusty")))
    world.after(5 * MINUTE)
    world.want("scx_lavd")
    world.after(MINUTE)
    kinds = [(one.kind, one.about) for one in world.told_of(Decided)]
    assert kinds == [
        ("start", "scx_rusty"),
        ("on", "scx_rusty"),
        ("prove", "scx_rusty"),
        ("want", "scx_lavd"),
        ("stop", "scx_rusty"),
        ("start", "scx_lavd"),
        ("on", "scx_lavd"),
    ]


def test_a_scheduler_is_restarted_when_somebody_asks() -> None:
    world = World()
    with pytest.raises(Refused, match="no scheduler of agentd's"):
        world.core.restart("alice", world.now)
    world.want("scx_lavd")
    world.after(5 * MINUTE)
    before = world.seq
    world.core.restart("alice", world.now)
    world.after(5 * SECOND)
    assert world.on == "scx_lavd"
    assert world.seq == before + 1
    assert world.told_of(SchedulerFailed) == []


@pytest.mark.parametrize(
    ("ops", "shown", "is_it"),
    [
        ("bpfland", "bpfland_1.1.4_x86_64_unknown_linux_gnu", True),
        ("bpfland", "bpfland", True),
        ("bpfland", "bpfland2", False),
        ("simple", "simple_1", True),
        ("", "anything", False),
        ("scx_flow", "flow_4", False),
    ],
)
def test_a_scheduler_is_known_by_the_name_that_the_kernel_shows(ops: str, shown: str, is_it: bool) -> None:
    assert Chosen(name="x", ops=ops).shown_by(Observed(state="enabled", ops=shown)) is is_it
    assert not Chosen(name="x", ops=ops).shown_by(Observed(state="disabled", ops=shown))
