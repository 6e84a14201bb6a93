"""A job that is not as expected: late, too long or too short; noticed once, shown while it lasts, over once."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from agentd.config.kinds import PARTS
from agentd.core.config import Config
from agentd.core.jobs.jobs import Jobs
from agentd.core.jobs.model import AsExpected, JobState, Run, Unexpected, Watched
from agentd.core.jobs.settings import Expect, Job, Missed, Retries
from agentd.core.jobs.triggers import After, AnyTrigger, Every, Manual
from agentd.core.notices.notices import HEARS
from agentd.core.part import Effect
from agentd.core.quantities import DAY, HOUR, MINUTE, SECOND
from agentd.jobs.tables import _encoded, _state, _summed
from tests.unit.jobs.world import TROUBLE, World

NOW = 1_800_000_000 * SECOND  # 15 January 2027, 08:00 UTC
SOON = Expect(start_within=5 * MINUTE)
SHORT = Expect(at_most=10 * MINUTE)
LONG = Expect(at_least=10 * SECOND)


def job(name: str = "backup", when: AnyTrigger | None = None, expect: Expect | None = SOON, **settings: Any) -> Job:
    return Job(name=name, run=("true",), when=when or Every(HOUR), timezone="UTC", expect=expect, **settings)


class Watcher(World):
    """A world in which it is noted what is not as expected, and what is over."""

    told: list[str]
    """Sentences: of what lasts its event, of what does not "(event)", of an end "event over", or "event forgotten"."""

    def _start(self, saved: Any) -> None:
        self.told = getattr(self, "told", [])
        super()._start(saved)
        self.hold(getattr(self, "held", False))

    def _do(self, effect: Effect) -> None:
        if isinstance(effect, Unexpected):
            self.told.append(effect.event if effect.lasts else f"({effect.event})")
        elif isinstance(effect, AsExpected):
            self.told.append(f"{effect.event} {'over' if effect.title else 'forgotten'}")
        super()._do(effect)

    def hold(self, held: bool) -> None:
        """The machine is to be rebooted, whatever is restarted, or is not."""
        self.held = held
        if held:
            self.core.hold("reboots", "the machine is about to reboot")
        else:
            self.core.release("reboots", self.now)
        self.carry_out()

    def unmet(self, name: str = "backup") -> dict[str, str]:
        """What the job's record shows."""
        watched = self.core.entry(name).state.watched
        return watched.unmet if watched is not None else {}

    def ask(self, request: Callable[[int], object]) -> None:
        """Somebody asks for something now."""
        request(self.now)
        self.carry_out()
        self.pass_time(0)


def only(runs: list[Run]) -> Run:
    (run,) = runs
    return run


def crowded(**settings: Any) -> Watcher:
    """A job that is due in an hour, while the only place is taken for ten hours."""
    others = job("other", Every(50 * MINUTE), expect=None)
    return Watcher([job(**settings), others], NOW, concurrency=1, takes={"other": 10 * HOUR})


# Late


def test_a_job_that_finds_no_place_is_late_until_it_begins() -> None:
    world = crowded()
    world.pass_time(HOUR + 5 * MINUTE - 1)
    assert (world.told, world.unmet()) == ([], {})
    world.pass_time(1)
    assert world.told == ["late"]
    reason = (
        "it was due at 2027-01-15 09:00:00 and did not begin within 5min (start_within): "
        "no place is free: 1 of 1 are taken (concurrency)"
    )
    assert world.unmet() == {"late": reason}
    assert world.reasons("late", "backup") == [reason]
    world.pass_time(9 * HOUR)
    assert world.told == ["late"], "once, however many due times pass"
    world.pass_time(HOUR)
    assert world.told == ["late", "late over"]
    assert world.unmet() == {}


def test_a_job_whose_run_before_is_not_over_is_late_although_the_due_time_was_skipped() -> None:
    world = Watcher([job()], NOW, takes={"backup": 90 * MINUTE})
    world.pass_time(2 * HOUR + 5 * MINUTE)
    assert world.told == ["late"]
    assert "the run before is not over: backup.1" in world.unmet()["late"]
    world.pass_time(55 * MINUTE + SECOND)
    assert world.told == ["late", "late over"]


def test_a_due_time_that_is_skipped_is_no_breach_where_another_run_begins_in_time() -> None:
    expect = Expect(start_within=HOUR + MINUTE)
    world = Watcher([job(expect=expect)], NOW, takes={"backup": 90 * MINUTE})
    world.pass_time(DAY)
    assert world.told == []


