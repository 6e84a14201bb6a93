"""A trial of a scheduler of one's own: nobody's scheduler is on, and every wish waits until it is over."""

import pytest

from agentd.core.part import Refused
from agentd.core.schedulers.model import Observed, SchedulerStarts
from agentd.core.schedulers.settings import Choice, SchedulerSettings
from tests.unit.schedulers.world import MINUTE, MS, SECOND, TRIAL, World

TRIED = "custom:fifo is tried in the kernel: nothing else is started until that is over"


def test_what_is_tried_is_nobodys_and_is_no_tenure() -> None:
    world = World()
    world.try_out()
    world.after(10 * SECOND)
    assert (world.on, world.core.tenure, world.core.conflict) == ("trial", None, "")
    assert world.core.waits(world.now) == TRIED
    assert world.core.wakeup() is None
    world.end_trial()
    world.after(SECOND)
    assert (world.on, world.core.trial, world.core.waits(world.now)) == ("none", None, "")


def test_wishes_are_taken_during_a_trial_and_served_after_it() -> None:
    world = World()
    world.try_out()
    lease = world.want("scx_lavd", "lease", ":1.5")
    run = world.run("copy")
    world.after(MINUTE)
    assert world.told_of(SchedulerStarts) == []
    assert world.core.fate(lease, world.now) is None
    assert world.core.waits(world.now) == TRIED
    world.end_trial()
    world.after(5 * SECOND)
    assert world.on == "scx_lavd"
    assert world.core.fate(lease, world.now) == ""
    world.finish(run)


def test_nothing_of_ones_own_is_tried_while_a_scheduler_is_on() -> None:
    world = World(SchedulerSettings(default=Choice("scx_rusty")))
    world.after(200 * MS)
    with pytest.raises(Refused, match="begins or ends just now"):
        world.try_out()
    world.after(5 * SECOND)
    with pytest.raises(Refused, match="scx_rusty is on, and only one scheduler can be: first agentctl sched stop"):
        world.try_out()
    world.want("none")
    world.after(5 * SECOND)
    world.try_out()
    with pytest.raises(Refused, match="custom:fifo is being tried"):
        world.core.trial_begins(TRIAL, world.now)
    assert world.on == "trial"


def test_a_trial_takes_the_place_of_a_look_that_is_under_way() -> None:
    world = World()
    world.want("scx_lavd")
    world.pump()
    assert world.core.phase == "checking"
    world.try_out()
    world.after(MINUTE)
    assert world.told_of(SchedulerStarts) == []
    world.end_trial()
    world.after(5 * SECOND)
    assert world.on == "scx_lavd"


def test_somebody_elses_scheduler_and_a_kernel_without_any_leave_no_room_for_a_trial() -> None:
    world = World()
    world.load_other()
    world.after(SECOND)
    with pytest.raises(Refused, match="simple was loaded by somebody else"):
        world.try_out()
    world.unload_other()
    world.after(MINUTE)
    world.core.observed(Observed(), world.now)
    with pytest.raises(Refused, match="this kernel has no sched_ext"):
        world.try_out()


def test_what_somebody_else_loads_in_the_place_of_the_one_tried_is_told() -> None:
    world = World()
    world.try_out()
    world.off()
    world.after(10 * MS)
    world.load_other()
    world.after(SECOND)
    assert world.core.conflict.startswith("simple was loaded by somebody else")
    world.end_trial()
    assert world.core.waits(world.now) == "scheduler.default wants none: " + world.core.conflict


def test_an_agentd_that_ends_during_a_trial_goes_on_waiting_for_its_end() -> None:
    world = World(SchedulerSettings(default=Choice("scx_rusty")))
    world.after(5 * SECOND)
    world.want("none")
    world.after(5 * SECOND)
    world.try_out()
    world.after(SECOND)
    world.begin()
    world.core.restore(world.now)
    world.after(MINUTE)
    assert (world.on, world.core.waits(world.now)) == ("trial", TRIED)
    world.end_trial()
    world.after(5 * SECOND)
    assert world.on == "scx_rusty"
    assert "custom" not in world.reasons_told().replace(TRIED, "")
