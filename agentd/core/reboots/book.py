"""The ledger as it is kept while reboots come and go."""

from msgspec.structs import replace

from agentd.core.part import Decided, Effect
from agentd.core.reboots.model import Ledger, LedgerSaved, Reboot, RebootChanged, RebootOver, RebootSaved


class Book:
    """The ledger, and the effects of what happens to it, in the order in which it happens."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.effects: list[Effect] = []

    def decide(self, now: int, reason: str) -> None:
        """Tells what was decided and why."""
        self.effects.append(Decided(now, "reboots", "reboot", "", reason))

    def remember(self, **changed: object) -> None:
        """Keeps what is remembered beside the reboots: fields of Ledger."""
        self.ledger = ledger = replace(self.ledger, **changed)
        self.effects.append(LedgerSaved(ledger.breakers, ledger.lost, ledger.slot, ledger.forgiven))

    def save(self, reboot: Reboot) -> None:
        """Keeps a reboot as it is now, while it is under way."""
        self.effects += [RebootSaved(reboot), RebootChanged()]

    def enter(self, reboot: Reboot) -> None:
        """Keeps a reboot that is over, as the newest or in the place of itself."""
        known = self.ledger.reboots
        if any(other.id == reboot.id for other in known):
            reboots = tuple(reboot if other.id == reboot.id else other for other in known)
        else:
            reboots = (reboot, *known)
        self.ledger = replace(self.ledger, reboots=reboots)
        self.effects += [RebootSaved(reboot), RebootOver(reboot), RebootChanged()]
