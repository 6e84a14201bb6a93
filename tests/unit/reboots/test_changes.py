"""Reboots when something changes on the way: taken back, configured otherwise, clocks set, hooks, slots that linger."""

from typing import Any

import pytest

from agentd.core.config import Config
from agentd.core.jobs.model import RunStarts, RunStops
from agentd.core.jobs.settings import Job, Retries
from agentd.core.part import Beginning, Decided, Refused, Urgent
from agentd.core.quantities import DAY
from agentd.core.reboots import model, wishes
from agentd.core.reboots.model import (
    Blocker,
    Facts,
    Ledger,
    NothingRuns,
    Reboot,
    RebootIssues,
    Session,
    SlotFreed,
    SlotWanted,
)
from agentd.core.reboots.policy import FleetPolicy, Hooks, RebootLimits, RebootPolicy, WaitFor
from agentd.core.reboots.wishes import ByHand
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
FLEET = FleetPolicy(fleetlock="http://lock.example")
NIGHT = START + 3 * HOUR
CHECK = {"check": Job(name="check", run=("x",), timezone="UTC")}
LONG = {"long": Job(name="long", run=("x",), timezone="UTC", stop_timeout=2 * MINUTE)}


def by_hand(world: World, at: int = 0) -> Reboot:
    reboot = wishes.by_hand(world.reboots, ByHand(reason="new disks", at=at, owner="me"), world.now)
    world.pump()
    return reboot


def cancel(world: World) -> None:
    wishes.cancel(world.reboots, "taken back", world.now)
    world.pump()


@pytest.mark.parametrize("only_if_required", [False, True])
def test_a_reboot_at_an_instant_that_was_taken_back_leaves_the_nights_alone(only_if_required: bool) -> None:
    world = World(nightly("03:00", window=2 * HOUR, limits=FREE, only_if_required=only_if_required))
    world.facts = Facts(required=True)
    by_hand(world, world.now + 10 * DAY)
    cancel(world)
    world.until(START + 5 * DAY)
    assert world.rebooted == [NIGHT + night * DAY for night in range(5)]


def test_a_window_that_was_taken_out_while_agentd_was_away_reboots_nothing() -> None:
    world = World(nightly("03:00", window=2 * HOUR, limits=FREE))
    world.until(NIGHT - 5 * MINUTE)
    assert world.state == "announced"
    world.config = Config(reboot=RebootPolicy(), timezone="UTC")
    world.boot()
    world.until(START + 6 * HOUR)
    assert (world.rebooted, world.rows[1].state) == ([], "cancelled")


def test_a_window_that_became_shorter_ends_earlier() -> None:
    world = World(nightly("03:00", window=6 * HOUR, limits=FREE))
    world.facts = Facts(blockers=(INHIBITOR,))
    world.until(NIGHT + 10 * MINUTE)
    world.configure(nightly("03:00", window=HOUR, limits=FREE))
    world.until(NIGHT + 2 * HOUR)
    world.facts = Facts()
    world.until(START + 12 * HOUR)
    assert (world.rebooted, world.rows[1].state) == ([], "deferred")


BERLIN = "Europe/Berlin"  # at 01:00 UTC: 02:00


@pytest.mark.parametrize("until", [HOUR - 5 * MINUTE, HOUR + 10 * MINUTE])
def test_a_window_that_another_zone_moves_ahead_is_waited_for(until: int) -> None:
    """Nothing reboots before the window opens, and the night is neither lost nor done twice."""
    policy = nightly("02:00", window=4 * HOUR, limits=FREE)
    world = World(policy, timezone=BERLIN)
    world.facts = Facts(sessions=(Session("alice", "tty2"),)) if until > HOUR else Facts()
    world.until(START + until)
    world.configure(policy, "UTC")
    world.facts = Facts()
    world.until(START + DAY)
    assert world.rebooted == [START + 2 * HOUR]
    assert [(row.state, row.begin, row.until) for row in world.rows.values()] == [
        ("cancelled", START + HOUR, START + 5 * HOUR),
        ("verified", START + 2 * HOUR, START + 6 * HOUR),
    ]
    assert "the window begins later now" in world.rows[1].note


