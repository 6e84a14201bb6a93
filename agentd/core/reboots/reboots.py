"""Reboots: what happens and when goes in, effects come out, as with the jobs. At most one reboot is pending at a time;
other wishes wait beside it. The course of the pending one is in course.py."""

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from agentd.core.jobs.model import RunChanged, RunStarts, RunStops
from agentd.core.part import Core, Effect
from agentd.core.quantities import MINUTE
from agentd.core.reboots import drain, guards
from agentd.core.reboots.afterboot import AfterBoot
from agentd.core.reboots.beside import Beside, leads
from agentd.core.reboots.book import Book
from agentd.core.reboots.course import Course
from agentd.core.reboots.model import (
    TIMES,
    Blocker,
    Boot,
    Facts,
    Ledger,
    NothingRuns,
    Reboot,
    Times,
)
from agentd.core.reboots.nights import Nights
from agentd.core.reboots.policy import RebootPolicy
from agentd.core.reboots.required import Required
from agentd.core.reboots.shutdown import Shutdown
from agentd.core.reboots.windows import Occurrence
from agentd.core.reboots.work import Work

LITTLE = MINUTE
"""The clock may be set by less without people being told anything else."""
_OPEN_ALREADY = "the window was open already when this ledger of reboots was begun: this machine waits for the next"


