"""The state machine of reboots: what leads to one, what holds one, and that it never loops."""

import itertools
import random
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from agentd.core.jobs.settings import Job
from agentd.core.jobs.triggers import parse
from agentd.core.part import Refused
from agentd.core.quantities import DAY
from agentd.core.reboots import wishes
from agentd.core.reboots.book import Book
from agentd.core.reboots.model import (
    FINAL,
    LEGAL,
    Blocker,
    Facts,
    Ledger,
    Reboot,
    RebootIssues,
    RebootLooks,
    RebootOver,
    RebootSaved,
    Session,
    SlotWanted,
    Times,
)
from agentd.core.reboots.policy import FleetPolicy, Hooks, RebootLimits, RebootPolicy, WaitFor, Window
from agentd.core.reboots.reboots import Reboots
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


def at(instant: int) -> datetime:
    return datetime.fromtimestamp(instant / 1e6, UTC)


def test_a_nightly_reboot_is_announced_drained_issued_and_verified_with_its_downtime() -> None:
    world = World(nightly("03:00"))
    world.until(START + 4 * HOUR)
    assert world.rebooted == [START + 3 * HOUR]
    (reboot,) = world.rows.values()
    assert (reboot.state, reboot.cause, reboot.downtime, reboot.health) == ("verified", "nightly", 30 * SECOND, "well")
    assert [warning.at for warning in world.told(RebootWarns)] == [START + 3 * HOUR] * 2
    states = ("waiting", "announced", "draining", "locked", "issued")
    assert [text.split()[-1] for text in world.reasons().splitlines() if " is " in text][:4] == list(states[1:])


def test_a_boot_faster_than_the_window_does_not_repeat_it() -> None:
    world = World(nightly("03:00", window=2 * HOUR, limits=FREE))
    world.downtime = SECOND
    world.until(START + 5 * HOUR)
    assert len(world.rebooted) == 1


def test_a_night_that_cannot_be_is_deferred_with_the_names_of_what_held_it() -> None:
    world = World(nightly("03:00"))
    world.facts = Facts(blockers=(INHIBITOR,))
    world.until(START + 5 * HOUR)
    (reboot,) = world.rows.values()
    assert (world.rebooted, reboot.state) == ([], "deferred")
    assert "backup-tool" in reboot.note


@pytest.mark.parametrize(
    ("facts", "kind"),
    [
        (Facts(blockers=(INHIBITOR,)), "inhibitor"),
        (Facts(sessions=(Session("alice", "tty2"),)), "session"),
        (Facts(blockers=(Blocker("package-manager", "dpkg", "dpkg is at work"),)), "package-manager"),
        (Facts(clock="the clock is not synchronised"), "clock"),
    ],
)
def test_what_is_in_the_way_is_named_and_the_reboot_follows_when_it_goes_away(facts: Facts, kind: str) -> None:
    world = World(nightly("03:00"))
    world.facts = facts
    world.until(START + 3 * HOUR + 20 * MINUTE)
    assert (world.state, world.held_by(), world.rebooted) == ("waiting", [kind], [])
    world.facts = Facts()
    world.after(11 * MINUTE)
    assert len(world.rebooted) == 1


def test_a_critical_job_holds_it_and_another_gets_its_time() -> None:
    jobs = {
        "copy": Job(name="copy", timezone="UTC", run=("/c",), critical=True),
        "feed": Job(name="feed", timezone="UTC", run=("/f",)),
    }
    world = World(nightly("03:00"), jobs)
    world.takes = {"copy": 3 * HOUR + 10 * MINUTE, "feed": 3 * HOUR + 25 * MINUTE}
    world.jobs.run("copy", world.now)
    world.jobs.run("feed", world.now)
    world.pump()
    world.until(START + 3 * HOUR + 5 * MINUTE)
    assert world.held_by() == ["job"]
    world.until(START + 4 * HOUR)
    assert world.rebooted == [START + 3 * HOUR + 25 * MINUTE]


