"""The lookout: has the machine looked at, and tells what is in the way of a reboot."""

from msgspec.structs import replace

from agentd.core.quantities import MINUTE, SECOND
from agentd.core.reboots import guards
from agentd.core.reboots.book import Book
from agentd.core.reboots.model import Blocker, Boot, Facts, Reboot, RebootChanged, RebootLooks, Times
from agentd.core.reboots.policy import RebootPolicy
from agentd.core.reboots.slot import Slot
from agentd.core.reboots.work import Work

_UNSEEN = Facts(blockers=(Blocker("logind", "", "the machine was not looked at yet"),))
_LOST = MINUTE  # a look that takes longer is not waited for
_FRESH = 5 * SECOND  # for so long runs may be stopped by what a look found


class Lookout:
    """`facts` are those of the last look, `seen` is its instant, `blockers` are in the way of the pending reboot as
    people were told, `at` is the instant of the next look."""

    def __init__(self, book: Book, jobs: Work, slot: Slot, times: Times) -> None:
        self.facts = _UNSEEN
        self.seen = 0
        self.blockers: list[Blocker] = []
        self.at = 0
        self._book = book
        self._jobs = jobs
        self._slot = slot
        self._times = times
        self._fresh = 0  # until when the facts are fresh
        self._since = 0  # since when a look is under way
        self._noted = 0  # when it was last noted what a reboot waits for
        self._unnoted = False
        self._no: Blocker | None = None  # who said no: logind, the hook
        self._no_until = 0

    @property
    def looking(self) -> bool:
        """Whether a look is under way."""
        return bool(self._since)

    def begin(self, at: int) -> None:
        """Begins anew with another pending reboot, whose first look is due at `at`."""
        self._no, self._no_until, self._since, self._noted = None, 0, 0, 0
        self.blockers, self.at = [], at

    def rest(self) -> None:
        """Forgets what was in the way: no reboot is pending any more."""
        self._no, self.blockers, self.at = None, [], 0

    def look(self, now: int) -> None:
        """Has the machine looked at, for what is in the way."""
        self._look(now, self._times.look)

    def look_whether_required(self, now: int) -> None:
        """Has the machine looked at, for whether it asks for a reboot; not more often than is worth it."""
        if now >= self.at:
            self._look(now, self._times.look_required)

    def look_again(self, now: int) -> None:
        """Looks again after a reboot was withdrawn: at once where somebody said no, who is to be seen among the
        blockers."""
        self.at = now if self._no is not None and now < self._no_until else now + self._times.look

    def observed(self, facts: Facts, now: int) -> None:
        """Takes the facts that a look found."""
        self.facts, self.seen, self._since = facts, now, 0
        self._fresh = now + _FRESH

    def fresh(self, now: int) -> bool:
        """Tells whether the machine was looked at in these last seconds."""
        return now < self._fresh

    def required(self, now: int) -> bool:
        """Tells whether the machine asks for a reboot, as far as was seen lately."""
        return self.seen > 0 and now - self.seen < self._times.look_required and self.facts.required

    def said_no(self, blocker: Blocker, until: int) -> None:
        """Counts somebody who said no among the blockers until that instant."""
        self._no, self._no_until = blocker, until

    def keep_elapsed(self, delta: int) -> None:
        """Has the facts stay as old as they are: the wall clock was set by `delta`."""
        self._fresh += delta

    def clock_stepped(self, now: int) -> None:
        """Looks at once, and counts nobody's no any more: the wall clock was set."""
        self.at = self._no_until = now

    def in_the_way(
        self, reboot: Reboot, policy: RebootPolicy, boot: Boot, now: int, facts: Facts | None = None
    ) -> list[Blocker]:
        """Returns what holds a reboot, by the facts of the last look or by others."""
        facts = self.facts if facts is None else facts
        running = [(run, self._jobs.critical(run)) for run in self._jobs.running()]
        found = [
            *guards.of_the_machine(facts),
            *guards.of_people(reboot, policy, facts, boot, now),
            *guards.of_jobs(running, policy, boot, now),
            *guards.of_caution(reboot, policy, facts, self._book.ledger, boot, now),
        ]
        if self._no is not None and now < self._no_until:
            found.append(self._no)
        return [*found, *self._slot.blockers]

    def tell(self, reboot: Reboot, blockers: list[Blocker], now: int) -> None:
        """Tells people what is in the way of the pending reboot, where that is something else than before. However
        often that changes, a decision is noted once a minute at most (Times.calm)."""
        known = {(old.kind, old.who): old.since for old in self.blockers}
        kept = [replace(new, since=new.since or known.get((new.kind, new.who), 0) or now) for new in blockers]
        if [(b.kind, b.who) for b in kept] != [(b.kind, b.who) for b in self.blockers]:
            self._unnoted = True
            self._book.effects.append(RebootChanged())
        self.blockers = kept
        if self._unnoted and kept and not 0 <= now - self._noted < self._times.calm:
            self._unnoted, self._noted = False, now
            self._book.decide(now, f"reboot {reboot.id} waits: {guards.sentence(kept)}")

    def _look(self, now: int, again: int) -> None:
        self.at = now + again
        if not self._since or now - self._since >= _LOST:
            self._since = now
            self._book.effects.append(RebootLooks())
