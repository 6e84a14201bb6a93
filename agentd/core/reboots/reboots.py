"""Reboots: the state machine from the wish to the verified boot.

idle > waiting (for blockers to go) > announced > draining > locked > issued > verified, and back to waiting from
anywhere before the end. What happened and when goes in, effects come out, as with the engine. The machine is never
asked to reboot but from locked, and locked is only reached with nothing in the way.
"""

from zoneinfo import ZoneInfo

from msgspec import json
from msgspec.structs import replace

from agentd.core.jobs.jobs import Jobs
from agentd.core.jobs.model import Run
from agentd.core.part import Effect, Refused
from agentd.core.quantities import DAY, HOUR, MINUTE, SECOND, format_duration
from agentd.core.reboots import guards
from agentd.core.reboots.afterboot import AfterBoot
from agentd.core.reboots.book import Book
from agentd.core.reboots.drain import Drain
from agentd.core.reboots.model import (
    FINAL,
    Blocker,
    Boot,
    Facts,
    Ledger,
    Reboot,
    RebootChanged,
    RebootIssues,
    RebootLooks,
    RebootSaved,
    RebootWarns,
    RebootWithdrawn,
)
from agentd.core.reboots.policy import Kind, RebootPolicy
from agentd.core.reboots.slot import Slot
from agentd.core.reboots.windows import Calendar, Occurrence
from agentd.core.times import timezone

LOOK = 10 * SECOND
"""Between two looks at what is in the way."""
LOOK_REQUIRED = MINUTE
"""Between two looks whether the machine asks for a reboot, within a window."""
ANSWER = 2 * MINUTE
"""After logind was asked: by then the machine goes down, or it did not happen."""
LITTLE = MINUTE
"""The clock may be set by less without people being told anything else."""
HOOK_AGAIN = 5 * MINUTE
"""Before a hook that said no is asked again."""
GIVE_UP = 6 * HOUR
TOO_LATE = "what is left of its time is shorter than the warning"
_FARTHEST = 366 * DAY
_LONGEST_REASON = 200

LEGAL = {
    "waiting": {"announced", "draining", *FINAL},
    "announced": {"waiting", "draining", *FINAL},
    "draining": {"waiting", "locked", *FINAL},
    "locked": {"waiting", "issued", *FINAL},
    "issued": {"waiting", "verified", "cancelled"},
}
"""Where each state may lead. A reboot that is over stays so."""


