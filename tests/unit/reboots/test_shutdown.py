"""A shutdown that logind takes back: its word may be wrong for a moment, and the machine goes down all the same."""

from collections.abc import Callable
from typing import Any

import pytest

from agentd.core.jobs.settings import Job
from agentd.core.part import Refused
from agentd.core.quantities import DAY, HOUR, MINUTE, SECOND
from agentd.core.reboots import wishes
from agentd.core.reboots.model import TIMES, Facts, RebootIssues, RebootSaved, RebootWithdrawn
from agentd.core.reboots.policy import FleetPolicy, RebootLimits, RebootPolicy
from agentd.core.reboots.wishes import ByHand
from tests.unit.reboots.world import INHIBITOR, START, World, nightly

FREE = RebootLimits(min_uptime=0, per_day=50, per_week=50)
POLICY = RebootPolicy(grace=0, limits=FREE)
FEED = {"feed": Job(name="feed", timezone="UTC", run=("/f",))}
LEAK = "rule leak"


def going_down(policy: RebootPolicy = POLICY, cause: str = LEAK) -> World:
    """A machine that goes down for a reboot that a rule asked for, as logind said a second ago."""
    world = World(policy, FEED)
    world.silent = True
    request(world, cause)
    world.after(MINUTE)
    assert (world.state, len(world.told(RebootIssues))) == ("issued", 1)
    logind_says(world, down=True)
    world.after(SECOND)
    return world


def taken_back(policy: RebootPolicy = POLICY) -> World:
    """That machine, of which logind has just said that it stays up."""
    world = going_down(policy)
    logind_says(world, down=False)
    return world


def logind_says(world: World, *, down: bool) -> None:
    world.reboots.preparing(down, world.now)
    world.pump()


def request(world: World, cause: str = LEAK) -> Any:
    reboot = wishes.request(world.reboots, "it leaks", cause, None, HOUR, world.now)
    world.pump()
    return reboot


