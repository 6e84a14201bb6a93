"""Reboots: the state machine from the wish to the verified boot.

idle > waiting (for blockers to go) > announced > draining > locked > issued > verified, and back to waiting from
anywhere before the end. Events and their instants go in, effects come out, as with the jobs. logind is asked for a
reboot from locked alone, and locked is only reached with nothing in the way.
"""

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from agentd.core.jobs.model import RunChanged, RunStarts, RunStops
from agentd.core.part import Core, Effect, Refused
from agentd.core.quantities import HOUR, MINUTE, format_duration
from agentd.core.reboots import announcement, guards
from agentd.core.reboots.afterboot import AfterBoot
from agentd.core.reboots.announcement import Announcement
from agentd.core.reboots.book import Book
from agentd.core.reboots.drain import Drain
from agentd.core.reboots.lookout import Lookout
from agentd.core.reboots.model import (
    PART,
    TIMES,
    Blocker,
    Boot,
    Facts,
    Ledger,
    NothingRuns,
    Reboot,
    RebootIssues,
    RebootWithdrawn,
    Times,
)
from agentd.core.reboots.nights import Nights
from agentd.core.reboots.policy import RebootPolicy
from agentd.core.reboots.slot import Slot
from agentd.core.reboots.windows import Occurrence
from agentd.core.reboots.work import Work

LITTLE = MINUTE
"""The clock may be set by less without people being told anything else."""


