"""Wishes beside the pending reboot: none is lost, each keeps its own time, and limits can be cleared."""

import pytest
from msgspec.structs import replace

from agentd.core.part import Refused
from agentd.core.quantities import DAY
from agentd.core.reboots import guards, wishes
from agentd.core.reboots.beside import MOST
from agentd.core.reboots.model import Facts, Ledger, Reboot, RebootIssues
from agentd.core.reboots.policy import RebootLimits, RebootPolicy
from agentd.core.reboots.wishes import ByHand
from tests.unit.reboots.world import HOUR, INHIBITOR, MINUTE, SECOND, START, World, nightly

FREE = RebootLimits(min_uptime=0, per_day=1000, per_week=1000)
NIGHT = START + 3 * HOUR
HELD = Facts(blockers=(INHIBITOR,))


def ask(world: World, cause: str = "smart", within: int = 0) -> int:
    reboot = wishes.request(world.reboots, "the disk is worn", cause, None, within, world.now)
    world.pump()
    return reboot.id


def plan(world: World, at: int) -> int:
    reboot = wishes.by_hand(world.reboots, ByHand(reason="new disks", at=at), world.now)
    world.pump()
    return reboot.id


def test_a_request_outlives_the_night_that_was_pending() -> None:
    world = World(nightly("03:00", window=HOUR, limits=FREE))
    world.facts = HELD
    world.until(NIGHT + 10 * MINUTE)
    key = ask(world, within=3 * HOUR)
    world.until(NIGHT + HOUR + MINUTE)
    assert [row.state for row in world.rows.values()] == ["deferred", "waiting"]
    world.facts = Facts()
    world.after(HOUR)
    assert (world.rows[key].state, len(world.rebooted)) == ("verified", 1)


def test_a_request_goes_on_beside_a_plan_for_next_month_and_the_plan_outlives_its_reboot() -> None:
    world = World(RebootPolicy(limits=FREE))
    world.facts = HELD
    key = ask(world)
    world.after(HOUR)
    far = plan(world, START + 28 * DAY)
    assert (world.reboots.pending is not None and world.reboots.pending.id, world.rows[key].state) == (key, "waiting")
    world.facts = Facts()
    world.after(2 * HOUR)
    assert (world.rows[key].state, world.rows[far].state, len(world.rebooted)) == ("verified", "waiting", 1)
    world.until(START + 29 * DAY)
    assert (world.rows[far].state, world.rebooted[1:]) == ("verified", [START + 28 * DAY])


def test_a_request_does_not_wait_for_a_plan_that_comes_later() -> None:
    world = World(RebootPolicy(limits=FREE))
    far = plan(world, START + 28 * DAY)
    key = ask(world, within=2 * HOUR)
    assert key != far
    world.after(2 * HOUR)
    assert (world.rows[key].state, world.rows[far].state) == ("verified", "waiting")


@pytest.mark.parametrize("first", ["rule leak", "rule worn"])
def test_a_program_takes_back_what_it_asked_for_and_nothing_else(first: str) -> None:
    world = World(RebootPolicy(limits=FREE))
    world.facts = HELD
    second = {"rule leak": "rule worn", "rule worn": "rule leak"}[first]
    keys = {cause: ask(world, cause) for cause in (first, second)}
    far = plan(world, START + 28 * DAY)
    world.after(10 * MINUTE)
    wishes.withdraw(world.reboots, "rule leak", "the rule leak is over", world.now)
    wishes.withdraw(world.reboots, "smart", "nobody asked for that", world.now)
    world.pump()
    states = (world.rows[keys["rule leak"]].state, world.rows[keys["rule worn"]].state, world.rows[far].state)
    assert states == ("cancelled", "waiting", "waiting")
    assert world.rows[keys["rule leak"]].note == "the rule leak is over"
    world.facts = Facts()
    world.after(2 * HOUR)
    assert (world.rows[keys["rule worn"]].state, len(world.rebooted)) == ("verified", 1)


def test_what_a_program_asked_for_is_not_taken_back_once_the_machine_goes_down() -> None:
    world = World(RebootPolicy(limits=FREE))
    world.silent = True
    key = ask(world, "rule leak")
    while world.rows[key].state != "issued" and world.now < START + HOUR:
        world.after(10 * SECOND)
    wishes.withdraw(world.reboots, "rule leak", "the rule leak is over", world.now)
    world.pump()
    assert world.rows[key].state == "issued"


def test_a_plan_comes_before_a_request_once_its_time_has_come() -> None:
    """A person's reboot is not held by what holds a program's."""
    world = World(RebootPolicy(limits=RebootLimits(per_day=0)))
    key, far = ask(world), plan(world, START + 2 * HOUR)
    world.after(90 * MINUTE)
    assert world.held_by() == ["limit"]
    world.after(HOUR)
    assert world.rebooted == [START + 2 * HOUR]
    assert (world.rows[far].state, world.rows[key].state) == ("verified", "superseded")
    assert world.rows[key].note == f"reboot {far} came first"