def test_what_takes_too_long_is_stopped_and_nothing_new_starts() -> None:
    jobs = {
        "feed": Job(name="feed", timezone="UTC", run=("/f",)),
        "often": Job(name="often", timezone="UTC", run=("/o",), when=parse({"every": "1min"})),
    }
    world = World(nightly("03:00", wait_for=WaitFor(jobs=10 * MINUTE)), jobs)
    world.takes = {"feed": 100 * HOUR}
    world.jobs.run("feed", world.now)
    world.pump()
    world.until(START + 3 * HOUR + 5 * MINUTE)
    assert world.state == "draining"
    with pytest.raises(Refused, match="about to reboot") as refused:
        world.jobs.run("often", world.now)
    assert refused.value.name == "Draining"
    world.after(6 * MINUTE)
    assert [at - START for at in world.rebooted] == [3 * HOUR + 10 * MINUTE]


def test_something_that_comes_up_during_the_warning_takes_it_back() -> None:
    world = World(nightly("03:00", grace=10 * MINUTE))
    world.until(START + 3 * HOUR - 2 * MINUTE)
    assert world.state == "announced"
    world.facts = Facts(blockers=(INHIBITOR,))
    world.after(MINUTE)
    assert (world.state, len(world.told(RebootWithdrawn))) == ("waiting", 1)
    world.facts = Facts()
    world.after(12 * MINUTE)
    assert len(world.rebooted) == 1
    assert world.rebooted[0] >= START + 3 * HOUR


def test_something_that_comes_up_while_jobs_end_takes_it_back_and_jobs_start_again() -> None:
    jobs = {"feed": Job(name="feed", timezone="UTC", run=("/f",))}
    world = World(nightly("03:00"), jobs)
    world.takes = {"feed": 3 * HOUR + 5 * MINUTE}
    world.jobs.run("feed", world.now)
    world.pump()
    world.until(START + 3 * HOUR + MINUTE)
    assert world.state == "draining"
    world.facts = Facts(blockers=(INHIBITOR,))
    world.after(5 * MINUTE)
    assert (world.state, world.jobs.held, world.rebooted) == ("waiting", "", [])


def test_a_hook_that_says_no_holds_it_and_is_asked_again() -> None:
    jobs = {
        "save": Job(name="save", timezone="UTC", run=("/s",)),
        "check": Job(name="check", timezone="UTC", run=("/c",)),
    }
    world = World(nightly("03:00", window=2 * HOUR, hooks=Hooks(before="save", after="check")), jobs)
    world.results = {"save": "exit-code"}
    world.until(START + 3 * HOUR + MINUTE)
    assert (world.state, world.held_by() or ["hook"]) == ("waiting", ["hook"])
    assert "save.1 said no" in world.reasons()
    world.results = {"check": "exit-code"}
    world.until(START + 5 * HOUR)
    assert len(world.rebooted) == 1
    assert world.rows[1].health.startswith("check.")
    assert "exit-code" in world.rows[1].health


def test_limits_hold_automatic_reboots_and_not_those_by_hand() -> None:
    world = World(RebootPolicy(limits=RebootLimits(min_uptime=HOUR, per_day=1, per_week=5)))
    wishes.request(world.reboots, "one", "rule a", None, 0, world.now)
    world.after(20 * MINUTE)
    assert len(world.rebooted) == 1
    world.after(2 * HOUR)
    wishes.request(world.reboots, "two", "rule b", None, 2 * HOUR, world.now)
    world.after(HOUR)
    assert world.held_by() == ["limit"]
    wishes.by_hand(world.reboots, ByHand(reason="now"), world.now)
    world.pump()
    assert len(world.rebooted) == 2
    assert [row.state for row in world.rows.values()] == ["verified", "cancelled", "verified"]


