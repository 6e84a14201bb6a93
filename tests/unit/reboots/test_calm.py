"""Whoever comes and goes neither holds a night nor floods anybody; a machine without a memory does not loop."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from agentd.__main__ import main
from agentd.core.jobs.settings import Job
from agentd.core.part import Decided
from agentd.core.quantities import DAY
from agentd.core.reboots import wishes
from agentd.core.reboots.model import Facts, Ledger, RebootIssues, Session, Times
from agentd.core.reboots.policy import Hooks, RebootLimits, RebootPolicy, WaitFor, doubts
from tests.unit.reboots.world import (
    HOUR,
    INHIBITOR,
    MINUTE,
    SECOND,
    START,
    RebootWarns,
    RebootWithdrawn,
    World,
    nightly,
)

FREE = RebootLimits(min_uptime=0, per_day=1000, per_week=1000)
NIGHT = START + 3 * HOUR
ALICE = Facts(sessions=(Session("alice", "tty2"),))
HELD = Facts(blockers=(INHIBITOR,))


def see(world: World, facts: Facts) -> None:
    """The machine is another, and logind tells so at once."""
    world.facts = facts
    world.reboots.observed(facts, world.now)
    world.pump()


@pytest.mark.parametrize("every", [9 * SECOND, MINUTE])
def test_logins_of_a_second_do_not_hold_the_night_nor_shout(every: int) -> None:
    world = World(nightly("03:00", window=2 * HOUR, limits=FREE))
    world.until(NIGHT - 15 * MINUTE)
    while not world.rebooted and world.now < NIGHT + 2 * HOUR:
        world.after(every - SECOND)
        see(world, ALICE)
        world.after(SECOND)
        see(world, Facts())
    assert len(world.rebooted) == 1
    assert len(world.told(RebootWarns)) + len(world.told(RebootWithdrawn)) <= 9


def test_a_critical_job_that_is_over_by_then_does_not_take_the_announcement_back() -> None:
    jobs = {"copy": Job(name="copy", timezone="UTC", run=("/c",), critical=True)}
    world = World(nightly("03:00", limits=FREE), jobs)
    world.takes = {"copy": MINUTE}
    world.until(NIGHT - 5 * MINUTE)
    world.jobs.run("copy", world.now)
    world.after(30 * SECOND)
    assert (world.state, world.held_by()) == ("announced", ["job"])
    world.until(NIGHT + MINUTE)
    assert (world.rebooted, world.told(RebootWithdrawn)) == ([NIGHT], [])


def test_somebody_who_is_there_at_the_announced_instant_holds_it_and_that_is_told_once() -> None:
    world = World(nightly("03:00", window=2 * HOUR, limits=FREE))
    world.until(NIGHT - 5 * MINUTE)
    see(world, ALICE)
    assert (world.state, world.held_by()) == ("announced", ["session"])
    world.until(NIGHT + HOUR)
    assert (world.rebooted, world.state, len(world.told(RebootWithdrawn))) == ([], "waiting", 1)
    see(world, Facts())
    world.after(20 * MINUTE)
    assert len(world.rebooted) == 1


def test_an_inhibitor_that_toggles_is_told_once_a_minute_and_washes_nothing_out() -> None:
    world = World(RebootPolicy(limits=FREE, grace=10 * MINUTE, warnings=()))
    wishes.request(world.reboots, "worn", "smart", None, 0, world.now)
    world.pump()
    before = len(world.told(Decided))
    for _ in range(600):  # for ten minutes
        see(world, HELD)
        world.after(500_000)
        see(world, Facts())
        world.after(500_000)
    messages = len(world.told(RebootWarns)) + len(world.told(RebootWithdrawn))
    assert messages <= 4, "the machine was never calm"
    assert len(world.told(Decided)) - before <= 30
    assert world.rebooted == []
    world.after(12 * MINUTE)
    assert len(world.rebooted) == 1


def test_after_a_withdrawal_a_minute_of_calm_is_awaited() -> None:
    world = World(RebootPolicy(limits=FREE, grace=10 * MINUTE))
    wishes.request(world.reboots, "worn", "smart", None, 0, world.now)
    world.after(MINUTE)
    see(world, HELD)
    world.after(5 * MINUTE)
    see(world, Facts())
    calm = world.now
    world.after(50 * SECOND)
    assert world.state == "waiting"
    world.after(30 * SECOND)
    assert world.state == "announced"
    assert world.reboots.pending is not None
    assert world.reboots.pending.at - calm <= 11 * MINUTE + 10 * SECOND


def test_people_on_terminals_do_not_read_what_a_stranger_wrote() -> None:
    spam = Facts(blockers=(replace(INHIBITOR, plainly="process 7 of mallory holds the machine up"),))
    world = World(RebootPolicy(limits=FREE))
    wishes.request(world.reboots, "worn", "smart", None, 0, world.now)
    world.after(MINUTE)
    see(world, spam)
    (withdrawn,) = world.told(RebootWithdrawn)
    assert "copying" in withdrawn.why
    assert withdrawn.plainly == "process 7 of mallory holds the machine up"


# Without a memory


def forget(world: World) -> None:
    world.rows, world.ledger = {}, Ledger(fresh=True)


def test_a_window_that_is_open_when_the_ledger_is_begun_is_not_for_this_machine() -> None:
    world = World(nightly("03:00", window=2 * HOUR, limits=FREE), now=NIGHT + MINUTE)
    forget(world)
    world.boot()
    assert "the window was open already" in world.rows[1].note
    world.boot()  # nor after a restart of agentd
    world.until(NIGHT + 2 * HOUR)
    assert world.rebooted == []
    world.until(NIGHT + DAY + HOUR)
    assert world.rebooted == [NIGHT + DAY]


def test_a_machine_that_forgets_reboots_once_a_window() -> None:
    world = World(nightly("03:00", window=2 * HOUR, limits=FREE))
    world.until(NIGHT - MINUTE)
    for _ in range(3):
        world.after(40 * MINUTE)
        forget(world)
        world.boot()
    assert world.rebooted == [NIGHT]
    world.until(NIGHT + 2 * HOUR)
    assert world.rebooted == [NIGHT]


@pytest.mark.parametrize("wrong", [-300 * DAY, -HOUR, 0])
def test_a_machine_that_forgets_and_whose_clock_is_wrong_at_boot_reboots_once_a_window(wrong: int) -> None:
    world = World(nightly("03:00", window=2 * HOUR, limits=FREE))
    world.until(NIGHT - MINUTE)
    boots = world.boots
    for _ in range(100):
        world.after(2 * MINUTE)
        if world.boots > boots:  # no clock of its own, and nothing was kept
            boots = world.boots
            forget(world)
            world.now += wrong
            world.booted += wrong
            world.boot()
            world.after(SECOND)
            world.step_clock(-wrong)
    assert world.rebooted == [NIGHT]


def test_a_machine_that_booted_within_a_window_has_had_it() -> None:
    world = World(nightly("03:00", window=2 * HOUR, limits=FREE))
    world.rows.clear()
    world.now = NIGHT + 10 * MINUTE
    world.booted = world.now - MINUTE
    world.boot()
    world.until(NIGHT + 2 * HOUR)
    assert (world.rebooted, world.rows) == ([], {})
    world.until(NIGHT + DAY + HOUR)
    assert len(world.rebooted) == 1


def test_windows_that_overlap_reboot_once_where_both_are_open() -> None:
    policy = nightly("03:00", window=2 * HOUR, limits=FREE)
    other = nightly("02:50", window=3 * HOUR).nightly
    assert other is not None
    world = World(RebootPolicy(nightly=policy.nightly, windows={"more": other}, limits=FREE))
    world.facts = HELD
    world.until(NIGHT + 10 * MINUTE)
    world.facts = Facts()
    world.until(START + 12 * HOUR)
    assert len(world.rebooted) == 1


def test_windows_that_overlap_reboot_once_where_the_second_opens_later() -> None:
    policy = nightly("03:00", window=2 * HOUR, limits=FREE)
    later, apart = nightly("04:30", window=2 * HOUR).nightly, nightly("07:00", window=HOUR).nightly
    assert later is not None
    assert apart is not None
    windows = {"later": later, "apart": apart}
    world = World(RebootPolicy(nightly=policy.nightly, windows=windows, limits=FREE))
    world.until(START + 12 * HOUR)
    assert [(at - START) // HOUR for at in world.rebooted] == [3, 7], "one that overlaps neither has its own"
    assert world.rebooted[0] < NIGHT + HOUR


def test_a_window_that_overlaps_one_which_was_deferred_has_its_try() -> None:
    policy = nightly("03:00", window=HOUR, limits=FREE)
    later = nightly("03:30", window=2 * HOUR).nightly
    assert later is not None
    world = World(RebootPolicy(nightly=policy.nightly, windows={"later": later}, limits=FREE))
    world.facts = HELD
    world.until(NIGHT + 65 * MINUTE)
    world.facts = Facts()
    world.until(START + 12 * HOUR)
    assert len(world.rebooted) == 1


def test_a_window_that_is_moved_after_its_reboot_reboots_nothing_more_that_night() -> None:
    world = World(nightly("03:00", window=2 * HOUR, limits=FREE))
    world.until(NIGHT + 10 * MINUTE)
    assert len(world.rebooted) == 1
    world.configure(nightly("03:30", window=2 * HOUR, limits=FREE))
    world.until(START + 12 * HOUR)
    assert len(world.rebooted) == 1
    world.until(START + 28 * HOUR)
    assert len(world.rebooted) == 2


def test_where_nothing_is_remembered_the_limits_are_kept_by_the_time_between_two_boots() -> None:
    # A look each 10 s would be 86,000 of them, of which one is like the other.
    world = World(
        RebootPolicy(limits=RebootLimits(min_uptime=MINUTE, per_day=2, per_week=100)), times=Times(look=MINUTE)
    )
    world.facts = Facts(forgets="the state lies in memory")
    world.booted = START - MINUTE
    world.boot()
    asked = 0
    while world.now < START + 10 * DAY:
        if len(world.rebooted) > asked:
            asked += 1
            forget(world)
            world.boot()
        if world.state == "idle":
            wishes.request(world.reboots, "leak", "rule leak", None, 0, world.now)
        world.after(10 * MINUTE)
        if world.held_by():
            assert "per_day, kept by the time between two boots" in world.reboots.blockers[0].why
    assert len(world.told(RebootIssues)) == 20


def test_what_a_window_cannot_do_is_doubted() -> None:
    policy = nightly("03:00", window=30 * MINUTE)
    assert list(doubts(policy)) == []
    assert list(doubts(RebootPolicy())) == []
    (doubt,) = doubts(nightly("03:00", window=30 * MINUTE, jitter=10 * MINUTE, wait_for=WaitFor(jobs=8 * HOUR)))
    assert doubt.startswith("reboot.nightly: the window, less its jitter, has 20min, less than running jobs get (8h")
    (doubt,) = doubts(nightly("03:00", window=2 * MINUTE, wait_for=WaitFor(jobs=0), hooks=Hooks(before="save")))
    assert "too little for save (hooks.before)" in doubt
    early = RebootPolicy(grace=5 * MINUTE, warnings=(HOUR, 5 * MINUTE))
    assert list(doubts(early)) == [
        "reboot.warnings: 1h is longer than the grace, 5min: only of a reboot planned by hand are people told so early"
    ]
    assert list(doubts(RebootPolicy(grace=5 * MINUTE))) == [], "nobody wrote the default"


@pytest.mark.parametrize("as_json", [False, True])
def test_a_check_of_the_configuration_warns_of_what_a_window_cannot_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    file = tmp_path / "agentd.yaml"
    file.write_text('reboot: {nightly: {at: "03:00", window: 30min}, wait_for: {jobs: 8h}}\njobs: {}\n')
    assert main(["--check", str(file), *(["--json"] if as_json else [])]) == 0
    shown = capsys.readouterr().out
    assert ('"warnings": [' if as_json else "warning: reboot.nightly: the window") in shown
    assert "a job that still runs then is not stopped" in shown
