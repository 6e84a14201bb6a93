"""After the boot: whether the boot was wanted, and whether the machine is well."""

from msgspec.structs import replace

from agentd.core.jobs.model import Run
from agentd.core.quantities import SECOND, format_duration
from agentd.core.reboots.book import Book
from agentd.core.reboots.model import FINAL, Boot, Reboot
from agentd.core.reboots.work import Work

_LEFT = "this machine may still hold a slot in a fleet that is no longer configured; release it on that fleet's server"


class AfterBoot:
    """Has the machine checked so many microseconds after agentd's start in a new boot.

    `due` is the instant of the check, 0 where none is wanted.
    """

    def __init__(self, book: Book, jobs: Work, check: int) -> None:
        self.due = 0
        self._book = book
        self._jobs = jobs
        self._after = check
        self._check: Run | None = None

    def take_up(self, boot: Boot, now: int, *, fleet: bool) -> Reboot | None:
        """Deals with the reboot that the agentd before this one left; returns it where it is still to be.

        `fleet` tells whether a fleet is configured.
        """
        book = self._book
        if book.ledger.lost:
            book.remember(slot=fleet)  # the machine may hold one: to give back what is not held does no harm
        elif book.ledger.slot and not fleet:
            book.remember(slot=False)
            book.decide(now, _LEFT)
        opened = next((reboot for reboot in book.ledger.reboots if reboot.state not in FINAL), None)
        rest = tuple(reboot for reboot in book.ledger.reboots if reboot is not opened)
        book.ledger = replace(book.ledger, reboots=rest)
        if opened is not None and opened.boot == boot.id:
            if opened.state != "issued":
                opened = replace(opened, state="waiting", at=0)
                book.save(opened)
                book.decide(now, f"reboot {opened.id} waits: agentd was started anew")
            self.due = now + self._after if self._to_check else 0
            return opened
        if opened is not None and opened.state == "issued":
            reboot = replace(opened, state="verified", up=now, led_to=boot.id, health="pending")
            book.enter(reboot)
            book.decide(now, f"reboot {reboot.id} verified: down for {_seconds(reboot.downtime)}")
        elif opened is not None:
            reboot = replace(opened, state="superseded", note="the machine booted before agentd asked for the reboot")
            book.enter(reboot)
            book.decide(now, f"reboot {reboot.id}: {reboot.note}")
        self.due = now + self._after if self._to_check else 0
        return None

    def clock_stepped(self, delta: int) -> None:
        """Moves along with the wall clock, which was set by `delta`."""
        self.due = self.due and self.due + delta

    def over(self, hook: str | None, now: int) -> bool:
        """Has the machine checked when that is due, by the job `hook` if there is one; tells whether the check has just
        ended."""
        if self.due and now >= self.due:
            self.due = 0
            wanted = hook is not None and self._unseen is not None
            self._check = self._jobs.run_hook(hook, "hook", now) if hook is not None and wanted else None
            if self._check is None:
                self._found("", now)
                return True
        if self._check is None or (ended := self._jobs.outcome(self._check)) is None:
            return False
        self._check = None
        self._found("" if ended.result == "success" else f"{ended.run_id}: {ended.result}", now)
        return True

    @property
    def ill(self) -> bool:
        """Whether the machine was not found well after its last reboot: then the slot is kept, as a warning to all."""
        last = self._last
        return last is not None and last.id > self._book.ledger.forgiven and last.health not in {"", "well"}

    @property
    def _last(self) -> Reboot | None:
        """The last reboot that happened."""
        return next((reboot for reboot in self._book.ledger.reboots if reboot.state == "verified"), None)

    @property
    def _unseen(self) -> Reboot | None:
        """The last reboot that happened, where the machine was not checked since."""
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
