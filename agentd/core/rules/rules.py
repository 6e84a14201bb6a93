"""The core of rules: samples of KPIs go in, what rules do comes out."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args
from zoneinfo import ZoneInfo

from msgspec import Struct

from agentd.core.jobs.model import Run, RunChanged
from agentd.core.part import Core, Decided, Effect
from agentd.core.quantities import DAY, MINUTE, SECOND
from agentd.core.rules import conditions, story
from agentd.core.rules import standing as course
from agentd.core.rules.conditions import kpis
from agentd.core.rules.gauges import Gauges, Value
from agentd.core.rules.model import (
    PART,
    Evidence,
    EvidenceSaved,
    KpisSampled,
    KpisWanted,
    Moment,
    OutputWanted,
    Remembered,
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
from agentd.core.rules.settings import OwnKpi, Priority, Rule, measures, parsed
from agentd.core.rules.turns import Turns
from agentd.core.rules.work import JobsSeen, Watch, WorkMemory

if TYPE_CHECKING:  # nothing of these is loaded where there is no rule: see agentd.light
    from agentd.core.rules.standing import Change, Standing

_RANK = {priority: -rank for rank, priority in enumerate(get_args(Priority))}
_SAVED_EVERY = MINUTE
"""Microseconds between two times that what rules remember is stored though no rule has another state."""
_KEPT = 30 * DAY
"""Microseconds for which a rule that was removed is remembered."""
_SLEEP = SECOND
"""Microseconds by which the boottime clock runs ahead of the monotonic one after a suspend, at least."""
_WITNESS = 10 * SECOND
"""Microseconds after which rules act without a witness."""


class RuleSettings(Struct, frozen=True, kw_only=True):
    """The settings of the part: its sections of the configuration, the names of the jobs and the time zone."""

    rules: Mapping[str, Rule]
    own: Mapping[str, OwnKpi]
    every: int
    jobs: tuple[str, ...]
    zone: ZoneInfo


class Saved(Struct, frozen=True, kw_only=True):
    """The memory that the core takes up at its start."""

    rules: Mapping[str, Remembered] = {}
    work: WorkMemory = WorkMemory()
    tested: SelfTestEnded | None = None
    samples: Mapping[str, Sequence[tuple[int, float]]] = {}
    """Of each KPI of spans(): instants and values, older ones first."""


class Due(Struct, frozen=True):
    """A deed of a rule that waits for a witness."""

    standing: "Standing"
    change: "Change"


class Rules(Core):
    """Decides what rules do. The shell looks where `KpisWanted` says, and tells observed()."""

    def __init__(self, jobs: JobsSeen, saved: Saved, settings: RuleSettings, moment: Moment) -> None:
        self.gauges = Gauges()
        self.standings: dict[str, Standing] = {}
        self.moment = moment
        """The moment of the latest look."""
        self._effects: list[Effect] = []
        self._jobs = jobs
        self._pauses = ""  # the rule that has paused the jobs
        self._turns = Turns()
        self._watch = Watch(jobs, saved.work, moment.wall)
        self._kept = dict(saved.rules)
        self._tested = saved.tested
        self._counted = False  # a run has ended since the jobs were stored
        self._waiting: dict[int, list[Due]] = {}
        self._number = 0
        self._saved = moment.at
        self._next: int | None = None
        self._draining = False
        self._storable = True
        self._take(settings, moment)
        self._recall(saved.samples)

    # As every core

    def effects(self) -> list[Effect]:
        """Returns the effects since the last call."""
        taken, self._effects = self._effects, []
        return taken

    def wakeup(self) -> int | None:
        """Returns when the next sample is due; None where no rule needs one."""
        return None if self._draining else self._next

    def tick(self, now: int) -> None:
        """Wants the facts of which the next sample is made."""
        if self._next is None or now < self._next or self._draining:
            return
        late, self._next = now - self._next, max(self._next + self._settings.every, now + 1)
        self._effects.append(KpisWanted(self.gauges.sources, late))

    def stalled(self, now: int) -> None:
        """Has the next sample come now, because a resource became scarce: at most one more in each half of the period,
        so that a number of samples still stands for a time."""
        if self._next is not None and now - (self._next - self._settings.every) >= self._settings.every // 2:
            self._next = min(self._next, now)

    def heard(self, effects: Sequence[Effect], now: int) -> None:
        """Counts the runs that end."""
        for effect in effects:
            if isinstance(effect, RunChanged) and effect.event == "finished":
                self._watch.ended(effect.run, now)
                self._counted = True
                if self._draining:  # there will be no other look
                    self._save_work()
                if self.gauges.ended(effect.run):
                    self._effects.append(OutputWanted(effect.run))

    def clock_stepped(self, delta: int, now: int) -> None:
        """Has the next sample come now: that one is not late. Rules go by clocks that nobody sets, the jobs do not."""
        self._watch.clock_stepped(delta, now)
        if self._next is not None:
            self._next = now

    def storable(self, trouble: str, now: int) -> None:  # noqa: ARG002 - as every core
        """Has nothing kept to be stored that was not decided, while nothing can be stored."""
        self._storable = not trouble

    def drain(self) -> None:
        """Looks no more, and remembers how the rules stand."""
        self.save_all()
        self._draining = True

    def save_all(self) -> None:
        """Wants everything stored once more."""
        self._save([*self.standings.values()])
        self._save_work()

    # What happens

    def configure(self, settings: RuleSettings, moment: Moment) -> list[str]:
        """Takes other settings; returns a sentence for each rule that is another. A rule that is as before goes on."""
        before = {name: standing.rule for name, standing in self.standings.items()}
        self._take(settings, moment)
        after = settings.rules
        for name in before.keys() - after.keys():
            self._effects.append(RuleOver(name, moment.wall, f"the rule {name} is no more"))
        return [
            *(f"rule {name}: removed" for name in before if name not in after),
            *(f"rule {name}: added" for name in after if name not in before),
            *(f"rule {name}: changed" for name in after if name in before and before[name] != after[name]),
        ]

    def observed(self, facts: Mapping[Source, Any], moment: Moment) -> None:
        """Takes what the sources had to tell at a moment: a record of kpis.py for each, or Gone."""
        slept = (moment.alive - self.moment.alive) - (moment.at - self.moment.at)
        if moment.boot == self.moment.boot and slept > _SLEEP:
            for standing in self._turns.roused(self.moment.at):
                standing.resumed(moment)
        before, self.moment = self.moment, moment
        found, changed = self.gauges.take(facts, self._watch, self._failed, moment.wall)
        self._effects.append(KpisSampled(moment.wall, found))
        running = self._watch.running(self._gates) if self._gates else ()
        seen = course.Seen(course.calm(moment, found), running, self._test_failed, changed, before.at)
        due: list[Due] = []
        for standing, changes in self._turns.look(seen, moment):
            self._tell(standing, changes)
            due += [Due(standing, change) for change in changes if change.action is not None]
        self._queue(due, moment.wall)
        self._pause(moment.wall)
        if self._storable:
            self._save_what_ages()

    def witnessed(self, number: int, processes: Sequence[str], now: int) -> None:
        """Takes the largest processes, and has done what waited for them: the evidence first, then what rules do; of
        equal actions one."""
        done: set[str] = set()
        for due in self._waiting.pop(number, ()):
            rule, action = due.standing.rule, due.change.action
            if not due.standing.did(due.change):
                told = f"{action} is not done any more: the rule was over before"
                self._effects.append(Decided(now, PART, "skip", rule.name, told))
                continue
            values = {name: one.value for name, one in self.gauges.values.items() if one.value is not None}
            evidence = Evidence(
                at=now,
                rule=rule.name,
                action=str(action),
                when=rule.when,
                seen=tuple(self.reasons(due.standing)),
                kpis=values,
                processes=tuple(processes),
            )
            self._effects.append(EvidenceSaved(evidence))
            self._effects.append(RuleSaved(rule.name, due.standing.remember(self.moment)))
            if action is not None and str(action) not in done:
                done.add(str(action))
                self._effects.append(RuleActs(action, rule.name, "; ".join(self.reasons(due.standing)), now))

    def output(self, run: Run, line: str) -> None:
        """Takes the last line of a run's output."""
        self.gauges.output(run, line)

    def refused(self, acts: RuleActs, why: str, now: int) -> None:
        """Takes note that an action was refused, and why, as a sentence."""
        told = f"{acts.action} was refused: {why}"
        self._effects.append(Decided(now, PART, "refuse", acts.rule, told))
        if (standing := self.standings.get(acts.rule)) is not None and standing.ladder is not None:
            standing.withheld = told

    def tested(self, moment: Moment, *, failed: bool) -> None:
        """Takes note of a self-test that is over."""
        self._tested = SelfTestEnded(moment, failed)
        self._effects.append(self._tested)

    # For others to read

    def glance(self, names: Iterable[str], facts: Mapping[Source, Any], now: int) -> dict[str, Value]:
        """Returns the values of KPIs that no rule needs, from what their sources had to tell; keeps nothing."""
        return self.gauges.glance(names, facts, self._watch, self._failed, now)

    def reasons(self, standing: "Standing") -> list[str]:
        """Returns a sentence for each comparison of a rule: as it is written, and what it sees."""
        self.show(standing)
        return story.compared(standing.when, self.missing)

    def show(self, standing: "Standing") -> None:
        """Has a rule be as people are to see it: by the latest values."""
        standing.show(self.gauges.found)

    def missing(self, kpi: str) -> str:
        """Returns why a KPI has no value, as a part of a sentence; empty where it has one."""
        known = self.gauges.values.get(kpi)
        return "nobody looks at it" if known is None else known.missing

    @property
    def firing(self) -> list[str]:
        """The rules that fire, those of the highest priority first."""
        found = [one for one in self.standings.values() if one.state in {"firing", "clearing"}]
        return [one.rule.name for one in sorted(found, key=lambda one: _RANK[one.rule.priority])]

    # Inside

    @property
    def _failed(self) -> bool | None:
        return None if self._tested is None else self._tested.failed

    def _test_failed(self, since: Moment) -> bool:
        return self._tested is not None and self._tested.failed and self._tested.moment.since(since) > 0

    def _tell(self, standing: "Standing", changes: "Sequence[Change]") -> None:
        """Has the changes of a rule stored and told."""
        name, wall = standing.rule.name, self.moment.wall
        quiet, standing.quiet = standing.quiet, standing.flaps(self.moment)
        quiet = quiet and standing.quiet
        for change in changes:
            why = "; ".join(self.reasons(standing))
            told = story.sentence(standing.rule, change, why)
            if change.matters and not quiet:
                self._effects.append(Decided(wall, PART, change.state, name, told))
            self._effects.append(RuleChanged(name, change.state, wall, told, change.matters))
            if change.over:
                self._effects.append(RuleOver(name, wall, told))
        if any(change.matters for change in changes) and not quiet:
            self._effects.append(RuleSaved(name, standing.remember(self.moment)))

    def _save_what_ages(self) -> None:
        """Wants stored, once in a minute, what has become another though no rule changed; nothing where nothing has."""
        due = self.moment.at - self._saved >= _SAVED_EVERY
        if due:
            self._save([one for one in self.standings.values() if one.ages])
        if self._counted and (due or self.gauges.of_jobs):
            self._save_work()

    def _save(self, standings: "Sequence[Standing]") -> None:
        """Wants it stored how rules stand."""
        self._saved = self.moment.at
        for standing in standings:
            self._effects.append(RuleSaved(standing.rule.name, standing.remember(self.moment)))

    def _save_work(self) -> None:
        self._counted = False
        if self.standings:
            self._effects.append(WorkSaved(self._watch.memory(self.moment.wall)))

    def _queue(self, due: list[Due], now: int) -> None:
        """Has what rules do wait for a witness, that of the highest priority first; what waits for too long goes on
        without one."""
        for number in [number for number, (one, *_) in self._waiting.items() if _late(one, now)]:
            self.witnessed(number, (), now)
        if due:
            self._number += 1
            self._waiting[self._number] = sorted(due, key=lambda one: _RANK[one.standing.rule.priority])
            self._effects.append(WitnessWanted(self._number))

    def _take(self, settings: RuleSettings, moment: Moment) -> None:
        self._settings = settings
        known, before = measures(settings.own), self.standings
        self.standings = {}
        self._kept |= {name: old.remember(moment) for name, old in before.items()}
        for name, rule in settings.rules.items():
            old = before.get(name)
            if old is not None and old.fits(rule, settings.every, settings.zone):
                self.standings[name] = old
                continue
            standing = course.Standing(rule, parsed(rule, known, settings.every), settings.every, settings.zone)
            if name in self._kept:
                standing.take_up(self._kept[name], moment)
            self.standings[name] = standing
        self._watch.keep(settings.jobs)
        self._turns = Turns(self.standings.values())
        rules = settings.rules.values()
        self._gates = {job for rule in rules for job in (*rule.only_while, *rule.except_while)}
        self._pausing = [standing for standing in self.standings.values() if standing.may_pause]
        self._pause(moment.wall)
        self._forget(moment.wall)
        self.gauges.need(self._needs(), settings.own)
        for run in self._jobs.all_seen():
            if run.state == "ended" and self.gauges.ended(run):
                self._effects.append(OutputWanted(run))
        soon = moment.wall if self._next is None else min(self._next, moment.wall + settings.every)
        self._next = soon if self.standings else None

    def _forget(self, now: int) -> None:
        """Forgets rules that were removed long ago: one that comes back soon goes on."""
        for name, kept in list(self._kept.items()):
            latest = max([kept.since, *(wall for _, wall, _ in kept.fires)])
            if name not in self._settings.rules and now - latest > _KEPT:
                del self._kept[name]
                self._effects.append(RuleForgotten(name))

    def _recall(self, samples: Mapping[str, Sequence[tuple[int, float]]]) -> None:
        """Has functions of spans go on from the samples that were stored in this boot."""
        now = self.moment
        for kpi, found in samples.items():
            for wall, value in found:
                at = now.at - (now.wall - wall)
                if 0 <= at <= now.at:
                    for standing in self.standings.values():
                        standing.recall(kpi, at, value)

    def _pause(self, now: int) -> None:
        """Holds the jobs for as long as a rule has them paused: one that goes on after a restart of agentd as well."""
        pausing = next((standing.rule.name for standing in self._pausing if standing.pauses), "")
        if pausing and pausing != self._pauses:
            why = f"the rule {pausing} has paused the jobs (agentctl rules explain {pausing})"
            self._jobs.hold(PART, why, pause=True)
        elif self._pauses and not pausing:
            self._jobs.release(PART, now)
        self._pauses = pausing

    def _needs(self) -> set[str]:
        """Returns the KPIs that rules need."""
        parts = [part for one in self.standings.values() for part in (one.when, one.clear) if part is not None]
        return {kpi for part in parts for kpi in kpis(part.node)}


def spans(settings: RuleSettings) -> dict[str, int]:
    """Returns the KPIs of which rules need the samples of a span, and the longest span of each, in microseconds."""
    known, found = measures(settings.own), dict[str, int]()
    for rule in settings.rules.values():
        both = parsed(rule, known, settings.every)
        for node in (both.when, *(() if both.clear is None else (both.clear,))):
            for kpi, span in conditions.spans(node).items():
                found[kpi] = max(found.get(kpi, 0), span)
    return found


def _late(due: Due, now: int) -> bool:
    return abs(now - due.change.moment.wall) > _WITNESS
