"""The course of a scheduler: what is under way between agentd, its unit and the kernel.

    asleep ─ take_up ─> resting <──────────────────────────────┐
                        │  ^                                   │
        check()         v  │ checked()                         │ down and not shown any more, reason known
                     checking                                  │
                        │ lost                                 │
    resting ── leave(), lost ──────────────────────────> stopping
        │ start()                                         ^
        └────────> starting ── failed, late, leave() ─────┘
                      └─ shown by the kernel ─> resting

`resting` is with a scheduler of agentd's, with somebody else's, or with the kernel's own. `stopping` is every end,
wanted or not: nothing is started before the units are down and the kernel shows nothing of them.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Literal

from msgspec.structs import replace

from agentd.core.quantities import format_duration
from agentd.core.schedulers import story
from agentd.core.schedulers.book import Book
from agentd.core.schedulers.judge import Judge
from agentd.core.schedulers.model import (
    Chosen,
    Ending,
    EndingWanted,
    Observed,
    SchedulerChanged,
    SchedulerChecked,
    SchedulerLooks,
    SchedulerStarts,
    SchedulerStops,
    Tenure,
    Times,
    Want,
)
from agentd.core.schedulers.probation import Probation

Phase = Literal["asleep", "resting", "checking", "starting", "stopping"]
Due = tuple[int, Callable[[int], None]]


class Course:
    """`phase` is the state above, `seen` the kernel's word, `up` the names whose units are up or coming up as far as is
    known, `subject` the scheduler that is looked at while checking, `fit` the one that was looked at last and can be
    started, `trial` the scheduler of one's own that is being tried, which is nobody's."""

    def __init__(self, book: Book, judge: Judge, probation: Probation, times: Times) -> None:
        self.phase: Phase = "asleep"
        self.seen = Observed()
        self.up: set[str] = set()
        self.subject: tuple[Chosen, Want] | None = None
        self.fit: Chosen | None = None
        self.trial: Chosen | None = None
        self.trouble = ""  # why nothing can be stored
        self._book = book
        self._judge = judge
        self._probation = probation
        self._times = times
        self._due = 0  # when the phase takes too long
        self._look_at = 0  # when the kernel is looked at though nothing was told
        self._gone = 0  # while stopping: since when the scheduler is gone
        self._left = 0  # since when there is no scheduler in a switch
        self._stale = False  # a unit has ended since the kernel was looked at
        self._since = 0  # since when the phase lasts
        self._patience = 0  # for the phase; that for a stop is longer each time that it is asked for again

    # For others to read

    @property
    def own(self) -> Tenure | None:
        """The tenure of a scheduler of agentd's that is on and stays."""
        tenure = self._book.tenure
        on = tenure is not None and self.phase in {"resting", "checking"} and tenure.loaded_by == "agentd"
        return tenure if on else None

    @property
    def foreign(self) -> Tenure | None:
        """The tenure of a scheduler that somebody else loaded."""
        tenure = self._book.tenure
        return tenure if tenure is not None and tenure.loaded_by == "other" else None

    @property
    def starts(self) -> Tenure | None:
        """The tenure of a scheduler that starts."""
        return self._book.tenure if self.phase == "starting" else None

    def agenda(self) -> list[Due]:
        """Returns what is due, and when."""
        found: list[Due] = [(self._due, self._late)] if self._due else []
        found += [(self._look_at, self._look)] if self._look_at else []
        if self._waits_for_reason:
            found.append((self._gone + self._times.reason, self._end_if_gone))
        return found

    # Steps that agentd wants

    def check(self, chosen: Chosen, want: Want, now: int) -> None:
        """Has a scheduler looked at while the one before it runs on: resting → checking."""
        self._enter("checking", now, self._times.check)
        self.subject, self.fit = (chosen, want), None
        self._book.effects.append(SchedulerChecked(chosen))

    def desist(self, now: int) -> None:
        """Wants the scheduler that is looked at no more: checking → resting."""
        if self.phase == "checking":
            self._enter("resting", now)

    def leave(self, tenure: Tenure, ending: Ending, now: int) -> None:
        """Has agentd's scheduler leave: resting, checking, starting → stopping."""
        self._book.save(replace(tenure, ending=ending, probation=0))
        self._book.decide(now, "stop", tenure.chosen.name, f"{tenure.chosen.name} is stopped: {story.ended(ending)}")
        self._stop([tenure.chosen.name], now)

    def fail(self, tenure: Tenure, ending: Ending, now: int) -> None:
        """Has agentd's scheduler leave, which failed for a known reason: resting, checking, starting → stopping."""
        self._judge.ended(tenure, ending, now)
        self._book.save(replace(tenure, ending=ending, probation=0))
        self._stop([tenure.chosen.name], now)

    def start(self, chosen: Chosen, want: Want, now: int) -> None:
        """Has a scheduler start, where nothing is loaded and no unit is up: resting → starting."""
        reason = want.reason or story.named(want)
        tenure = Tenure(number=0, chosen=chosen, source=want.source, wanted_by=want.holder, reason=reason)
        self._book.begin(replace(tenure, since=now, seq=self.seen.seq))
        self._book.decide(now, "start", chosen.name, f"{chosen.name} is started: {reason}")
        self._enter("starting", now, self._times.start)
        self.fit = None
        self.up.add(chosen.name)
        self._book.effects.append(SchedulerStarts(chosen))

    def settle(self) -> None:
        """Notes that the machine is where it is to be: no other scheduler follows."""
        self._left, self.fit = 0, None

    # Reports

    def take_up(self, seen: Observed, up: Collection[str], now: int) -> None:
        """Goes on from what is stored, what the kernel says and which units are up: asleep → any."""
        self.seen, self.up, tenure = seen, set(up), self._book.tenure
        self._enter("resting", now)
        if tenure is not None and tenure.boot != self._book.boot:
            self._book.end(now, self._judge.ended_with_its_boot(tenure, now))
            tenure = None
        own = tenure is not None and tenure.loaded_by == "agentd"
        if tenure is not None and own and tenure.ending is None:
            self._go_on(tenure, now)
        elif tenure is not None and own:
            self._stop([tenure.chosen.name], now)
        if strays := self.up - ({tenure.chosen.name} if tenure is not None and own else set()):
            names = ", ".join(sorted(strays))
            self._book.decide(now, "stop", "", f"{names} is stopped: its unit is up, and agentd has not wanted it")
            self._stop(sorted(strays), now)
        self.observed(seen, now)

    def observed(self, seen: Observed, now: int) -> None:
        """Takes the kernel's word."""
        if self.phase == "asleep":
            return
        self._stale = False
        if seen != self.seen:
            self.seen = seen
            self._book.effects.append(SchedulerChanged())
        self._look_at = self._next_look(now) if self._under_way else 0
        if self.phase == "starting":
            self._see_start(now)
        elif self.phase == "stopping":
            self._end_if_gone(now)
        elif not seen.moving or (seen.state == "disabling" and self.own is not None):
            self._see_rest(now)

    def checked(self, name: str, trouble: str, now: int) -> None:
        """Takes the answer, why the scheduler cannot be started as a sentence or "": checking → resting."""
        if self.phase != "checking" or self.subject is None or self.subject[0].name != name:
            return  # an answer to a question that does not matter any more
        chosen, want = self.subject
        self.desist(now)
        if trouble:
            self._judge.unfit(chosen, want, trouble, now)
        else:
            self.fit = chosen

    def start_failed(self, name: str, ending: Ending, now: int) -> None:
        """Takes note that the unit did not come up: starting → stopping."""
        if self.phase == "starting" and (tenure := self._of(name)) is not None:
            self.fail(tenure, ending, now)

    def unit_ended(self, name: str, now: int) -> None:
        """Takes note that a unit is down: any → stopping, where that was not wanted."""
        self.up.discard(name)
        tenure = self._of(name)
        if self.phase == "stopping" or (tenure is not None and self.phase != "asleep"):
            self._stale = True
            self._look(now)
        if tenure is not None and self.phase not in {"stopping", "asleep"}:
            self._lose(tenure, now)

    def ending_known(self, number: int, ending: Ending, noticed: int, now: int) -> None:
        """Takes the reason of an end, and how long after the kernel's own word it was seen (-1: not known)."""
        tenure = self._book.tenure
        if tenure is None or tenure.number != number:
            self._book.explain(number, ending, noticed)
        elif self.phase == "stopping" and tenure.ending is None:
            self._judge.ended(tenure, ending, now)
            self._book.save(replace(tenure, ending=ending, noticed=noticed))
            self._end_if_gone(now)

    def woke(self, now: int) -> None:
        """Gives what is under way its whole time again: the machine was suspended."""
        if self._due:
            self._due = now + self._patience
        if self.phase != "asleep":
            self._look(now)

    def clock_stepped(self, delta: int) -> None:
        """Moves the instants along: the wall clock was set by `delta`."""
        for name in ("_since", "_due", "_look_at", "_gone", "_left"):
            if at := getattr(self, name):
                setattr(self, name, at + delta)

    # Inside

    @property
    def _under_way(self) -> bool:
        return self.phase in {"starting", "stopping"} or self.seen.moving

    @property
    def _waits_for_reason(self) -> bool:
        tenure = self._book.tenure
        waits = self.phase == "stopping" and tenure is not None and tenure.ending is None
        return waits and bool(self._gone) and not self.up and not self._stale

    def _of(self, name: str) -> Tenure | None:
        """Returns the tenure where it is one of agentd's of that scheduler."""
        tenure = self._book.tenure
        of_it = tenure is not None and tenure.loaded_by == "agentd" and tenure.chosen.name == name
        return tenure if of_it else None

    def _enter(self, phase: Phase, now: int, patience: int = 0) -> None:
        self.phase, self._since, self._gone, self.subject = phase, now, 0, None
        self._patience, self._due = patience, now + patience if patience else 0
        self._look_at = self._next_look(now) if self._under_way else 0
        self._book.effects.append(SchedulerChanged())

    def _look(self, now: int) -> None:
        self._look_at = self._next_look(now)
        self._book.effects.append(SchedulerLooks())

    def _next_look(self, now: int) -> int:
        """Returns when to look again: less often the longer a phase lasts, for the kernel tells of changes itself."""
        lasts = 0 if self.phase == "resting" else now - self._since
        return now + max(self._times.look, lasts // 4)

    def _late(self, now: int) -> None:
        """Deals with a phase that takes too long."""
        tenure = self._book.tenure
        if self.phase == "checking" and self.subject is not None:
            span = format_duration(self._times.check)
            self.checked(self.subject[0].name, f"the look whether it can be started was not over within {span}", now)
        elif self.phase == "starting" and tenure is not None and self.trouble:
            self.leave(tenure, Ending(kind="stopped", reason=self.trouble), now)
        elif self.phase == "starting" and tenure is not None:
            span = format_duration(self._times.start)
            self.fail(tenure, Ending(kind="timeout", reason=f"the kernel does not show it after {span}"), now)
        elif self.phase == "stopping":
            self._stop_late(now)

    # Starting

    def _see_start(self, now: int) -> None:
        """Compares the kernel's word to what is to be: starting → resting, stopping."""
        tenure, seen = self._book.tenure, self.seen
        if tenure is None or seen.moving or seen.seq <= tenure.seq:
            return
        if tenure.chosen.shown_by(seen):
            self._enable(tenure, now)
        elif seen.on:
            either = "somebody else loaded one meanwhile, or the program is not what its name says"
            self.fail(tenure, Ending(kind="mistaken", reason=f'the kernel shows "{seen.ops}": {either}'), now)
        else:  # it was enabled, and ended before anybody looked
            self._lose(tenure, now)

    def _enable(self, tenure: Tenure, now: int) -> None:
        gap, self._left = now - self._left if self._left else -1, 0
        span = self._probation.span(tenure.chosen)
        on = replace(
            tenure, ops=self.seen.ops, seq=self.seen.seq, enabled=now, gap=gap, probation=now + span, orderly=False
        )
        self._book.save(on)
        text = f"{tenure.chosen.name} is on as {self.seen.ops}, on probation for {format_duration(span)}"
        self._book.decide(now, "on", tenure.chosen.name, text)
        self._enter("resting", now)

    # At rest

    def _see_rest(self, now: int) -> None:
        """Compares the kernel's word to what was on: resting, checking → any."""
        tenure, seen = self._book.tenure, self.seen
        if tenure is None:
            self._see_other(now)
        elif seen.on and (seen.seq, seen.ops) == (tenure.seq, tenure.ops):
            return
        elif tenure.loaded_by == "other":
            self._book.effects.append(EndingWanted(tenure))
            self._book.decide(now, "other", tenure.ops, f"{tenure.ops}, which somebody else loaded, has ended")
            self._book.end(now, Ending())
            self._see_other(now)
        elif tenure.chosen.shown_by(seen):
            self._reload(tenure, now)
        else:
            self._lose(tenure, now)

    def _see_other(self, now: int) -> None:
        """Begins the tenure of a scheduler that somebody else loaded, where there is one."""
        seen = self.seen
        if seen.on and not (self.trial is not None and self.trial.shown_by(seen)):
            chosen = Chosen(name=seen.ops, ops=seen.ops)
            other = Tenure(
                number=0, chosen=chosen, ops=seen.ops, loaded_by="other", since=now, enabled=now, seq=seen.seq
            )
            self._book.begin(other)
            text = f"{seen.ops} was loaded by somebody else; agentd starts nothing while it is on"
            self._book.decide(now, "other", seen.ops, text)

    def _reload(self, tenure: Tenure, now: int) -> None:
        """Begins another tenure of a scheduler whose program loaded it again by itself, as after CPU hotplug."""
        self._book.effects.append(EndingWanted(tenure))
        self._book.end(now, Ending(kind="reloaded", reason="its program loaded it again", restart=True))
        on = {"since": now, "enabled": now, "ops": self.seen.ops, "seq": self.seen.seq, "gap": -1}
        again = self._book.begin(replace(tenure, probation=now + self._probation.span(tenure.chosen), **on))
        if not self._judge.reloaded(again, now):
            self.fail(again, Ending(kind="reloaded", reason="its program loads it again and again"), now)

    def _go_on(self, tenure: Tenure, now: int) -> None:
        """Takes up a tenure of agentd's that had not ended when agentd did."""
        if tenure.orderly:
            tenure = self._book.save(replace(tenure, orderly=False))
        if tenure.chosen.name not in self.up:
            self._lose(tenure, now)
        elif not tenure.enabled:
            self._enter("starting", now, self._times.start)

    # Stopping

    def _stop(self, names: Sequence[str], now: int) -> None:
        """Has units stop; nothing is started before those that are up are known to be down."""
        if self.phase != "stopping":
            self._enter("stopping", now, self._times.stop)
        self._book.effects += map(SchedulerStops, names)

    def _lose(self, tenure: Tenure, now: int) -> None:
        """Has the reason looked for why agentd's scheduler is gone, and removed what is left: any → stopping."""
        name = tenure.chosen.name
        self._book.decide(now, "lost", name, f"{name} is gone, and agentd has not wanted that: it looks for the reason")
        self._book.effects.append(EndingWanted(tenure))
        self._stop([name] if name in self.up else [], now)
        self._end_if_gone(now)

    def _end_if_gone(self, now: int) -> None:
        """Ends once nothing is left of the scheduler, and its reason is known or not told: stopping → resting."""
        tenure = self._book.tenure
        if self.phase != "stopping" or self._stale or self.seen.moving or (tenure is not None and self._shown(tenure)):
            return
        self._gone, self._left = self._gone or now, self._left or now
        reason_due = self._gone + self._times.reason
        if self.up or (tenure is not None and tenure.ending is None and now < reason_due):
            return
        self._end(self._gone, now)

    def _end(self, at: int, now: int) -> None:
        tenure = self._book.tenure
        if tenure is not None:
            if tenure.ending is None:
                self._judge.ended(tenure, Ending(), now)
            self._book.end(at, tenure.ending or Ending())
        self._enter("resting", now)
        self._see_rest(now)

    def _shown(self, tenure: Tenure) -> bool:
        """Tells whether the kernel still shows the scheduler of the tenure that ends."""
        if tenure.enabled:
            return self.seen.on and self.seen.seq == tenure.seq
        return tenure.chosen.shown_by(self.seen) and self.seen.seq > tenure.seq

    def _stop_late(self, now: int) -> None:
        """Asks again for what does not stop. What is shown though its unit is down counts as somebody else's."""
        self._patience *= 2
        self._due = now + self._patience
        if self.up:
            names = ", ".join(sorted(self.up))
            text = f"{names} is not down after {format_duration(self._patience // 2)}: it is asked to stop again"
            self._book.decide(now, "stop", "", text)
            self._stop(sorted(self.up), now)
        elif not self.seen.moving and not self._stale:
            self._end(now, now)