class Reboots(Core):
    """Decides when the machine reboots.

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
        self._draining = False
        self._jobs = jobs
        self.book = Book(ledger)
        self._after = AfterBoot(self.book, jobs, times.check)
        self._course = Course(self.book, jobs, self._after, policy, boot, times)
        self._slot, self._lookout = self._course.slot, self._course.lookout
        self._required = Required(self.book, jobs, self._lookout, times)
        self._shutdown = Shutdown(self._course, self.book, jobs, times)
        self._beside = Beside()
        left = self._after.take_up(boot, now, fleet=policy.fleet is not None)
        known = (*self.ledger.reboots, *ledger.reboots)  # as they are over, and as they were left
        self._nights = Nights(host, known, policy, zone, booted=boot.at, now=now)
        if ledger.fresh:
            self._pass_over_open_windows(now)
        for wish in left:
            if wish.state == "issued":
                self._shutdown.take_up(wish, now)
            else:
                self._beside.put(wish)
        self._keep_to_the_policy(now)
        self._choose(now)

    # For others to read

    @property
    def policy(self) -> RebootPolicy:
        """The policy in force."""
        return self._course.policy

    @property
    def boot(self) -> Boot:
        """The boot that the machine is in."""
        return self._course.boot

    @property
    def ledger(self) -> Ledger:
        """The reboots that are over, and what is remembered beside them."""
        return self.book.ledger

    @property
    def pending(self) -> Reboot | None:
        """The reboot under way."""
        return self._course.pending

    @property
    def beside(self) -> list[Reboot]:
        """The wishes for a reboot that wait beside the pending one, oldest first."""
        return self._beside.wishes

    @property
    def wishes(self) -> list[Reboot]:
        """The pending reboot and the wishes beside it."""
        return [*([] if self.pending is None else [self.pending]), *self.beside]

    @property
    def state(self) -> str:
        """The state of the pending reboot, or "idle"."""
        return self._course.state

    @property
    def going_down(self) -> bool:
        """Whether the machine is about to go down, whoever wanted that."""
        return self._course.going_down

    @property
    def blockers(self) -> list[Blocker]:
        """The things in the way of the pending reboot, as of the last look."""
        return self._lookout.blockers

    @property
    def job_requires(self) -> bool:
        """Whether the job that says so (only_if_required) said that the machine asks for a reboot."""
        return self._required.yes

    @property
    def runs(self) -> int:
        """The number of runs under way."""
        return len(self._jobs.running())

    @property
    def slot(self) -> bool:
        """Whether this machine holds a slot of its fleet, as far as is known."""
        return self.ledger.slot and not self._slot.no

    @property
    def asked_for_slot(self) -> bool:
        """Whether the fleet was asked for a slot, and has not answered yet."""
        return self._slot.asked

    @property
    def longest_drain(self) -> int:
        """The longest time, in microseconds, from the beginning of a draining until the machine goes down."""
        return drain.course(self.policy.hooks.before, self.policy.wait_for.jobs, self._jobs.longest_stop)

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
        if self.beside:
            wanted += self._beside.due(self.policy.grace)
        if after := self._after.due:
            wanted.append(after)
        return min(wanted, default=None)

    def tick(self, now: int) -> None:
        """Deals with everything that is due, and with what changed among the jobs."""
        if self.going_down or self._draining:
            return
        if self._after.over(self.policy.hooks, now) and not self.wants_slot(now):
            self._course.give_slot_back()
        for wish in self._beside.over(now):
            self._finish(wish, "deferred", self._why_not(), now)
        self._choose(now)
        if self.state == "draining":
            self._course.go_on_draining(now)
        reboot = self.pending
        for when, deal_with in self._agenda():
            if when <= now and self.pending is reboot:  # in another state other things are due
                deal_with(now)
        self._choose(now)

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
        course = self._course
        course.boot = Boot(self.boot.id, self.boot.at + delta)
        self._after.clock_stepped(delta, course.boot, now)
        course.drain.clock_stepped(delta)
        course.announcement.clock_stepped(delta)
        self._nights.clock_stepped(delta)
        self._lookout.keep_elapsed(delta)
        for wish in self.wishes:
            self._save(wish.stepped(delta))
        if abs(delta) >= LITTLE:
            self._lookout.clock_stepped(now)
            course.announcement.end()
            reboot = self.pending
            early = reboot is not None and now < reboot.begin and reboot.state in {"draining", "locked"}
            if early or self.state == "announced":
                course.withdraw("the clock was set", now)
        self._choose(now)

    def drain(self) -> None:
        """Begins nothing new from here on: agentd stops."""
        self._draining = True

    def save_all(self) -> None:
        """Wants everything stored once more: the store that had it is gone."""
        self.book.save_all(self.wishes)

    def configure(self, policy: RebootPolicy, zone: str, now: int) -> None:
        """Takes the policy and the time zone that are in force from now on."""
        self._course.policy = policy
        self._nights.configure(policy, zone)
        self._slot.configure(policy.fleet)
        self._keep_to_the_policy(now)
        self._choose(now)

    # Wishes

    def begin(self, wish: Reboot, now: int) -> Reboot:
        """Begins the reboot that is wished for, with the next number: at once, or beside the pending one."""
        reboot = self._numbered(replace(wish, boot=self.boot.id))
        self._nights.deal_with(reboot)
        self.book.decide(now, f"reboot {reboot.id} ({reboot.cause}): {reboot.reason}")
        self._save(reboot)
        self._choose(now)
        return reboot

    def extend(self, wish: Reboot, until: int) -> None:
        """Has a wish, the pending reboot or one beside it, given up at that instant instead of earlier."""
        self._save(replace(wish, until=max(wish.until, until)))

    def finish(self, state: str, note: str, now: int) -> Reboot:
        """Ends the pending reboot without its having happened. Raises Refused TooLate."""
        reboot = self._course.finish(state, note, now)
        self._choose(now)
        return reboot

    def cancel(self, note: str, now: int) -> Reboot:
        """Takes the pending reboot back, and the wishes beside it; returns the pending one. Raises Refused TooLate."""
        reboot = self._course.finish("cancelled", note, now)
        for wish in self.beside:
            self._finish(wish, "cancelled", note, now)
        return reboot

    def withdraw(self, wish: Reboot, note: str, now: int) -> None:
        """Takes one wish back, pending or beside the pending reboot. Raises Refused TooLate."""
        self._finish(wish, "cancelled", note, now)
        self._choose(now)

    def proceed(self, now: int) -> None:
        """Goes on with the pending reboot: a job may have started since the machine was looked at."""
        if self.pending is not None:
            self._course.proceed(self._course.in_the_way(self.pending, now), now)

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
        if reboot is None or self.going_down or reboot.state == "issued":
            return
        if now < reboot.begin - self.policy.grace:  # too early for blockers to count
            self._lookout.at = reboot.begin - self.policy.grace
            if not self.wants_slot(now):
                self._course.give_slot_back()
            return
        policy = self.policy
        if reboot.occurrence and policy.only_if_required and not policy.asks_job and not facts.required:
            self.finish("cancelled", "the machine does not ask for a reboot any more", now)
            return
        self._course.look_on(now)
        self._choose(now)

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
        self._shutdown.refused(why, now)

    def preparing(self, down: bool, now: int) -> None:
        """Notes that the machine goes down, whoever wanted that, or stays up after all, as logind says."""
        self._shutdown.preparing(down, now)
        self.tick(now)  # where work goes on, runs may have ended meanwhile, or an instant may have passed

    # Due

    def _agenda(self) -> list[tuple[int, Callable[[int], None]]]:
        """Returns what is due in the state of the pending reboot, and when; of several the first goes before."""
        course, lookout, reboot = self._course, self._lookout, self.pending
        if reboot is None:
            due = self._nights.due
            return [] if due is None else [(max(due, lookout.at), self._begin_window)]
        over, look = (reboot.until, course.give_up), (lookout.at, lookout.look)
        match reboot.state:
            case "issued":
                return [self._shutdown.due(reboot)]
            case "draining":
                return [(min(course.drain.until, reboot.until), course.go_on_draining), look]
            case "announced":
                warnings = course.announcement
                last = [] if lookout.looking or lookout.seen >= reboot.at else [(reboot.at, lookout.look)]
                return [over, *((when, warnings.warn) for when in warnings.due[:1]), look, *last]
            case _:  # waiting, locked
                return [over, look]

    def _begin_window(self, now: int) -> None:
        wish = self._nights.wish(now)
        if wish is not None and self._required.wanted(wish, self.policy, now):
            self.begin(wish, now)

    def _pass_over_open_windows(self, now: int) -> None:
        """Deals with the windows that were open before this machine had a ledger: nobody knows what became of them."""
        self.book.remember()
        while (wish := self._nights.open(now)) is not None:
            self._nights.deal_with(wish)
            passed = self._numbered(replace(wish, state="deferred", note=_OPEN_ALREADY, boot=self.boot.id))
            self.book.enter(passed)
            self.book.decide(now, f"reboot {passed.id}, {passed.reason}: {passed.note}")

    def _keep_to_the_policy(self, now: int) -> None:
        """Has each reboot of a window keep to that window as the policy and the time zone have it now. Ends one whose
        window was taken out of the configuration, and one whose window begins later now: that begins another."""
        for wish in self.wishes:
            if not wish.occurrence or wish.state == "issued" or now >= wish.until:
                continue
            window = self._nights.occurrence_of(wish)
            if window is None:
                self._finish(wish, "cancelled", "the window was taken out of the configuration", now)
            elif max(now, wish.begin) < window.begin:
                self._nights.leave(wish)
                wish = replace(wish, occurrence="")  # noqa: PLW2901 - in the ledger the night has not had its try
                self._save(wish)
                self._finish(wish, "cancelled", "the window begins later now; then there is another try", now)
            elif (window.begin, window.end) != (wish.begin, wish.until):
                self._save(replace(wish, begin=window.begin, until=window.end))

    # Beside the pending reboot

    def _choose(self, now: int) -> None:
        """Lets the wish lead that comes first, unless the pending reboot is past waiting."""
        self._beside.looked(now)
        pending = self.pending
        if self.going_down or not self.beside or (pending is not None and pending.state != "waiting"):
            return
        first = leads(self.wishes, pending, self.policy.grace, now)
        if first is None or first is pending:
            return
        self._beside.take(first)
        if pending is not None:
            self._beside.put(pending)
            self.book.decide(now, f"reboot {first.id} goes before reboot {pending.id}, which waits beside it")
        self._course.lead(first, now)

    def _numbered(self, reboot: Reboot) -> Reboot:
        """Returns a reboot with the next number."""
        reboot = replace(reboot, id=self.ledger.next_id)
        self.book.ledger = replace(self.ledger, next_id=reboot.id + 1)
        return reboot

    def _save(self, wish: Reboot) -> None:
        """Keeps a wish as it is now, the pending reboot or one beside it."""
        if self.pending is not None and self.pending.id == wish.id:
            self._course.save(wish)
        else:
            self._beside.put(wish)
            self.book.save(wish)

    def _finish(self, wish: Reboot, state: str, note: str, now: int) -> None:
        """Ends a wish, the pending reboot or one beside it, without its having happened."""
        if self.pending is not None and self.pending.id == wish.id:
            self._course.finish(state, note, now)
        else:
            self._beside.take(wish)
            self.book.enter(replace(wish, state=state, note=note))
            self.book.decide(now, f"reboot {wish.id} {state}: {note}")

    def _why_not(self) -> str:
        """Returns why a wish beside the pending reboot did not become one, as a sentence."""
        pending = self.pending
        if pending is None:
            return "there was no time left"
        held = guards.sentence(self.blockers)
        return f"its time was over while reboot {pending.id} was {pending.state}{held and ': ' + held}"
