"""Whatever happens in whatever order: what is not as expected is decided when it is so, once, and is over once.

The model counts time that goes by. It knows no clock, no store and no notes of when to look: it sees what becomes of
runs, and says by itself at each instant what the core must have said.
"""

from collections.abc import Iterator
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from agentd.core.jobs.model import AsExpected, Run, RunChanged, RunSaved, Saved, Unexpected
from agentd.core.jobs.settings import Expect, Job, Missed, Retries
from agentd.core.jobs.triggers import AnyTrigger, Every, Manual
from agentd.core.part import Decided, Effect, Refused
from agentd.core.quantities import DAY, HOUR, MINUTE, SECOND
from tests.examples import examples
from tests.unit.jobs.world import World

NOW = 1_800_000_000 * SECOND
AT_ONCE = 10 * SECOND
REPLACED = "a newer due time came (overlap: replace)"


def job(name: str, when: AnyTrigger, **more: Any) -> Job:
    return Job(name=name, run=("true",), when=when, timezone="UTC", **more)


WANTED = Expect(start_within=5 * MINUTE, at_least=10 * SECOND, at_most=30 * MINUTE)
JOBS = [
    job("skips", Every(20 * MINUTE)),
    job("queues", Every(15 * MINUTE), overlap="queue", concurrency=2, missed=Missed("all")),
    job("replaces", Every(10 * MINUTE), overlap="replace", retries=Retries(count=1, backoff=MINUTE)),
    job("leaves-out", Every(30 * MINUTE), missed=Missed("skip")),
    job("manual", Manual()),
]
NAMES = [job.name for job in JOBS]
EXPECT = [
    WANTED,
    WANTED,
    None,
    Expect(start_within=HOUR, at_most=2 * HOUR),
    Expect(start_within=30 * SECOND, at_least=5 * MINUTE),
]
SPANS = st.sampled_from([0, 1, SECOND, MINUTE, 5 * MINUTE, 20 * MINUTE, HOUR]) | st.integers(0, 2 * HOUR)
TAKES = st.sampled_from([SECOND, 10 * SECOND, 4 * MINUTE, 30 * MINUTE, 50 * MINUTE, 3 * HOUR])


