"""Rules, plugged in: sources are asked for what KPIs follow from, and what rules do is handed to others."""

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from msgspec import Struct

from agentd import log as logging
from agentd.core.config import Config
from agentd.core.jobs.model import Run
from agentd.core.part import Effect, Refused
from agentd.core.quantities import SECOND, counted
from agentd.core.rules.model import (
    PART,
    KpisWanted,
    Moment,
    OutputWanted,
    RuleActs,
    RuleChanged,
    RuleOver,
    Source,
    WitnessWanted,
)
from agentd.core.rules.rules import Rules, RuleSettings, spans
from agentd.core.rules.units import BYTES, PERCENT, SECONDS
from agentd.core.rules.work import JobsSeen
from agentd.core.times import timezone
from agentd.part import Check, Host, Part, when_asked
from agentd.rules import api, checks
from agentd.rules.facts import groups, processes
from agentd.rules.facts.stalls import WINDOW
from agentd.rules.glimpse import Glimpse
from agentd.rules.lookout import Ask
from agentd.rules.selftest import SelfTest
from agentd.rules.senses import Senses, glancing, senses
from agentd.rules.tables import RuleTables
from agentd.tasks import Tasks

log = logging.get()

CONTRACT = Path(__file__).with_name("org.agentd1.Rules.xml")


Act = Callable[[RuleActs], object]


class Reach(Struct, frozen=True, kw_only=True):
    """The reach of the part to others, beside jobs: what rules do, by the verb of the action (awaited where it can be;
    raises Refused), why some of it cannot be done here; sources that answer over a bus, the last line of a run's
    output, and who has to know that the episode of a rule is over."""

    acts: Mapping[str, Act]
    cannot: Mapping[str, str]
    asks: Mapping[str, Ask]
    last_line: Callable[[Run], Awaitable[str]]
    over: Callable[[RuleOver], object]


class Shell:
    """Carries out what the core of rules wants."""

    def __init__(
        self,
        host: Host,
        jobs: JobsSeen,
        rules: Rules,
        senses: Senses,
        tasks: Tasks,
        reach: Reach,
        checks: Callable[[], Sequence[Check]],
    ) -> None:
        self._host, self._rules, self._senses, self._reach = host, rules, senses, reach
        self._lookout = senses.lookout
        self._acts: dict[str, Act] = {
            "TriggerSelfTest": lambda effect: self.tests.run(full=False, why=f"rule {effect.rule}"),
            "RunJob": lambda effect: jobs.run(effect.action.target, host.now(), "rule"),
            "StopJob": lambda effect: jobs.stop(effect.action.target, host.now()),
            "PauseJobs": lambda _: None,  # the core holds the jobs itself, for as long as the rule fires
            "Notify": lambda _: None,  # told by the log, the signal and notices, which hear of it
            **reach.acts,
        }
        self.every: int
        """Microseconds between two samples."""
        self._looking = False
        self.tasks = tasks
        self.tests = SelfTest(checks, lambda: host.server.changed("Rules.SelfTestState"), self._tested, host.defect)

    def does(self) -> dict[type[Effect], Callable[[Any], object]]:
        """Returns how each effect is carried out."""
        return {
            KpisWanted: self._look,
            WitnessWanted: lambda effect: self.tasks.do(self._witness(effect)),
            OutputWanted: lambda effect: self.tasks.do(self._read(effect.run)),
            RuleActs: lambda effect: self.tasks.do(self._act(effect)),
            RuleChanged: self._tell,
            RuleOver: self._reach.over,
        }

    def configure(self, config: Config, _now: int) -> Sequence[str]:
        """Takes the rules that are in force from now on."""
        self.every = config.sampling.every
        told = self._rules.configure(settings(config), self._lookout.moment())
        self._senses.llm.configure(config.llm, needed=Source("llm") in self._rules.gauges.sources)
        self.follow_stalls()
        return told

    def follow_stalls(self) -> None:
        """Has the kernel tell of stalls of the resources whose pressure rules need."""
        self._senses.stalls.follow(stalling(self._rules.gauges.sources, self.every))

    def close(self) -> None:
        """Looks no more."""
        self.tasks.close()
        self._senses.close()

    def _look(self, effect: KpisWanted) -> None:
        if self._looking:  # a source is waited for
            return
        before, now = self._rules.moment, self._lookout.moment()
        slept = now.alive - before.alive - (now.at - before.at)
        self._senses.agent.note_lag(max(0, effect.late - slept) / SECOND)
        facts = self._lookout.at_once(effect.sources)
        if facts is None:
            self._looking = True
            self.tasks.do(self._wait(effect.sources))
        else:
            self._observe(facts, now)

    async def _wait(self, sources: Sequence[Source]) -> None:
        try:
            facts = await self._lookout.look(sources)
        finally:
            self._looking = False
        self._observe(facts, self._lookout.moment())

    def _observe(self, facts: Mapping[Source, Any], moment: Moment) -> None:
        self._host.hear(PART, partial(self._rules.observed, facts, moment))

    async def _witness(self, effect: WitnessWanted) -> None:
        seen = await self._lookout.on_thread(witnesses)
        self._host.hear(PART, lambda: self._rules.witnessed(effect.number, seen, self._host.now()))

    async def _read(self, run: Run) -> None:
        line = await self._reach.last_line(run)
        self._host.hear(PART, lambda: self._rules.output(run, line))

    async def _act(self, effect: RuleActs) -> None:
        """Does what a rule asks for, and tells everybody once that is done, or why it is not."""
        verb = effect.action.verb
        try:
            if verb in self._reach.cannot:
                raise Refused("Unsupported", self._reach.cannot[verb])
            done = self._acts[verb](effect)
            self._host.pump_soon()
            if inspect.isawaitable(done):
                await done
        except Refused as refused:
            why = str(refused)
            log.warning(f"rule {effect.rule}: {effect.action} was refused: {why}", id="rule-acted", rule=effect.rule)
            self._host.hear(PART, lambda: self._rules.refused(effect, why, self._host.now()))
            self._host.server.emit("Rules", "RuleRefused", effect.rule, str(effect.action), why)
        else:
            log.warning(f"rule {effect.rule}: {effect.action}: {effect.reason}", id="rule-acted", rule=effect.rule)
            self._host.server.emit("Rules", "RuleActed", effect.rule, str(effect.action), effect.reason)

    def _tested(self, failed: list[str]) -> None:
        self._host.hear(PART, lambda: self._rules.tested(self._lookout.moment(), failed=bool(failed)))
        self._host.server.emit("Rules", "SelfTestFinished", failed)

    def _tell(self, effect: RuleChanged) -> None:
        log.debug(f"rule {effect.why}", id="rule-changed", rule=effect.rule)
        self._host.server.emit("Rules", "RuleChanged", effect.rule, effect.state, effect.why)
        if effect.matters:
            self._host.server.changed("Rules.Firing", "Manager.State", "Manager.Warnings")