def refusal(deed: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(Refused) as refused:
        deed()
    return refused.value.name, str(refused.value)


def begins(world: World) -> int:
    return len(world.told(RebootIssues))


def over(world: World) -> bool:
    """Tells whether the reboot is over as a cancelled one, and everything goes on."""
    row = world.rows[1]
    ended = (row.state, row.note) == ("cancelled", "the shutdown was cancelled")
    assert ended == (world.state == "idle") == (world.jobs.held == ""), row
    return ended


# logind was wrong


@pytest.mark.parametrize("later", [0, SECOND, 40 * SECOND, TIMES.stays_up - SECOND])
def test_a_machine_that_goes_down_all_the_same_was_rebooted_and_is_not_once_more_for_that_cause(later: int) -> None:
    world = taken_back()
    world.after(later)
    alive = world.now - later
    world.power_cycle(30 * SECOND)
    row = world.rows[1]
    assert (row.state, row.led_to, row.note) == ("verified", "boot-2", "")
    assert row.downtime == world.now - alive
    name, sentence = refusal(lambda: request(world))
    assert (name, "reboot 1 did not help" in sentence) == ("Breaker", True)
    world.silent = False
    world.after(3 * DAY)
    assert (begins(world), world.rebooted) == (1, [])


def test_a_machine_that_goes_down_all_the_same_counts_for_the_limits() -> None:
    limits = RebootLimits(min_uptime=0, per_day=1, per_week=50)
    world = taken_back(RebootPolicy(grace=0, limits=limits))
    world.power_cycle(30 * SECOND)
    request(world, "another")
    world.after(30 * MINUTE)
    assert (world.held_by(), begins(world)) == (["limit"], 1)


def test_a_second_word_of_logind_ends_the_doubt() -> None:
    world = taken_back()
    world.after(50 * SECOND)
    logind_says(world, down=True)
    assert (world.reboots.pending, world.reboots.going_down) == (world.rows[1], True)
    assert (world.rows[1].state, world.rows[1].taken_back, world.rows[1].note) == ("issued", 0, "")
    assert world.rows[1].down == world.now
    assert world.jobs.held == "the machine is going down; nothing new starts"
    world.after(HOUR)  # it takes its time
    assert world.state == "issued"
    world.power_cycle(30 * SECOND)
    assert (world.rows[1].state, begins(world)) == ("verified", 1)


def test_each_word_of_logind_begins_the_minute_anew() -> None:
    world = taken_back()
    for _ in range(3):
        world.after(50 * SECOND)
        logind_says(world, down=True)
        world.after(SECOND)
        logind_says(world, down=False)
    world.after(TIMES.stays_up - SECOND)
    assert not over(world)
    world.after(SECOND)
    assert over(world)


def test_an_agentd_that_is_stopped_with_the_machine_ends_no_reboot() -> None:
    world = taken_back()
    world.parts.drain()
    assert world.parts.wakeup() is None
    world.now += 2 * TIMES.stays_up
    world.parts.tick(world.now)
    logind_says(world, down=False)
    assert world.rows[1].state == "issued"
    world.power_cycle(30 * SECOND)
    assert world.rows[1].state == "verified"


# shutdown -c


def test_a_shutdown_that_was_cancelled_is_over_once_the_machine_stayed_up_for_a_minute() -> None:
    world = taken_back()
    world.after(TIMES.stays_up - SECOND)
    assert not over(world)
    assert refusal(lambda: world.jobs.run("feed", world.now))[0] == "Draining"
    assert world.told(RebootWithdrawn) == []
    world.after(SECOND)
    assert over(world)
    assert [effect.why for effect in world.told(RebootWithdrawn)] == ["the shutdown was cancelled"]
    assert world.jobs.run("feed", world.now)
    world.after(DAY)
    assert begins(world) == 1


def test_a_shutdown_that_is_cancelled_late_is_not_taken_for_one_that_never_began() -> None:
    world = World(POLICY)
    world.silent = True
    request(world)
    world.after(TIMES.answer - SECOND)  # of a logind that did nothing
    logind_says(world, down=False)
    world.after(TIMES.stays_up - SECOND)
    assert not over(world)
    world.after(SECOND)
    assert over(world)
    world.after(DAY)
    assert begins(world) == 1


def test_an_error_of_logind_beside_its_word_leads_to_no_other_try() -> None:
    world = taken_back()
    world.reboots.refused("Access denied", world.now)
    world.pump()
    assert "not expected: Access denied" in world.reasons()
    assert not over(world)
    world.after(TIMES.stays_up)
    assert over(world)
    world.after(DAY)
    assert begins(world) == 1


@pytest.mark.parametrize("away", [0, 20 * SECOND, TIMES.stays_up, HOUR, -2 * DAY, 300 * DAY])
def test_an_agentd_that_is_started_anew_waits_for_the_minute_from_then_on(away: int) -> None:
    """Nobody knows by how much the clock was set while agentd was away."""
    world = taken_back()
    world.after(10 * SECOND)
    world.now += away
    world.booted += min(away, 0)
    world.boot()
    assert world.rows[1].taken_back == world.now
    world.after(TIMES.stays_up - SECOND)
    assert not over(world)
    world.after(SECOND)
    assert over(world)
    world.after(DAY)
    assert begins(world) == 1


@pytest.mark.parametrize("away", [SECOND, TIMES.stays_up, HOUR])
def test_a_machine_that_booted_while_agentd_was_away_was_rebooted(away: int) -> None:
    world = taken_back()
    world.now += 5 * SECOND
    world.boot()
    world.power_cycle(away)
    assert (world.rows[1].state, begins(world)) == ("verified", 1)
    assert refusal(lambda: request(world))[0] == "Breaker"


def test_nothing_starts_after_a_restart_before_logind_has_said_what_becomes_of_a_reboot() -> None:
    world = going_down()
    world.boot()
    assert refusal(lambda: world.jobs.run("feed", world.now))[0] == "Draining"
    world.after(TIMES.answer - MINUTE)
    assert (world.state, world.jobs.held) == ("waiting", "")


@pytest.mark.parametrize("step", [-2 * DAY, 2 * DAY])
def test_a_clock_that_is_set_meanwhile_is_no_downtime(step: int) -> None:
    world = taken_back()
    world.step_clock(step)
    world.power_cycle(30 * SECOND)
    assert world.rows[1].downtime == 30 * SECOND


@pytest.mark.parametrize("step", [-2 * DAY, -30 * SECOND, 30 * SECOND, 2 * DAY])
def test_the_minute_is_one_of_elapsed_time(step: int) -> None:
    world = taken_back()
    world.after(20 * SECOND)
    world.step_clock(step)
    world.after(TIMES.stays_up - 21 * SECOND)
    assert not over(world)
    world.after(SECOND)
    assert over(world)


# Beside it


def test_another_wish_begins_after_the_minute_alone() -> None:
    world = taken_back()
    request(world, "another")
    world.after(TIMES.stays_up - SECOND)
    assert [(wish.id, wish.state) for wish in world.reboots.wishes] == [(1, "issued"), (2, "waiting")]
    assert request(world).id == 1  # the same cause, once more
    world.after(MINUTE)
    assert (world.rows[1].state, world.state, begins(world)) == ("cancelled", "issued", 2)


def test_a_window_begins_after_the_minute_alone() -> None:
    world = taken_back()
    world.configure(nightly("00:00", window=3 * HOUR, grace=0, limits=FREE))
    world.after(TIMES.stays_up - SECOND)
    assert (over(world), begins(world)) == (False, 1)
    world.after(2 * SECOND)
    assert (world.rows[1].state, world.rows[2].cause, begins(world)) == ("cancelled", "nightly", 2)


def test_neither_a_person_nor_a_rule_changes_what_becomes_of_the_reboot() -> None:
    world = taken_back()
    assert refusal(lambda: wishes.by_hand(world.reboots, ByHand(), world.now))[0] == "Busy"
    wishes.withdraw(world.reboots, LEAK, "the rule is gone", world.now)
    world.reboots.observed(Facts(blockers=(INHIBITOR,)), world.now)
    world.pump()
    assert (world.state, begins(world)) == ("issued", 1)
    world.after(TIMES.stays_up)
    assert over(world)


def test_people_are_told_how_it_stands() -> None:
    world = going_down()
    sentence = "the machine is going down already; try: shutdown -c"
    assert refusal(lambda: wishes.cancel(world.reboots, "by alice", world.now)) == ("TooLate", sentence)
    logind_says(world, down=False)
    how = "the shutdown was cancelled, as logind says; once the machine has stayed up for 1min this reboot is over"
    assert (world.state, world.rows[1].note) == ("issued", how)
    assert refusal(lambda: wishes.cancel(world.reboots, "by alice", world.now)) == ("TooLate", how)
    assert world.jobs.held == "the shutdown was cancelled, as logind says; nothing new starts for 1min"
    assert f"reboot 1: {how}" in world.reasons()


def test_the_slot_of_a_fleet_is_kept_for_the_minute() -> None:
    world = taken_back(RebootPolicy(grace=0, limits=FREE, fleet=FleetPolicy(fleetlock="http://lock.example")))
    assert world.ledger.slot
    world.after(TIMES.stays_up - SECOND)
    assert world.ledger.slot
    world.after(SECOND)
    assert not world.ledger.slot


def test_all_of_it_is_on_the_disk() -> None:
    world = taken_back()
    saved = [effect.reboot for effect in world.told(RebootSaved)]
    assert saved[-1] == world.reboots.pending
    assert saved[-1].taken_back == saved[-1].down == world.now > START
