"""The fleet's slot, as this machine knows it: asked for, granted, given back."""

from agentd.core.quantities import MINUTE
from agentd.core.reboots.book import Book
from agentd.core.reboots.model import SlotFreed, SlotWanted
from agentd.core.reboots.policy import FleetPolicy

KEPT = 10 * MINUTE
"""A slot is given back when something else is in the way of the reboot for longer."""


class Slot:
    """`granted` is whether the fleet said yes to what is pending, `no` why it did not.

    Whether one may be held is in the ledger, and goes there before it is asked for: an answer may get lost.
    """

    def __init__(self, book: Book, fleet: FleetPolicy | None) -> None:
        self.granted = False
        self.no = ""
        self._book = book
        self._fleet = fleet
        self._asked = False
        self._stale = False  # what was asked for before the slot was given back is not answered yet
        self._idle = 0  # since when it is held for nothing

    def begin(self) -> None:
        """Another reboot is pending."""
        self.no, self._idle = "", 0

    def configured(self, fleet: FleetPolicy | None) -> None:
        """Another fleet has granted nothing yet; what the one before granted is given back to it by who knows it."""
        if fleet != self._fleet:
            self._fleet, self.granted, self.no, self._stale = fleet, False, "", self._asked
            if self._book.ledger.slot:
                self._book.remember(slot=False)

    def want(self, reason: str) -> None:
        """It is asked for, once."""
        if not self._asked:
            self._asked = True
            self._book.remember(slot=True)
            self._book.effects.append(SlotWanted(reason))

    def answered(self, why_not: str) -> None:
        """Granted (""), or why it was not."""
        if self._stale:
            self._stale, why_not = False, why_not or "the slot was given back meanwhile"
        self._asked, self.no, self.granted = False, why_not, not why_not
        if self.granted:
            self._book.remember(slot=True)

    def idle(self, now: int) -> bool:
        """Something else is in the way: whether it has been so for too long to keep others waiting."""
        self._idle = self._idle or now
        return now - self._idle >= KEPT

    def busy(self) -> None:
        """Nothing else is in the way."""
        self._idle = 0

    def free(self) -> None:
        """It is to be given back. An answer under way was asked for before this: it does not count."""
        self.granted, self.no, self._stale = False, "", self._asked
        self._book.effects.append(SlotFreed())

    def freed(self) -> None:
        """The fleet has it back; a newer question may be under way."""
        self.granted = False
        self._book.remember(slot=self._asked)