def test_min_uptime_is_waited_for() -> None:
    world = World(RebootPolicy(limits=RebootLimits(min_uptime=HOUR)))
    world.booted = world.now - 10 * MINUTE
    world.boot()
    wishes.request(world.reboots, "memory", "rule a", None, 0, world.now)
    world.after(30 * MINUTE)
    assert world.held_by() == ["uptime"]
    world.after(HOUR)
    assert len(world.rebooted) == 1
    assert world.rebooted[0] - START >= 50 * MINUTE


def test_the_same_cause_right_after_its_boot_trips_the_breaker_until_it_is_cleared() -> None:
    world = World(RebootPolicy(limits=FREE))
    wishes.request(world.reboots, "memory", "rule memory", None, 0, world.now)
    world.after(15 * MINUTE)
    assert len(world.rebooted) == 1
    for _ in range(2):
        with pytest.raises(Refused, match="did not help") as refused:
            wishes.request(world.reboots, "memory", "rule memory", None, 0, world.now)
        assert refused.value.name == "Breaker"
        world.pump()
        world.boot()  # it outlives a restart
    wishes.request(world.reboots, "errors", "rule errors", None, 0, world.now)
    world.pump()
    wishes.cancel(world.reboots, "somebody", world.now)
    assert "rule memory may reboot the machine again" in world.reboots.clear(world.now)
    world.pump()
    world.boot()
    wishes.request(world.reboots, "memory", "rule memory", None, 0, world.now)
    world.after(15 * MINUTE)
    assert len(world.rebooted) == 2
    with pytest.raises(Refused, match="did not help"):
        wishes.request(world.reboots, "memory", "rule memory", None, 0, world.now)


def test_a_lost_ledger_holds_automatic_reboots_until_a_person_acts() -> None:
    world = World(nightly("03:00"))
    world.ledger = Ledger(lost="the ledger was damaged")
    world.boot()
    world.until(START + 3 * HOUR + 10 * MINUTE)
    assert world.held_by() == ["ledger"]
    world.reboots.clear(world.now)
    world.pump()
    world.after(20 * MINUTE)
    assert len(world.rebooted) == 1


def test_logind_that_refuses_is_asked_again_with_growing_pauses() -> None:
    world = World(nightly("03:00", window=3 * HOUR, grace=0))
    world.refuses = "Access denied"
    world.until(START + 4 * HOUR)
    tries = world.told(RebootIssues)
    assert 4 <= len(tries) <= 7
    assert "Access denied" in world.reboots.blockers[0].why
    world.refuses = ""
    world.after(HOUR)
    assert len(world.rebooted) == 1


def test_a_wish_that_leads_to_no_boot_is_found() -> None:
    world = World(nightly("03:00", window=3 * HOUR, grace=0))
    world.silent = True
    world.until(START + 3 * HOUR + MINUTE)
    assert world.state == "issued"
    world.boot()  # agentd was restarted meanwhile
    assert world.state == "issued"
    world.after(Times().answer - 30 * SECOND)
    assert world.state == "waiting"
    assert "did not go down" in world.reasons()


@pytest.mark.parametrize("state", ["waiting", "announced", "draining", "locked", "issued"])
def test_a_power_cut_between_wish_and_reboot_is_found_after_the_boot(state: str) -> None:
    world = World(nightly("03:00", window=3 * HOUR))
    row = Reboot(id=1, cause="nightly", reason="r", occurrence="2026-01-01 03:00", state=state, boot="boot-1",
                 begin=START + 3 * HOUR, until=START + 6 * HOUR, issued=START if state == "issued" else 0)  # fmt: skip
    world.rows = {1: row}
    world.power_cycle(3 * HOUR)
    assert world.rows[1].state == ("verified" if state == "issued" else "superseded")
    world.until(START + 8 * HOUR)
    assert world.rebooted == []


