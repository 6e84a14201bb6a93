"""The disk is full, the clock is set, uevents are lost, units and the kernel do not agree: what goes on."""

import pytest

from agentd.core.part import Decided, Refused
from agentd.core.schedulers.model import (
    Ending,
    EndingWanted,
    Figures,
    LastGoodSaved,
    QuarantineSaved,
    Saved,
    SchedulerChanged,
    SchedulerFailed,
    TenureSaved,
    WantsSaved,
)
from agentd.core.schedulers.settings import Choice, Guards, SchedulerSettings
from tests.unit.schedulers.world import DAY, HOUR, MINUTE, MS, SECOND, Program, World

RUSTY = SchedulerSettings(default=Choice("scx_rusty"))


# the disk is full


def test_while_the_disk_is_full_a_guard_has_a_scheduler_leave_and_nothing_is_started() -> None:
    world = World(SchedulerSettings(default=Choice("scx_rusty"), guards=Guards(pressure=0.8)))
    world.after(5 * MINUTE)
    world.want("scx_lavd")
    world.after(5 * SECOND)
    world.disk.full = True
    world.figures = Figures(pressure=0.99)
    world.after(MINUTE)
    assert world.on == "none"
    assert world.disk.trouble
    world.after(10 * MINUTE)
    assert world.on == "none"
    assert "nothing can be stored" in world.core.waits(world.now)
    world.figures = Figures(pressure=0.1)
    world.have_room()
    world.after(10 * SECOND)
    assert world.on == "scx_rusty"


def test_while_the_disk_is_full_a_lease_that_is_over_has_its_scheduler_leave() -> None:
    world = World(RUSTY)
    world.after(5 * MINUTE)
    world.want("scx_lavd", "lease", ":1.5", MINUTE)
    world.after(10 * SECOND)
    world.disk.full = True
    world.after(MINUTE)
    assert world.on == "none"
    world.have_room()
    world.after(10 * SECOND)
    assert world.on == "scx_rusty"


def test_while_the_disk_is_full_what_is_on_and_wanted_stays_and_wishes_are_refused() -> None:
    world = World(RUSTY)
    world.after(5 * MINUTE)
    world.disk.full = True
    world.core.profile_changed("performance", world.now)
    world.run("copy")
    world.after(HOUR)
    assert world.on == "scx_rusty"
    world.core.storable("nothing can be stored: the disk is full", world.now)
    with pytest.raises(Refused, match="the disk is full"):
        world.want("scx_lavd")


def test_a_start_that_waited_for_room_until_it_was_too_late_is_given_up_and_no_failure() -> None:
    world = World()
    world.want("scx_lavd")
    world.disk.full = True
    world.after(10 * MINUTE)
    assert world.counts["started"] == 0
    world.have_room()
    world.after(30 * SECOND)
    assert world.told_of(SchedulerFailed) == []
    assert world.on == "scx_lavd"
    assert world.counts["started"] == 1


# the clock is set


@pytest.mark.parametrize("delta", [-DAY, DAY])
def test_times_are_elapsed_time_however_the_clock_is_set(delta: int) -> None:
    world = World(RUSTY)
    world.programs["scx_flash"].does = "exits"
    world.want("scx_flash")
    world.after(2 * SECOND)
    world.want("scx_lavd", "lease", ":1.5", 10 * MINUTE)
    world.after(5 * SECOND)
    world.step_clock(delta)
    world.after(5 * MINUTE)
    assert world.on == "scx_lavd"
    world.after(5 * MINUTE)
    assert world.on == "scx_rusty"
    assert world.disk.store.wants == ()
    ended = [one for one in world.disk.tenures.values() if one.chosen.name == "scx_lavd"]
    assert [one.ended - one.enabled > 9 * MINUTE for one in ended] == [True]


def test_a_start_has_its_whole_time_though_the_clock_is_set_or_the_machine_sleeps() -> None:
    world = World()
    world.programs["scx_lavd"].enables = 40 * SECOND
    world.want("scx_lavd")
    world.after(20 * SECOND)
    world.step_clock(HOUR)
    world.after(25 * SECOND)
    assert world.on == "scx_lavd"
    world.programs["scx_flash"].enables = 60 * SECOND
    world.want("scx_flash")
    world.after(30 * SECOND)
    world.core.sleeping(asleep=True, now=world.now)
    world.core.sleeping(asleep=False, now=world.now)
    world.after(40 * SECOND)
    assert world.on == "scx_flash"


# stored and told


