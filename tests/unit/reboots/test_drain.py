"""Draining: no run is stopped for a reboot that does not come, and whoever comes meanwhile is seen."""

from typing import Any

import pytest
from msgspec.structs import replace

from agentd.core.jobs.model import RunStops
from agentd.core.jobs.settings import Job
from agentd.core.quantities import DAY
from agentd.core.reboots import wishes
from agentd.core.reboots.model import Blocker, Facts, RebootLooks, Session
from agentd.core.reboots.policy import FleetPolicy, RebootLimits, RebootPolicy, WaitFor
from agentd.core.reboots.wishes import ByHand
from tests.unit.reboots.world import HOUR, INHIBITOR, MINUTE, SECOND, START, RebootWithdrawn, World, nightly

FREE = RebootLimits(min_uptime=0, per_day=1000, per_week=1000)
NIGHT = START + 3 * HOUR
PATIENCE = 10 * MINUTE + 8 * SECOND  # the last look while draining is then some seconds old
LONG = {"long": Job(name="long", run=("x",), timezone="UTC", stop_timeout=2 * MINUTE)}
ALICE = Facts(sessions=(Session("alice", "tty2"),))
HELD = [
    Facts(blockers=(INHIBITOR,)),
    Facts(blockers=(Blocker("package-manager", "dpkg", "dpkg is at work"),)),
    Facts(blockers=(Blocker("logind", "systemd-logind", "systemd-logind does not answer"),)),
    Facts(clock="the clock is not synchronised yet"),
]


class Blind(World):
    """A World in which looks at the machine are not answered while it is `blind`."""

    blind = False

    def carry_out(self, effect: Any) -> None:
        if not (isinstance(effect, RebootLooks) and self.blind):
            super().carry_out(effect)


def draining(**settings: Any) -> Blind:
    """Returns a machine that is drained since the beginning of the window, with a run that takes days."""
    policy = nightly("03:00", window=HOUR, limits=FREE, wait_for=WaitFor(jobs=PATIENCE), **settings)
    world = Blind(policy, LONG)
    world.takes = {"long": 60 * HOUR}
    world.jobs.run("long", world.now)
    world.until(NIGHT + MINUTE)
    assert world.state == "draining"
    return world


@pytest.mark.parametrize("facts", [*HELD, ALICE])
@pytest.mark.parametrize("when", [2 * MINUTE, PATIENCE - SECOND, PATIENCE])
def test_nothing_is_stopped_for_a_reboot_that_something_holds_by_then(facts: Facts, when: int) -> None:
    world = draining()
    world.until(NIGHT + when - 1)
    world.facts = facts
    world.until(NIGHT + when + 70 * SECOND)
    assert (world.state, world.jobs.held, world.rebooted) == ("waiting", "", [])
    assert len(world.told(RebootWithdrawn)) == 1
    world.until(NIGHT + DAY - HOUR)
    assert (world.rows[1].state, world.told(RunStops)) == ("deferred", [])


@pytest.mark.parametrize("facts", HELD)
def test_what_holds_the_machine_is_seen_while_runs_have_their_time(facts: Facts) -> None:
    world = draining()
    world.facts = facts
    world.after(11 * SECOND)
    assert (world.state, world.jobs.held) == ("waiting", "")


@pytest.mark.parametrize("when", [2 * MINUTE, PATIENCE - SECOND])
def test_a_login_of_some_seconds_takes_no_draining_back(when: int) -> None:
    world = draining()
    world.until(NIGHT + when)
    world.facts = ALICE
    world.reboots.observed(world.facts, world.now)
    world.after(30 * SECOND)
    assert (world.state, world.told(RunStops)) == ("draining", [])
    world.facts = Facts()
    world.until(NIGHT + PATIENCE + MINUTE)
    assert (len(world.rebooted), world.told(RebootWithdrawn)) == (1, [])
    assert world.rebooted[0] >= NIGHT + PATIENCE


def test_nothing_is_stopped_while_nobody_can_look() -> None:
    world = draining()
    world.blind = True
    world.until(NIGHT + 30 * MINUTE)
    assert (world.state, world.told(RunStops)) == ("draining", [])
    world.blind = False
    world.after(2 * MINUTE)
    assert (len(world.told(RunStops)), len(world.rebooted)) == (1, 1)


def test_a_look_that_is_answered_too_late_in_the_window_stops_nothing() -> None:
    world = draining()
    world.blind = True
    world.until(NIGHT + HOUR - 2 * MINUTE)
    world.blind = False
    world.until(NIGHT + 2 * HOUR)
    assert (world.rebooted, world.told(RunStops), world.jobs.held) == ([], [], "")
    assert "long.1 still ran" in world.rows[1].note


def test_a_look_is_as_old_as_it_is_whatever_the_clock_says() -> None:
    world = draining()
    world.until(NIGHT + PATIENCE - 8 * SECOND)  # a look
    world.blind = True
    world.after(7 * SECOND)
    world.step_clock(-7 * SECOND)
    world.after(10 * SECOND)
    assert (world.state, world.told(RunStops)) == ("draining", [])


def test_a_run_whose_job_became_critical_is_not_stopped() -> None:
    world = draining()
    jobs = {"long": replace(LONG["long"], critical=True)}
    world.config = replace(world.config, jobs=jobs)
    world.configure(world.config.reboot)
    world.until(NIGHT + DAY - HOUR)
    assert (world.rebooted, world.told(RunStops)) == ([], [])


def test_a_slot_that_is_not_held_any_more_takes_a_draining_back() -> None:
    world = draining(fleet=FleetPolicy(fleetlock="http://lock.example"))
    world.slots = ["all 1 slots are held, by web2"]
    world.configure(replace(world.config.reboot, fleet=FleetPolicy(fleetlock="http://other.example")))
    world.until(NIGHT + DAY - HOUR)
    assert (world.rebooted, world.told(RunStops)) == ([], [])


@pytest.mark.parametrize(("force", "owner"), [(True, "bob"), (False, "alice")])
def test_a_reboot_by_hand_is_drained_beside_those_who_do_not_hold_it(force: bool, owner: str) -> None:
    world = Blind(RebootPolicy(limits=FREE, wait_for=WaitFor(jobs=PATIENCE)), LONG)
    world.takes = {"long": 60 * HOUR}
    world.jobs.run("long", world.now)
    world.pump()
    world.facts = ALICE
    world.reboots.observed(world.facts, world.now)
    wishes.by_hand(world.reboots, ByHand(force_users=force, owner=owner), world.now)
    world.until(world.now + PATIENCE)
    assert (len(world.told(RunStops)), len(world.rebooted)) == (1, 1)


def test_a_reboot_by_hand_that_waits_for_no_run_stops_them_at_once() -> None:
    world = Blind(RebootPolicy(limits=FREE, wait_for=WaitFor(jobs=0)), LONG)
    world.takes = {"long": 60 * HOUR}
    world.jobs.run("long", world.now)
    world.pump()
    world.reboots.observed(world.facts, world.now)
    wishes.by_hand(world.reboots, ByHand(owner="me"), world.now)
    world.pump()
    assert (len(world.told(RunStops)), world.rebooted) == (1, [START])