def test_a_request_gives_up_at_its_own_time_beside_whatever_is_pending() -> None:
    world = World(nightly("03:00", window=6 * HOUR, limits=FREE))
    world.facts = HELD
    world.until(NIGHT + MINUTE)
    key = ask(world, within=HOUR)
    world.after(HOUR + MINUTE)
    assert (world.rows[key].state, world.state) == ("deferred", "waiting")
    assert "while reboot 1 was waiting: backup-tool" in world.rows[key].note


def test_the_same_cause_asks_once_and_waits_as_long_as_it_asked_for() -> None:
    world = World(RebootPolicy(limits=FREE))
    world.facts = HELD
    first = ask(world, within=HOUR)
    world.after(50 * MINUTE)
    assert ask(world, within=HOUR) == first
    world.after(30 * MINUTE)
    assert world.rows[first].state == "waiting"
    world.after(HOUR)
    assert (list(world.rows), world.rows[first].state) == ([first], "deferred")


def test_so_many_wishes_wait_and_no_more() -> None:
    world = World(RebootPolicy(limits=FREE))
    world.facts = HELD
    for number in range(MOST + 1):
        ask(world, f"rule {number}")
    with pytest.raises(Refused, match="wait already") as refused:
        ask(world, "rule more")
    assert refused.value.name == "Busy"
    assert ask(world, "rule 3") == 4


def test_taking_back_takes_back_what_waits_beside_too() -> None:
    world = World(RebootPolicy(limits=FREE))
    world.facts = HELD
    ask(world, "a")
    ask(world, "b")
    plan(world, START + 5 * DAY)
    wishes.cancel(world.reboots, "taken back by root", world.now)
    world.pump()
    world.until(START + 6 * DAY)
    assert [(row.state, row.note) for row in world.rows.values()] == [("cancelled", "taken back by root")] * 3
    assert world.rebooted == []


def test_a_second_plan_is_refused_wherever_the_first_waits() -> None:
    world = World(RebootPolicy(limits=FREE))
    world.facts = HELD
    ask(world)
    plan(world, START + 5 * DAY)
    with pytest.raises(Refused, match="new disks") as refused:
        plan(world, START + 2 * DAY)
    assert refused.value.name == "Busy"


def test_wishes_outlive_a_restart_of_agentd() -> None:
    world = World(RebootPolicy(limits=FREE))
    world.facts = HELD
    first, second, far = ask(world, "a"), ask(world, "b", within=DAY), plan(world, START + 5 * DAY)
    world.boot()
    assert [wish.id for wish in world.reboots.wishes] == [first, second, far]
    world.after(7 * HOUR)
    assert (world.rows[first].state, world.rows[second].state) == ("deferred", "waiting")
    world.facts = Facts()
    world.after(HOUR)
    assert (world.rows[second].state, world.rows[far].state) == ("verified", "waiting")


def test_a_boot_by_others_does_away_with_requests_and_keeps_what_is_planned_for_later() -> None:
    world = World(RebootPolicy(limits=FREE))
    world.facts = HELD
    key, far = ask(world), plan(world, START + 5 * DAY)
    world.power_cycle(MINUTE)
    assert (world.rows[key].state, world.rows[far].state) == ("superseded", "waiting")
    assert "the machine booted before" in world.rows[key].note


def test_a_plan_whose_time_passed_while_the_machine_was_off_is_over() -> None:
    world = World(RebootPolicy(limits=FREE))
    far = plan(world, START + HOUR)
    world.power_cycle(90 * MINUTE)
    assert world.rows[far].state == "superseded"


def test_reboots_of_a_clock_that_was_ahead_count_until_that_is_cleared() -> None:
    world = World(RebootPolicy(limits=RebootLimits(min_uptime=0, per_day=2, per_week=8)))
    ahead = [Reboot(id=key, cause="nightly", reason="r", state="verified", issued=START + key * 3650 * DAY,
                    health="well") for key in (1, 2)]  # fmt: skip
    near = Reboot(id=3, cause="nightly", reason="r", state="verified", issued=START - HOUR, health="well")
    world.rows = {row.id: row for row in (*ahead, near)}
    world.boot()
    ask(world)
    world.after(MINUTE)
    assert world.held_by() == ["limit"]
    assert "3 automatic reboots within a day, 2 of them by a clock that was ahead" in world.reboots.blockers[0].why
    assert len(world.reboots.clear(world.now)) == 2
    world.pump()
    assert guards.issued_within(world.reboots.ledger, DAY, world.now) == 1
    world.boot()  # that outlives a restart
    world.after(HOUR)
    assert len(world.told(RebootIssues)) == 1
    later = START + 3650 * DAY + HOUR
    assert guards.issued_within(world.reboots.ledger, DAY, later) == 0, "what was forgiven stays so"
    assert world.reboots.clear(world.now) == []


def test_a_shutdown_that_was_cancelled_counts_for_no_limit() -> None:
    gone = Reboot(id=1, cause="smart", reason="r", state="cancelled", issued=START - HOUR)
    kept = replace(gone, id=2, state="verified")
    assert guards.issued_within(Ledger(reboots=(gone, kept)), DAY, START) == 1