class Reboots:
    """At most one reboot at a time. `boot` is this boot of the machine, `host` seeds the jitter."""

    def __init__(self, engine: Jobs, ledger: Ledger, boot: Boot, now: int, *, host: str = "") -> None:
        self.boot = boot
        self.blockers: list[Blocker] = []
        self.facts: Facts | None = None
        self.going_down = False
        self._engine = engine
        self._book = Book(ledger)
        self._slot = Slot(self._book, engine.config.reboot.fleet)
        self._after = AfterBoot(self._book, engine)
        self._drain = Drain(engine)
        self._calendar = Calendar(host, (reboot.occurrence for reboot in ledger.reboots), now)
        self._look_at = 0
        self._looking = 0  # since when facts are awaited
        self._warnings: list[int] = []
        self._not_before = 0  # after something failed
        self._no: Blocker | None = None  # what said no: logind, the hook
        self._seen = 0  # when the facts were observed
        self.pending = self._after.take_up(boot, now)
        self._keep_to_the_policy(now)

    @property
    def ledger(self) -> Ledger:
        return self._book.ledger

    @property
    def state(self) -> str:
        return "idle" if self.pending is None else self.pending.state

    @property
    def runs(self) -> int:
        """How many runs are under way."""
        return len(self._engine.running())

    @property
    def policy(self) -> RebootPolicy:
        return self._engine.config.reboot

    def save_all(self) -> None:
        """Stores everything once more: the store that had it is gone."""
        known = self.ledger.reboots if self.pending is None else (self.pending, *self.ledger.reboots)
        self._book.effects += map(RebootSaved, known)
        self._book.remember()

    # What the caller asks of every event

    def effects(self) -> list[Effect]:
        """The effects since the last call."""
        taken, self._book.effects = self._book.effects, []
        return taken

    def wakeup(self) -> int | None:
        """When tick() is next wanted."""
        if self.going_down or self._engine.draining:
            return None
        wanted = [self._after.due] if self._after.due else []
        reboot = self.pending
        if reboot is None:
            coming = self._calendar.coming(self.policy, self._zone)
            if coming is not None:
                wanted.append(max(coming.begin - self.policy.grace, self._look_at))
        elif reboot.state == "issued":
            wanted.append(reboot.issued + ANSWER)
        else:
            wanted += [self._look_at, *self._warnings[:1]]
            wanted += [reboot.until] if reboot.state in {"waiting", "announced"} else []
            wanted += [reboot.at] if reboot.state == "announced" and not self._looking else []
            wanted += [self._drain.until] if reboot.state == "draining" else []
        return min(wanted, default=None)

    def tick(self, now: int) -> None:
        """Deals with everything that is due, and with what changed among the jobs."""
        if self._engine.draining or self.going_down:
            return
        if self._after.over(self.policy.hooks.after, now) and not self.wants_slot(now):
            self._give_slot_back()
        if self.pending is None:
            self._begin_window(now)
        reboot = self.pending
        if reboot is None:
            return
        if reboot.state == "issued":
            if now >= reboot.issued + ANSWER:
                self.refused("the machine did not go down", now)
        elif now >= reboot.until and reboot.state in {"waiting", "announced"}:  # draining has bounds of its own
            self._give_up(now)
        else:
            self._warn(now)
            if reboot.state == "draining":
                self._go_on_draining(now)
            if now >= self._look_at or (reboot.state == "announced" and now >= reboot.at):
                self._look(now)

    # Wishes

    def request(self, reason: str, cause: str, kind: Kind | None, within: int, now: int) -> Reboot:
        """A program wants a reboot: all guards apply. Returns the pending one where there is one.

        Raises Refused InvalidArgument, Breaker.
        """
        reason = _line(reason)
        _check_span(within)
        if within and within <= self.policy.grace:
            text = f"within must be longer than the warning (reboot.grace, {format_duration(self.policy.grace)})"
            raise Refused("InvalidArgument", text)
        if not cause or cause in {"nightly", "manual"} or len(cause) > _LONGEST_REASON or not cause.isprintable():
            shown = json.encode(cause[:_LONGEST_REASON]).decode()
            raise Refused("InvalidArgument", f"{shown} cannot be the cause of a request")
        if why := self.ledger.breakers.get(cause) or self._trip(cause, now):
            raise Refused("Breaker", f"{cause}: {why}; it may reboot the machine again after: agentctl reboot clear")
        if self.pending is not None:
            self._book.decide(now, f"{cause} asks too: {reason}; reboot {self.pending.id} is pending already")
            return self.pending
        reboot = self._new(cause, reason, kind, now, begin=now, until=now + (within or GIVE_UP))
        self._start(reboot, now)
        return reboot

    def by_hand(
        self, reason: str, kind: Kind | None, at: int, within: int, now: int, *, force_users: bool, owner: str
    ) -> Reboot:
        """A person wants a reboot, now (`at` is 0) or then. Raises Refused Busy, Blocked, InvalidArgument."""
        reboot = self.examined(reason, kind, at, within, now, force_users=force_users, owner=owner)
        if self.pending is not None and (self.pending.state == "issued" or not self.pending.automatic):
            raise Refused("Busy", f"a reboot is pending already: {self.pending.reason} (agentctl reboot status)")
        if not at and (blockers := self._blockers(reboot, now)):
            raise Refused("Blocked", f"not rebooting: {guards.sentence(blockers)}")
        if self.pending is not None:
            self._finish("cancelled", "somebody reboots the machine by hand", now)
        self._start(reboot, now)
        if not at:
            self._proceed(reboot, self._blockers(reboot, now), now)  # a job may have started just now
        return self.pending or reboot

    def examined(
        self, reason: str, kind: Kind | None, at: int, within: int, now: int, *, force_users: bool, owner: str
    ) -> Reboot:
        """The reboot that by_hand() would begin. Raises Refused InvalidArgument."""
        if at and not now < at <= now + _FARTHEST:
            raise Refused("InvalidArgument", "that instant has passed, or is more than a year away")
        _check_span(within)
        until = (at + (within or HOUR)) if at else now + (within or 5 * MINUTE) + self.policy.wait_for.jobs
        reboot = self._new("manual", _line(reason or "asked for by hand"), kind, now, begin=at or now, until=until)
        return replace(reboot, automatic=False, force_users=force_users, owner=owner)

    def in_the_way(self, reboot: Reboot, now: int) -> list[Blocker]:
        """What would hold that reboot now."""
        return self._blockers(reboot, now)

    def cancel(self, who: str, now: int) -> Reboot:
        """Takes the pending reboot back. Raises Refused NoSuchReboot, TooLate."""
        reboot = self.pending
        if reboot is None:
            raise Refused("NoSuchReboot", "no reboot is pending")
        if reboot.state == "issued":
            raise Refused("TooLate", "the machine is going down already; try: shutdown -c")
        return self._finish("cancelled", who, now)

    def clear(self, now: int) -> list[str]:
        """Lets automatic reboots happen again; returns a sentence for each thing that prevented them."""
        cleared = [f"{cause} may reboot the machine again" for cause in self.ledger.breakers]
        cleared += ["the ledger counts again from here on"] if self.ledger.lost else []
        slot = self.ledger.slot and not self.wants_slot(now)
        cleared += ["the fleet's slot is given back"] if slot else []
        if cleared:
            self._book.remember(breakers={}, lost="", forgiven=self.ledger.next_id - 1)
            self._book.decide(now, f"cleared: {'; '.join(cleared)}")
        if slot:
            self._slot.free()
        return cleared

    # What is observed and answered

    def observed(self, facts: Facts, now: int) -> None:
        """What the machine is like, as RebootLooks asked."""
        self.facts, self._seen, self._looking = facts, now, 0
        if self.pending is None and not self.going_down:
            self._begin_window(now)
        reboot = self.pending
        if reboot is None or self.going_down or reboot.state in {"issued", "draining"}:
            return
        if now < reboot.begin - self.policy.grace:  # what is in the way now does not count
            self._look_at = reboot.begin - self.policy.grace
            if not self.wants_slot(now):
                self._give_slot_back()
            return
        if reboot.occurrence and self.policy.only_if_required and not facts.required:
            self._finish("cancelled", "the machine does not ask for a reboot any more", now)
            return
        blockers = self._blockers(reboot, now)
        self._tell_blockers(blockers, now)
        self._proceed(reboot, blockers, now)

    def slot_answered(self, why_not: str, now: int) -> None:
        """Whether the fleet granted the slot ("") or why it did not."""
        self._slot.answered(why_not)
        if self._slot.granted and not self.wants_slot(now):
            self._slot.free()  # it came too late
        if self.pending is not None and self.pending.state == "waiting":
            self._tell_blockers(self._blockers(self.pending, now), now)
            if self._slot.granted:
                self._look(now)

    def slot_freed(self) -> None:
        """The fleet has its slot back."""
        self._slot.freed()

    def refused(self, why: str, now: int) -> None:
        """The machine does not reboot, though logind was asked to."""
        reboot = self.pending
        if reboot is None or reboot.state != "issued":
            self._book.decide(now, f"not expected: {why} (the state is {self.state})")
            return
        pause = min(HOUR, MINUTE << min(reboot.attempts, 6))
        self._no = Blocker("logind", "systemd-logind", f"it did not happen: {why}", now)
        self._not_before = now + pause
        self.pending = replace(reboot, attempts=reboot.attempts + 1, issued=0, down=0)
        self._withdraw(f"{why}; tried again in {format_duration(pause)}", now)

    def preparing(self, down: bool, now: int) -> None:
        """logind says that the machine goes down, whoever asked for it, or that it does not after all."""
        self.going_down = down
        reboot = self.pending
        if down:
            self._engine.hold("the machine is going down; nothing new starts")
            if reboot is not None and reboot.state == "issued":
                self._save(replace(reboot, down=now))
            self._book.decide(
                now, "the machine is going down" + ("" if reboot is not None else ", somebody else asked")
            )
        elif reboot is not None and reboot.state == "issued":
            self._finish("cancelled", "the shutdown was cancelled", now)
        else:
            self._book.decide(now, "the shutdown was cancelled; work goes on")
            if reboot is None or reboot.state in {"waiting", "announced"}:
                self._engine.release(now)

    def clock_stepped(self, delta: int, now: int) -> None:
        """The wall clock was set by delta. What counts elapsed time moves along; a window stays where it is.

        By a little, as time services do, it changes nothing that people were told.
        """
        self.boot = Boot(self.boot.id, self.boot.at + delta)
        self._after.clock_stepped(delta)
        self._drain.clock_stepped(delta)
        self._calendar.forget()
        reboot = self.pending
        if reboot is not None:
            moved = replace(reboot, issued=reboot.issued and reboot.issued + delta)
            if reboot.begin == reboot.requested:  # at once, not at an instant of the wall clock
                begin, until = reboot.begin + delta, reboot.until + delta
                moved = replace(moved, requested=begin, begin=begin, until=until)
            self._save(moved)
        if abs(delta) < LITTLE:
            return
        self._look_at = self._not_before = now
        self._warnings = []
        if reboot is not None and reboot.state == "announced":
            self._withdraw("the clock was set", now)

    def reconfigured(self, now: int) -> None:
        """The policy may be another."""
        self._calendar.forget()
        self._slot.configured(self.policy.fleet)
        self._keep_to_the_policy(now)

    def _keep_to_the_policy(self, now: int) -> None:
        """A window that was taken out of the configuration is none any more, and a shorter one ends earlier."""
        reboot = self.pending
        if reboot is None or not reboot.occurrence or reboot.state == "issued" or now >= reboot.until:
            return
        same = self._calendar.find(reboot.occurrence, self.policy, self._zone)
        if same is None or same.begin > reboot.until:
            self._finish("cancelled", "its window was taken out of the configuration", now)
        elif same.end != reboot.until:
            self._save(replace(reboot, until=same.end))

    # Windows

    @property
    def _zone(self) -> ZoneInfo:
        return timezone(self._engine.config.timezone or "UTC")

    def coming(self, now: int) -> Occurrence | None:
        """The window that is open or comes next, of those that were not dealt with."""
        self._calendar.look(now)
        return self._calendar.coming(self.policy, self._zone)

    def _begin_window(self, now: int) -> None:
        coming = self.coming(now)
        if coming is None or now < coming.begin - self.policy.grace:
            return
        fresh = self.facts is not None and now - self._seen < LOOK_REQUIRED
        if self.policy.only_if_required and not (fresh and self.facts is not None and self.facts.required):
            if now >= self._look_at:
                self._look(now, LOOK_REQUIRED)
            return
        reboot = self._new("nightly", f"the window {coming.key}", None, now, begin=coming.begin, until=coming.end)
        self._start(replace(reboot, occurrence=coming.key), now)

    # From state to state

    def _new(self, cause: str, reason: str, kind: Kind | None, now: int, *, begin: int, until: int) -> Reboot:
        return Reboot(
            id=self.ledger.next_id,
            cause=cause,
            reason=reason,
            kind=kind or self.policy.kind,
            requested=now,
            begin=begin,
            until=until,
            boot=self.boot.id,
        )

    def _start(self, reboot: Reboot, now: int) -> None:
        self._book.ledger = replace(self.ledger, next_id=reboot.id + 1)
        if reboot.occurrence:
            self._calendar.deal_with(reboot.occurrence)
        self._no, self._not_before = None, 0
        self.blockers, self._warnings = [], []
        self._slot.begin()
        self._book.decide(now, f"reboot {reboot.id} ({reboot.cause}): {reboot.reason}")
        self._save(reboot)
        self._look_at = max(now, reboot.begin - self.policy.grace)
        self._looking = 0

    def _move(self, state: str, now: int) -> Reboot | None:
        """The pending reboot in another state; None, and told, where that must not be."""
        reboot = self.pending
        if reboot is None or state not in LEGAL.get(reboot.state, ()):
            self._book.decide(now, f"refused: from {self.state} to {state}")
            return None
        self._save(replace(reboot, state=state))
        if state not in FINAL and state != "waiting":  # who moves it there says why
            self._book.decide(now, f"reboot {reboot.id} is {state}")
        return self.pending

    def _proceed(self, reboot: Reboot, blockers: list[Blocker], now: int) -> None:
        """What the facts just seen allow."""
        if reboot.state in {"announced", "locked"} and self.policy.fleet is not None and not self._slot.granted:
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
        if self.policy.fleet is not None and not self._slot.granted:
            self._slot.want(reboot.reason)
            return
        at = self._instant(reboot, now)
        if at >= reboot.until:
            self._finish("deferred", f"{TOO_LATE} ({format_duration(self.policy.grace)})", now)
            return
        announced = self._move("announced", now)
        if announced is None:
            return
        self._save(replace(announced, at=at))
        if at > now:
            self._book.effects.append(RebootWarns(reboot.reason, at))
            self._warnings = sorted(at - ahead for ahead in self.policy.warnings if now < at - ahead)
        else:
            self._begin_to_drain(now)

    def _instant(self, reboot: Reboot, now: int) -> int:
        """When it may happen: after the warning, but what a person wants at an instant happens then."""
        if not reboot.automatic and (reboot.begin == reboot.requested or now < reboot.begin):
            return max(now, reboot.begin)
        return max(reboot.begin, now + self.policy.grace)

    def _warn(self, now: int) -> None:
        reboot = self.pending
        due = [when for when in self._warnings if when <= now]
        self._warnings = [when for when in self._warnings if when > now]
        if due and reboot is not None and reboot.state == "announced":
            self._book.effects.append(RebootWarns(reboot.reason, reboot.at))

    def _begin_to_drain(self, now: int) -> None:
        reboot = self._move("draining", now)
        if reboot is None:
            return
        self._drain.begin(reboot.reason, self.policy.hooks.before, self.policy.wait_for.jobs, now)
        self._go_on_draining(now)

    def _go_on_draining(self, now: int) -> None:
        if not self._drain.over(now):
            return
        if self._drain.no is not None:
            self._no, self._not_before = self._drain.no, now + HOOK_AGAIN
            self._withdraw(self._no.why, now)
        elif self._move("locked", now) is not None:
            self._look(now)

    def _issue(self, now: int) -> None:
        reboot = self._move("issued", now)
        if reboot is not None:
            self._save(replace(reboot, issued=now, down=now, boot=self.boot.id))
            self._book.effects.append(RebootIssues(self.pending or reboot))

    def _withdraw(self, why: str, now: int) -> None:
        """Back to waiting; jobs start again."""
        reboot = self._move("waiting", now)
        if reboot is None:
            return
        self._save(replace(reboot, at=0))
        self._warnings = []
        named = self._no is None or now >= self._not_before  # what said no is to be seen among the blockers
        self._look_at = now + LOOK if named else now
        self._book.effects.append(RebootWithdrawn(why))
        self._book.decide(now, f"reboot {reboot.id} waits again: {why}")
        self._drain.end(now, release=not self.going_down)

    def _give_up(self, now: int) -> None:
        held = guards.sentence(self.blockers) or "there was no time left"
        self._finish("deferred", held, now)

    def _finish(self, state: str, note: str, now: int) -> Reboot:
        """The reboot is over without having happened."""
        reboot = self._move(state, now)
        if reboot is None:
            raise Refused("TooLate", f"a reboot that is {self.state} cannot be {state}")
        reboot = replace(reboot, note=note)
        announced = reboot.at > 0
        self._save(reboot)
        self._book.enter(reboot)
        self.pending, self.blockers, self._warnings, self._no = None, [], [], None
        self._look_at = 0
        self._book.decide(now, f"reboot {reboot.id} {state}: {note}")
        if announced:
            self._book.effects.append(RebootWithdrawn(note))
        self._give_slot_back()
        self._drain.end(now, release=not self.going_down)
        return reboot

    # Looking

    def _look(self, now: int, again: int = LOOK) -> None:
        self._look_at = now + again
        if not self._looking or now - self._looking >= MINUTE:
            self._looking = now
            self._book.effects.append(RebootLooks())

    def _blockers(self, reboot: Reboot, now: int) -> list[Blocker]:
        facts = self.facts or Facts(blockers=(Blocker("logind", "", "the machine was not looked at yet"),))
        running = [(run, self._critical(run)) for run in self._engine.running()]
        found = [
            *guards.of_the_machine(facts),
            *guards.of_people(reboot, self.policy, facts, self.boot, now),
            *guards.of_jobs(running, self.policy, self.boot, now),
            *guards.of_caution(reboot, self.policy, facts, self.ledger, self.boot, now),
        ]
        if self._no is not None and now < self._not_before:
            found.append(self._no)
        if self._slot.no and not self._slot.granted and self.policy.fleet is not None:
            found.append(Blocker("fleet", "", self._slot.no))
        return found

    def _critical(self, run: Run) -> bool:
        job = self._engine.config.jobs.get(run.job)
        return job is not None and job.critical

    def _tell_blockers(self, blockers: list[Blocker], now: int) -> None:
        known = {(old.kind, old.who): old.since for old in self.blockers}
        kept = [replace(new, since=new.since or known.get((new.kind, new.who), 0) or now) for new in blockers]
        if [(b.kind, b.who) for b in kept] != [(b.kind, b.who) for b in self.blockers]:
            reboot = self.pending
            if kept and reboot is not None:
                self._book.decide(now, f"reboot {reboot.id} waits: {guards.sentence(kept)}")
            self._book.effects.append(RebootChanged())
        self.blockers = kept

    # Memory

    def wants_slot(self, now: int) -> bool:
        """Whether the fleet's slot is of use for what is pending: not days before."""
        return self.pending is not None and now >= self.pending.begin - self.policy.grace

    @property
    def slot(self) -> bool:
        """Whether this machine holds a slot of its fleet, as far as is known."""
        return self.ledger.slot and not self._slot.no

    def _give_slot_back(self) -> None:
        if self.ledger.slot and not self._after.ill:
            self._slot.free()

    def _trip(self, cause: str, now: int) -> str:
        why = guards.comes_again(cause, self.ledger, self.boot, now)
        if why:
            self._book.remember(breakers={**self.ledger.breakers, cause: why})
            self._book.decide(now, f"the breaker of {cause} opened: {why}")
        return why

    def _save(self, reboot: Reboot) -> None:
        self.pending = reboot
        self._book.save(reboot)


def _line(reason: str) -> str:
    """A reason as one line. Raises Refused InvalidArgument."""
    text = " ".join(reason.split())
    if not text or len(text) > _LONGEST_REASON or not text.isprintable():
        raise Refused("InvalidArgument", f"a reason is one line of up to {_LONGEST_REASON} characters")
    return text


def _check_span(within: int) -> None:
    """Raises Refused InvalidArgument."""
    if not 0 <= within <= _FARTHEST:
        raise Refused("InvalidArgument", f"within must be between nothing and a year, in microseconds: {within}")
