"""The core of rules: what is sampled, what rules do and when, and what outlives a restart."""

from collections.abc import Sequence
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import pytest
from msgspec import structs

from agentd.core.jobs.model import Run, RunChanged
from agentd.core.part import Decided, Effect, Refused, Urgent
from agentd.core.quantities import DAY, HOUR, MINUTE, SECOND
from agentd.core.rules.kpis import Memory
from agentd.core.rules.model import (
    EvidenceSaved,
    Gone,
    KpisSampled,
    KpisWanted,
    Moment,
    OutputWanted,
    RuleActs,
    RuleChanged,
    RuleForgotten,
    RuleOver,
    RuleSaved,
    SelfTestEnded,
    Source,
    WitnessWanted,
    WorkSaved,
)
from agentd.core.rules.rules import Rules, RuleSettings, Saved, spans
from agentd.core.rules.settings import KINDS, OwnKpi, Rule, Step, doubts
from agentd.core.rules.work import WorkMemory

EVERY = 5 * SECOND
NOW = 1_800_000_000 * SECOND
MEMORY = Source("memory")
T = TypeVar("T", bound=Effect)


def action(text: str) -> Any:
    return KINDS["action"](text)


def rule(name: str, when: str, do: str | None = "TriggerSelfTest", **more: Any) -> Rule:
    return Rule(name=name, when=when, do=None if do is None else action(do), **more)


def ended(job: str, seq: int, at: int, result: str = "success") -> Run:
    return Run(job=job, seq=seq, due=at, cause="schedule", state="ended", result=result, ended=at)


