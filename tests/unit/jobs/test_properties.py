"""Whatever happens in whatever order: what the core of jobs never does."""

from collections import Counter
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec.structs import replace

from agentd.core.config import Config
from agentd.core.jobs.jobs import Jobs
from agentd.core.jobs.model import Outcome, RunSaved, RunStarts, RunStops, Saved
from agentd.core.jobs.settings import Expect, Job, Missed, Retries
from agentd.core.jobs.triggers import Adaptive, After, AnyTrigger, At, Boot, Cron, Every, Manual
from agentd.core.part import Effect, Refused
from agentd.core.quantities import DAY, HOUR, MINUTE, SECOND
from tests.examples import examples
from tests.unit.jobs.simulation import Memory

NOW = 1_774_600_000 * SECOND  # 27 March 2026, two days before the clocks of Europe change
CALENDARS = {"often", "nightly"}
RETRIES = Retries(count=2, backoff=MINUTE, max=3 * MINUTE)
EXPECT = Expect(start_within=3 * MINUTE, at_least=SECOND, at_most=HOUR)


def job(name: str, when: AnyTrigger, **settings: Any) -> Job:
    return Job(name=name, run=("true",), when=when, timezone="Europe/Berlin", **settings)


JOBS = [
    job("often", Cron("*/10 * * * *"), overlap="queue", retries=RETRIES, missed=Missed("all"), expect=EXPECT),
    job("nightly", At((2 * 3600 + 1800, 43200)), missed=Missed("within", HOUR), retries=RETRIES),
    job("steady", Every(7 * MINUTE), jitter=30 * SECOND, missed=Missed("skip"), expect=EXPECT),
    job(
        "supple", Adaptive(20 * MINUTE, MINUTE, HOUR), overlap="replace", concurrency=2, retries=RETRIES, expect=EXPECT
    ),
    job("next", After("often"), overlap="queue", concurrency=2),
    job("boot", Boot(2 * MINUTE)),
    job("manual", Manual(), retries=RETRIES),
]
NAMES = [job.name for job in JOBS]
CONFIGS = [
    Config(jobs={job.name: job for job in JOBS}, concurrency=3),
    Config(jobs={job.name: job for job in JOBS if job.name not in {"often", "next", "supple"}}, concurrency=3),
    Config(jobs={job.name: replace(job, overlap="skip", retries=Retries()) for job in JOBS}, concurrency=2),
    Config(jobs={job.name: replace(job, jitter=90 * SECOND, enabled=job.name != "steady") for job in JOBS}),
]
SPANS = st.sampled_from([0, 1, SECOND, MINUTE, 10 * MINUTE, HOUR]) | st.integers(0, 3 * HOUR)
RESULTS = ["success", "success", "exit-code", "timeout", "stopped", "interrupted"]


