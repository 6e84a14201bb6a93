"""The standing of a rule: its state from sample to sample, and when it acts.

    unknown -> inactive -> pending -> firing -> clearing -> inactive

An episode begins as the rule begins to fire and ends as the rule is inactive again; what the rule does, it does once in
an episode. An episode does not end because a KPI goes missing.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct

from agentd.core.quantities import MINUTE, format_duration
from agentd.core.rules.conditions import Limit, Reading, kpis, looks_back
from agentd.core.rules.evaluation import Compares, Holds, Look, Part, Recurs, Truth, Unbroken, condition
from agentd.core.rules.ladder import Ladder
from agentd.core.rules.model import Moment, Remembered, State
from agentd.core.rules.settings import VERBS, Action, Parsed, Rule

SETTLE = 2 * MINUTE
"""Microseconds after a suspend in which a rule does no more than tell."""
PATIENCE = 10 * MINUTE
"""Microseconds without a value after which a firing rule is unknown, where that is more than ten samples; and the
longest that agentd may be down without a break in what must hold for a while."""
_PATIENT_SAMPLES = 10
_FIRES, _RESTS = {"firing", "clearing"}, {"inactive", "pending"}
FLAPS_WITHIN = 30 * MINUTE
FLAPS = 4
"""A rule that begins or ceases to fire more often than this within FLAPS_WITHIN flaps."""


class Change(Struct, frozen=True):
    """A change of a rule at a moment: its state and the one before, what it does and as which step of its ladder, and
    why it does nothing where it would."""

    moment: Moment
    rule: str
    before: State
    state: State
    action: Action | None = None
    step: int = 0
    withheld: str = ""

    @property
    def matters(self) -> bool:
        """Whether the rule begins to fire, ceases to, or does something: others come near their limits now and then."""
        return self.state in _FIRES or self.before in _FIRES

    @property
    def over(self) -> bool:
        """Whether the rule has ceased to fire, or turns out not to."""
        return self.state in _RESTS and self.before not in _RESTS


class Seen(Struct, frozen=True):
    """The things that a rule looks at: the look at the KPIs that have a value, as rules have it that do not fire; the
    jobs that run, whether a self-test failed since a moment; the KPIs that have another value than at the look before,
    None where nobody knows, and when that look was (monotonic, None as for Standing.rouse())."""

    look: Look
    running: Collection[str] = ()
    self_test_failed: Callable[[Moment], bool] = lambda _: False
    changed: AbstractSet[str] | None = None
    before: int | None = None


def calm(now: Moment, values: Mapping[str, float]) -> Look:
    """Returns the look of rules that do not fire, which need not make one each."""
    return Look(now.at, now.wall, values)


class Standing:
    """The standing of one rule."""

    def __init__(self, rule: Rule, parsed: Parsed, period: int, zone: ZoneInfo) -> None:
        self.rule = rule
        self._zone, self._period = zone, period
        self._gap = rule.max_gap * period
        self._gated = bool(rule.only_while or rule.except_while or rule.within)
        self.may_pause = any(step.do.verb == "PauseJobs" for step in rule.steps) and not rule.shadow
        """Whether one of the rule's steps pauses the jobs."""
        self._patience = max(_PATIENT_SAMPLES * period, PATIENCE)
        unknown: Truth = {"fire": True, "clear": False}.get(rule.missing)
        self.when = condition(parsed.when, period, self._gap, unknown)
        self.clear = None if parsed.clear is None else condition(parsed.clear, period, self._gap)
        self.clearing = Unbroken(rule.clear_for, self._gap)
        both = [node for node in (parsed.when, parsed.clear) if node is not None]
        self._parts = (*self.when.all(), *(() if self.clear is None else self.clear.all()))
        # The parts with a memory: to ask the others too were some 30 of the 539 calls of a look in the bench.
        self._windows = [part for part in self._parts if isinstance(part, Holds | Recurs)]
        self.kpis = frozenset(kpi for node in both for kpi in kpis(node))
        """The KPIs that the rule needs."""
        self._leaves = [part for part in self._parts if not part.below]
        self.limits = None if self._gated else _limits(self._leaves)
        """The numbers with which the rule compares KPIs, where it does nothing else with them; else None."""
        # A condition that looks back at nothing says the same of the same values.
        self._forgetful = not self._gated and not any(looks_back(node) for node in both)
        self._plain = not self._gated and self.clear is None
        self.rests = False
        """Whether a look says nothing new as long as no KPI of the rule has another value."""
        self.state: State = "unknown"
        self.gate = ""
        """The reason why the rule does not count now, as a part of a sentence."""
        self.withheld = ""
        """The reason why the rule does not act although it fires, likewise."""
        self.since = 0
        """The instant (microseconds since 1970) since which the rule has its state."""
        self.ladder: Ladder | None = None
        """The steps of the episode; None: there is none."""
        self._fires: deque[Moment] = deque(maxlen=1 if rule.max_fires is None else rule.max_fires.most)
        self._edges: deque[Moment] = deque(maxlen=FLAPS + 1)
        self.quiet = False
        """Whether it was told that the rule flaps, and nothing is told of each change until it flaps no more."""
        self._known: int | None = None  # when the condition was last known
        self._settled: Moment | None = None  # when the machine came back from a suspend

    def fits(self, rule: Rule, period: int, zone: ZoneInfo) -> bool:
        """Returns whether this is how such a rule stands, with samples every `period` and in a time zone."""
        return (self.rule, self._period, self._zone) == (rule, period, zone)

    @property
    def pauses(self) -> bool:
        """Whether the rule has paused the jobs, and still fires: a rule that sees no values any more holds nothing."""
        fires = self.may_pause and self.state in _FIRES
        return fires and self.ladder is not None and self.ladder.has_begun("PauseJobs")

    @property
    def last_fired(self) -> int:
        """The instant at which the rule last acted; 0: never, as far as is remembered."""
        return self._fires[-1].wall if self._fires else 0

    # --- what happens

    def look(self, seen: Seen, now: Moment) -> list[Change]:
        """Takes a sample of all KPIs; returns what became of the rule."""
        if not self._forgetful:
            return self._look(seen, now)
        if self.rests and ((seen.changed is not None and self.kpis.isdisjoint(seen.changed)) or self._stays(seen.look)):
            self._known = now.at
            return []
        self.rouse(seen.before)
        fired = self.ladder is not None  # with the CLEAR limits the same values may say something else
        changes = self._look(seen, now)
        self.rests = (
            self.state == "inactive"
            and not fired
            and self.kpis <= seen.look.values.keys()
            and not any(part.memory() for part in self._windows)  # nor is anything learned: that would look back
        )
        return changes

    def rouse(self, before: int | None) -> None:
        """Has a rule that rests rest no longer: the rule may have been passed over up to the latest look, at which all
        its KPIs had values. `before` is when that was (monotonic), None where nobody looked yet or no rule is passed
        over."""
        if self.rests and before is not None:
            self._known = before
        self.rests = False

    @property
    def ages(self) -> bool:
        """Whether remember() returns something else from look to look, and not only when the rule changes."""
        if self.state in _FIRES or self.state == "pending":
            return True
        return any(part.memory() or part.learned() for part in self._parts)

    def _stays(self, look: Look) -> bool:
        """Returns whether a rule that rests goes on to: each of its comparisons says what it said, and so do the parts
        above, which remember nothing. To ask these as well was half of what such a rule takes for a look, once its KPI
        has another value."""
        for leaf in self._leaves:  # looked at once more where one says something else: they look back at nothing
            before = leaf.truth
            truth, _ = leaf.look(look)
            if truth is not before:
                return False
        return True

    def show(self, values: Mapping[str, float]) -> None:
        """Has the comparisons of a rule that rests be about the latest values, for people: the rule may have been
        passed over, as these say nothing else."""
        if self.rests and self.limits is not None:
            for leaf in self._leaves:
                leaf.look(Look(0, 0, values))

    def _look(self, seen: Seen, now: Moment) -> list[Change]:
        before, fires = self.state, self.ladder is not None
        look = Look(now.at, now.wall, seen.look.values, True, self._bears) if fires else seen.look
        truth, lax = self.when.look(look)
        if self._plain and not fires:  # most rules, most of the time
            if truth is False and lax is False and before == "inactive":
                self._known = now.at
                return []
            if truth is None and lax is None and before == "unknown":
                return []
        over: Truth = None if truth is None else not truth
        if self.clear is not None:
            over, _ = self.clear.look(look)
        self.gate = self._closed(seen.running, now) if self._gated else ""
        if self.gate:
            self._forget()
            truth, lax, over = False, False, True
        if not fires:
            self.clearing.forget()
        if (over if fires else truth) is not None:
            self._known = now.at
        self.state = self._while_firing(over, now.at) if fires else self._otherwise(truth, lax, now.at)
        if fires and self.state == "inactive" and lax:
            self.state = "pending"
        self._turn(fires, now)
        return self._changes(before, seen, now)

    def resumed(self, now: Moment) -> None:
        """Takes note that the machine was suspended: nobody saw what happened meanwhile."""
        self._settled = now
        self._break()
        for part in self._parts:
            part.gap()

    def restarted(self, downtime: int) -> None:
        """Takes note that agentd was down for so many microseconds of the monotonic clock: they do not count. After
        more than PATIENCE the episode is over, and what must hold for a while begins anew: nobody saw whether it did.
        """
        if downtime > PATIENCE:
            self._end()
            return
        for part in self._parts:
            part.shift(downtime)
        self.clearing.shift(downtime)
        if self.ladder is not None:
            self.ladder.base += downtime
        if self._known is not None:
            self._known += downtime

    def remember(self, now: Moment) -> Remembered:
        """Returns what take_up() needs, after a restart of agentd. A step that is about to be done is not remembered as
        done."""
        ladder, began = self.ladder, None
        if ladder is not None:
            began = ladder.began.at, ladder.began.alive, ladder.began.wall
        return Remembered(
            when=self.rule.when,
            clear=self.rule.clear,
            boot=now.boot,
            at=now.at,
            state=self.state,
            since=self.since,
            learned=tuple(part.learned() for part in self._parts),
            spans=tuple(part.memory() for part in self._parts),
            clearing=self.clearing.memory(),
            steps=_written(self.rule),
            began=began,
            base=0 if ladder is None else ladder.base,
            counted=ladder is not None and ladder.counted,
            done=() if ladder is None else tuple(sorted(ladder.done)),
            fires=tuple((fire.alive, fire.wall, fire.boot) for fire in self._fires),
            edges=tuple((edge.alive, edge.wall, edge.boot) for edge in self._edges),
        )

    def take_up(self, kept: Remembered, now: Moment) -> None:
        """Goes on from what remember() returned, where the rule is still the same: in another boot with what it has
        learned and when it fired, else with the latter alone. A rule with other steps begins these anew."""
        # A clock that was ahead as they were noted keeps the rule from acting no longer than one that was right.
        self._fires.extend(Moment(0, alive, min(wall, now.wall), boot) for alive, wall, boot in kept.fires)
        self._edges.extend(Moment(0, alive, min(wall, now.wall), boot) for alive, wall, boot in kept.edges)
        if (kept.when, kept.clear) != (self.rule.when, self.rule.clear):
            return
        for part, learned in zip(self._parts, kept.learned, strict=False):
            part.relearn(learned)
        if kept.boot != now.boot or kept.at > now.at:
            return
        self.state, self.since, self._known = kept.state, kept.since, kept.at
        if kept.began is not None and kept.steps == _written(self.rule):
            self.ladder = Ladder(self.rule.steps, Moment(*kept.began, now.boot))
            self.ladder.take_up(kept.base, kept.done, counted=kept.counted)
        elif kept.began is not None:
            self.ladder = Ladder(self.rule.steps, msgspec.structs.replace(now, at=kept.at))
        for part, memory in zip(self._parts, kept.spans, strict=False):
            if memory is not None:
                part.take_up(memory)
        if kept.clearing is not None:
            self.clearing.take_up(kept.clearing)
        self.restarted(now.at - kept.at)
        if self.state != kept.state:
            self.since = now.wall

    def recall(self, kpi: str, at: int, value: float) -> None:
        """Takes a sample from before the first look, at a monotonic instant; older ones first."""
        for part in self._parts:
            part.recall(kpi, at, value)

    def rebooted(self) -> None:
        """Takes note that the machine booted: nothing has held since before, nobody fires. When the rule fired before
        is remembered, so that a boot allows nothing again."""
        self._end()
        for part in self._parts:
            part.boot()
        self._known = self._settled = None

    def did(self, change: Change) -> bool:
        """Takes note that what a change has done is done; returns whether that is still to be, for the episode may be
        over."""
        if self.ladder is None or self.ladder.began.at > change.moment.at:
            return False
        self.ladder.done.add(change.step)
        return True

    # --- states

    def _otherwise(self, truth: Truth, lax: Truth, at: int) -> State:
        if truth:
            return "firing"
        if lax:
            return "pending"
        if truth is None:
            lost = self._known is None or at - self._known > self._gap
            return "unknown" if lost or self.rule.missing == "reset" else self.state
        return "inactive"

    def _while_firing(self, over: Truth, at: int) -> State:
        ended = self.clearing.hold(over, at)
        if ended:
            return "inactive"
        if over is None:
            lost = self._known is None or at - self._known > self._patience
            return "unknown" if lost or self.rule.missing == "reset" else self.state
        return "clearing" if over else "firing"

    def _turn(self, fired: bool, now: Moment) -> None:
        """Begins or ends the episode."""
        if self.state == "firing" and self.ladder is None:
            self.ladder = Ladder(self.rule.steps, now)
            self._edges.append(now)
        elif self.state in _RESTS and self.ladder is not None:
            self.ladder, self.withheld = None, ""
            self.clearing.forget()
            if fired:
                self._edges.append(now)

    def _closed(self, running: Collection[str], now: Moment) -> str:
        rule = self.rule
        busy = next((job for job in rule.except_while if job in running), None)
        if busy is not None:
            return f"{busy} runs (except_while)"
        if rule.only_while and not any(job in running for job in rule.only_while):
            return (
                f"{' and '.join(rule.only_while)} {'do' if len(rule.only_while) > 1 else 'does'} not run (only_while)"
            )
        if rule.within is not None and not rule.within.holds(now.wall, self._zone):
            return "the time of day is another (within)"
        return ""

    @property
    def _bears(self) -> bool:
        """Whether what has held is over only when that was seen: in an episode, unless `missing` says otherwise."""
        return self.ladder is not None and self.rule.missing != "reset"

    def _break(self) -> None:
        """Has everything begin anew that must hold for a while and has not yet."""
        self.clearing.forget()
        if not self._bears:
            self._forget()

    def _end(self) -> None:
        """Has nothing be known any more but when the rule acted."""
        self.state, self.ladder, self.withheld = "unknown", None, ""
        self.rests = False
        self._break()

    def _forget(self) -> None:
        for part in self._parts:
            part.forget()

    # --- acting

    def flaps(self, now: Moment) -> bool:
        """Returns whether the rule begins and ceases to fire too often for its actions to mean anything."""
        return len(self._edges) > FLAPS and now.since(self._edges[0]) < FLAPS_WITHIN

    def _changes(self, before: State, seen: Seen, now: Moment) -> list[Change]:
        changes = []
        withheld = self.withheld
        if self.state == "firing" and self.ladder is not None:
            changes = [
                Change(now, self.rule.name, before, self.state, action, position, why)
                for position, action, why in self._actions(self.ladder, seen, now)
            ]
        if self.state != before:
            self.since = now.wall
        if not changes and (self.state != before or self.withheld != withheld):
            changes.append(Change(now, self.rule.name, before, self.state, withheld=self.withheld))
        return changes

    def _actions(self, ladder: Ladder, seen: Seen, now: Moment) -> list[tuple[int, Action | None, str]]:
        """Returns what the rule does now, with the positions of the steps; where it is in shadow, nothing and what it
        would do."""
        steps = self.rule.steps
        due = ladder.due(now, seen.self_test_failed)
        if not due and steps:
            return []
        self.withheld = self._refused(ladder, now)
        if self.withheld:
            return []
        if not ladder.counted:
            ladder.counted = True
            self._fires.append(now)
        found: list[tuple[int, Action | None, str]] = []
        for position in due:
            do = steps[position].do
            if why := self._unsettled(do, now):
                self.withheld = why
                continue
            ladder.begin(position, now)
            if self.rule.shadow:
                ladder.done.add(position)
            found.append((position, None, f"in shadow: would {do}") if self.rule.shadow else (position, do, ""))
        return found

    def _refused(self, ladder: Ladder, now: Moment) -> str:
        if self.flaps(now):
            often = f"{FLAPS + 1} times within {format_duration(FLAPS_WITHIN)}"
            return f"flapping: the rule began or ceased to fire {often}"
        if ladder.counted:
            return ""
        if self._fires and now.since(self._fires[-1]) < self.rule.cooldown:
            return f"cooldown of {format_duration(self.rule.cooldown)} since the rule last fired"
        most = self.rule.max_fires
        if most is not None and len(self._fires) == most.most and now.since(self._fires[0]) < most.span:
            return f"max_fires: the rule fired {most.most} times within {format_duration(most.span)}"
        return ""

    def _unsettled(self, do: Action, now: Moment) -> str:
        if VERBS[do.verb].tells or self._settled is None or now.since(self._settled) >= SETTLE:
            return ""
        return f"the machine came back from a suspend less than {format_duration(SETTLE)} ago"


def _limits(leaves: Iterable[Part]) -> list[float] | None:
    """Returns the numbers that KPIs are compared with; None where something else is asked of one."""
    found: list[float] = []
    for leaf in leaves:
        if not isinstance(leaf, Compares):
            return None
        left, *others = leaf.compared
        if not isinstance(left, Reading):
            return None
        for other in others:
            if not isinstance(other, Limit):
                return None
            found.append(other.value)
    return found


def _written(rule: Rule) -> tuple[str, ...]:
    """Returns the steps of a rule as texts, and whether it only shows what it would do."""
    steps = (f"{step.do} after {step.after} if {step.if_}" for step in rule.steps)
    return (*(("shadow",) if rule.shadow else ()), *steps)
