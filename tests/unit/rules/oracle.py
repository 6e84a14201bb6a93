"""A second evaluator of rules, written apart from the engine: the whole history is kept, and everything is worked out
anew at each sample by searching it. Slow, and to be read beside the manual. `within` is left out.
"""

from msgspec import Struct, field

from agentd.core.quantities import MINUTE
from agentd.core.rules.settings import VERBS, Action, Parsed, Rule
from tests.unit.rules.history import Conditions, Instant, Page, Sample, State


class Suspended(Struct, frozen=True):
    """The machine was suspended until an instant."""

    moment: Instant


class Restarted(Struct, frozen=True):
    """agentd was down for so long."""

    downtime: int


class Rebooted(Struct, frozen=True):
    """The machine booted."""


Event = Sample | Suspended | Restarted | Rebooted


class Episode(Struct):
    """What the rule does from when it begins to fire until it has ceased to: when each step was done, by its index.

    Both are instants without the short restarts before them, as Page.clock is.
    """

    began: Instant
    clock: int
    admitted: bool = False
    done: dict[int, int] = field(default_factory=dict)


class Oracle:
    """A rule as it ought to stand. `withheld` counts the samples at which something that was due was withheld."""

    def __init__(self, rule: Rule, parsed: Parsed, period: int) -> None:
        self.state: State = "unknown"
        self.withheld = 0
        self._rule = rule
        self._period = period
        self._conditions = Conditions(rule, parsed, period)
        self._downtime = 0
        self._suspends: list[Instant] = []
        self._episode: Episode | None = None
        self._edges: list[Instant] = []
        self._admissions: list[Instant] = []

    def take(self, event: Event) -> list[tuple[State, Action | None]]:
        """Takes what happened; returns each change: the state, and what is done."""
        conditions = self._conditions
        match event:
            case Sample():
                return self._look(event)
            case Suspended():
                self._break()
                self._suspends.append(event.moment)
            case Restarted(downtime=downtime) if downtime > 10 * MINUTE:
                self.state, self._episode = "unknown", None
                self._break()
            case Restarted():
                self._downtime += event.downtime
            case Rebooted():
                conditions.pages, conditions.anew, conditions.over_anew = [], 0, 0
                self.state, self._episode, self._suspends = "unknown", None, []
        return []

    def _break(self) -> None:
        """Has clear_for begin anew, and the windows; those of an episode that bears gaps go on."""
        end = len(self._conditions.pages)
        self._conditions.over_anew = end
        if self._episode is None or self._rule.missing == "reset":
            self._conditions.anew = end

    def _look(self, sample: Sample) -> list[tuple[State, Action | None]]:
        conditions, now = self._conditions, sample.moment
        page = Page(sample, now.at - self._downtime, len(self._suspends), self.state, self._episode is not None)
        conditions.pages.append(page)
        shut = self._shut(sample.running)
        conditions.fill_in(shut)
        self.state = self._state_after(page)
        if shut:
            conditions.anew = len(conditions.pages)
        self._note_episode(page, now)
        actions = self._act(self._episode, page) if self._episode and self.state == "firing" else []
        if not actions and self.state != page.before:
            return [(self.state, None)]
        return [(self.state, None if self._rule.shadow else action) for action in actions]

    def _shut(self, running: frozenset[str]) -> bool:
        only = self._rule.only_while
        return not running.isdisjoint(self._rule.except_while) or (bool(only) and running.isdisjoint(only))

    # --- states

    def _state_after(self, page: Page) -> State:
        if page.fires:
            if page.over is None:
                return self._state_unseen(page, max(10 * self._period, 10 * MINUTE))
            if not page.over:
                return "firing"
            if self._conditions.lasted(lambda one: one.over, self._conditions.over_anew) < self._rule.clear_for:
                return "clearing"
            return "pending" if page.lax else "inactive"
        if page.strict:
            return "firing"
        if page.lax:
            return "pending"
        return self._state_unseen(page, self._rule.max_gap * self._period) if page.strict is None else "inactive"

    def _state_unseen(self, page: Page, patience: int) -> State:
        """Returns the state where nobody knows whether it ought to change: the one before, for so long."""
        known = [one.clock for one in self._conditions.pages if one.knew]
        if self._rule.missing == "reset" or not known or page.clock - known[-1] > patience:
            return "unknown"
        return page.before

    def _note_episode(self, page: Page, now: Instant) -> None:
        if self.state == "firing" and self._episode is None:
            self._episode = Episode(now, page.clock)
            self._edges.append(now)
        elif self.state in {"inactive", "pending"}:
            self._episode = None
            if page.fires:
                self._edges.append(now)

    # --- acting

    def _act(self, episode: Episode, page: Page) -> list[Action]:
        """Does what is due of an episode; returns what was done."""
        now = page.sample.moment
        due = self._due(episode, page)
        if not due:
            return []
        if self._flaps(now) or not (episode.admitted or self._admits(now)):
            self.withheld += 1
            return []
        if not episode.admitted:
            episode.admitted = True
            self._admissions.append(now)
        just_awake = any(now.since(end) < 2 * MINUTE for end in self._suspends[-1:])
        actions = {index: self._rule.steps[index].do for index in due}
        done = [index for index, do in actions.items() if VERBS[do.verb].tells or not just_awake]
        self.withheld += len(done) < len(due)
        episode.done |= dict.fromkeys(done, page.clock)
        return [actions[index] for index in done]

    def _due(self, episode: Episode, page: Page) -> list[int]:
        """Returns the steps whose time has come, and before which lies as much time as was written since each of those
        that were done."""
        failed = page.sample.failed is not None and page.sample.failed >= episode.began.alive
        steps, done = self._rule.steps, dict(episode.done)
        due = []
        for index, step in enumerate(steps):
            waited = [page.clock - clock >= step.after - steps[before].after for before, clock in done.items()]
            in_time = page.clock - episode.clock >= step.after and all(waited)
            if index not in done and in_time and (step.if_ == "still_firing" or failed):
                due.append(index)
                done[index] = page.clock
        return due

    def _flaps(self, now: Instant) -> bool:
        return len(self._edges) >= 5 and now.since(self._edges[-5]) < 30 * MINUTE

    def _admits(self, now: Instant) -> bool:
        """Returns whether an episode may act that has not yet."""
        most = self._rule.max_fires
        if self._admissions and now.since(self._admissions[-1]) < self._rule.cooldown:
            return False
        return most is None or len(self._admissions) < most.most or now.since(self._admissions[-most.most]) >= most.span