@pytest.mark.parametrize(
    ("zone", "opens"), [("America/New_York", 7 * HOUR), ("Pacific/Honolulu", 12 * HOUR), ("Etc/GMT+12", 14 * HOUR)]
)
def test_a_night_that_comes_after_its_end_by_the_old_zone_is_not_lost(zone: str, opens: int) -> None:
    policy = nightly("02:00", window=4 * HOUR, limits=FREE)
    world = World(policy, timezone=BERLIN)
    world.facts = Facts(blockers=(INHIBITOR,))
    world.until(START + 2 * HOUR)
    world.configure(policy, zone)
    world.facts = Facts()
    world.until(START + 3 * HOUR)
    wishes.request(world.reboots, "the disk is worn", "smart", None, 0, world.now)
    world.until(START + opens + DAY - HOUR)
    assert [at - START for at in world.rebooted[1:]] == [opens]
    assert [(row.cause, row.state) for row in world.rows.values()] == [
        ("nightly", "cancelled"), ("smart", "verified"), ("nightly", "verified"),
    ]  # fmt: skip
    assert "taken out" not in world.reasons()


def test_a_night_that_is_over_in_another_zone_is_over() -> None:
    policy = nightly("02:00", window=4 * HOUR, limits=FREE)
    world = World(policy, timezone=BERLIN)
    world.facts = Facts(blockers=(INHIBITOR,))
    world.until(START + 2 * HOUR)
    world.configure(policy, "Asia/Tokyo")
    world.facts = Facts()
    world.until(START + 16 * HOUR)
    assert (world.rebooted, world.rows[1].state) == ([], "deferred")
    world.until(START + 20 * HOUR)
    assert world.rebooted == [START + 17 * HOUR], "02:00 of the next day in Tokyo"


def test_a_window_that_another_zone_moves_back_is_open_at_once() -> None:
    policy = nightly("02:00", window=4 * HOUR, limits=FREE)
    world = World(policy, timezone="Europe/London")
    world.until(START + 2 * HOUR - 8 * MINUTE)
    assert world.state == "announced"
    world.facts = Facts(blockers=(INHIBITOR,))
    world.after(MINUTE)
    world.configure(policy, BERLIN)
    world.facts = Facts()
    world.until(START + 2 * HOUR + 20 * MINUTE)
    assert len(world.rebooted) == 1
    assert world.rows[1].begin == START + HOUR


@pytest.mark.parametrize("busy", [False, True])
def test_a_draining_before_the_window_of_another_zone_is_withdrawn(busy: bool) -> None:
    policy = nightly("02:00", window=4 * HOUR, limits=FREE)
    world = World(policy, LONG, timezone=BERLIN)
    world.takes = {"long": HOUR + 5 * MINUTE if busy else 0}
    world.until(START + HOUR - 15 * MINUTE)
    world.jobs.run("long", world.now)
    world.until(START + HOUR + MINUTE if busy else START + HOUR - MINUTE)
    assert world.state == ("draining" if busy else "announced")
    world.configure(policy, "UTC")
    assert (world.state, world.jobs.held, len(world.told(RebootWithdrawn))) == ("idle", "", 1)
    world.until(START + 3 * HOUR)
    assert world.rebooted == [START + 2 * HOUR]
    assert "the window begins later now" in world.told(RebootWithdrawn)[0].why


def test_a_window_that_begins_later_has_its_try_also_after_a_restart() -> None:
    policy = nightly("02:00", window=4 * HOUR, limits=FREE)
    world = World(policy, timezone=BERLIN)
    world.until(START + HOUR - MINUTE)
    world.config = Config(reboot=policy, timezone="UTC")
    world.boot()
    world.boot()
    world.until(START + DAY)
    assert world.rebooted == [START + 2 * HOUR]
    assert [row.state for row in world.rows.values()] == ["cancelled", "verified"]


def test_an_announced_instant_that_lies_in_the_window_still_stays() -> None:
    world = World(nightly("03:00", window=4 * HOUR, limits=FREE))
    world.until(NIGHT - 5 * MINUTE)
    world.configure(nightly("03:00", window=2 * HOUR, limits=FREE))
    assert (world.state, world.told(RebootWithdrawn)) == ("announced", [])
    world.until(START + 12 * HOUR)
    assert world.rebooted == [NIGHT]


def test_every_night_is_within_the_usual_limits() -> None:
    world = World(nightly("03:00", window=2 * HOUR))
    world.until(START + 30 * DAY)
    assert world.rebooted == [NIGHT + night * DAY for night in range(30)]