def test_a_job_that_is_replaced_again_and_again_before_it_begins_is_late() -> None:
    world = crowded(when=Every(MINUTE), overlap="replace")
    world.pass_time(50 * MINUTE + SECOND)
    assert world.told == []
    world.pass_time(7 * MINUTE)
    assert world.told == ["late"]


def test_a_job_that_follows_another_is_expected_after_its_end() -> None:
    others = [job("first", expect=None), job("other", Every(HOUR), expect=None)]
    world = Watcher([job(when=After("first")), *others], NOW, concurrency=1, takes={"other": 10 * HOUR})
    world.pass_time(HOUR + 4 * MINUTE)
    assert world.told == []
    world.pass_time(2 * MINUTE)
    assert world.told == ["late"]


def test_runs_that_have_no_due_time_are_never_late() -> None:
    retries = Retries(count=1, backoff=MINUTE)
    world = crowded(when=Manual(), retries=retries)
    world.pass_time(50 * MINUTE)
    for cause in ("manual", "rule"):
        world.core.run("backup", world.now, cause)
        world.pass_time(HOUR)
        world.core.stop("backup", world.now)
    assert world.told == []


def test_a_due_time_that_the_policy_leaves_out_is_none() -> None:
    world = Watcher([job(missed=Missed("skip"))], NOW)
    world.hold(True)
    world.pass_time(HOUR + 10 * MINUTE)
    world.hold(False)
    assert world.told == []
    world.kill(2 * HOUR + 30 * MINUTE)
    world.pass_time(MINUTE)
    assert world.told == []


def test_a_job_that_somebody_holds_for_a_reboot_is_late() -> None:
    world = Watcher([job()], NOW)
    world.hold(True)
    world.pass_time(HOUR + 5 * MINUTE)
    assert world.told == ["late"]
    assert world.unmet()["late"].endswith("the machine is about to reboot")
    world.hold(False)
    world.pass_time(SECOND)
    assert world.told == ["late", "late over"]


def test_a_job_is_late_while_nothing_can_be_stored() -> None:
    world = Watcher([job()], NOW)
    world.pass_time(MINUTE)
    world.fill_disk()
    world.pass_time(HOUR + 5 * MINUTE)
    assert world.unmet()["late"].endswith(TROUBLE)
    assert world.told == [], "nothing can be stored"
    world.free_disk()
    assert world.told == ["late"]
    world.pass_time(HOUR)
    assert world.told == ["late", "late over"]


@pytest.mark.parametrize("holder", ["rules", "also reboots"])
def test_a_pause_is_no_breach_and_what_was_due_is_expected_from_its_end(holder: str) -> None:
    world = crowded()
    world.pass_time(50 * MINUTE + SECOND)
    world.core.hold("rules", "paused by a rule", pause=True)
    if holder != "rules":
        world.core.hold("reboots", "the machine is about to reboot")
    world.pass_time(3 * HOUR)
    assert world.told == []
    world.ask(lambda now: world.core.release("rules", now))
    world.ask(lambda now: world.core.release("reboots", now))
    world.pass_time(5 * MINUTE - 1)
    assert world.told == []
    world.pass_time(1)
    assert world.told == ["late"]


def test_a_pause_begins_with_a_run_that_waits_already() -> None:
    world = crowded()
    world.pass_time(HOUR + 2 * MINUTE)
    world.core.hold("rules", "paused by a rule", pause=True)
    world.pass_time(HOUR)
    world.ask(lambda now: world.core.release("rules", now))
    world.kill()  # what was excused is remembered; the run in the way is gone
    world.pass_time(MINUTE)
    assert world.told == []


def test_a_job_that_is_disabled_is_not_late_and_lets_go_of_it() -> None:
    world = crowded()
    world.pass_time(HOUR)
    world.ask(lambda now: world.core.set_enabled("backup", False, now))
    world.pass_time(HOUR)
    assert world.told == []
    world.ask(lambda now: world.core.set_enabled("backup", True, now))
    world.pass_time(HOUR + 5 * MINUTE)
    assert world.told == ["late"]
    world.ask(lambda now: world.core.set_enabled("backup", False, now))
    assert world.told == ["late", "late forgotten"]
    assert world.unmet() == {}


def test_a_waiting_run_that_a_person_stops_is_not_late() -> None:
    world = crowded()
    world.pass_time(HOUR + MINUTE)
    world.ask(lambda now: world.core.stop("backup", now))
    world.pass_time(50 * MINUTE)
    assert world.told == []
    world.pass_time(15 * MINUTE)
    world.ask(lambda now: world.core.stop("backup", now))
    assert world.told == ["late", "late forgotten"]


