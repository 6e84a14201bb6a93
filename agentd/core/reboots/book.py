"""The ledger as it is kept while reboots come and go."""

from collections.abc import Iterable

from msgspec.structs import replace

from agentd.core.part import Decided, Effect
from agentd.core.reboots import guards
from agentd.core.reboots.model import (
    FINAL,
    LEGAL,
    PART,
    Boot,
    Ledger,
    LedgerSaved,
    Reboot,
    RebootChanged,
    RebootOver,
    RebootSaved,
)


class Book:
    """The ledger, and the effects of what happens to it, in the order in which it happens."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.effects: list[Effect] = []

    def take(self) -> list[Effect]:
        """Returns the effects since the last call."""
        taken, self.effects = self.effects, []
        return taken

    def decide(self, now: int, reason: str) -> None:
        """Notes a decision with its reason, a sentence."""
        self.effects.append(Decided(now, PART, "reboot", "", reason))

    def remember(self, **changed: object) -> None:
        """Keeps what is remembered beside the reboots: fields of Ledger."""
        self.ledger = ledger = replace(self.ledger, **changed)
        kept = (ledger.breakers, ledger.lost, ledger.slot, ledger.forgiven, ledger.uncounted)
        self.effects.append(LedgerSaved(*kept))

    def save(self, reboot: Reboot) -> None:
        """Keeps a reboot as it is now, while it is under way."""
        self.effects += [RebootSaved(reboot), RebootChanged()]

    def move(self, reboot: Reboot, state: str, now: int) -> Reboot | None:
        """Returns the reboot in another state, and keeps it so; None, and a decision that tells, where the state it is
        in does not lead there."""
        if state not in LEGAL.get(reboot.state, ()):
            self.decide(now, f"refused: from {reboot.state} to {state}")
            return None
        moved = replace(reboot, state=state)
        self.save(moved)
        if state not in FINAL and state != "waiting":  # the caller tells the reason for these two
            self.decide(now, f"reboot {reboot.id} is {state}")
        return moved

    def enter(self, reboot: Reboot) -> None:
        """Keeps a reboot that is over, as the newest or in the place of itself."""
        self.correct(reboot)
        self.effects.append(RebootOver(reboot))

    def correct(self, reboot: Reboot) -> None:
        """Keeps what became known of a reboot that is over, of which nobody is told anew."""
        known = self.ledger.reboots
        if any(other.id == reboot.id for other in known):
            reboots = tuple(reboot if other.id == reboot.id else other for other in known)
        else:
            reboots = (reboot, *known)
        self.ledger = replace(self.ledger, reboots=reboots)
        self.effects += [RebootSaved(reboot), RebootChanged()]

    @property
    def last_window(self) -> Reboot | None:
        """The newest reboot of a window that is over, one way or the other; None where no window had its try."""
        return next((reboot for reboot in self.ledger.reboots if reboot.occurrence), None)

    def breaker(self, cause: str, boot: Boot, now: int) -> str:
        """Returns why a cause must not reboot the machine again, or "". The breaker of a cause that its reboot did not
        cure opens, and stays open until clear()."""
        if not (why := self.ledger.breakers.get(cause, "")) and (
            why := guards.comes_again(cause, self.ledger, boot, now)
        ):
            self.remember(breakers={**self.ledger.breakers, cause: why})
            self.decide(now, f"the breaker of {cause} opened: {why}")
        return why

    def clear(self, now: int, *more: str) -> list[str]:
        """Trusts all causes and the ledger again, and counts no reboot that is dated ahead; returns a sentence for
        each, and those of what else was cleared."""
        cleared = [f"{cause} may reboot the machine again" for cause in self.ledger.breakers]
        cleared += ["the ledger is trusted again; the limits count from now"] if self.ledger.lost else []
        ahead = guards.dated_ahead(self.ledger, now)
        cleared += [f"the limits do not count reboot {key} any more: a clock that was ahead dated it" for key in ahead]
        cleared += more
        if cleared:
            known = {reboot.id for reboot in self.ledger.reboots}
            uncounted = tuple(key for key in (*self.ledger.uncounted, *ahead) if key in known)
            self.remember(breakers={}, lost="", forgiven=self.ledger.next_id - 1, uncounted=uncounted)
            self.decide(now, f"cleared: {'; '.join(cleared)}")
        return cleared

    def save_all(self, wishes: Iterable[Reboot]) -> None:
        """Keeps everything once more, with the reboots that are not over: the store that had it is gone."""
        self.effects += map(RebootSaved, (*wishes, *self.ledger.reboots))
        self.remember()