class Reboots(Core):
    """Decides when the machine reboots: at most one reboot is pending at a time.

    `boot` is this boot of the machine, `zone` the name of the windows' time zone (empty: UTC), `host` seeds the jitter.
    """

    def __init__(
        self,
        jobs: Work,
        ledger: Ledger,
        boot: Boot,
        policy: RebootPolicy,
        zone: str,
        now: int,
        *,
        host: str = "",
        times: Times = TIMES,
    ) -> None:
        self.boot = boot
        self.policy = policy
        self.going_down = False
        self._draining = False
        self._jobs = jobs
        self._times = times
        self.book = Book(ledger)
        self._slot = Slot(self.book, policy.fleet, times.slot_kept)
        self._lookout = Lookout(self.book, jobs, self._slot, times)
        self._after = AfterBoot(self.book, jobs, times.check)
        self._drain = Drain(jobs)
        self._nights = Nights(host, (reboot.occurrence for reboot in ledger.reboots), policy, zone, now)
        self._announcement = Announcement(self.book)
        self.pending = self._after.take_up(boot, now, fleet=policy.fleet is not None)
        self._keep_to_the_policy(now)

    # For others to read

    @property
    def ledger(self) -> Ledger:
        """The reboots that are over, and what is remembered beside them."""
        return self.book.ledger

    @property
    def state(self) -> str:
        """The state of the pending reboot, or "idle"."""
        return "idle" if self.pending is None else self.pending.state

    @property
    def blockers(self) -> list[Blocker]:
        """The things in the way of the pending reboot, as of the last look."""
        return self._lookout.blockers

    @property
    def runs(self) -> int:
        """The number of runs under way."""
        return len(self._jobs.running())

    @property
    def slot(self) -> bool:
        """Whether this machine holds a slot of its fleet, as far as is known."""
        return self.ledger.slot and not self._slot.no

    def wants_slot(self, now: int) -> bool:
        """Tells whether the pending reboot is close enough to take the fleet's slot."""
        return self.pending is not None and now >= self.pending.begin - self.policy.grace

    def coming(self, now: int) -> Occurrence | None:
        """Returns the window that is open or comes next, of those that were not dealt with."""
        return self._nights.coming(now)

    # As every core

    def effects(self) -> list[Effect]:
        """Returns the effects since the last call, in order."""
        return self.book.take()

    def wakeup(self) -> int | None:
        """Returns when tick() is next wanted."""
        if self.going_down or self._draining:
            return None
        wanted = [when for when, _ in self._agenda()]
        return min([*wanted, *([self._after.due] if self._after.due else [])], default=None)

    def tick(self, now: int) -> None:
        """Deals with everything that is due, and with what changed among the jobs."""
        if self.going_down or self._draining:
            return
        if self._after.over(self.policy.hooks.after, now) and not self.wants_slot(now):
            self._give_slot_back()
        if self.state == "draining":
            self._go_on_draining(now)
        reboot = self.pending
        for when, deal_with in self._agenda():
            if when <= now and self.pending is reboot:  # in another state other things are due
                deal_with(now)

    def heard(self, effects: Sequence[Effect], now: int) -> None:
        """Takes note of runs that began or ended."""
        if any(isinstance(effect, RunStarts | RunStops | RunChanged) for effect in effects):
            self.tick(now)
            if self.going_down and not self.runs:
                self.book.effects.append(NothingRuns())

    def clock_stepped(self, delta: int, now: int) -> None:
        """Moves along, with all that counts elapsed time; a window stays where it is by the wall clock.

        A clock that is set by a little, as time services do, changes nothing that people were told.
        """
        self.boot = Boot(self.boot.id, self.boot.at + delta)
        self._after.clock_stepped(delta)
        self._drain.clock_stepped(delta)
        self._nights.clock_stepped()
        reboot = self.pending
        if reboot is not None:
            self._save(reboot.stepped(delta))
        if abs(delta) < LITTLE:
            return
        self._lookout.clock_stepped(now)
        self._announcement.end()
        if reboot is not None and reboot.state == "announced":
            self._withdraw("the clock was set", now)

    def drain(self) -> None:
        """Begins nothing new from here on: agentd stops."""
        self._draining = True

    def save_all(self) -> None:
        """Wants everything stored once more: the store that had it is gone."""
        self.book.save_all(self.pending)

    def configure(self, policy: RebootPolicy, zone: str, now: int) -> None:
        """Takes the policy and the time zone that are in force from now on."""
        self.policy = policy
        self._nights.configure(policy, zone)
        self._slot.configure(policy.fleet)
        self._keep_to_the_policy(now)

    # Wishes

    def begin(self, wish: Reboot, now: int) -> Reboot:
        """Begins the reboot that is wished for, with the next number; none must be pending."""
        reboot = replace(wish, id=self.ledger.next_id, boot=self.boot.id)
        self.book.ledger = replace(self.ledger, next_id=reboot.id + 1)
        self._nights.deal_with(reboot)
        self._announcement.end()
        self._slot.begin()
        self._lookout.begin(max(now, reboot.begin - self.policy.grace))
        self.book.decide(now, f"reboot {reboot.id} ({reboot.cause}): {reboot.reason}")
        self._save(reboot)
        return reboot

    def in_the_way(self, reboot: Reboot, now: int, facts: Facts | None = None) -> list[Blocker]:
        """Returns what holds a reboot, by the facts of the last look or by others."""
        return self._lookout.in_the_way(reboot, self.policy, self.boot, now, facts)

    def clear(self, now: int) -> list[str]:
        """Lets automatic reboots happen again; returns a sentence for each thing that prevented them."""
        slot = self.ledger.slot and not self.wants_slot(now)
        cleared = self.book.clear(now, *(["the fleet's slot is given back"] if slot else []))
        if slot:
            self._slot.free()
        return cleared

    # Observations and answers

    def observed(self, facts: Facts, now: int) -> None:
        """Takes the facts that RebootLooks asked for, and goes on as they allow."""
        self._lookout.observed(facts, now)
        if self.pending is None and not self.going_down:
            self._begin_window(now)
        reboot = self.pending
        if reboot is None or self.going_down or reboot.state in {"issued", "draining"}:
            return
        if now < reboot.begin - self.policy.grace:  # too early for blockers to count
            self._lookout.at = reboot.begin - self.policy.grace
            if not self.wants_slot(now):
                self._give_slot_back()
            return
        if reboot.occurrence and self.policy.only_if_required and not facts.required:
            self.finish("cancelled", "the machine does not ask for a reboot any more", now)
            return
        blockers = self.in_the_way(reboot, now)
        self._lookout.tell(reboot, blockers, now)
        self.proceed(blockers, now)

    def slot_answered(self, why_not: str, now: int) -> None:
        """Takes the fleet's answer: the slot is granted (""), or why it is not."""
        self._slot.answered(why_not)
        if self._slot.granted and not self.wants_slot(now):
            self._slot.free()  # the answer came too late
        if self.pending is not None and self.pending.state == "waiting":
            self._lookout.tell(self.pending, self.in_the_way(self.pending, now), now)
            if self._slot.granted:
                self._lookout.look(now)

    def slot_freed(self) -> None:
        """Notes that the fleet has its slot back."""
        self._slot.freed()

    def refused(self, why: str, now: int) -> None:
        """Notes that the machine does not reboot, though logind was asked to; tries again later."""
        reboot = self.pending
        if reboot is None or reboot.state != "issued":
            self.book.decide(now, f"not expected: {why} (the state is {self.state})")
            return
        pause = min(HOUR, MINUTE << min(reboot.attempts, 6))
        self._lookout.said_no(
            Blocker("logind", "systemd-logind", f"the reboot did not happen: {why}", now), now + pause
        )
        self.pending = replace(reboot, attempts=reboot.attempts + 1, issued=0, down=0)
        self._withdraw(f"{why}; tried again in {format_duration(pause)}", now)

    def preparing(self, down: bool, now: int) -> None:
        """Notes that the machine goes down, whoever wanted that, or stays up after all, as logind says."""
        self.going_down = down
        reboot = self.pending
        if down:
            self._jobs.hold(PART, "the machine is going down; nothing new starts")
            if reboot is not None and reboot.state == "issued":
                self._save(replace(reboot, down=now))
            self.book.decide(
                now, "the machine is going down" + ("" if reboot is not None else "; somebody else asked for that")
            )
        elif reboot is not None and reboot.state == "issued":
            self.finish("cancelled", "the shutdown was cancelled", now)
        else:
            self.book.decide(now, "the shutdown was cancelled; work goes on")
            if reboot is None or reboot.state in {"waiting", "announced"}:
                self._jobs.release(PART, now)
            self.tick(now)  # runs may have ended, or an instant may have passed, meanwhile

    # Due

    def _agenda(self) -> list[tuple[int, Callable[[int], None]]]:
        """Returns what is due in the state of the pending reboot, and when; of several the first goes before."""
        reboot = self.pending
        if reboot is None:
            due = self._nights.due
            return [] if due is None else [(max(due, self._lookout.at), self._begin_window)]
        over, look = (reboot.until, self._give_up), (self._lookout.at, self._lookout.look)
        last = [] if self._lookout.looking else [(reboot.at, self._lookout.look)]
        states: dict[str, list[tuple[int, Callable[[int], None]]]] = {
            "waiting": [over, look],
            "announced": [over, *((when, self._announcement.warn) for when in self._announcement.due[:1]), look, *last],
            "draining": [(self._drain.until, self._go_on_draining)],  # draining has bounds of its own
            "locked": [look],
            "issued": [(reboot.issued + self._times.answer, self._miss_the_shutdown)],
        }
        return states[reboot.state]

    def _begin_window(self, now: int) -> None:
        wish = self._nights.wish(now)
        if wish is not None and self.policy.only_if_required and not self._lookout.required(now):
            self._lookout.look_whether_required(now)
        elif wish is not None:
            self.begin(wish, now)

    def _keep_to_the_policy(self, now: int) -> None:
        """Ends a reboot whose window was taken out of the configuration, and one whose window is shorter earlier."""
        reboot = self.pending
        if reboot is None or not reboot.occurrence or reboot.state == "issued" or now >= reboot.until:
            return
        end = self._nights.end_of(reboot)
        if end is None:
            self.finish("cancelled", "the window was taken out of the configuration", now)
        elif end != reboot.until:
            self._save(replace(reboot, until=end))

    def _miss_the_shutdown(self, now: int) -> None:
        self.refused("the machine did not go down", now)

    def _give_up(self, now: int) -> None:
        self.finish("deferred", guards.sentence(self.blockers) or "there was no time left", now)

    # From state to state

    def _move(self, state: str, now: int) -> Reboot | None:
        """Returns the pending reboot in another state; None, and told, where that must not be."""
        moved = None if self.pending is None else self.book.move(self.pending, state, now)
        self.pending = moved or self.pending
        return moved

    def proceed(self, blockers: list[Blocker], now: int) -> None:
        """Goes on with the pending reboot as the blockers just seen allow."""
        if (reboot := self.pending) is None:
            return
        if reboot.state in {"announced", "locked"} and self._slot.missing:
            blockers = [*blockers, Blocker("fleet", "", "the fleet's slot is not held any more")]
        if blockers and reboot.state in {"announced", "locked"}:
            self._withdraw(guards.sentence(blockers), now)
        elif reboot.state == "waiting":
            self._prepare(reboot, blockers, now)
        elif reboot.state == "announced" and now >= reboot.at:
            self._begin_to_drain(now)
        elif reboot.state == "locked":
            self._issue(now)

    def _prepare(self, reboot: Reboot, blockers: list[Blocker], now: int) -> None:
        """Gets the slot when nothing else is in the way, then announces."""
        if any(blocker.kind != "fleet" for blocker in blockers):
            if self.ledger.slot and self._slot.idle(now):
                self._give_slot_back()
            return
        self._slot.busy()
        if self._slot.missing:
            self._slot.want(reboot.reason)
            return
        at = announcement.instant(reboot, self.policy, now)
        if at >= reboot.until:
            grace = format_duration(self.policy.grace)
            self.finish("deferred", f"too little time is left for the warning of {grace} (reboot.grace)", now)
        elif (announced := self._move("announced", now)) is not None:
            self.pending = self._announcement.begin(announced, at, self.policy, now)
            if at <= now:
                self._begin_to_drain(now)

    def _begin_to_drain(self, now: int) -> None:
        reboot = self._move("draining", now)
        if reboot is not None:
            self._drain.begin(reboot.reason, self.policy.hooks.before, self.policy.wait_for.jobs, now)
            self._go_on_draining(now)

    def _go_on_draining(self, now: int) -> None:
        if not self._drain.over(now):
            return
        if (no := self._drain.no) is not None:
            self._lookout.said_no(no, now + self._times.hook_again)
            self._withdraw(no.why, now)
        elif self._move("locked", now) is not None:
            self._lookout.look(now)

    def _issue(self, now: int) -> None:
        reboot = self._move("issued", now)
        if reboot is not None:
            reboot = replace(reboot, issued=now, down=now, boot=self.boot.id)
            self._save(reboot)
            self.book.effects.append(RebootIssues(reboot))

    def _withdraw(self, why: str, now: int) -> None:
        """Puts the pending reboot back to waiting; jobs start again."""
        reboot = self._move("waiting", now)
        if reboot is None:
            return
        self._save(replace(reboot, at=0))
        self._announcement.end()
        self._lookout.look_again(now)
        self.book.effects.append(RebootWithdrawn(reboot.id, why))
        self.book.decide(now, f"reboot {reboot.id} waits again: {why}")
        self._drain.end(now, release=not self.going_down)

    def finish(self, state: str, note: str, now: int) -> Reboot:
        """Ends the pending reboot without its having happened."""
        reboot = self._move(state, now)
        if reboot is None:
            raise Refused("TooLate", f"a reboot that is {self.state} cannot be {state}")
        reboot = replace(reboot, note=note)
        self.book.save(reboot)
        self.book.enter(reboot)
        self.pending = None
        self._announcement.end()
        self._lookout.rest()
        self.book.decide(now, f"reboot {reboot.id} {state}: {note}")
        if reboot.at > 0:  # people were told of it
            self.book.effects.append(RebootWithdrawn(reboot.id, note))
        self._give_slot_back()
        self._drain.end(now, release=not self.going_down)
        return reboot

    def _give_slot_back(self) -> None:
        if self.ledger.slot and not self._after.ill:
            self._slot.free()

    def _save(self, reboot: Reboot) -> None:
        self.pending = reboot
        self.book.save(reboot)