def test_a_person_who_stops_the_run_in_the_way_ends_what_was_skipped() -> None:
    world = Watcher([job(when=Every(DAY))], NOW, takes={"backup": 10 * DAY})
    world.pass_time(2 * DAY + MINUTE)
    world.ask(lambda now: world.core.stop("backup", now))
    world.pass_time(HOUR)
    assert world.told == []


@pytest.mark.parametrize("off", [HOUR + 3 * MINUTE, HOUR + 30 * MINUTE], ids=["in time", "late"])
def test_a_run_that_begins_late_because_agentd_was_off_is_told_once_with_by_how_much(off: int) -> None:
    world = Watcher([job(missed=Missed("all"))], NOW)
    world.kill(off)
    world.pass_time(MINUTE)
    late = off > HOUR + 5 * MINUTE
    assert world.told == ["(late)"] * late
    assert world.reasons("late") == ["backup.1 began 30min after it was due (start_within)"] * late
    assert world.unmet() == {}
    world.kill()
    world.pass_time(10 * MINUTE)
    assert world.told == ["(late)"] * late


def test_a_run_that_has_to_wait_after_agentd_was_off_is_late_at_once() -> None:
    world = Watcher([job(missed=Missed("all"))], NOW, takes={"backup": MINUTE})
    world.kill(3 * HOUR + 20 * MINUTE)
    world.pass_time(0)
    assert world.told == ["late"]
    world.pass_time(2 * MINUTE + 30 * SECOND)
    assert world.told == ["late", "late over"], "with the last of those that are made up for"


def test_what_is_late_is_told_once_whatever_is_restarted() -> None:
    world = Watcher([job()], NOW, takes={"backup": 10 * HOUR})
    world.hold(True)
    world.pass_time(HOUR + 10 * MINUTE)
    for _ in range(3):
        world.kill()
        world.pass_time(MINUTE)
    assert world.told == ["late"]
    assert "late" in world.unmet()
    world.hold(False)
    world.pass_time(MINUTE)
    assert world.told == ["late", "late over"]


@pytest.mark.parametrize("delta", [-3 * HOUR, -MINUTE, MINUTE, 40 * MINUTE])
def test_a_clock_that_is_set_makes_nobody_late_and_keeps_nobody_from_it(delta: int) -> None:
    world = crowded(overlap="queue")
    world.pass_time(HOUR + 2 * MINUTE)
    world.set_clock(world.now + delta)
    world.pass_time(3 * MINUTE - 1)
    assert world.told == []
    world.pass_time(1)
    assert world.told == ["late"]


@pytest.mark.parametrize("off", [2 * MINUTE, 4 * MINUTE], ids=["in time", "late"])
def test_a_clock_that_was_set_is_remembered_over_restarts(off: int) -> None:
    world = Watcher([job()], NOW)
    world.pass_time(59 * MINUTE)
    world.hold(True)
    world.pass_time(3 * MINUTE)
    world.set_clock(world.now + 30 * MINUTE)
    world.kill(off)
    world.hold(False)
    world.pass_time(MINUTE)
    assert world.told == ["(late)"] * (off > 3 * MINUTE)


def test_a_due_time_that_a_clock_set_forward_passed_over_is_expected_from_then_on() -> None:
    world = Watcher([job(when=After("first")), job("first", expect=None)], NOW)
    world.set_clock(NOW + 5 * HOUR)
    world.pass_time(10 * MINUTE)
    assert world.told == []


def test_a_clock_that_was_set_back_while_agentd_was_away_leaves_nothing_ahead_of_it() -> None:
    world = Watcher([job(when=Every(DAY))], NOW, takes={"backup": 3 * DAY})
    world.hold(True)
    world.pass_time(DAY + HOUR)
    assert world.told == ["late"]
    world.kill(now=NOW - 5 * DAY)
    world.hold(False)
    world.pass_time(2 * DAY)
    assert world.told == ["late", "late over"]


@pytest.mark.parametrize("at", [HOUR + SECOND, HOUR + 10 * MINUTE], ids=["in time", "late"])
def test_a_begin_that_no_agentd_saw_is_judged_once(at: int) -> None:
    world = Watcher([job()], NOW)
    world.pass_time(HOUR)
    run = replace(only(world.core.running()), started=NOW + at)
    memory = world.memory
    for _ in range(2):
        saved = replace(memory.saved(), under_way=(run,))
        core = Jobs(world.config.jobs, saved, NOW + 2 * HOUR - MINUTE)
        effects = core.effects()
        memory.write(effects)
        world.told += [effect.event for effect in effects if isinstance(effect, Unexpected)]
    assert world.told == ["late"] * (at > HOUR + 5 * MINUTE)