class Anything(RuleBasedStateMachine):
    """A core of jobs to which anything may happen, and what is known of its runs."""

    @initialize(lead=st.sampled_from([0, 100_000]))
    def begin(self, lead: int) -> None:
        self.now = NOW
        self.lead = lead
        self.config = CONFIGS[0]
        self.memory = Memory()
        self.under_way: dict[str, str] = {}  # run id to job
        self.ended: set[str] = set()
        self.by_hand: set[tuple[str, int]] = set()  # due at once, which may well be twice the same instant
        self.started: Counter[tuple[Any, ...]] = Counter()
        self.schedules: Counter[str] = Counter()  # how often the schedule of a job was changed
        self.engine = Jobs(
            self.config.jobs,
            Saved(),
            self.now,
            concurrency=self.config.concurrency,
            host="here",
            boot=NOW - SECOND,
            lead=lead,
        )
        self.carry_out()

    # What happens

    @rule(span=SPANS)
    def time_goes_by(self, span: int) -> None:
        end = self.now + span
        while (wakeup := self.engine.wakeup()) is not None and wakeup <= end:
            self.now = max(self.now, wakeup)
            self.tick()
        self.now = end

    @rule(span=SPANS)
    def a_tick_before_the_core_is_due_changes_nothing(self, span: int) -> None:
        due = self.engine.wakeup()
        early = self.now + span if due is None else min(self.now + span, due - 1)
        self.engine.tick(early)
        assert self.engine.effects() == []
        assert self.engine.wakeup() == due

    @rule(span=SPANS)
    def the_machine_sleeps(self, span: int) -> None:
        self.now += span
        self.tick()

    @rule(data=st.data(), result=st.sampled_from(RESULTS))
    def a_run_ends(self, data: st.DataObject, result: str) -> None:
        if self.under_way:
            run_id = data.draw(st.sampled_from(sorted(self.under_way)))
            self.over(run_id)
            self.engine.ended(run_id, Outcome(result=result), self.now)
            self.carry_out()
            assert self.memory.runs[int(run_id.rpartition(".")[2])].state == "ended"

    @rule(name=st.sampled_from(NAMES))
    def somebody_runs_a_job(self, name: str) -> None:
        self.by_hand.add((name, self.now))
        self.ask(lambda: self.engine.run(name, self.now))

    @rule(name=st.sampled_from(NAMES))
    def somebody_stops_a_job(self, name: str) -> None:
        self.ask(lambda: self.engine.stop(name, self.now))

    @rule(seq=st.integers(1, 30), name=st.sampled_from(NAMES))
    def somebody_stops_a_run(self, seq: int, name: str) -> None:
        self.ask(lambda: self.engine.stop(f"{name}.{seq}", self.now))

    @rule(name=st.sampled_from(NAMES), direction=st.sampled_from([1, -1]))
    def somebody_changes_how_often(self, name: str, direction: int) -> None:
        self.ask(lambda: self.engine.step_interval(name, direction, self.now))

    @rule(name=st.sampled_from(NAMES), minutes=st.integers(1, 120))
    def somebody_sets_an_interval(self, name: str, minutes: int) -> None:
        self.schedules[name] += 1
        self.ask(lambda: self.engine.set_interval(name, minutes * MINUTE, self.now))

    @rule(name=st.sampled_from(NAMES), enabled=st.booleans())
    def somebody_turns_a_job_on_or_off(self, name: str, enabled: bool) -> None:
        self.ask(lambda: self.engine.set_enabled(name, enabled, self.now))

    @rule(name=st.sampled_from(NAMES))
    def somebody_resets_a_job(self, name: str) -> None:
        self.schedules[name] += 1
        self.ask(lambda: self.engine.reset(name, self.now))

    @rule(
        delta=st.sampled_from([-DAY, -2 * HOUR, -SECOND, SECOND, 2 * HOUR, DAY, -NOW, 40 * 365 * DAY])
        | st.integers(-DAY, DAY)
    )
    def the_clock_is_set(self, delta: int) -> None:
        delta = max(delta, -self.now)
        self.now += delta
        self.engine.clock_stepped(delta, self.now)
        self.carry_out()

    @rule(config=st.sampled_from(CONFIGS))
    def the_configuration_changes(self, config: Config) -> None:
        self.take_up(config)
        self.engine.configure(config.jobs, config.concurrency, "UTC", self.now)
        self.carry_out()

    @rule(down=SPANS, config=st.sampled_from(CONFIGS), seen=st.booleans(), delta=st.sampled_from([0, 0, -HOUR, DAY]))
    def the_daemon_is_restarted(self, down: int, config: Config, seen: bool, delta: int) -> None:
        """With or without knowledge of how the runs under way ended, and with a clock that may have been set."""
        self.engine.drain()
        self.engine.tick(self.now)
        self.carry_out()
        self.start_again(down + delta, config, seen=seen)

    @rule(down=SPANS, stored=st.booleans(), late=SPANS)
    def the_daemon_is_killed(self, down: int, stored: bool, late: int) -> None:
        """In the middle of a decision: before it was stored, or before anything of it was carried out."""
        self.now += late
        self.engine.tick(self.now)
        effects = self.engine.effects()
        if stored:
            self.memory.write(effects)
        self.start_again(down, self.config, seen=False)

    # What never happens

    @invariant()
    def what_waits_is_what_the_store_says(self) -> None:
        entries = self.engine.entries.values()
        waiting = {run.run_id for entry in entries for run in entry.pending}
        stored = {run.run_id: run.state for run in self.memory.saved().open_runs}
        assert stored == dict.fromkeys(waiting, "queued") | dict.fromkeys(self.under_way, "running")
        assert {run.run_id for run in self.engine.running()} == set(self.under_way)
        assert self.engine._places.taken == len(self.under_way)

    @invariant()
    def the_next_due_time_was_not_dealt_with(self) -> None:
        for name, entry in self.engine.entries.items():
            assert entry.due is None or entry.due > entry.state.handled
            assert entry.enabled or entry.due is None
            assert self.memory.states[name] == entry.state

    @invariant()
    def a_tick_always_gets_further(self) -> None:
        wakeup = self.engine.wakeup()
        if wakeup is not None and wakeup <= self.now:
            self.tick()

    def teardown(self) -> None:
        """However it went on: once the outcomes are known, every run that was started has ended in the store."""
        if hasattr(self, "engine"):
            self.engine.drain()
            for run_id in list(self.under_way):
                self.over(run_id)
                self.engine.ended(run_id, Outcome(result="success"), self.now)
            self.carry_out()
            assert {run.state for run in self.memory.runs.values()} <= {"ended", "queued"}

    # How it is done

    def tick(self) -> None:
        self.engine.tick(self.now)
        self.carry_out()
        wakeup = self.engine.wakeup()
        assert wakeup is None or wakeup > self.now

    def ask(self, request: Any) -> None:
        try:
            request()
        except Refused as refused:
            if refused.name not in {"Busy", "NoSuchJob", "NoSuchRun", "Unsupported", "InvalidArgument"}:
                raise
        self.carry_out()

    def take_up(self, config: Config) -> None:
        for name in NAMES:
            if config.jobs.get(name) != self.config.jobs.get(name):
                self.schedules[name] += 1
        self.config = config

    def start_again(self, later: int, config: Config, *, seen: bool) -> None:
        self.take_up(config)
        self.now += later
        outcomes = dict.fromkeys(sorted(self.under_way)[:2], Outcome(result="success")) if seen else {}
        for run_id in list(self.under_way):
            self.over(run_id)
        saved = replace(self.memory.saved(), outcomes=outcomes)
        self.engine = Jobs(
            config.jobs, saved, self.now, concurrency=config.concurrency, host="here", boot=NOW - SECOND, lead=self.lead
        )
        self.carry_out()

    def over(self, run_id: str) -> None:
        del self.under_way[run_id]
        self.ended.add(run_id)

    def carry_out(self) -> None:
        effects: list[Effect] = self.engine.effects()
        self.memory.write(effects)
        saved = {(effect.run.run_id, effect.run.state) for effect in effects if isinstance(effect, RunSaved)}
        for effect in effects:
            if isinstance(effect, RunStops):
                assert effect.run_id in self.under_way
            if isinstance(effect, RunStarts):
                run, job = effect.run, effect.job
                assert (run.run_id, "running") in saved
                assert run.run_id not in self.under_way
                assert run.run_id not in self.ended
                self.under_way[run.run_id] = run.job
                assert len(self.under_way) <= self.config.concurrency
                assert list(self.under_way.values()).count(run.job) <= job.concurrency
                if run.job in CALENDARS and (run.job, run.due) not in self.by_hand:
                    key = (run.job, self.schedules[run.job], run.due, run.attempt)
                    self.started[key] += 1
                    assert self.started[key] == 1, key


TestAnything = Anything.TestCase
TestAnything.settings = settings(
    max_examples=examples(60), stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
