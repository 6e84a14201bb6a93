"""The announcement of a reboot: for which instant, and the warnings before it."""

from msgspec.structs import replace

from agentd.core.reboots.book import Book
from agentd.core.reboots.model import Reboot, RebootWarns
from agentd.core.reboots.policy import RebootPolicy


def instant(reboot: Reboot, policy: RebootPolicy, now: int) -> int:
    """Returns when a reboot may happen: after the warning; but one by hand at an instant happens then."""
    if not reboot.automatic and (reboot.begin == reboot.requested or now < reboot.begin):
        return max(now, reboot.begin)
    return max(reboot.begin, now + policy.grace)


class Announcement:
    """Has people told of a reboot when it is announced, and for each warning. `due` are the instants of the warnings
    to come.

    After a withdrawal, `calm` is the instant from which the reboot may be announced again, 0 where that may be at once:
    `pause` microseconds after the withdrawal, and after the last time that something of the machine's held the reboot.
    """

    def __init__(self, book: Book, pause: int) -> None:
        self.due: list[int] = []
        self.calm = 0
        self._book = book
        self._pause = pause
        self._warning: RebootWarns

    def begin(self, reboot: Reboot, at: int, policy: RebootPolicy, now: int) -> Reboot:
        """Announces a reboot for an instant, where that is not now; returns it, kept so."""
        reboot = replace(reboot, at=at)
        self._book.save(reboot)
        self.calm = 0
        if at > now:
            self.due = sorted(at - ahead for ahead in policy.warnings if now < at - ahead)
            self._warning = RebootWarns(reboot.id, reboot.reason, at)
            self._book.effects.append(self._warning)
        return reboot

    def warn(self, now: int) -> None:
        """Tells people once more, once for all warnings that are due."""
        self.due = [when for when in self.due if when > now]
        self._book.effects.append(self._warning)

    def end(self) -> None:
        """Warns people no more."""
        self.due = []

    def withdrawn(self, now: int) -> None:
        """Warns people no more, and waits for a calm before the next announcement."""
        self.due, self.calm = [], now + self._pause

    def held(self, now: int) -> None:
        """Notes that something of the machine's, such as an inhibitor, holds the reboot."""
        self.calm = self.calm and now + self._pause

    def clock_stepped(self, delta: int) -> None:
        """Moves along with the wall clock, which was set by `delta`."""
        self.calm = self.calm and self.calm + delta

    def forget(self) -> None:
        """Begins anew: another reboot is pending, or none."""
        self.due, self.calm = [], 0
