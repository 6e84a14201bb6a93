"""After the boot: whether it is the one that was wanted, and whether the machine is well."""

from msgspec.structs import replace

from agentd.core.jobs.jobs import Jobs
from agentd.core.jobs.model import Run
from agentd.core.quantities import SECOND, format_duration
from agentd.core.reboots.book import Book
from agentd.core.reboots.model import FINAL, Boot, Reboot

CHECK = 30 * SECOND
"""After agentd's start in a new boot the machine is checked."""


class AfterBoot:
    """Looks after the machine once agentd has started."""

    def __init__(self, book: Book, engine: Jobs) -> None:
        self.due = 0  # when the machine is checked; 0: it is not
        self._book = book
        self._engine = engine
        self._check: Run | None = None

    def take_up(self, boot: Boot, now: int) -> Reboot | None:
        """Deals with what the agentd before this one left; returns the reboot that is still to be."""
        book = self._book
        fleet = self._engine.config.reboot.fleet is not None
        if book.ledger.lost:
            book.remember(slot=fleet)  # it may hold one: to give back what is not held does no harm
        elif book.ledger.slot and not fleet:
            book.remember(slot=False)
            book.decide(now, "this machine may hold a slot of a fleet that is not configured any more: free it there")
        opened = next((reboot for reboot in book.ledger.reboots if reboot.state not in FINAL), None)
        rest = tuple(reboot for reboot in book.ledger.reboots if reboot is not opened)
        book.ledger = replace(book.ledger, reboots=rest)
        if opened is not None and opened.boot == boot.id:
            if opened.state != "issued":
                opened = replace(opened, state="waiting", at=0)
                book.save(opened)
                book.decide(now, f"reboot {opened.id} waits: agentd was started anew")
            self.due = now + CHECK if self._to_check else 0
            return opened
        if opened is not None and opened.state == "issued":
            reboot = replace(opened, state="verified", up=now, led_to=boot.id, health="pending")
            book.enter(reboot)
            book.decide(now, f"reboot {reboot.id} verified: down for {_seconds(reboot.downtime)}")
        elif opened is not None:
            reboot = replace(opened, state="superseded", note="the machine booted before it was asked to")
            book.enter(reboot)
            book.decide(now, f"reboot {reboot.id}: {reboot.note}")
        self.due = now + CHECK if self._to_check else 0
        return None

    def clock_stepped(self, delta: int) -> None:
        """The wall clock was set by delta."""
        self.due = self.due and self.due + delta

    def over(self, hook: str | None, now: int) -> bool:
        """Has the machine checked, by a job if there is one for that; whether that has just ended."""
        if self.due and now >= self.due:
            self.due = 0
            wanted = hook is not None and self._unseen is not None
            self._check = self._engine.run_hook(hook, "hook", now) if hook is not None and wanted else None
            if self._check is None:
                self._found("", now)
                return True
        if self._check is None or (ended := self._engine.outcome(self._check)) is None:
            return False
        self._check = None
        self._found("" if ended.result == "success" else f"{ended.run_id}: {ended.result}", now)
        return True

    @property
    def ill(self) -> bool:
        """Whether the machine was not found well after its last reboot: it keeps its slot, as a warning to all."""
        last = self._last
        return last is not None and last.id > self._book.ledger.forgiven and last.health not in {"", "well"}

    @property
    def _last(self) -> Reboot | None:
        """The last reboot that happened."""
        return next((reboot for reboot in self._book.ledger.reboots if reboot.state == "verified"), None)

    @property
    def _unseen(self) -> Reboot | None:
        """That one, where the machine was not looked at since."""
        return self._last if self._last is not None and self._last.health == "pending" else None

    @property
    def _to_check(self) -> bool:
        return self._book.ledger.slot or self._unseen is not None

    def _found(self, wrong: str, now: int) -> None:
        if (last := self._unseen) is not None:
            self._book.enter(replace(last, health=wrong or "well"))
            self._book.decide(now, f"after reboot {last.id} the machine is {wrong or 'well'}")


def _seconds(usec: int) -> str:
    return format_duration(usec // SECOND * SECOND)