def test_a_late_job_whose_run_began_while_no_agentd_looked_is_late_no_more() -> None:
    world = Watcher([job()], NOW)
    world.hold(True)
    world.pass_time(HOUR + 10 * MINUTE)
    world.hold(False)
    run = replace(only(world.core.running()), started=NOW + HOUR + 11 * MINUTE)
    core = Jobs(world.config.jobs, replace(world.memory.saved(), under_way=(run,)), NOW + HOUR + 30 * MINUTE)
    ends = [effect for effect in core.effects() if isinstance(effect, AsExpected)]
    assert [(end.event, end.title) for end in ends] == [("late", "backup began 11min after it was due")]


def test_what_is_remembered_is_read_again_and_the_memory_of_an_older_agentd_too() -> None:
    watched = Watched(late="no place is free", late_at=NOW, long={7: "long"}, due={3: NOW}, begun={7: NOW})
    state = JobState(schedule="x", watched=watched)
    assert _state(_encoded(state)) == state
    older = {key: value for key, value in msgspec.to_builtins(state).items() if key != "watched"}
    assert _state(_summed(msgspec.json.encode(older).decode())) == replace(state, watched=None)
    assert _state(msgspec.json.encode(older).decode()) == replace(state, watched=None), "one without a sum"


# Too long


def test_a_run_that_takes_too_long_is_told_until_it_ends() -> None:
    world = Watcher([job(when=Every(DAY), expect=SHORT)], NOW, takes={"backup": HOUR})
    world.pass_time(DAY + 10 * MINUTE)
    assert world.told == []
    world.pass_time(SECOND)
    assert world.told == ["too-long"]
    assert world.unmet() == {"too-long": "backup.1 is under way for 10min (at_most)"}
    assert world.reasons("too-long") == [world.unmet()["too-long"]]
    world.pass_time(HOUR)
    assert world.told == ["too-long", "too-long over"]
    assert world.unmet() == {}


def test_a_run_that_outlives_agentd_is_told_by_the_next_one_and_by_no_other() -> None:
    world = Watcher([job(expect=SHORT)], NOW)
    world.pass_time(HOUR)
    run = replace(only(world.core.running()), started=NOW + HOUR)
    told = []
    for minutes in (5, 11, 12):
        saved = replace(world.memory.saved(), under_way=(run,))
        core = Jobs(world.config.jobs, saved, NOW + HOUR + minutes * MINUTE)
        core.tick(NOW + HOUR + minutes * MINUTE)
        effects = core.effects()
        world.memory.write(effects)
        told.append([effect.event for effect in effects if isinstance(effect, Unexpected)])
    assert told == [[], ["too-long"], []]


def test_each_run_that_takes_too_long_is_decided_and_the_last_end_is_the_end() -> None:
    jobs = [job(when=Every(HOUR), expect=SHORT, concurrency=2)]
    world = Watcher(jobs, NOW, takes={"backup": 90 * MINUTE})
    world.pass_time(2 * HOUR + 11 * MINUTE)
    assert world.told == ["too-long", "too-long"]
    world.ask(lambda now: world.core.set_enabled("backup", True, now))
    world.pass_time(20 * MINUTE)
    assert world.told == ["too-long", "too-long"]


def test_nobody_is_told_of_the_end_of_a_run_that_a_person_stopped() -> None:
    world = Watcher([job(when=Every(DAY), expect=SHORT)], NOW, takes={"backup": HOUR})
    world.pass_time(DAY + 11 * MINUTE)
    world.ask(lambda now: world.core.stop("backup", now))
    assert world.told == ["too-long", "too-long forgotten"]
    assert world.unmet() == {}


@pytest.mark.parametrize("delta", [-3 * HOUR, 3 * HOUR])
def test_a_clock_that_is_set_makes_no_run_long_and_none_short(delta: int) -> None:
    expect = Expect(at_least=5 * MINUTE, at_most=10 * MINUTE)
    world = Watcher([job(when=Every(DAY), expect=expect)], NOW, takes={"backup": 9 * MINUTE})
    world.pass_time(DAY + MINUTE)
    world.set_clock(world.now + delta)
    world.pass_time(8 * MINUTE - SECOND)
    assert world.told == []
    world.pass_time(MINUTE)
    assert (world.told, world.alive()) == ([], [])


# Too short


