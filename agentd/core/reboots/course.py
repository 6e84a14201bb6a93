"""The course of the pending reboot from state to state, as what is in its way allows.

idle > waiting (for blockers to go) > announced > draining > locked > issued > verified, and back to waiting from
anywhere before the end. logind is asked for a reboot from locked alone, and locked is only reached with nothing in the
way. A reboot's time binds: logind is asked in [begin, until) alone, and no run is stopped for a reboot that would come
later. While draining, the machine is looked at as well: no run is stopped but right after a look that found nothing in
the way.
"""

from msgspec.structs import replace

from agentd.core.part import Refused
from agentd.core.quantities import format_duration
from agentd.core.reboots import announcement, drain, guards
from agentd.core.reboots.afterboot import AfterBoot
from agentd.core.reboots.announcement import Announcement
from agentd.core.reboots.book import Book
from agentd.core.reboots.drain import Drain
from agentd.core.reboots.lookout import Lookout
from agentd.core.reboots.model import Blocker, Boot, Reboot, RebootIssues, RebootWithdrawn, Times
from agentd.core.reboots.policy import RebootPolicy
from agentd.core.reboots.slot import Slot
from agentd.core.reboots.work import Work

_COME_AND_GO = {"session", "job"}
"""The kinds of blockers that are looked at again at the instant that was announced, and for a minute from then on
(Times.calm): whoever leaves by then holds nothing. While draining, a person has as long to leave."""