def test_a_night_of_each_week_counts_once_against_the_cap_of_a_week() -> None:
    world = World(nightly("03:00", window=2 * HOUR, days=(0, 1, 2, 3, 4), limits=RebootLimits(per_week=5)))
    world.until(START + 28 * DAY)
    assert len(world.rebooted) == 20
    assert all((instant - NIGHT) % DAY == 0 for instant in world.rebooted)


def test_what_is_left_of_a_window_must_be_enough_to_warn() -> None:
    world = World(nightly("03:00", window=HOUR, limits=FREE))
    world.facts = Facts(blockers=(INHIBITOR,))
    world.until(NIGHT + 55 * MINUTE)
    world.facts = Facts()
    world.until(NIGHT + 2 * HOUR)
    assert "warning of 10min (reboot.grace)" in world.rows[1].note
    assert len(world.reasons().splitlines()) < 6
    with pytest.raises(Refused, match="longer than the warning"):
        wishes.request(world.reboots, "the disk is worn", "smart", None, 10 * MINUTE, world.now)


@pytest.mark.parametrize(("left", "note"), [(10 * SECOND, "too little time is left"), (2 * MINUTE, "long.1 still ran")])
@pytest.mark.parametrize("patience", [30 * SECOND, 8 * HOUR])
def test_what_runs_is_not_stopped_for_nothing_at_the_end_of_a_window(left: int, note: str, patience: int) -> None:
    policy = nightly("03:00", window=HOUR, grace=0, limits=FREE, wait_for=WaitFor(jobs=patience))
    world = World(policy, LONG)
    world.takes = {"long": 60 * HOUR}
    world.facts = Facts(blockers=(INHIBITOR,))
    world.until(NIGHT + HOUR - left)
    world.jobs.run("long", world.now)
    world.facts = Facts()
    world.reboots.observed(world.facts, world.now)
    world.until(NIGHT + 2 * HOUR)
    assert (world.rebooted, world.told(RunStops), world.jobs.held, world.state) == ([], [], "", "idle")
    assert note in world.rows[1].note


def test_work_that_ends_within_the_window_is_followed_by_the_reboot_however_long_it_may_take() -> None:
    policy = nightly("03:00", window=HOUR, grace=0, limits=FREE, wait_for=WaitFor(jobs=8 * HOUR))
    world = World(policy, LONG)
    world.takes = {"long": 40 * MINUTE}
    world.until(NIGHT - MINUTE)
    world.jobs.run("long", world.now)
    world.until(NIGHT + 2 * HOUR)
    assert world.rebooted == [NIGHT + 39 * MINUTE]


@pytest.mark.parametrize("stop_timeout", [10 * SECOND, 3 * MINUTE])
def test_work_is_stopped_only_where_the_reboot_comes_before_the_end(stop_timeout: int) -> None:
    """The stop itself takes its whole time: the machine goes down within the window, or work goes on."""
    policy = nightly("03:00", window=HOUR, grace=0, limits=FREE, wait_for=WaitFor(jobs=58 * MINUTE))
    world = World(policy, {"long": Job(name="long", run=("x",), timezone="UTC", stop_timeout=stop_timeout)})
    world.takes = {"long": 60 * HOUR}
    world.until(NIGHT - MINUTE)
    world.jobs.run("long", world.now)
    world.until(NIGHT + 2 * HOUR)
    assert [at < NIGHT + HOUR for at in world.rebooted] == ([True] if stop_timeout < MINUTE else [])
    assert len(world.told(RunStops)) == len(world.rebooted)


def test_a_hook_that_cannot_end_within_the_window_is_not_begun() -> None:
    world = World(nightly("03:00", window=HOUR, grace=0, limits=FREE, hooks=Hooks(before="check")), CHECK)
    world.facts = Facts(blockers=(INHIBITOR,))
    world.until(NIGHT + HOUR - 50 * SECOND)
    world.facts = Facts()
    world.until(NIGHT + 2 * HOUR)
    assert (world.rebooted, world.told(RunStarts)) == ([], [])
    assert "check (hooks.before)" in world.rows[1].note


