"""After the boot: whether the boot was wanted, and whether the machine is well."""

from msgspec.structs import replace

from agentd.core.jobs.model import Run
from agentd.core.quantities import SECOND, format_duration
from agentd.core.reboots.book import Book
from agentd.core.reboots.model import FINAL, Boot, Reboot
from agentd.core.reboots.policy import Hooks
from agentd.core.reboots.work import Work

_LEFT = "this machine may still hold a slot in a fleet that is no longer configured; release it on that fleet's server"


class AfterBoot:
    """Has the machine checked so many microseconds after agentd's start in a new boot.

    `due` is the instant of the check, or that by which the check must have ended; 0 where nothing is waited for.
    """

    def __init__(self, book: Book, jobs: Work, check: int) -> None:
        self.due = 0
        self._book = book
        self._jobs = jobs
        self._after = check
        self._check: Run | None = None

    def take_up(self, boot: Boot, now: int, *, fleet: bool) -> list[Reboot]:
        """Deals with the reboots that the agentd before this one left; returns those that are still to be.

        `fleet` tells whether a fleet is configured.
        """
        book = self._book
        if book.ledger.lost:
            book.remember(slot=fleet)  # the machine may hold one: to give back what is not held does no harm
        elif book.ledger.slot and not fleet:
            book.remember(slot=False)
            book.decide(now, _LEFT)
        left = sorted((one for one in book.ledger.reboots if one.state not in FINAL), key=lambda one: one.id)
        book.ledger = replace(book.ledger, reboots=tuple(one for one in book.ledger.reboots if one.state in FINAL))
        issued = next((one for one in left if one.state == "issued"), None)
        came_first = f"reboot {issued.id} came first" if issued is not None and issued.boot != boot.id else ""
        found = (self._taken_up(one, boot, came_first, now) for one in left if one is not issued)
        open_ones = [one for one in found if one is not None]
        if issued is not None and issued.boot == boot.id:
            open_ones.append(issued)
        elif issued is not None:
            reboot = replace(issued, state="verified", up=now, led_to=boot.id, health="pending", note="")
            book.enter(reboot)
            book.decide(now, f"reboot {reboot.id} verified: {_down_for(reboot)}")
        self.due = now + self._after if self._to_check else 0
        return open_ones

    def _taken_up(self, reboot: Reboot, boot: Boot, came_first: str, now: int) -> Reboot | None:
        """Returns a reboot that was not issued, as it waits from now on; None where this boot did away with it."""
        book = self._book
        if reboot.boot == boot.id:
            book.decide(now, f"reboot {reboot.id} waits: agentd was started anew")
        elif not reboot.automatic and reboot.begin > now:  # planned for an instant that is still to come
            book.decide(now, f"reboot {reboot.id} stays planned: the machine booted before its time")
        else:
            note = came_first or "the machine booted before agentd asked for the reboot"
            book.enter(replace(reboot, state="superseded", note=note))
            book.decide(now, f"reboot {reboot.id}: {note}")
            return None
        waits = replace(reboot, state="waiting", at=0, boot=boot.id)
        book.save(waits)
        return waits

    def clock_stepped(self, delta: int, boot: Boot, now: int) -> None:
        """Moves along with the wall clock, which was set by `delta`, and with it the end of the downtime before this
        boot: many machines learn the time only some seconds after they are up."""
        self.due = self.due and self.due + delta
        if (last := self._last) is not None and last.led_to == boot.id:
            moved = replace(last, up=last.up + delta)
            self._book.correct(moved)
            if abs(delta) >= SECOND:
                self._book.decide(now, f"reboot {moved.id}: {_down_for(moved)}, as the clock shows it now")

    def over(self, hooks: Hooks, now: int) -> bool:
        """Has the machine checked when that is due, by the job hooks.after if there is one; tells whether the check has
        just ended."""
        if self._check is None and self.due and now >= self.due:
            self.due = 0
            if hooks.after is not None and self._unseen is not None:
                self._check = self._jobs.run_hook(hooks.after, "hook", now)
            if self._check is None:
                self._found("", now)
                return True
            self.due = now + hooks.after_within
        if self._check is None:
            return False
        ended = self._jobs.outcome(self._check)
        if ended is None and now < self.due:
            return False
        if ended is None:
            wrong = f"{self._check.run_id} did not end within {format_duration(hooks.after_within)}"
            self._stop(self._check, now)
        else:
            wrong = "" if ended.result == "success" else f"{ended.run_id}: {ended.result}"
        self._check, self.due = None, 0
        self._found(wrong, now)
        return True

    def _stop(self, check: Run, now: int) -> None:
        """Stops a check that takes too long, unless somebody else began that run or it waits for another try."""
        if check.cause == "hook" and check.run_id in {run.run_id for run in self._jobs.running()}:
            self._jobs.stop(check.run_id, now)

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


def _down_for(reboot: Reboot) -> str:
    """Returns how long the machine was down, in words; unknown where the clock shows less than before the reboot."""
    if not reboot.downtime:
        return "how long the machine was down is not known, for the clock is behind"
    return f"down for {format_duration(reboot.downtime // SECOND * SECOND)}"