def stalling(sources: Sequence[Source], every: int) -> list[str]:
    """Returns the resources of which the kernel is to tell stalls, with looks `every` so many microseconds. None where
    looks come as often as the kernel tells: they see as much, and of 1.8 wake-ups a second of a busy machine 0.3 were
    for stalls, beside the looks that came sooner and so more often."""
    return [source.instance for source in sources if source.name == "pressure"] if every > WINDOW else []


def witnesses() -> list[str]:
    """Returns a line for each of the processes that take most memory or most of the processors; where agentd may not
    look at others' processes, for each of the units that take most memory."""
    found = processes.top()
    seen = [
        f"{one.name} (pid {one.pid}, user {one.user}): {BYTES.show(one.memory)}, {PERCENT.show(one.cpu)} of a processor"
        for one in dict.fromkeys((*found.memory, *found.cpu))
    ]
    units = groups.top() if found.unseen else []
    return [
        f"{one.name}: {BYTES.show(one.memory)}, {SECONDS.show(round(one.cpu))} of processors" for one in units
    ] or seen


def settings(config: Config) -> RuleSettings:
    """Returns the part's slice of a configuration."""
    return RuleSettings(
        rules=config.rules,
        own=config.kpis,
        every=config.sampling.every,
        jobs=tuple(config.jobs),
        zone=timezone(config.timezone),
    )


async def plug(host: Host, jobs: JobsSeen, config: Config, boot: str, reach: Reach, others: Sequence[Part]) -> Part:
    """Returns rules as a part. `jobs` is the core of jobs, `boot` the id of this boot; the self-test has the checks of
    the `others`, also of those that join that list later. Raises sqlite3.Error."""
    tasks = Tasks(lambda error: host.defect("what rules look at and do", error))
    found = senses(host, reach.asks, boot, tasks, lambda: host.hear(PART, lambda: rules.stalled(host.now())))
    found.llm.configure(config.llm)
    own_settings, moment = settings(config), found.lookout.moment
    rules = Rules(jobs, await host.take_up(RuleTables(spans(own_settings))), own_settings, moment())

    def own() -> Sequence[Check]:
        return checks.checks(rules, moment, lambda: shell.every, found.llm.state)

    def of_all() -> list[Check]:
        return [*(check for part in others if part.name != PART for check in part.checks()), *own()]

    shell = Shell(host, jobs, rules, found, tasks, reach, of_all)
    shell.every = config.sampling.every
    shell.follow_stalls()
    glimpse = Glimpse(rules, lambda: glancing(host, reach.asks, found), host.now)
    methods, properties = when_asked(CONTRACT, lambda: api.Api(host, rules, shell.tests, glimpse))

    def close() -> None:
        glimpse.close()
        shell.close()

    return Part(
        name=PART,
        core=rules,
        does=shell.does(),
        contract=CONTRACT,
        methods=methods,
        properties=properties,
        configure=shell.configure,
        warnings=lambda: warnings(rules, reach.cannot),
        status=lambda: counted(len(rules.standings), "rule") if rules.standings else "",
        close=close,
        checks=own,
    )


def warnings(rules: Rules, cannot: Mapping[str, str]) -> list[str]:
    """Returns a sentence for each rule that fires, and each that asks for something that cannot be done here."""
    fires = [f"the rule {name} fires: {'; '.join(rules.reasons(rules.standings[name]))}" for name in rules.firing]
    wants = {(name, step.do.verb): None for name, one in rules.standings.items() for step in one.rule.steps}
    return [
        *fires,
        *(f"the rule {name} can never do its {verb}: {cannot[verb]}" for name, verb in wants if verb in cannot),
    ]