@pytest.mark.parametrize("planned", [False, True])
def test_a_program_and_a_plan_have_their_end_as_a_window_has(planned: bool) -> None:
    world = World(RebootPolicy(grace=0, limits=FREE, wait_for=WaitFor(jobs=HOUR)), LONG)
    world.takes = {"long": 5 * HOUR}
    world.jobs.run("long", world.now)
    world.pump()
    if planned:
        wishes.by_hand(world.reboots, ByHand(at=world.now + MINUTE, within=20 * MINUTE), world.now)
    else:
        wishes.request(world.reboots, "worn", "smart", None, 20 * MINUTE, world.now)
    world.after(3 * HOUR)
    assert (world.rebooted, world.told(RunStops), world.rows[1].state) == ([], [], "deferred")


def test_a_person_who_wants_a_reboot_now_gets_one_however_long_work_takes_to_stop() -> None:
    jobs = {"long": Job(name="long", run=("x",), timezone="UTC", stop_timeout=HOUR)}
    world = World(RebootPolicy(wait_for=WaitFor(jobs=10 * MINUTE)), jobs)
    world.takes = {"long": 5 * HOUR}
    world.jobs.run("long", world.now)
    world.reboots.observed(Facts(), world.now)
    by_hand(world)
    world.after(2 * HOUR)
    assert len(world.rebooted) == 1


def test_logind_is_asked_neither_after_the_window_nor_before_it() -> None:
    world = World(nightly("03:00", window=HOUR, grace=0, limits=FREE), LONG)
    world.takes = {"long": 5 * MINUTE}
    world.until(NIGHT - SECOND)
    world.jobs.run("long", world.now)
    world.until(NIGHT + MINUTE)
    assert world.state == "draining"
    world.step_clock(-30 * MINUTE)
    assert (world.state, world.jobs.held) == ("waiting", "")
    world.until(NIGHT - SECOND)
    assert world.rebooted == []
    world.after(HOUR - MINUTE)
    world.facts = Facts(blockers=(INHIBITOR,))
    assert len(world.rebooted) == 1


def test_a_window_that_a_clock_passes_over_is_given_up_by_what_drains() -> None:
    world = World(nightly("03:00", window=HOUR, grace=0, limits=FREE), LONG)
    world.takes = {"long": 5 * MINUTE}
    world.until(NIGHT - SECOND)
    world.jobs.run("long", world.now)
    world.until(NIGHT + MINUTE)
    world.step_clock(HOUR)
    world.after(10 * MINUTE)
    assert (world.rebooted, world.rows[1].state, world.told(RunStops)) == ([], "deferred", [])


def test_a_window_whose_reboot_was_begun_on_the_second_stays_where_it_is_when_the_clock_is_set() -> None:
    world = World(nightly("03:00", window=HOUR, grace=0, limits=FREE))
    world.facts = Facts(blockers=(INHIBITOR,))
    world.until(NIGHT)
    assert world.rows[1].begin == world.rows[1].requested
    world.step_clock(5 * HOUR)
    world.facts = Facts()
    world.after(2 * HOUR)
    assert (world.rebooted, world.rows[1].state) == ([], "deferred")


def test_only_if_required_is_asked_afresh_each_night_and_until_the_last_moment() -> None:
    world = World(nightly("03:00", window=2 * HOUR, limits=FREE, only_if_required=True))
    world.facts = Facts(required=True, blockers=(INHIBITOR,))
    world.until(START + 12 * HOUR)
    assert world.rows[1].state == "deferred"
    world.facts = Facts(required=False)
    world.until(START + 36 * HOUR)
    assert list(world.rows) == [1]
    world.facts = Facts(required=True, blockers=(INHIBITOR,))
    world.until(START + 2 * DAY + 3 * HOUR)
    assert world.state == "waiting"
    world.facts = Facts(required=False)
    world.after(HOUR)
    assert (world.state, world.rebooted) == ("idle", [])
    assert "does not ask for a reboot any more" in world.rows[2].note


# Clocks


@pytest.mark.parametrize("delta", [-900_000, 1000, 30 * SECOND])
def test_a_clock_that_is_set_by_a_little_takes_nothing_back(delta: int) -> None:
    world = World(nightly("03:00", window=2 * HOUR, limits=FREE))
    while not world.rebooted and world.now < NIGHT + 2 * HOUR:
        world.after(2 * MINUTE)
        if world.state == "announced":
            world.step_clock(delta)
    assert len(world.rebooted) == 1
    assert world.told(RebootWithdrawn) == []