def test_a_foreign_shutdown_drains_and_a_cancelled_one_resumes() -> None:
    jobs = {"feed": Job(name="feed", timezone="UTC", run=("/f",), when=parse({"every": "1min"}))}
    world = World(RebootPolicy(), jobs)
    world.reboots.preparing(True, world.now)
    with pytest.raises(Refused, match="going down"):
        world.jobs.run("feed", world.now)
    world.after(5 * MINUTE)
    assert not world.jobs.entries["feed"].last
    world.reboots.preparing(False, world.now)
    world.pump()
    world.after(2 * MINUTE)
    assert world.jobs.entries["feed"].last


def test_a_reboot_goes_on_at_once_when_a_shutdown_is_cancelled_that_let_the_jobs_end() -> None:
    jobs = {"slow": Job(name="slow", timezone="UTC", run=("/s",))}
    world = World(nightly("03:00", window=3 * HOUR, wait_for=WaitFor(jobs=30 * MINUTE)), jobs)
    world.takes["slow"] = 4 * MINUTE
    world.until(START + 3 * HOUR - SECOND)
    world.jobs.run("slow", world.now)
    world.after(MINUTE)
    assert world.state == "draining"
    world.reboots.preparing(True, world.now)  # somebody else's shutdown
    world.pump()
    world.after(10 * MINUTE)  # the run ends meanwhile
    assert (world.state, world.rebooted) == ("draining", [])
    cancelled = world.now
    world.reboots.preparing(False, world.now)
    world.pump()
    assert [at - cancelled for at in world.rebooted] == [0]


def test_a_cancelled_shutdown_of_ours_is_not_tried_again() -> None:
    world = World(nightly("03:00", window=3 * HOUR))
    world.silent = True
    world.until(START + 3 * HOUR + SECOND)
    world.reboots.preparing(True, world.now)
    world.pump()
    assert world.state == "issued"
    world.reboots.preparing(False, world.now)
    world.after(Times().stays_up)
    assert (world.rows[1].state, world.jobs.held) == ("cancelled", "")
    world.after(3 * HOUR)
    assert (world.rows[1].state, world.jobs.held, len(world.told(RebootIssues))) == ("cancelled", "", 1)


def test_by_hand_goes_at_once_or_names_what_is_in_the_way() -> None:
    world = World(RebootPolicy())
    world.facts = Facts(sessions=(Session("alice", "tty2"), Session("root", "pts/0")))
    world.reboots.observed(world.facts, world.now)

    def by_hand(*, force_users: bool = False) -> Reboot:
        wish = ByHand(reason="update", force_users=force_users, owner="root")
        return wishes.by_hand(world.reboots, wish, world.now)

    with pytest.raises(Refused, match="alice is logged in on tty2") as refused:
        by_hand()
    assert refused.value.name == "Blocked"
    assert "root" not in str(refused.value)
    by_hand(force_users=True)
    world.pump()
    assert world.rebooted == [START]
    world.facts = Facts(blockers=(INHIBITOR,))
    world.reboots.observed(world.facts, world.now)
    with pytest.raises(Refused, match="backup-tool"):
        by_hand(force_users=True)


def test_a_reboot_at_an_instant_warns_ahead_and_can_be_taken_back() -> None:
    world = World(RebootPolicy(grace=10 * MINUTE))
    wishes.by_hand(world.reboots, ByHand(reason="update", at=START + HOUR), world.now)
    world.until(START + 55 * MINUTE)
    assert world.state == "announced"
    wishes.cancel(world.reboots, "somebody", world.now)
    world.after(HOUR)
    assert (world.rows[1].state, world.rebooted) == ("cancelled", [])
    with pytest.raises(Refused, match="no reboot is pending"):
        wishes.cancel(world.reboots, "somebody", world.now)
    wishes.by_hand(world.reboots, ByHand(reason="update", at=world.now + HOUR), world.now)
    world.after(2 * HOUR)
    assert len(world.rebooted) == 1


