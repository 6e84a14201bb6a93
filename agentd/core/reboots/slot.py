"""The fleet's slot, as this machine knows it: asked for, granted, given back."""

from agentd.core.quantities import MINUTE
from agentd.core.reboots.book import Book
from agentd.core.reboots.model import Blocker, SlotFreed, SlotWanted
from agentd.core.reboots.policy import FleetPolicy


class Slot:
    """The slot for the pending reboot: `asked` tells whether the fleet was asked and has not answered yet, `granted`
    whether the fleet said yes, `no` why it did not.

    The ledger has it that the machine may hold a slot before the fleet is asked for one: an answer may get lost. A slot
    is `kept` for so many microseconds while something else is in the way of the reboot.
    """

    def __init__(self, book: Book, fleet: FleetPolicy | None, kept: int = 10 * MINUTE) -> None:
        self.granted = False
        self.no = ""
        self._book = book
        self._fleet = fleet
        self._kept = kept
        self.asked = False
        self._stale = False  # the question under way was asked before the slot was given back
        self._idle = 0  # since when the slot is held for nothing

    def begin(self) -> None:
        """Forgets what the fleet said to the reboot before: another one is pending."""
        self.no, self._idle = "", 0

    def configure(self, fleet: FleetPolicy | None) -> None:
        """Takes another fleet, which has granted nothing yet; the shell releases the old one's slot."""
        if fleet != self._fleet:
            self._fleet, self.granted, self.no, self._stale = fleet, False, "", self.asked
            if self._book.ledger.slot:
                self._book.remember(slot=False)

    @property
    def missing(self) -> bool:
        """Whether a reboot needs a slot that the fleet has not granted."""
        return self._fleet is not None and not self.granted

    @property
    def blockers(self) -> list[Blocker]:
        """The fleet's no, where the reboot needs a slot."""
        return [Blocker("fleet", "", self.no)] if self.no and self.missing else []

    def want(self, reason: str) -> None:
        """Has the fleet asked for a slot, once."""
        if not self.asked:
            self.asked = True
            self._book.remember(slot=True)
            self._book.effects.append(SlotWanted(reason))

    def answered(self, why_not: str) -> None:
        """Takes the fleet's answer: granted (""), or why it was not."""
        if self._stale:
            self._stale, why_not = False, why_not or "the slot was given back meanwhile"
        self.asked, self.no, self.granted = False, why_not, not why_not
        if self.granted:
            self._book.remember(slot=True)

    def idle(self, now: int) -> bool:
        """Notes that something else is in the way; tells whether it has been for too long to keep other machines
        waiting."""
        self._idle = self._idle or now
        return now - self._idle >= self._kept

    def busy(self) -> None:
        """Notes that nothing else is in the way."""
        self._idle = 0

    def free(self) -> None:
        """Gives the slot back. If a question is still open, its answer no longer counts."""
        self.granted, self.no, self._stale = False, "", self.asked
        self._book.effects.append(SlotFreed())

    def freed(self) -> None:
        """Notes that the fleet has the slot back; a newer question may be under way."""
        self.granted = False
        self._book.remember(slot=self.asked)