def test_a_reboot_at_once_goes_on_when_the_clock_is_set_far_ahead() -> None:
    world = World(RebootPolicy(), LONG)
    world.reboots.observed(Facts(), world.now)
    world.takes = {"long": 5 * MINUTE}
    world.jobs.run("long", world.now)
    world.pump()
    by_hand(world)
    assert world.state == "draining"
    world.step_clock(HOUR)
    world.after(10 * MINUTE)
    assert len(world.rebooted) == 1


# By hand, at an instant


def test_a_reboot_at_an_instant_happens_then_however_near_it_is() -> None:
    world = World(RebootPolicy(grace=10 * MINUTE))
    by_hand(world, world.now + 2 * MINUTE)
    world.after(HOUR)
    assert world.rebooted == [START + 2 * MINUTE]
    assert len(world.told(RebootWarns)) >= 1


def test_a_reboot_at_an_instant_that_was_held_is_announced_again() -> None:
    world = World(RebootPolicy(grace=10 * MINUTE))
    instant = START + HOUR
    by_hand(world, instant)
    world.until(instant - 5 * MINUTE)
    world.facts = Facts(blockers=(INHIBITOR,))
    world.until(instant + 25 * MINUTE)
    assert world.told(RebootWithdrawn)
    warned = len(world.told(RebootWarns))
    world.facts = Facts()
    world.until(instant + 26 * MINUTE)
    assert len(world.told(RebootWarns)) == warned + 1
    world.until(instant + HOUR)
    (rebooted,) = world.rebooted
    assert rebooted >= instant + 35 * MINUTE


def test_what_is_in_the_way_days_before_is_not_shown() -> None:
    world = World(nightly("03:00", limits=FREE))
    world.facts = Facts(blockers=(INHIBITOR,))
    by_hand(world, world.now + 5 * DAY)
    world.reboots.observed(world.facts, world.now)
    world.after(2 * DAY)
    assert world.held_by() == []
    coming = world.reboots.coming(world.now)
    assert coming is not None
    assert coming.end > world.now


# Hooks


def test_the_machine_is_judged_by_the_last_try_of_its_check() -> None:
    jobs = {"check": Job(name="check", run=("x",), timezone="UTC", retries=Retries(count=1))}
    world = World(nightly("03:00", limits=FREE, hooks=Hooks(after="check")), jobs)
    world.takes, world.results = {"check": SECOND}, {"check": "exit-code"}
    world.until(NIGHT + 62 * SECOND)
    assert world.rows[1].health == "pending"
    world.results = {}
    world.after(HOUR)
    assert world.rows[1].health == "well"


def test_a_check_that_does_not_end_is_stopped_and_the_machine_is_not_well() -> None:
    hooks = Hooks(after="check", after_within=20 * MINUTE)
    world = World(nightly("03:00", limits=FREE, hooks=hooks, fleet=FLEET), CHECK)
    world.takes = {"check": 99 * HOUR}
    world.until(NIGHT + 15 * MINUTE)
    assert world.rows[1].health == "pending"
    world.step_clock(6 * HOUR)
    assert world.rows[1].health == "pending", "the bound is one of elapsed time"
    world.after(20 * MINUTE)
    assert world.rows[1].health == "check.1 did not end within 20min"
    assert not world.running
    assert world.ledger.slot, "as a warning to all"
    assert not world.told(SlotFreed)


def test_a_check_that_ends_in_its_time_is_waited_for() -> None:
    hooks = Hooks(after="check", after_within=20 * MINUTE)
    world = World(nightly("03:00", limits=FREE, hooks=hooks, fleet=FLEET), CHECK)
    world.takes = {"check": 19 * MINUTE}
    world.until(NIGHT + HOUR)
    assert (world.rows[1].health, world.ledger.slot) == ("well", False)


def test_a_check_that_runs_already_is_the_check() -> None:
    world = World(nightly("03:00", limits=FREE, hooks=Hooks(after="check")), CHECK)
    world.takes = {"check": 5 * MINUTE}
    world.until(NIGHT + 40 * SECOND)
    world.jobs.run("check", world.now)
    world.after(HOUR)
    assert len(world.told(RunStarts)) == 1
    assert world.rows[1].health == "well"