def test_everything_can_be_stored_once_more() -> None:
    world = World(RUSTY)
    world.after(5 * MINUTE)
    world.programs["scx_flash"].does = "exits"
    world.want("scx_flash")
    world.after(2 * SECOND)
    world.want("scx_lavd")
    world.after(5 * SECOND)
    kept = world.disk.store, dict(world.disk.tenures)
    world.disk.store, world.disk.tenures = Saved(), {}
    world.core.save_all()
    kinds = {type(effect) for effect in world.core._book.effects}
    assert kinds == {TenureSaved, WantsSaved, QuarantineSaved, LastGoodSaved}
    world.pump()
    assert world.disk.store == kept[0]
    newest = max(kept[1])
    assert world.disk.tenures[newest] == kept[1][newest]


def test_what_is_shown_is_told_anew_when_it_changes_and_not_else() -> None:
    world = World(RUSTY)
    world.after(5 * MINUTE)
    before = len(world.seen)
    world.core.observed(world.kernel, world.now)
    world.after(HOUR)
    assert world.seen[before:] == []
    world.want("none")
    assert any(isinstance(effect, SchedulerChanged) for effect in world.seen[before:])


def test_lost_uevents_do_not_keep_a_switch_from_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(RUSTY)
    monkeypatch.setattr(world, "uevent", lambda: None)
    world.want("scx_lavd")
    world.after(10 * SECOND)
    assert world.core.tenure is not None
    assert world.core.tenure.enabled
    world.want("scx_flash")
    world.after(10 * SECOND)
    assert world.core.tenure.chosen.name != ""
    assert world.on == world.core.tenure.chosen.name == "scx_flash"


def test_a_draining_agentd_begins_nothing_and_is_not_woken() -> None:
    world = World(RUSTY)
    world.after(10 * SECOND)
    world.core.drain()
    world.pump()
    assert world.core.wakeup() is None
    world.core.observed(world.kernel, world.now)
    world.core.can_run({}, world.now)
    world.after(HOUR)
    assert world.counts["started"] == 1
    assert [one.kind for one in world.told_of(Decided)] == ["start", "on"]


def test_a_unit_that_is_down_is_not_the_kernels_word() -> None:
    world = World(RUSTY)
    world.want("scx_lavd")
    world.after(5 * MINUTE)
    world.disables = 2 * SECOND
    world.kill()
    world.after(SECOND)
    assert world.core.phase == "stopping"
    world.after(10 * SECOND)
    assert world.on == "scx_rusty"
    assert all(one.loaded_by == "agentd" for one in world.disk.tenures.values())


def test_what_is_still_shown_for_a_moment_after_its_unit_ended_is_not_somebody_elses() -> None:
    world = World()
    world.want("scx_lavd")
    world.after(5 * MINUTE)
    unit = world.units.pop("scx_lavd")
    world.core.unit_ended(unit.name, world.now)  # its pin is removed a little later
    world.after(2 * SECOND)
    assert world.core.phase == "stopping"
    world.off()
    world.after(5 * SECOND)
    assert all(one.loaded_by == "agentd" for one in world.disk.tenures.values())


def test_the_end_of_a_unit_alone_is_not_the_kernels_word() -> None:
    world = World()
    world.programs["scx_lavd"].enables = 20 * SECOND
    world.want("scx_lavd")
    world.after(5 * SECOND)
    world.want("none")
    world.core.unit_ended("scx_lavd", world.now)
    before = world.core.phase
    world.core.observed(world.kernel, world.now)
    assert (before, world.core.phase) == ("stopping", "resting")


def test_a_scheduler_counts_as_gone_as_soon_as_the_kernel_begins_to_disable_it() -> None:
    world = World(RUSTY)
    world.after(5 * MINUTE)
    world.disables = 2 * SECOND
    world.eject(Ending(kind="stall", reason="runnable task stall"))
    world.after(2 * MS)
    assert len(world.told_of(EndingWanted)) == 1
    assert world.core.phase == "stopping"


def test_a_program_whose_pin_stays_shows_what_is_left_and_starts_nothing_over_it() -> None:
    world = World()
    world.want("scx_lavd")
    world.after(5 * MINUTE)
    unit = world.units.pop("scx_lavd")
    world.by = "other"  # the unit is down, and what it loaded is still on
    world.core.unit_ended(unit.name, world.now)
    world.after(5 * MINUTE)
    assert world.core.phase == "resting"
    assert "was loaded by somebody else" in world.core.conflict
    assert world.counts["started"] == 1


def test_a_scheduler_of_ours_is_given_up_where_somebody_elses_is_quicker() -> None:
    world = World()
    world.programs["scx_lavd"] = Program(enables=5 * SECOND)
    world.want("scx_lavd")
    world.after(2 * SECOND)
    world.load_other("simple")
    world.after(MINUTE)
    assert world.on == "other"
    assert world.units == {}
    (failed,) = world.told_of(SchedulerFailed)
    assert 'the kernel shows "simple"' in failed.sentence