def test_people_and_jobs_hold_it_no_longer_than_the_policy_lets_them() -> None:
    waiting = WaitFor(users=30 * MINUTE, idle=HOUR)
    world = World(nightly("03:00", window=2 * HOUR, grace=0, wait_for=waiting))
    world.facts = Facts(sessions=(Session("alice", "tty2"), Session("idler", "tty3", idle_since=START)))
    world.until(START + 3 * HOUR + 20 * MINUTE)
    assert [blocker.who for blocker in world.reboots.blockers] == ["alice"]
    world.after(HOUR)
    assert [(at - START) // MINUTE for at in world.rebooted] == [3 * 60 + 30]


def test_users_who_are_left_out_hold_nothing() -> None:
    people = Facts(sessions=(Session("nagios", ""), Session("alice", "tty2"), Session("ansible", "")))
    world = World(nightly("03:00", grace=0, wait_for=WaitFor(except_users=("nagios", "ansible"))))
    world.facts = people
    world.until(START + 3 * HOUR + MINUTE)
    assert [blocker.who for blocker in world.reboots.blockers] == ["alice"]
    world.facts = Facts(sessions=people.sessions[::2])
    world.after(MINUTE)
    assert len(world.rebooted) == 1


def test_a_machine_that_is_up_for_too_long_does_not_wait_for_people() -> None:
    world = World(nightly("03:00", latest=3 * DAY))
    world.facts = Facts(sessions=(Session("alice", "tty2"),))
    world.until(START + 4 * DAY)
    assert len(world.rebooted) == 1
    assert world.rebooted[0] - START > 2 * DAY


def test_only_when_the_machine_asks_for_it() -> None:
    world = World(nightly("03:00", window=2 * HOUR, only_if_required=True))
    world.until(START + DAY)
    assert world.rows == {}
    assert len(world.told(RebootLooks)) < 200
    world.facts = Facts(required=True)
    world.until(START + 2 * DAY)
    assert len(world.rebooted) == 1


def test_a_fleet_slot_is_needed_kept_across_the_boot_and_given_back() -> None:
    world = World(nightly("03:00", window=2 * HOUR, fleet=FleetPolicy(fleetlock="http://lock.example")))
    world.slots = ["all 1 slots of web are taken", "all 1 slots of web are taken", ""]
    world.until(START + 3 * HOUR - 9 * MINUTE)
    assert world.state == "announced" or world.held_by() == ["fleet"]
    world.until(START + 5 * HOUR)
    assert len(world.rebooted) == 1
    assert not world.ledger.slot


class SilentFleet(World):
    """A world whose fleet does not answer."""

    def carry_out(self, effect: Any) -> None:
        if not isinstance(effect, SlotWanted):
            super().carry_out(effect)


def test_a_slot_that_was_asked_for_is_not_known_to_be_held() -> None:
    world = SilentFleet(nightly("03:00", window=2 * HOUR, fleet=FleetPolicy(fleetlock="http://lock.example")))
    before = world.reboots.asked_for_slot
    world.until(START + 3 * HOUR)
    assert (before, world.reboots.asked_for_slot) == (False, True)
    assert world.reboots.ledger.slot, "the answer may get lost"
    world.reboots.slot_answered("", world.now)
    assert (world.reboots.asked_for_slot, world.reboots.slot) == (False, True)


def test_the_downtime_is_right_once_the_clock_is() -> None:
    world = World(nightly("03:00", window=2 * HOUR))
    world.silent = True
    world.until(START + 3 * HOUR)
    world.power_cycle(-200 * DAY)  # a board whose clock forgets the time
    (reboot,) = world.rows.values()
    assert (reboot.state, reboot.downtime) == ("verified", 0)
    assert "verified: how long the machine was down is not known, for the clock is behind" in world.reasons()
    world.after(9 * SECOND)
    world.step_clock(200 * DAY + 40 * SECOND)
    (reboot,) = world.rows.values()
    assert reboot.downtime == 40 * SECOND
    assert "reboot 1: down for 40s, as the clock shows it now" in world.reasons()
    assert len([over for over in world.told(RebootOver) if over.reboot.health == "pending"]) == 1, "told once"
    world.power_cycle(DAY)
    world.step_clock(HOUR)
    assert world.rows[1].downtime == 40 * SECOND, "another boot's clock"


def test_a_slot_that_is_held_for_nothing_is_given_back() -> None:
    world = World(nightly("03:00", window=2 * HOUR, grace=0, fleet=FleetPolicy(fleetlock="http://lock.example")))
    world.refuses = "Access denied"
    world.until(START + 3 * HOUR + 30 * MINUTE)
    world.facts = Facts(blockers=(INHIBITOR,))
    world.until(START + 4 * HOUR)
    assert not world.ledger.slot
    world.until(START + 6 * HOUR)
    assert world.rows[1].state == "deferred"
    assert not world.ledger.slot


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca"])
@pytest.mark.parametrize("steps", [False, True])
def test_a_year_of_nights_has_each_night_once(zone: str, steps: bool) -> None:
    chance = random.Random(7)
    policy = RebootPolicy(
        nightly=Window(at=2 * 3600 + 1800, window=2 * HOUR, days=(0, 1, 2, 3, 4, 6), jitter=20 * MINUTE,
                       except_=(("2026-12-24", "2026-12-26"), ("2026-05-01", "2026-05-01"))),
        limits=FREE,
    )  # fmt: skip
    world = World(policy, timezone=zone, times=Times(look=MINUTE))
    while world.now < START + 365 * DAY:
        world.after(chance.randrange(HOUR, 40 * HOUR))
        if steps and world.state == "idle":
            world.step_clock(chance.choice([-2 * HOUR, 2 * HOUR, -DAY, DAY, 5 * SECOND, -5 * SECOND]))
    local = ZoneInfo(zone)
    nights = [datetime.fromtimestamp(when / 1e6, local).date() for when in world.rebooted]
    assert len(nights) == len(set(nights))
    first, last = (datetime.fromtimestamp(when / 1e6, local).date() for when in (START, world.now))
    days = [first + timedelta(days=offset) for offset in range(1, (last - first).days)]
    nights = [night for night in nights if night in days]
    wanted = [
        day for day in days
        if day.weekday() != 5 and not date(2026, 12, 24) <= day <= date(2026, 12, 26) and day != date(2026, 5, 1)
    ]  # fmt: skip
    assert set(nights) <= set(wanted)
    if steps:  # forward over a whole window, and that night has none
        assert len(nights) > 200
    else:
        assert nights == wanted


def test_every_step_that_is_not_drawn_is_refused_and_logged() -> None:
    for state, target in itertools.product([*LEGAL, *FINAL], {*LEGAL, *FINAL}):
        book = Book(Ledger())
        moved = book.move(Reboot(id=9, cause="x", reason="x", state=state), target, START)
        assert (moved is not None) == (target in LEGAL.get(state, ()))
        effects = book.take()
        if moved is None:
            assert not any(isinstance(effect, RebootSaved) for effect in effects)
            assert f"refused: from {state} to {target}" in str(effects)
        else:
            assert (moved.state, effects[0]) == (target, RebootSaved(moved))


def test_answers_that_nobody_waits_for_change_nothing() -> None:
    world = World(RebootPolicy())
    world.reboots.refused("too late", world.now)
    world.reboots.slot_answered("no", world.now)
    world.reboots.observed(Facts(), world.now)
    world.pump()
    assert (world.state, world.rows) == ("idle", {})
    assert "not expected: too late" in world.reasons()


def test_without_a_policy_nothing_is_ever_wanted() -> None:
    world = World(RebootPolicy())
    assert isinstance(world.reboots, Reboots)
    assert world.reboots.wakeup() is None