def test_nothing_is_checked_while_the_machine_goes_down_again() -> None:
    world = World(nightly("03:00", limits=FREE, hooks=Hooks(after="check")), CHECK)
    world.until(NIGHT + 40 * SECOND)
    world.reboots.preparing(down=True, now=world.now)
    world.after(10 * MINUTE)
    assert world.told(RunStarts) == []


def test_the_hook_of_a_reboot_that_was_taken_back_is_stopped() -> None:
    world = World(RebootPolicy(hooks=Hooks(before="check")), CHECK)
    world.takes = {"check": 5 * MINUTE}
    world.reboots.observed(Facts(), world.now)
    by_hand(world)
    assert world.state == "draining"
    cancel(world)
    assert [stop.run_id for stop in world.told(RunStops)] == ["check.1"]


def test_a_hook_has_a_minute_where_jobs_have_no_time() -> None:
    world = World(RebootPolicy(hooks=Hooks(before="check"), wait_for=WaitFor(jobs=0)), CHECK)
    world.takes = {"check": 40 * SECOND}
    world.reboots.observed(Facts(), world.now)
    by_hand(world)
    world.after(10 * MINUTE)
    assert len(world.rebooted) == 1


# Slots


def rebooted_in_a_fleet(**settings: Any) -> World:
    """A minute after the reboot of a night, while the check of the machine takes five."""
    world = World(nightly("03:00", window=2 * HOUR, limits=FREE, fleet=FLEET, **settings), CHECK)
    world.takes = {"check": 5 * MINUTE}
    world.until(NIGHT + 2 * MINUTE)
    assert (len(world.rebooted), world.ledger.slot) == (1, True)
    return world


def test_a_reboot_that_was_taken_back_during_the_check_keeps_no_slot() -> None:
    world = rebooted_in_a_fleet(hooks=Hooks(after="check"))
    by_hand(world, world.now + 5 * HOUR)
    world.after(MINUTE)
    cancel(world)
    world.after(HOUR)
    assert (world.rows[1].health, world.ledger.slot) == ("well", False)


def test_a_reboot_that_is_days_away_keeps_no_slot() -> None:
    world = rebooted_in_a_fleet(hooks=Hooks(after="check"))
    by_hand(world, world.now + 6 * DAY)
    world.boot()
    world.after(HOUR)
    assert (world.state, world.ledger.slot) == ("waiting", False)


def test_a_machine_that_is_not_well_keeps_its_slot_until_it_is_cleared() -> None:
    world = World(nightly("03:00", window=2 * HOUR, limits=FREE, fleet=FLEET, hooks=Hooks(after="check")), CHECK)
    world.results = {"check": "exit-code"}
    world.takes = {"check": SECOND}
    world.until(START + 12 * HOUR)
    assert (world.rows[1].health, world.ledger.slot) == ("check.1: exit-code", True)
    assert "the fleet's slot is given back" in world.reboots.clear(world.now)
    world.pump()
    assert not world.ledger.slot
    world.facts = Facts(blockers=(Blocker("logind", "", "no"),))
    world.until(START + 36 * HOUR)
    assert (world.rows[2].state, world.ledger.slot) == ("deferred", False)


def test_a_no_of_the_fleet_does_not_outlive_what_it_was_for() -> None:
    world = World(nightly("03:00", window=2 * HOUR, limits=FREE, fleet=FLEET))
    world.slots = ["all 1 slots are held, by web2"]
    world.until(NIGHT + HOUR)
    assert (world.held_by(), world.reboots.slot) == (["fleet"], False)
    world.until(NIGHT + 5 * HOUR)
    assert world.rows[1].state == "deferred"
    world.slots = [""]
    by_hand(world)
    world.after(MINUTE)
    assert len(world.rebooted) == 1


def test_another_fleet_has_granted_nothing() -> None:
    world = World(nightly("03:00", window=2 * HOUR, limits=FREE, fleet=FLEET))
    world.until(NIGHT - 5 * MINUTE)
    assert (world.state, world.reboots.slot) == ("announced", True)
    world.slots = ["all 1 slots are held, by web2"]
    world.configure(nightly("03:00", window=2 * HOUR, limits=FREE, fleet=FleetPolicy(fleetlock="http://other.example")))
    world.until(NIGHT + HOUR)
    assert (world.rebooted, world.held_by()) == ([], ["fleet"])


