"""agentd ends and comes back, the machine is booted: what goes on, and what does not."""

import itertools

import pytest

from agentd.core.part import Refused
from agentd.core.schedulers.model import (
    Ending,
    Quarantine,
    Saved,
    SchedulerFailed,
    SchedulerStarts,
)
from agentd.core.schedulers.settings import Choice, SchedulerSettings
from tests.unit.schedulers import laws
from tests.unit.schedulers.world import DAY, HOUR, MINUTE, MS, SECOND, START, World

RUSTY = SchedulerSettings(default=Choice("scx_rusty"))


# agentd comes back


def test_a_scheduler_goes_on_while_agentd_is_started_anew() -> None:
    world = World(RUSTY)
    world.want("scx_lavd", "lease", ":1.5")
    world.after(5 * MINUTE)
    for _ in range(3):
        before = world.core.tenure
        world.begin()
        world.after(MINUTE)
        assert world.core.tenure == before
    assert world.counts["started"] == 1
    assert world.on == "scx_lavd"


def test_a_probation_goes_on_where_it_was() -> None:
    world = World(RUSTY)
    world.after(30 * SECOND)
    assert world.core.tenure is not None
    until = world.core.tenure.probation
    world.begin()
    world.until(until - SECOND)
    assert world.core.last_good is None
    world.after(2 * SECOND)
    assert world.core.last_good is not None


def test_a_lease_whose_client_left_meanwhile_is_over() -> None:
    world = World()
    world.want("scx_lavd", "lease", ":1.5")
    world.after(MINUTE)
    world.clients.clear()
    world.begin()
    world.after(10 * SECOND)
    assert world.on == "none"


@pytest.mark.parametrize("effects", range(1, 12))
@pytest.mark.parametrize("orderly", [False, True])
def test_agentd_that_ends_at_any_moment_of_a_switch_brings_it_to_an_end(effects: int, orderly: bool) -> None:
    world = World(RUSTY)
    world.after(5 * MINUTE)
    if orderly:
        world.want("scx_lavd")
        world.after(effects * 100 * MS)
        world.core.drain()
        world.pump()
        world.begin()
    else:
        world.disk.dies_in = effects
        world.want("scx_lavd")
    world.after(5 * MINUTE)
    laws.rest(world)
    laws.agrees(world)
    assert world.on == ("scx_lavd" if orderly or world.disk.store.wants else "scx_rusty")


def test_nothing_leaves_before_it_is_known_which_schedulers_there_are() -> None:
    world = World(RUSTY)
    world.want("scx_lavd", "lease", ":1.5")
    world.after(5 * MINUTE)
    world.begin(looks=False)
    world.after(MINUTE)
    assert world.on == "scx_lavd"
    assert "has not looked yet which schedulers this machine has" in world.core.waits(world.now)
    with pytest.raises(Refused, match="has not looked yet"):
        world.want("scx_flash")
    assert world.core.wakeup() is None
    world.leave_bus(":1.5")
    world.core.can_run({}, world.now)
    world.after(MINUTE)
    assert world.on == "scx_rusty"


def test_what_needs_no_look_is_done_before_it() -> None:
    world = World()
    world.want("scx_lavd", "lease", ":1.5")
    world.after(5 * MINUTE)
    world.clients.clear()
    world.begin(looks=False)
    world.after(MINUTE)
    assert world.on == "none"


def test_a_start_that_agentd_never_got_to_ask_for_is_no_failure() -> None:
    world = World()
    world.reasons["scx_lavd"] = Ending(kind="unstarted")
    world.want("scx_lavd")
    world.after(49 * MS)
    world.disk.dies_in = [type(effect) for effect in start_of("scx_lavd")].index(SchedulerStarts) + 1
    world.after(5 * SECOND)
    assert world.counts["killed"] == 1
    assert world.told_of(SchedulerFailed) == []
    world.after(5 * SECOND)
    assert world.on == "scx_lavd"


def start_of(name: str) -> list[object]:
    """The effects that begin a start, as they come out of the core."""
    world = World()
    world.want(name)
    world.after(49 * MS)
    before = len(world.seen)
    world.after(MS)
    return list(world.seen[before:])


def test_a_scheduler_that_was_ejected_while_agentd_was_away_has_failed() -> None:
    world = World(RUSTY)
    world.want("scx_lavd")
    world.after(5 * MINUTE)
    world.eject(Ending(kind="stall", reason="runnable task stall"))
    world.units.clear()
    world.begin()
    world.after(30 * SECOND)
    (failed,) = world.told_of(SchedulerFailed)
    assert failed.ending.kind == "stall"
    assert world.on == "scx_rusty"


def test_a_unit_that_nobody_wanted_is_stopped() -> None:
    world = World()
    world.want("scx_lavd")
    world.after(5 * MINUTE)
    world.disk.tenures.clear()
    world.disk.store = Saved()
    world.begin()
    world.after(10 * SECOND)
    assert world.on == "none"
    assert world.units == {}
    assert "scx_lavd is stopped: its unit is up, and agentd has not wanted it" in world.reasons_told()


# the machine is booted


def test_a_persons_choice_outlives_the_boot_and_a_lease_does_not() -> None:
    world = World()
    world.want("scx_flash")
    world.after(5 * MINUTE)
    world.want("scx_lavd", "lease", ":1.5")
    world.after(5 * MINUTE)
    world.reboot(clients=[":1.5"])  # another client of that name
    world.after(MINUTE)
    assert world.on == "scx_flash"
    assert world.core.leases == []
    assert {one.ending.kind for one in world.disk.tenures.values() if one.ended and one.ending} == {"stopped", "reboot"}


def test_a_machine_that_went_down_on_probation_is_not_taken_down_again_and_again() -> None:
    world = World(RUSTY)
    starts = []
    for _ in range(6):
        world.after(10 * SECOND)  # then the machine hangs, and somebody pulls the plug
        world.reboot()
        while world.on == "none":
            world.after(SECOND)
        starts.append(world.now)
    waits = [after - before for before, after in itertools.pairwise(starts)]
    assert waits == sorted(waits)
    assert waits[-1] > 4 * HOUR
    assert "the machine went down before its probation was over" in world.reasons_told()


def test_a_choice_that_took_the_machine_down_is_dropped() -> None:
    world = World(RUSTY)
    world.after(5 * MINUTE)
    world.want("scx_lavd")
    world.after(10 * SECOND)
    world.reboot()
    world.after(MINUTE)
    assert world.on == "scx_rusty"
    assert world.disk.store.wants == ()


def test_a_machine_that_was_shut_down_in_order_is_no_sign_against_a_scheduler() -> None:
    world = World(RUSTY)
    world.after(10 * SECOND)
    world.core.drain()
    world.pump()
    world.reboot()
    world.after(10 * SECOND)
    assert world.told_of(SchedulerFailed) == []
    assert world.on == "scx_rusty"
    assert world.core.tenure is not None
    assert not world.core.tenure.orderly


def test_a_quarantine_from_a_clock_that_was_ahead_does_not_last_for_years() -> None:
    world = World(RUSTY, take_up=False)
    ahead = START + 4000 * DAY
    world.disk.store = Saved(
        quarantines=(Quarantine(name="scx_rusty", failed=ahead, until=ahead + MINUTE, failures=1, why="it is ill"),)
    )
    world.begin()
    world.after(DAY - MINUTE)
    assert world.on == "none"
    world.after(2 * MINUTE)
    assert world.on == "scx_rusty"