class Jobs:
    """The jobs, as rules see them."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.held: dict[str, str] = {}

    def is_running(self, name: str) -> bool:
        return any(run.job == name and run.state == "running" for run in self.runs)

    def waiting(self, now: int) -> Sequence[Run]:
        return [run for run in self.runs if run.state == "queued" and run.not_before <= now]

    def all_seen(self) -> list[Run]:
        return list(self.runs)

    def run(self, name: str, now: int, cause: str = "manual") -> Run:
        raise Refused("NoSuchJob", name)

    def stop(self, target: str, now: int) -> object:
        raise Refused("NoSuchJob", target)

    def hold(self, who: str, why: str, *, pause: bool = False) -> None:
        self.held[who] = why

    def release(self, who: str, now: int) -> None:
        self.held.pop(who, None)


class Machine:
    """A machine whose memory is in use by so many percent, and the core of rules on it."""

    def __init__(
        self, *rules: Rule, own: Sequence[OwnKpi] = (), saved: Saved | None = None, every: int = EVERY
    ) -> None:
        self.jobs = Jobs()
        self.at = self.alive = 1000 * SECOND
        self.wall, self.boot = NOW, "first"
        self.settings = RuleSettings(
            rules={one.name: one for one in rules},
            own={one.name: one for one in own},
            every=every,
            jobs=("backup", "probe"),
            zone=ZoneInfo("UTC"),
        )
        self.core = Rules(self.jobs, saved or Saved(), self.settings, self.moment)
        self.told: list[Effect] = self.core.effects()

    @property
    def moment(self) -> Moment:
        return Moment(self.at, self.alive, self.wall, self.boot)

    def pass_time(self, span: int) -> None:
        self.at += span
        self.alive += span
        self.wall += span

    def take(self, type_: type[T]) -> list[T]:
        """Takes what was told of that type since the last call."""
        self.told += self.core.effects()
        found = [effect for effect in self.told if isinstance(effect, type_)]
        self.told = [effect for effect in self.told if not isinstance(effect, type_)]
        return found

    def sample(self, used: float | None, times: int = 1) -> list[RuleActs]:
        """Has memory in use by so many percent at the next samples; returns what rules did then."""
        seen: Any = Gone("nobody knows") if used is None else Memory(10_000, 10_000 - round(100 * used))
        for _ in range(times):
            self.pass_time(self.settings.every)
            self.core.tick(self.wall)
            self.core.observed({MEMORY: seen}, self.moment)
            for wanted in self.take(WitnessWanted):
                self.core.witnessed(wanted.number, ["hungry (pid 7)"], self.wall)
        return self.take(RuleActs)

    def restart(self, down: int = 0) -> "Machine":
        """Starts agentd anew, with what was stored."""
        self.core.drain()
        return self.crash(down)

    def crash(self, down: int = 0) -> "Machine":
        """Starts agentd anew with what was stored so far, and no more."""
        rules = {saved.rule: saved.remembered for saved in self.take(RuleSaved)}
        work = [WorkMemory(), *(saved.memory for saved in self.take(WorkSaved))][-1]
        tested = [None, *self.take(SelfTestEnded)][-1]
        fresh = Machine.__new__(Machine)
        fresh.__dict__ |= self.__dict__
        fresh.pass_time(down)
        fresh.jobs.held.clear()
        fresh.core = Rules(fresh.jobs, Saved(rules=rules, work=work, tested=tested), self.settings, fresh.moment)
        fresh.told = fresh.core.effects()
        return fresh

    def state(self, name: str) -> str:
        return self.core.standings[name].state


HIGH = rule("high", "MemoryUsage > 90% for 1m", cooldown=0)


def test_nothing_is_looked_at_where_there_is_no_rule() -> None:
    machine = Machine()
    assert machine.core.wakeup() is None
    machine.pass_time(DAY)
    machine.core.tick(machine.wall)
    assert machine.take(Effect) == []


def test_only_what_rules_need_is_looked_at_once_a_period() -> None:
    machine = Machine(HIGH, rule("own", "AgentUptime > 1h"))
    assert machine.core.wakeup() == NOW
    machine.core.tick(NOW)
    (wanted,) = machine.take(KpisWanted)
    assert wanted.sources == (Source("agent"), MEMORY)
    assert machine.core.wakeup() == NOW + EVERY
    machine.core.tick(NOW + EVERY - 1)
    assert machine.take(KpisWanted) == []


def test_a_stall_is_looked_at_when_it_begins_but_not_more_than_once_more_a_period() -> None:
    machine = Machine(rule("scarce", "Pressure:memory > 20% for 3 of 5"))
    core, looks = machine.core, []
    for now in range(NOW, NOW + MINUTE, SECOND // 2):  # the kernel tells of it twice a second
        core.stalled(now)
        core.tick(now)
        if machine.take(KpisWanted):
            looks.append(now)
    assert [one - NOW for one in looks[:3]] == [0, EVERY // 2, EVERY]
    assert len(looks) == 2 * MINUTE // EVERY
    core.stalled(looks[-1] + 1)
    assert core.wakeup() == looks[-1] + EVERY


def test_a_stall_is_nothing_where_there_is_no_rule() -> None:
    machine = Machine()
    machine.core.stalled(NOW)
    assert machine.core.wakeup() is None


def test_a_rule_acts_once_its_condition_has_held_and_not_again() -> None:
    machine = Machine(HIGH)
    assert machine.sample(95, times=12) == []
    assert machine.state("high") == "pending"
    (acts,) = machine.sample(95)
    assert (str(acts.action), acts.rule) == ("TriggerSelfTest", "high")
    assert acts.reason == "MemoryUsage > 90%: 95% against 90%"
    assert machine.sample(95, times=100) == []


def test_the_evidence_is_stored_before_a_rule_acts() -> None:
    machine = Machine(HIGH)
    machine.sample(95, times=12)
    machine.pass_time(EVERY)
    machine.core.observed({MEMORY: Memory(100, 5)}, machine.moment)
    (wanted,) = machine.take(WitnessWanted)
    assert machine.take(RuleActs) == []
    machine.core.witnessed(wanted.number, ["hungry (pid 7)"], machine.wall)
    told = [effect for effect in machine.take(Effect) if isinstance(effect, EvidenceSaved | RuleActs)]
    assert [type(effect) for effect in told] == [EvidenceSaved, RuleActs]
    saved = told[0]
    assert isinstance(saved, EvidenceSaved)
    assert (saved.evidence.processes, saved.evidence.kpis) == (("hungry (pid 7)",), {"MemoryUsage": 95.0})


def test_a_rule_acts_without_a_witness_that_never_comes() -> None:
    machine = Machine(HIGH)
    machine.sample(95, times=12)
    for _ in range(5):
        machine.pass_time(EVERY)
        machine.core.observed({MEMORY: Memory(100, 5)}, machine.moment)
    assert [str(acts.action) for acts in machine.take(RuleActs)] == ["TriggerSelfTest"]


def test_of_equal_actions_one_is_done_and_the_highest_priority_goes_first() -> None:
    when = "MemoryUsage > 90%"
    machine = Machine(
        rule("low", when, "RunJob:probe", priority="low"),
        rule("twin", when, "RunJob:backup", priority="medium"),
        rule("critical", when, "RunJob:backup", priority="critical"),
    )
    done = [(acts.rule, str(acts.action)) for acts in machine.sample(95)]
    assert done == [("critical", "RunJob:backup"), ("low", "RunJob:probe")]


def test_jobs_are_paused_for_as_long_as_the_rule_fires() -> None:
    machine = Machine(rule("pause", "MemoryUsage > 90% CLEAR 50%", "PauseJobs"))
    machine.sample(95)
    assert "the rule pause has paused" in machine.jobs.held["rules"]
    machine = machine.restart(down=MINUTE)
    machine.sample(80)
    assert "rules" in machine.jobs.held, "the pause does not outlive a restart of agentd"
    machine.sample(40)
    assert machine.jobs.held == {}


def test_a_rule_that_is_taken_out_lets_go_of_the_jobs() -> None:
    machine = Machine(rule("pause", "MemoryUsage > 90%", "PauseJobs"))
    machine.sample(95)
    changes = machine.core.configure(
        RuleSettings(rules={}, own={}, every=EVERY, jobs=(), zone=ZoneInfo("UTC")), machine.moment
    )
    assert (changes, machine.jobs.held) == (["rule pause: removed"], {})


@pytest.mark.parametrize(("down", "more"), [(MINUTE, 1), (9 * MINUTE, 1), (11 * MINUTE, 13)])
def test_what_has_held_outlives_a_short_restart_without_the_downtime(down: int, more: int) -> None:
    machine = Machine(HIGH)
    machine.sample(95, times=12)
    machine = machine.restart(down)
    needed = next(number for number in range(1, 20) if machine.sample(95))
    assert needed == more


def test_another_boot_begins_anew_and_forgets_no_fire() -> None:
    machine = Machine(rule("high", "MemoryUsage > 90% for 1m", cooldown=HOUR))
    assert machine.sample(95, times=13)
    machine.core.drain()
    rules = {saved.rule: saved.remembered for saved in machine.take(RuleSaved)}
    booted = Machine(*machine.settings.rules.values(), saved=Saved(rules=rules))
    booted.wall, booted.boot, booted.at, booted.alive = machine.wall + MINUTE, "second", 0, 0
    booted.core = Rules(booted.jobs, Saved(rules=rules), booted.settings, booted.moment)
    assert booted.state("high") == "unknown"
    assert booted.sample(95, times=13) == []
    assert booted.core.standings["high"].withheld.startswith("cooldown of 1h")
    assert booted.sample(95, times=HOUR // EVERY)


def test_a_clock_that_is_set_back_across_a_boot_allows_nothing_again() -> None:
    machine = Machine(rule("high", "MemoryUsage > 90%", cooldown=HOUR))
    assert machine.sample(95)
    machine.core.drain()
    rules = {saved.rule: saved.remembered for saved in machine.take(RuleSaved)}
    machine.wall, machine.boot, machine.at, machine.alive = machine.wall - DAY, "second", 0, 0
    machine.core = Rules(machine.jobs, Saved(rules=rules), machine.settings, machine.moment)
    assert machine.sample(95, times=100) == []


def test_after_a_suspend_a_rule_begins_anew_and_only_tells_for_two_minutes() -> None:
    machine = Machine(
        rule("run", "MemoryUsage > 90% for 10s", "RunJob:backup"), rule("tell", "MemoryUsage > 90% for 10s", "Notify")
    )
    machine.sample(95, times=2)
    machine.alive += HOUR
    machine.wall += HOUR
    assert machine.sample(95, times=2) == []
    assert [acts.rule for acts in machine.sample(95)] == ["tell"]
    assert [acts.rule for acts in machine.sample(95, times=30)] == ["run"]


def test_a_rule_that_was_passed_over_was_known_until_the_suspend() -> None:
    machine = Machine(rule("high", "MemoryUsage > 90%"))
    machine.sample(40, times=50)
    machine.alive += HOUR
    machine.wall += HOUR
    machine.sample(None)
    assert machine.state("high") == "inactive"
    machine.sample(None, times=20)
    assert machine.state("high") == "unknown"


def test_a_missing_kpi_ends_no_episode_and_the_rule_does_not_act_again() -> None:
    machine = Machine(rule("high", "MemoryUsage > 90%", cooldown=0))
    assert machine.sample(95)
    machine.sample(None, times=200)
    assert machine.state("high") == "unknown"
    assert machine.sample(95) == []
    assert machine.state("high") == "firing"


def test_a_kpi_of_ones_own_is_what_its_job_printed_last() -> None:
    own = OwnKpi(name="Room", job="probe", value="output", unit="celsius")
    machine = Machine(rule("warm", "Room > 30C", "Notify"), own=[own])
    machine.sample(10)
    assert machine.core.gauges.values["Room"].missing == "probe has not run yet"
    run = Run(seq=1, job="probe", due=NOW, cause="schedule", state="ended", result="success", ended=NOW)
    machine.core.heard([RunChanged("finished", run)], machine.wall)
    (wanted,) = machine.take(OutputWanted)
    machine.core.output(wanted.run, "31.5 C")
    assert [acts.rule for acts in machine.sample(10)] == ["warm"]
    machine.core.output(wanted.run, "nonsense")
    machine.sample(10)
    assert machine.core.gauges.values["Room"].missing == (
        'the last line of probe.1 is "nonsense": expected a number, with or without its unit'
    )


def test_decisions_are_told_where_a_rule_fires_or_ceases_to() -> None:
    machine = Machine(rule("high", "MemoryUsage > 90% for 10s", cooldown=0))
    for used in (95, 10, 95, 95, 95, 10):
        machine.sample(used)
    assert [decided.kind for decided in machine.take(Decided)] == ["firing", "inactive"]
    assert [changed.state for changed in machine.take(RuleChanged)] == [
        "pending", "inactive", "pending", "firing", "inactive",
    ]  # fmt: skip


def test_samples_are_told_with_what_has_a_value_alone() -> None:
    machine = Machine(HIGH, rule("swap", "SwapUsage > 1%"))
    machine.sample(50)
    (sampled,) = machine.take(KpisSampled)
    assert sampled.values == {"MemoryUsage": 50.0}
    assert machine.core.gauges.values["SwapUsage"].missing == "nobody looked"


def test_a_refused_action_is_told_as_a_decision() -> None:
    machine = Machine(rule("run", "MemoryUsage > 90%", "RunJob:backup"))
    (acts,) = machine.sample(95)
    machine.core.refused(acts, "there is no room", machine.wall)
    assert machine.take(Decided)[-1].reason == "RunJob:backup was refused: there is no room"


def test_a_rule_that_comes_back_remembers_when_it_fired() -> None:
    machine = Machine(rule("high", "MemoryUsage > 90%", cooldown=DAY))
    assert machine.sample(95)
    nothing = RuleSettings(rules={}, own={}, every=EVERY, jobs=(), zone=ZoneInfo("UTC"))
    machine.core.configure(nothing, machine.moment)
    machine.core.configure(machine.settings, machine.moment)
    assert machine.sample(95, times=10) == []
    machine.sample(50)
    assert machine.sample(95, times=10) == []
    assert machine.core.standings["high"].withheld.startswith("cooldown")


def test_a_full_disk_blinds_no_rule_and_piles_nothing_up() -> None:
    machine = Machine(HIGH)
    machine.core.storable("the disk is full", machine.wall)
    machine.sample(95, times=10)
    machine.sample(50)
    machine.take(Effect)
    machine.core.heard([RunChanged("finished", ended("clean", 1, machine.wall))], machine.wall)
    machine.sample(50, times=1000)
    assert machine.state("high") == "inactive"
    assert (machine.take(RuleSaved), machine.take(WorkSaved)) == ([], [])
    assert all(isinstance(wanted, Urgent) for wanted in machine.take(KpisWanted))
    machine.core.storable("", machine.wall)
    machine.sample(50, times=12)
    assert len(machine.take(WorkSaved)) == 1


def test_nothing_is_stored_as_long_as_nothing_happens() -> None:
    machine = Machine(HIGH)
    machine.sample(50, times=2)
    machine.take(Effect)
    machine.sample(50, times=1000)
    assert {type(effect) for effect in machine.take(Effect)} == {KpisWanted, KpisSampled}


def test_once_in_a_minute_a_rule_is_stored_that_would_remember_something_else_and_no_other() -> None:
    machine = Machine(rule("soon", "MemoryUsage > 90% for 1h"), rule("far", "MemoryUsage > 99%"))
    machine.sample(50)
    machine.sample(50, times=24)
    assert machine.take(RuleSaved) == []
    machine.sample(95, times=24)
    assert [saved.rule for saved in machine.take(RuleSaved)] == ["soon"] * 2


def test_a_function_of_a_span_goes_on_after_a_restart_with_the_samples_that_were_stored() -> None:
    rules = (rule("avg", "avg(MemoryUsage, 10min) > 90%"), rule("short", "max(MemoryUsage, 1min) > 90%"))
    before = Machine(*rules)
    before.sample(95, times=60)
    stored = [(one.at, one.values["MemoryUsage"]) for one in before.take(KpisSampled)]
    after = Machine(*rules)
    after.at, after.alive, after.wall = before.at, before.alive, before.wall
    after.core = Rules(after.jobs, Saved(samples={"MemoryUsage": stored}), after.settings, after.moment)
    assert [acts.rule for acts in after.sample(95, times=58)] == ["short"]
    assert [acts.rule for acts in after.sample(95, times=3)] == ["avg"]
    assert spans(after.settings) == {"MemoryUsage": 10 * MINUTE}


def test_samples_of_another_boot_are_of_no_span() -> None:
    machine = Machine(rule("short", "max(MemoryUsage, 1min) > 90%"))
    stored = [(NOW - (1000 + 5 * number) * SECOND, 95.0) for number in range(100, 0, -1)]
    machine.core = Rules(machine.jobs, Saved(samples={"MemoryUsage": stored}), machine.settings, machine.moment)
    assert machine.sample(95) == []


def test_what_was_learned_outlives_a_boot() -> None:
    machine = Machine(rule("odd", "MemoryUsage IS anomalous", "Notify", cooldown=0), every=MINUTE)
    for hour in range(26):
        machine.sample(50 + hour % 2, times=60)
    machine.core.drain()
    rules = {saved.rule: saved.remembered for saved in machine.take(RuleSaved)}
    machine.boot, machine.at, machine.alive = "second", 0, 0
    machine.core = Rules(machine.jobs, Saved(rules=rules), machine.settings, machine.moment)
    assert machine.sample(51) == []
    assert machine.state("odd") == "inactive"
    assert [acts.rule for acts in machine.sample(99)] == ["odd"]


@pytest.mark.parametrize("lost", ["samples", "a suspend"])
def test_what_nobody_saw_ends_no_episode(lost: str) -> None:
    machine = Machine(rule("high", "MemoryUsage > 90% for 1m", cooldown=0))
    assert machine.sample(95, times=13)
    if lost == "samples":
        machine.sample(None, times=7)
    else:
        machine.alive += HOUR
        machine.wall += HOUR
    assert machine.sample(95, times=60) == []
    assert machine.state("high") == "firing"
    machine.sample(50)
    assert machine.state("high") == "inactive"
    assert machine.sample(95, times=13)


# Ladders

REPAIR = Step(do=action("RestartUnit:web.service"), after=MINUTE)
LAST = Step(do=action("RequestReboot"), after=4 * MINUTE)
LADDER = rule("ladder", "MemoryUsage > 90%", then=(REPAIR, LAST))


def verbs(acts: Sequence[RuleActs]) -> list[str]:
    return [act.action.verb for act in acts]


def test_a_ladder_that_was_held_back_has_its_steps_as_far_apart_as_they_were_written() -> None:
    machine = Machine(LADDER)  # with the usual cooldown of five minutes
    assert verbs(machine.sample(95)) == ["TriggerSelfTest"]
    machine.sample(50)
    assert machine.sample(95, times=58) == []  # fires again, and may do nothing yet
    assert machine.core.standings["ladder"].withheld.startswith("cooldown")
    assert verbs(machine.sample(95)) == ["TriggerSelfTest"]
    assert machine.sample(95, times=11) == []
    assert verbs(machine.sample(95)) == ["RestartUnit"]
    assert machine.sample(95, times=35) == []
    assert verbs(machine.sample(95)) == ["RequestReboot"]


def test_time_in_a_suspend_brings_no_step_of_a_ladder_nearer() -> None:
    machine = Machine(LADDER)
    assert verbs(machine.sample(95)) == ["TriggerSelfTest"]
    machine.alive += 8 * HOUR
    machine.wall += 8 * HOUR
    assert machine.sample(95, times=23) == []  # in the first minutes after a suspend rules only tell
    assert verbs(machine.sample(95, times=2)) == ["RestartUnit"]
    assert machine.sample(95, times=35) == []
    assert verbs(machine.sample(95)) == ["RequestReboot"]


def test_a_restart_of_agentd_brings_no_step_of_a_ladder_nearer() -> None:
    machine = Machine(LADDER)
    machine.sample(95)
    machine = machine.restart(down=5 * MINUTE)
    assert machine.sample(95, times=11) == []
    assert verbs(machine.sample(95)) == ["RestartUnit"]


def test_after_a_long_time_without_agentd_what_must_hold_must_hold_anew() -> None:
    held = rule("held", "MemoryUsage > 90% for 1m", then=(LAST,))
    machine = Machine(held)
    assert verbs(machine.sample(95, times=13)) == ["TriggerSelfTest"]
    machine = machine.restart(down=HOUR)
    assert machine.sample(95, times=12) == []
    assert machine.state("held") == "pending"
    assert verbs(machine.sample(95)) == ["TriggerSelfTest"]


def test_a_rule_that_was_taken_out_while_it_fired_begins_anew_when_it_is_back() -> None:
    machine = Machine(LADDER)
    machine.sample(95)
    machine.core.configure(structs.replace(machine.settings, rules={}), machine.moment)
    machine.pass_time(2 * DAY)
    machine.core.configure(machine.settings, machine.moment)
    assert machine.state("ladder") == "unknown"
    assert verbs(machine.sample(95)) == ["TriggerSelfTest"]


def test_other_steps_are_begun_anew_by_a_rule_that_fires() -> None:
    machine = Machine(rule("one", "MemoryUsage > 90%", "Notify", cooldown=0))
    machine.sample(95)
    pausing = rule("one", "MemoryUsage > 90%", "PauseJobs", cooldown=0)
    machine.core.configure(structs.replace(machine.settings, rules={"one": pausing}), machine.moment)
    assert machine.jobs.held == {}  # nothing was decided yet
    assert verbs(machine.sample(95)) == ["PauseJobs"]
    assert list(machine.jobs.held) == ["rules"]


def test_an_action_that_was_not_begun_when_agentd_crashed_is_done_afterwards() -> None:
    machine = Machine(rule("high", "MemoryUsage > 90%"))
    machine.sample(50)
    machine.pass_time(EVERY)
    machine.core.observed({MEMORY: Memory(100, 5)}, machine.moment)  # and the witness never comes
    machine = machine.crash()
    assert verbs(machine.sample(95)) == ["TriggerSelfTest"]
    machine = machine.crash()
    assert machine.sample(95, times=10) == []


def test_jobs_are_not_paused_by_a_rule_that_sees_nothing_any_more() -> None:
    machine = Machine(rule("pause", "MemoryUsage > 90%", "PauseJobs"))
    machine.sample(95)
    assert machine.jobs.held
    machine.sample(None, times=100)
    assert machine.jobs.held  # for ten minutes
    machine.sample(None, times=30)
    assert machine.state("pause") == "unknown"
    assert machine.jobs.held == {}


def test_pausing_jobs_because_of_how_jobs_do_is_doubted() -> None:
    mine = OwnKpi(name="Room", job="probe")
    found = doubts(
        {
            "a": rule("a", "ErrorRate > 50% AND Room < 5", "PauseJobs"),
            "b": rule("b", "MemoryUsage > 90%", "PauseJobs"),
            "c": rule("c", "JobFailing:backup > 3", "Notify"),
        },
        {"Room": mine},
    )
    (doubt,) = found
    assert doubt.startswith("rules.a: pauses the jobs, and ErrorRate and Room stay as they are while no job runs")


# Clocks


def test_a_clock_that_was_ahead_keeps_no_rule_from_acting_after_the_next_boot() -> None:
    machine = Machine(rule("high", "MemoryUsage > 90%"))
    machine.wall += 12 * 365 * DAY
    machine.sample(95)
    machine.wall -= 12 * 365 * DAY
    machine.boot, machine.at, machine.alive = "second", 0, 0
    machine = machine.restart()
    assert machine.sample(95, times=59) == []
    assert verbs(machine.sample(95, times=2)) == ["TriggerSelfTest"]


def test_the_jobs_of_the_last_hour_are_known_when_the_clock_is_set() -> None:
    machine = Machine(rule("bad", "ErrorRate > 50%"))
    for number in range(10):
        failed = ended("backup", number + 1, machine.wall, "exit-code")
        machine.core.heard([RunChanged("finished", failed)], machine.wall)
    for delta in (-40 * 365 * DAY, 40 * 365 * DAY):
        machine.wall += delta
        machine.core.clock_stepped(delta, machine.wall)
        machine.sample(50)
        assert machine.core.gauges.values["ErrorRate"].value == 100.0
    machine.pass_time(HOUR + MINUTE)
    machine.sample(50)
    assert machine.core.gauges.values["ErrorRate"].value is None


# What is remembered


def test_how_the_jobs_do_is_stored_soon_after_a_run_and_at_the_end() -> None:
    machine = Machine(rule("bad", "JobFailing:backup > 50"))
    machine.sample(50)
    for number in range(7):
        failed = ended("backup", number + 1, machine.wall, "exit-code")
        machine.core.heard([RunChanged("finished", failed)], machine.wall)
        machine.sample(50)
    machine = machine.crash()
    machine.sample(50)
    assert machine.core.gauges.values["JobFailing:backup"].value == 7.0


def test_a_kpi_of_ones_own_is_that_of_the_latest_run_after_a_restart_and_after_a_reload() -> None:
    mine = OwnKpi(name="Room", job="probe", value="exit-code")
    machine = Machine(rule("room", "Room > 5"), own=[mine])
    machine.jobs.runs = [structs.replace(ended("probe", 4, NOW, "exit-code"), exit_code=7)]
    machine.sample(50)
    assert machine.core.gauges.values["Room"].missing == "probe has not run yet"
    machine = machine.restart()
    machine.sample(50)
    assert machine.core.gauges.values["Room"].value == 7.0
    text = OwnKpi(name="Text", job="probe")
    settings = structs.replace(machine.settings, own={"Room": mine, "Text": text}, rules={"t": rule("t", "Text > 5")})
    machine.take(OutputWanted)
    machine.core.configure(settings, machine.moment)
    assert [wanted.run.seq for wanted in machine.take(OutputWanted)] == [4]


def test_a_number_beyond_all_numbers_is_missing() -> None:
    mine = OwnKpi(name="Room", job="probe", value="json:t")
    machine = Machine(rule("room", "Room > 5"), own=[mine])
    probed = ended("probe", 1, NOW)
    machine.core.heard([RunChanged("finished", probed)], machine.wall)
    machine.core.output(probed, '{"t": 1' + "0" * 400 + "}")
    machine.sample(50)
    assert machine.core.gauges.values["Room"].value is None
    assert machine.core.gauges.values["Room"].missing.endswith('… as "t": that is too large')


def test_a_rule_near_its_limit_is_stored_no_more_often_than_one_that_is_far_from_it() -> None:
    machine = Machine(rule("near", "MemoryUsage > 90% for 5m"))
    machine.sample(50)
    machine.take(RuleSaved)
    for _ in range(60):
        machine.sample(95)
        machine.sample(50)
    assert len(machine.take(RuleSaved)) <= 10  # once a minute


def test_a_rule_that_was_removed_long_ago_is_forgotten() -> None:
    machine = Machine(rule("gone", "MemoryUsage > 90%"), rule("kept", "MemoryUsage > 95%"))
    machine.sample(92)
    without = structs.replace(machine.settings, rules={"kept": machine.settings.rules["kept"]})
    machine.core.configure(without, machine.moment)
    machine.pass_time(31 * DAY)
    machine.core.configure(without, machine.moment)
    assert [forgotten.rule for forgotten in machine.take(RuleForgotten)] == ["gone"]


def test_both_baselines_of_a_comparison_outlive_a_restart() -> None:
    two = "MemoryUsage > baseline(MemoryUsage, 7d) CLEAR baseline(MemoryUsage, 1d)"
    machine = Machine(rule("two", two, "Notify", cooldown=0), every=MINUTE)
    machine.sample(50, times=25 * 60)
    machine = machine.restart()
    assert machine.sample(60)
    machine.sample(20)
    assert machine.state("two") == "inactive"


def test_a_failed_self_test_is_remembered_across_a_restart() -> None:
    last = Step(do=action("RequestReboot"), after=2 * MINUTE, if_="self_test_failed")
    machine = Machine(rule("ladder", "MemoryUsage > 90%", then=(last,)))
    machine.sample(95)
    machine.pass_time(SECOND)
    machine.core.tested(machine.moment, failed=True)
    machine = machine.restart()
    assert verbs(machine.sample(95, times=30)) == ["RequestReboot"]


def test_whoever_did_something_for_a_rule_hears_that_the_rule_is_over() -> None:
    machine = Machine(rule("high", "MemoryUsage > 90%"), rule("higher", "MemoryUsage > 95%"))
    machine.sample(92)
    machine.take(RuleOver)
    machine.sample(50)
    assert [over.rule for over in machine.take(RuleOver)] == ["high"]
    machine.core.configure(structs.replace(machine.settings, rules={}), machine.moment)
    assert {over.rule for over in machine.take(RuleOver)} == {"high", "higher"}


def test_why_an_action_was_refused_is_shown_as_long_as_the_rule_fires() -> None:
    machine = Machine(rule("high", "MemoryUsage > 90%"))
    (acts,) = machine.sample(95)
    machine.core.refused(acts, "there is no room", machine.wall)
    assert machine.core.standings["high"].withheld == "TriggerSelfTest was refused: there is no room"
    machine.sample(50)
    assert machine.core.standings["high"].withheld == ""


def test_of_a_rule_that_flaps_it_is_told_once() -> None:
    machine = Machine(rule("nervous", "MemoryUsage > 90%", "Notify", cooldown=0))
    for _ in range(100):
        machine.sample(95)
        machine.sample(50)
    decided = [one.reason for one in machine.take(Decided)]
    assert len(decided) < 10
    assert "flapping" in decided[-1] or "flapping" in decided[-2]
    assert len(machine.take(RuleSaved)) < 30
    machine.sample(50, times=400)
    assert machine.sample(95)
    assert machine.take(Decided)


def test_an_action_whose_rule_is_over_before_the_witness_comes_is_not_done() -> None:
    machine = Machine(rule("high", "MemoryUsage > 90%", "RequestReboot"))
    machine.pass_time(EVERY)
    machine.core.observed({MEMORY: Memory(100, 5)}, machine.moment)
    (wanted,) = machine.take(WitnessWanted)
    machine.pass_time(EVERY)
    machine.core.observed({MEMORY: Memory(100, 50)}, machine.moment)
    machine.core.witnessed(wanted.number, (), machine.wall)
    assert machine.take(RuleActs) == []
    assert machine.take(Decided)[-1].reason == "RequestReboot is not done any more: the rule was over before"