@pytest.mark.parametrize("fleet", [None, FLEET])
def test_a_lost_ledger_may_have_held_a_slot_and_a_fleet_that_is_gone_has_none(fleet: FleetPolicy | None) -> None:
    world = World(RebootPolicy(fleet=fleet))
    world.ledger = Ledger(lost="the ledger of reboots was lost" if fleet else "", slot=fleet is None)
    world.boot()
    assert world.ledger.slot == (fleet is not None)
    world.after(5 * MINUTE)
    assert not world.ledger.slot
    assert bool(world.told(SlotFreed)) == (fleet is not None)
    assert world.told(RebootIssues) == []


# Beside other parts


def test_what_somebody_else_holds_stays_held_when_a_reboot_is_taken_back() -> None:
    world = World(RebootPolicy(), LONG)
    world.takes = {"long": HOUR}
    world.jobs.run("long", world.now)
    world.pump()
    world.reboots.observed(Facts(), world.now)
    world.jobs.hold("rule quiet", "a rule paused the jobs")
    by_hand(world)
    assert world.state == "draining"
    assert "about to reboot" in world.jobs.held
    cancel(world)
    assert world.jobs.held == "a rule paused the jobs"
    with pytest.raises(Refused, match="a rule paused the jobs"):
        world.jobs.run("long", world.now)
    world.jobs.release("rule quiet", world.now)
    assert world.jobs.held == ""


def test_what_somebody_else_holds_stays_held_when_a_shutdown_is_cancelled() -> None:
    world = World(RebootPolicy())
    world.jobs.hold("rule quiet", "a rule paused the jobs")
    world.reboots.preparing(down=True, now=world.now)
    world.reboots.preparing(down=False, now=world.now)
    assert world.jobs.held == "a rule paused the jobs"


def test_the_end_of_the_last_run_is_heard_while_the_machine_goes_down() -> None:
    world = World(RebootPolicy(), LONG)
    world.takes = {"long": MINUTE}
    world.jobs.run("long", world.now)
    world.pump()
    world.reboots.preparing(down=True, now=world.now)
    world.after(MINUTE - SECOND)
    assert world.told(NothingRuns) == []
    world.after(2 * SECOND)
    assert len(world.told(NothingRuns)) == 1


def test_an_agentd_that_stops_begins_no_reboot() -> None:
    world = World(nightly("03:00", limits=FREE))
    world.parts.drain()
    assert world.parts.wakeup() is None
    world.now = NIGHT
    world.parts.tick(world.now)
    world.pump()
    assert (world.state, world.rows) == ("idle", {})


def test_an_end_never_overtakes_its_beginning() -> None:
    world = World(nightly("03:00", limits=FREE, fleet=FLEET))
    world.until(NIGHT - 5 * MINUTE)
    cancel(world)
    (warning, *_), (withdrawn,) = world.told(RebootWarns), world.told(RebootWithdrawn)
    (wanted,), (freed,) = world.told(SlotWanted), world.told(SlotFreed)
    assert (warning.subject, wanted.subject) == (withdrawn.subject, freed.subject)
    assert all(isinstance(effect, Urgent) for effect in (withdrawn, freed))
    assert all(isinstance(effect, Beginning) for effect in (warning, wanted))
    reboot = Reboot(id=withdrawn.reboot, cause="nightly", reason="r")
    assert RebootIssues(reboot).subject == withdrawn.subject


def test_nothing_that_leads_to_a_reboot_passes_before_it_is_stored() -> None:
    passes = {kind.__name__ for kind in vars(model).values() if isinstance(kind, type) and issubclass(kind, Urgent)}
    assert passes - {"Urgent"} == {"RebootWithdrawn", "SlotFreed", "NothingRuns"}
    assert issubclass(RebootIssues, Beginning)


def test_a_wish_that_is_examined_begins_nothing() -> None:
    world = World(RebootPolicy())
    facts = Facts(blockers=(INHIBITOR,))
    assert wishes.examine(world.reboots, ByHand(owner="me"), facts, world.now) == [INHIBITOR]
    with pytest.raises(Refused, match="a year away"):
        wishes.examine(world.reboots, ByHand(at=1), facts, world.now)
    world.pump()
    assert (world.state, world.rows, world.held_by(), world.told(Decided)) == ("idle", {}, [], [])