def test_a_success_that_comes_too_soon_is_told_until_one_takes_its_time() -> None:
    world = Watcher([job(expect=LONG)], NOW, takes={"backup": 3 * SECOND})
    world.pass_time(HOUR + MINUTE)
    assert world.told == ["too-short"]
    assert world.unmet() == {"too-short": "backup.1 succeeded after 3s, in less than 10s (at_least)"}
    world.results["backup"] = "exit-code"
    world.pass_time(HOUR)
    assert world.told == ["too-short"], "no failure is too short, nor is anything over with it"
    world.results["backup"] = "success"
    world.pass_time(HOUR)
    assert world.told == ["too-short"] * 2, "each is a decision"
    world.kill()
    assert "too-short" in world.unmet()
    world.takes["backup"] = 10 * SECOND
    world.pass_time(2 * HOUR)
    assert world.told == ["too-short", "too-short", "too-short over"]
    assert world.unmet() == {}


# What is not expected any more


@pytest.mark.parametrize("after", ["without the expectation", "another", "disabled", "removed"])
@pytest.mark.parametrize("event", ["late", "too-long", "too-short"])
def test_what_is_not_expected_any_more_is_forgotten(event: str, after: str) -> None:
    expect = {"late": SOON, "too-long": SHORT, "too-short": Expect(at_least=2 * HOUR)}[event]
    its = job(expect=expect, overlap="queue")
    world = Watcher([its], NOW, takes={"backup": HOUR + 30 * MINUTE})
    world.pass_time({"late": 130, "too-long": 80, "too-short": 160}[event] * MINUTE)
    assert world.told == [event]
    other = Expect(start_within=9 * HOUR, at_least=MINUTE, at_most=9 * HOUR)
    after_it = {
        "without the expectation": [job(expect=None, overlap="queue")],
        "another": [job(expect=other, overlap="queue")],
        "disabled": [job(expect=expect, overlap="queue", enabled=False)],
        "removed": [],
    }
    world.configure(after_it[after])
    assert world.told == [event, f"{event} forgotten"]
    if after != "removed":
        assert world.unmet() == {}
    world.pass_time(DAY)
    assert world.told == [event, f"{event} forgotten"] or after == "another"


def test_an_expectation_that_is_changed_is_judged_anew() -> None:
    world = Watcher([job(when=Every(DAY), expect=SHORT)], NOW, takes={"backup": 9 * HOUR})
    world.pass_time(DAY + 30 * MINUTE)
    world.configure([job(when=Every(DAY), expect=Expect(at_most=20 * MINUTE))])
    world.pass_time(0)
    assert world.told == ["too-long", "too-long forgotten", "too-long"]


# While agentd stops


def test_nothing_is_told_while_agentd_stops_and_the_next_one_tells() -> None:
    world = crowded()
    world.pass_time(HOUR)
    world.core.drain()
    assert world.core.wakeup() is None
    world.core.tick(NOW + 2 * HOUR)
    world.carry_out()
    assert world.told == []
    world.kill(HOUR)
    world.pass_time(MINUTE)
    assert world.told == ["(late)"]


# Notices and settings


def test_the_events_name_what_they_end_and_nobody_is_told_of_what_is_forgotten() -> None:
    its = job(notify=("late",))
    late = HEARS[Unexpected](Unexpected("late", its, "backup is late", "no place is free"), NOW)
    news = HEARS[Unexpected](Unexpected("late", its, "backup began late", "by 5min", "backup.1", False), NOW)
    over = HEARS[AsExpected](AsExpected("late", its, "backup began"), NOW)
    forgotten = HEARS[AsExpected](AsExpected("late", its), NOW)
    assert late is not None
    assert news is not None
    assert over is not None
    assert forgotten is not None
    assert (late.name, late.trouble, late.asked) == ("late", "late backup", ("late",))
    assert late.text.startswith("no place is free\n")
    assert (news.name, news.trouble, news.run_id) == ("late", "", "backup.1")
    assert (over.name, over.over, over.trouble, over.otherwise) == ("late", True, late.trouble, "")
    assert (forgotten.name, forgotten.over, forgotten.trouble) == ("", True, late.trouble)


def test_expectations_that_cannot_do_what_they_seem_to_say_are_doubted() -> None:
    expect = Expect(start_within=MINUTE, at_least=HOUR, at_most=2 * HOUR)
    config = Config(jobs={"backup": job(when=Manual(), expect=expect, timeout=HOUR), "sound": job("sound")})
    assert [text for part in PARTS for text in part.doubts(config)] == [
        "jobs.backup.expect.start_within has no effect: the job has no due times (when)",
        "jobs.backup.expect.at_most has no effect: timeout ends a run after 1h",
        "jobs.backup.expect.at_least is never met: timeout ends a run after 1h",
    ]