class Model:
    """What is to be said of one job. All instants are of elapsed time."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.expect: Expect | None = WANTED
        self.on = True
        self.owed: dict[str, tuple[int, int]] = {}  # runs that are to begin: since when, and the due time by the clock
        self.placed: dict[str, int] = {}
        self.begun: dict[str, int] = {}
        self.passed: int | None = None
        self.pending: int | None = None  # the next due time
        self.late = False
        self.long: set[str] = set()
        self.short = False
        self.said: list[tuple[int, str, str]] = []

    @property
    def wanted(self) -> Expect:
        return (self.expect if self.on else None) or Expect()

    def say(self, at: int, word: str) -> None:
        self.said.append((at, self.name, word))

    def unmet(self) -> set[str]:
        found = {"late": self.late, "too-long": bool(self.long), "too-short": self.short}
        return {event for event, is_so in found.items() if is_so}

    def awaited(self) -> Iterator[int]:
        yield from (since for since, _ in self.owed.values())
        yield from (since for since in (self.passed, self.pending) if since is not None)

    def deadlines(self, *, paused: bool) -> Iterator[tuple[int, str]]:
        within, most = self.wanted.start_within, self.wanted.at_most
        if within is not None and not self.late and not paused:
            for run_id, (since, _) in self.owed.items():
                yield max(since + within, self.placed.get(run_id, -DAY) + AT_ONCE), "late"
            yield from ((since + within, "late") for since in (self.passed, self.pending) if since is not None)
        if most is not None:
            yield from ((at + most, run_id) for run_id, at in self.begun.items() if run_id not in self.long)

    def look(self, now: int, *, paused: bool) -> None:
        for at, what in sorted(self.deadlines(paused=paused)):
            if at <= now and what == "late" and not self.late:
                self.late = True
                self.say(now, "late")
            elif at <= now and what != "late":
                self.long.add(what)
                self.say(now, "too-long")

    def begins(self, run: Run, now: int) -> None:
        since, within = self.owed.pop(run.run_id, (None, 0))[0], self.wanted.start_within
        self.placed.pop(run.run_id, None)
        self.begun[run.run_id] = now
        if not (self.on and self.expect is not None):
            return
        self.passed = None
        if self.late:
            self.settle(now, "late over")
        elif within is not None and since is not None and now >= since + within:
            self.say(now, "(late)")

    def settle(self, now: int, word: str) -> None:
        within = self.wanted.start_within
        if self.late and within is not None and all(since + within > now for since in self.awaited()):
            self.late = False
            self.say(now, word)

    def ends(self, run: Run, now: int) -> None:
        self.owed.pop(run.run_id, None)
        self.placed.pop(run.run_id, None)
        at, on_purpose = self.begun.pop(run.run_id, None), run.result in {"stopped", "cancelled"}
        if run.result == "stopped":
            self.settle(now, "late forgotten")
        if at is None:
            return
        took, wanted = now - at, self.wanted
        if run.run_id in self.long:
            self.long.discard(run.run_id)
            if not self.long:
                self.say(now, f"too-long {'forgotten' if on_purpose else 'over'}")
        elif wanted.at_most is not None and took >= wanted.at_most and not on_purpose and run.result != "interrupted":
            self.say(now, "(too-long)")
        if wanted.at_least is not None and run.result == "success":
            if took < wanted.at_least:
                self.short = True
                self.say(now, "too-short")
            elif self.short:
                self.short = False
                self.say(now, "too-short over")

    def pass_over(self, since: int) -> None:
        if self.wanted.start_within is not None and self.passed is None:
            self.passed = since

    def judge_anew(self, before: Expect, now: int) -> None:
        after = self.wanted
        names = {"late": "start_within", "too-long": "at_most", "too-short": "at_least"}
        for event in sorted(self.unmet()):
            setting = getattr(after, names[event])
            if setting is None or setting != getattr(before, names[event]):
                self.say(now, f"{event} forgotten")
                self.late = self.late and event != "late"
                self.short = self.short and event != "too-short"
                if event == "too-long":
                    self.long.clear()
        if after.start_within is None:
            self.passed = None


class Watched(World):
    """A world whose core says things, and the models that say what it must say."""

    def __init__(self) -> None:
        self.models = {name: Model(name) for name in NAMES}
        self.said: list[tuple[int, str, str]] = []
        self.paused = False
        self.asleep = False
        self.fresh = -DAY  # nothing counts from before this instant
        self.stepped: dict[str, int] = {}
        self.by_clock: dict[str, int] = {}  # what the clock showed when runs began, as their job remembers it
        self.shown_at: dict[str, int] = {}
        takes = {"skips": 25 * MINUTE, "queues": 40 * MINUTE, "replaces": 4 * MINUTE, "manual": 45 * MINUTE}
        super().__init__([replace(job, expect=WANTED) for job in JOBS], NOW, concurrency=3, takes=takes)

    # Time

    def _go_to(self, at: int) -> None:
        if at > self.elapsed and not self.asleep:
            self.see_dues()
            for model in self.models.values():
                missed = [(when, what) for when, what in model.deadlines(paused=self.paused) if when < at]
                assert missed == [], f"the core sleeps although something of {model.name} is due"
        super()._go_to(at)

    def _start(self, saved: Saved) -> None:
        self.ticked = False
        super()._start(saved)
        tick = self.core.tick

        def noted(now: int) -> None:
            tick(now)
            self.ticked = True

        self.core.tick = noted  # type: ignore[method-assign]

    def look(self) -> None:
        for model in self.models.values():
            model.look(self.elapsed, paused=self.paused)

    def _processes_go_on(self) -> None:
        """As in any world, with a look at each step."""
        for process in list(self.processes.values()):
            if not process.alive and process.begins <= self.elapsed:
                process.alive = True
                self.begun.append(process.run)
                self.shown_at[process.run.run_id] = self.now
                self.core.started(process.run.run_id, self.now)
                self.carry_out()
            if process.alive and process.ends <= self.elapsed and process.run.run_id in self.processes:
                self._end(process, process.outcome)
                self.carry_out()

    def by_elapsed(self, instant: int) -> int:
        return self.elapsed - (self.now - instant)

    def see_dues(self) -> None:
        for name, model in self.models.items():
            entry = self.core.entries[name]
            on_time = (model.wanted.start_within or 0) <= MINUTE  # so late, a due time is not missed yet
            counts = entry.due is not None and (on_time or entry.job.missed.policy != "skip")
            model.pending = max(self.by_elapsed(entry.due or 0), self.fresh) if counts else None

    # What becomes of runs

    def carry_out(self) -> None:
        super().carry_out()
        self._take_effects()  # what an urgent effect led to while nothing can be stored

    def _take_effects(self) -> None:
        effects: list[Effect] = self.core.effects()
        self._see(effects)
        if self.ticked:
            self.ticked = False
            self.look()
        for effect in effects:
            if isinstance(effect, RunSaved):
                self._decided.setdefault(effect.run.seq, self._schedule(effect.run.job))
            elif isinstance(effect, Unexpected):
                self.said.append((self.elapsed, effect.job.name, effect.event if effect.lasts else f"({effect.event})"))
            elif isinstance(effect, AsExpected):
                word = f"{effect.event} {'over' if effect.title else 'forgotten'}"
                self.said.append((self.elapsed, effect.job.name, word))
            self._waiting.append(effect)

    def _see(self, effects: list[Effect]) -> None:
        bases = {run_id: since for model in self.models.values() for run_id, (since, _) in model.owed.items()}
        replaced: dict[str, list[int]] = {}
        for effect in effects:
            if isinstance(effect, RunSaved):
                self._see_run(self.models[effect.run.job], effect.run)
            elif isinstance(effect, Decided) and effect.kind == "skip" and "(overlap: skip)" in effect.reason:
                due = self.core.entries[effect.about].state.handled
                self.models[effect.about].pass_over(self.counts_from(effect.about, due))
            elif isinstance(effect, Decided) and effect.reason == REPLACED and effect.run_id in bases:
                replaced.setdefault(effect.about, []).append(bases[effect.run_id])
        for name, since in replaced.items():
            self.models[name].pass_over(min(since))
        self.see_dues()
        for effect in effects:
            if isinstance(effect, RunChanged) and effect.event == "started":
                self.models[effect.run.job].begins(effect.run, self.elapsed)

    def counts_from(self, name: str, due: int) -> int:
        since = self.by_elapsed(due)
        return since if since >= self.fresh else self.stepped.get(name, self.fresh)

    def _see_run(self, model: Model, run: Run) -> None:
        if run.state == "ended":
            model.ends(run, self.elapsed)
            return
        known = run.run_id in model.owed or run.run_id in model.begun
        if not known and run.cause in {"schedule", "missed"}:
            model.owed[run.run_id] = self.counts_from(run.job, run.due), run.due
        if run.state == "queued":
            model.placed.pop(run.run_id, None)
        elif run.run_id in model.owed:
            model.placed.setdefault(run.run_id, self.elapsed)

    # What people and machines do

    def step(self, delta: int) -> None:
        pending = {name: entry.due for name, entry in self.core.entries.items() if entry.due and entry.due <= self.now}
        self.stepped = {name: max(self.by_elapsed(due), self.fresh) for name, due in pending.items()}
        self.fresh = self.elapsed
        self.set_clock(self.now + delta)
        self.pass_time(0)
        self.stepped = {}

    def pause(self, paused: bool) -> None:
        if paused:
            self.core.hold("rules", "paused by a rule", pause=True)
        else:
            if self.paused:
                self.fresh = self.elapsed
                for model in self.models.values():
                    if model.wanted.start_within is not None:
                        model.owed = {run_id: (self.elapsed, due) for run_id, (_, due) in model.owed.items()}
                        model.passed = None if model.passed is None else self.elapsed
            self.paused = False
            self.core.release("rules", self.now)
        self.paused = paused
        self.carry_out()
        self.pass_time(0)

    def stop_job(self, name: str) -> None:
        self.core.stop(name, self.now)
        self.carry_out()
        if self.models[name].wanted != Expect():
            self.models[name].passed = None
            self.models[name].settle(self.elapsed, "late forgotten")
        self.pass_time(0)

    def turn(self, name: str, on: bool) -> None:
        model, before = self.models[name], self.models[name].wanted
        self.core.set_enabled(name, on, self.now)
        model.on = on
        model.judge_anew(before, self.elapsed)
        if not on:
            model.owed = {run_id: (self.by_elapsed(due), due) for run_id, (_, due) in model.owed.items()}
        self.carry_out()
        self.pass_time(0)

    def expect(self, name: str, expect: Expect | None) -> None:
        model, before = self.models[name], self.models[name].wanted
        jobs = [replace(job, expect=expect if job.name == name else job.expect) for job in self.config.jobs.values()]
        was, model.expect = model.expect, expect
        model.judge_anew(before, self.elapsed)
        if expect is None and was is not None:  # the clock is not followed where nothing is expected
            self.by_clock |= {run_id: self.now - (self.elapsed - at) for run_id, at in model.begun.items()}
        if was is None and expect is not None:
            shown = {run_id: self.by_clock.get(run_id, self.shown_at[run_id]) for run_id in model.begun}
            model.begun = {run_id: self.by_elapsed(at) for run_id, at in shown.items()}
            self.by_clock = {run_id: at for run_id, at in self.by_clock.items() if run_id not in model.begun}
        if was is None or was.start_within is None or expect is None or expect.start_within is None:
            model.owed = {run_id: (self.by_elapsed(due), due) for run_id, (_, due) in model.owed.items()}
        self.configure(jobs)
        self.pass_time(0)

    def restart(self, later: int) -> None:
        self.asleep = True
        self.fresh = -DAY
        self.paused = False
        for model in self.models.values():
            model.placed.clear()
        self.kill(later)
        self.asleep = False
        self.pass_time(0)


class Anyhow(RuleBasedStateMachine):
    """A world to which anything happens."""

    def __init__(self) -> None:
        super().__init__()
        self.world = Watched()

    @rule(span=SPANS)
    def time_goes_by(self, span: int) -> None:
        self.world.pass_time(span)

    @rule(name=st.sampled_from(NAMES), takes=TAKES, result=st.sampled_from(["success", "success", "exit-code"]))
    def a_job_changes_its_ways(self, name: str, takes: int, result: str) -> None:
        self.world.takes[name] = takes
        self.world.results[name] = result

    @rule(delta=st.sampled_from([-HOUR, -SECOND, SECOND, MINUTE, HOUR]) | st.integers(-DAY, DAY))
    def the_clock_is_set(self, delta: int) -> None:
        self.world.step(delta)

    @rule(held=st.sampled_from([False, False, True]))
    def a_reboot_comes_near(self, held: bool) -> None:
        if held:
            self.world.core.hold("reboots", "the machine is about to reboot")
        else:
            self.world.core.release("reboots", self.world.now)
        self.world.carry_out()
        self.world.pass_time(0)

    @rule(paused=st.sampled_from([False, False, True]))
    def the_jobs_are_paused(self, paused: bool) -> None:
        self.world.pause(paused)

    @rule(name=st.sampled_from(NAMES))
    def somebody_runs_a_job(self, name: str) -> None:
        try:
            self.world.core.run(name, self.world.now)
        except Refused as refused:
            assert refused.name in {"Busy", "Draining", "StoreUnavailable"}  # noqa: PT017 - most calls are not refused
        self.world.carry_out()
        self.world.pass_time(0)

    @rule(name=st.sampled_from(NAMES))
    def somebody_stops_a_job(self, name: str) -> None:
        self.world.stop_job(name)

    @rule(name=st.sampled_from(NAMES), on=st.sampled_from([False, True, True]))
    def somebody_turns_a_job_on_or_off(self, name: str, on: bool) -> None:
        self.world.turn(name, on)

    @rule(name=st.sampled_from(NAMES), expect=st.sampled_from(EXPECT))
    def something_else_is_expected(self, name: str, expect: Expect | None) -> None:
        self.world.expect(name, expect)

    @rule()
    def the_disk_is_full(self) -> None:
        self.world.fill_disk()

    @precondition(lambda self: self.world.full)
    @rule()
    def the_disk_has_room_again(self) -> None:
        self.world.free_disk()
        self.world.pass_time(0)

    @precondition(lambda self: not self.world.full)
    @rule(later=SPANS)
    def agentd_is_killed(self, later: int) -> None:
        self.world.restart(later)

    @invariant()
    def the_core_says_what_the_model_says(self) -> None:
        expected = sorted(said for model in self.world.models.values() for said in model.said)
        assert sorted(self.world.said) == expected

    @invariant()
    def the_record_shows_what_lasts(self) -> None:
        for name, model in self.world.models.items():
            watched = self.world.core.entry(name).state.watched
            assert set(watched.unmet if watched is not None else {}) == model.unmet()

    @invariant()
    def nothing_begins_twice_without_an_end_between(self) -> None:
        for name in NAMES:
            for event in ("late", "too-short"):
                words = [word for _, its, word in self.world.said if its == name and word.startswith(event)]
                lasts = False
                for word in words:
                    assert not (word == "late" and lasts)
                    assert word == event or lasts
                    lasts = word == event


TestAnyhow = Anyhow.TestCase
TestAnyhow.settings = settings(
    max_examples=examples(60), stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