class Course:
    """`pending` is the reboot under way, `going_down` tells whether the machine is about to go down."""

    def __init__(
        self, book: Book, jobs: Work, after: AfterBoot, policy: RebootPolicy, boot: Boot, times: Times
    ) -> None:
        self.policy = policy
        self.boot = boot
        self.pending: Reboot | None = None
        self.going_down = False
        self.slot = Slot(book, policy.fleet, times.slot_kept)
        self.lookout = Lookout(book, jobs, self.slot, times)
        self.drain = Drain(jobs)
        self.announcement = Announcement(book, times.calm)
        self._book = book
        self._after = after
        self._times = times

    @property
    def state(self) -> str:
        """The state of the pending reboot, or "idle"."""
        return "idle" if self.pending is None else self.pending.state

    def lead(self, reboot: Reboot, now: int) -> None:
        """Makes a reboot that waits the pending one."""
        self.pending = reboot
        self.announcement.forget()
        self.slot.begin()
        self.lookout.begin(max(now, reboot.begin - self.policy.grace))

    def save(self, reboot: Reboot) -> None:
        """Keeps the pending reboot as it is now."""
        self.pending = reboot
        self._book.save(reboot)

    def in_the_way(self, reboot: Reboot, now: int) -> list[Blocker]:
        """Returns what holds a reboot, by the facts of the last look."""
        return self.lookout.in_the_way(reboot, self.policy, self.boot, now)

    def look_on(self, now: int) -> None:
        """Tells what is in the way of the pending reboot, and goes on as that allows."""
        if self.pending is not None:
            blockers = self.in_the_way(self.pending, now)
            self.lookout.tell(self.pending, blockers, now)
            if self.lookout.facts.blockers:
                self.announcement.held(now)
            self.proceed(blockers, now)

    def proceed(self, blockers: list[Blocker], now: int) -> None:
        """Goes on with the pending reboot as the blockers just seen allow."""
        if (reboot := self.pending) is None:
            return
        if reboot.state in {"announced", "draining", "locked"} and self.slot.missing:
            blockers = [*blockers, Blocker("fleet", "", "the fleet's slot is not held any more")]
        if reboot.state == "announced" and self._may_pass(reboot, blockers, now):
            return
        if reboot.state == "draining" and self._may_drain(blockers, now):
            self.go_on_draining(now)
            return
        if blockers and reboot.state in {"announced", "draining", "locked"}:
            self.withdraw(guards.sentence(blockers), now, guards.plainly(blockers))
        elif reboot.state == "waiting":
            self._prepare(reboot, blockers, now)
        elif reboot.state == "announced":
            self._begin_to_drain(now)
        elif reboot.state == "locked":
            self._issue(reboot, now)

    def _may_pass(self, reboot: Reboot, blockers: list[Blocker], now: int) -> bool:
        """Tells whether an announced reboot waits on: its instant is to come, or has just come, and whoever is in the
        way may leave yet. A login of a second at the full minute does not take a reboot back."""
        if any(blocker.kind not in _COME_AND_GO for blocker in blockers):
            return False
        return now < reboot.at or (bool(blockers) and now < reboot.at + self._times.calm)

    def _may_drain(self, blockers: list[Blocker], now: int) -> bool:
        """Tells whether a draining goes on: nothing is in the way but runs, which are drained, and people who came just
        now, who may leave yet."""
        if any(blocker.kind not in _COME_AND_GO for blocker in blockers):
            return False
        return all(seen.kind == "job" or now < seen.since + self._times.calm for seen in self.lookout.blockers)

    def go_on_draining(self, now: int) -> None:
        """Goes on with a draining that may be over."""
        reboot = self.pending
        if reboot is None:
            return
        fresh = self.lookout.fresh(now)
        free = fresh and not self.slot.missing and not self.in_the_way(reboot, now)
        if not self.drain.over(reboot.until, now, free=free):
            if self.drain.stops and not fresh:
                self.lookout.look(now)
            return
        if (no := self.drain.no) is not None:
            self.lookout.said_no(no, now + self._times.hook_again)
            self.withdraw(no.why, now)
        elif late := self.drain.late:
            runs = ", ".join(run.run_id for run in late)
            self.finish("deferred", f"{runs} still ran when the time for the reboot was over; nothing was stopped", now)
        elif self._move("locked", now) is not None:
            self.lookout.look(now)

    def give_up(self, now: int) -> None:
        """Ends the pending reboot because its time is over."""
        blockers = self.lookout.blockers
        nothing = "there was no time left"
        note, plainly = guards.sentence(blockers) or nothing, guards.plainly(blockers) or nothing
        self.finish("deferred", note, now, plainly)

    def withdraw(self, why: str, now: int, plainly: str = "") -> None:
        """Puts the pending reboot back to waiting; jobs start again. `plainly` is the reason for terminals."""
        reboot = self._move("waiting", now)
        if reboot is None:
            return
        self.save(replace(reboot, at=0))
        self.announcement.withdrawn(now)
        self.lookout.look_again(now)
        self._book.effects.append(RebootWithdrawn(reboot.id, why, plainly or why))
        self._book.decide(now, f"reboot {reboot.id} waits again: {why}")
        self.drain.end(now, release=not self.going_down)

    def finish(self, state: str, note: str, now: int, plainly: str = "") -> Reboot:
        """Ends the pending reboot without its having happened. `plainly` is the note for terminals."""
        reboot = self._move(state, now)
        if reboot is None:
            raise Refused("TooLate", f"a reboot that is {self.state} cannot be {state}")
        reboot = replace(reboot, note=note)
        self._book.save(reboot)
        self._book.enter(reboot)
        self.pending = None
        self.announcement.forget()
        self.lookout.rest()
        self._book.decide(now, f"reboot {reboot.id} {state}: {note}")
        if reboot.at > 0:  # people were told of it
            self._book.effects.append(RebootWithdrawn(reboot.id, note, plainly or note))
        self.give_slot_back()
        self.drain.end(now, release=not self.going_down)
        return reboot

    def give_slot_back(self) -> None:
        """Gives the fleet's slot back, unless the machine is ill: then the slot is kept, as a warning to all."""
        if self._book.ledger.slot and not self._after.ill:
            self.slot.free()

    def _move(self, state: str, now: int) -> Reboot | None:
        """Returns the pending reboot in another state; None, and told, where that must not be."""
        moved = None if self.pending is None else self._book.move(self.pending, state, now)
        self.pending = moved or self.pending
        return moved

    def _prepare(self, reboot: Reboot, blockers: list[Blocker], now: int) -> None:
        """Gets the slot when nothing else is in the way, then announces."""
        if any(blocker.kind != "fleet" for blocker in blockers):
            if self.slot.idle(now):
                self.give_slot_back()
            return
        if (calm := self.announcement.calm) > now:
            self.lookout.at = min(self.lookout.at, calm)
            return
        self.slot.busy()
        if self.slot.missing:
            self.slot.want(reboot.reason)
            return
        at = announcement.instant(reboot, self.policy, now)
        if at + drain.least(self.policy.hooks.before) >= reboot.until:
            self._too_late(now)
        elif (announced := self._move("announced", now)) is not None:
            self.pending = self.announcement.begin(announced, at, self.policy, now)
            if at <= now:
                self._begin_to_drain(now)

    def _too_late(self, now: int) -> None:
        grace, hook = self.policy.grace, self.policy.hooks.before
        warning = f"the warning of {format_duration(grace)} (reboot.grace)" if grace else ""
        needs = [text for text in (warning, f"{hook} (hooks.before)" if hook else "") if text]
        self.finish("deferred", f"too little time is left for {' and '.join(needs) or 'a reboot'}", now)

    def _begin_to_drain(self, now: int) -> None:
        policy = self.policy
        if self.pending is not None and now + drain.least(policy.hooks.before) >= self.pending.until:
            self._too_late(now)
        elif (reboot := self._move("draining", now)) is not None:
            self.drain.begin(reboot.reason, policy.hooks.before, policy.wait_for.jobs, reboot.until, now)
            self.go_on_draining(now)

    def _issue(self, reboot: Reboot, now: int) -> None:
        if now >= reboot.until:
            self.give_up(now)
        elif now < reboot.begin:  # the clock was set back by a little
            self.lookout.at = reboot.begin
        elif (moved := self._move("issued", now)) is not None:
            moved = replace(moved, issued=now, down=now, boot=self.boot.id)
            self.save(moved)
            self._book.effects.append(RebootIssues(moved))
