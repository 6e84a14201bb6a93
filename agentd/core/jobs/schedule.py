"""The due times of a job that are still to be dealt with: the memory of what was, and what a clock step does to it."""

from collections import deque
from collections.abc import Iterator
from itertools import islice, pairwise
from math import gcd

from msgspec import Struct
from msgspec.structs import replace

from agentd.core.jobs.model import JobState
from agentd.core.jobs.settings import Missed
from agentd.core.jobs.triggers import Context, Trigger
from agentd.core.quantities import MINUTE

ON_TIME = MINUTE
"""A due time handled within this span is on time; later, the job's `missed` policy decides."""
CATCH_UP = 100
"""The most due times that `missed: all` makes up for at once."""
_GRIDS = 8  # a clock that is set back more often than that before it is right again may bring an old due time back
_RANGES = 32  # a machine whose clock goes astray more often than that loses the due times of the smallest gaps


class Schedule(Struct, frozen=True):
    """A trigger in its context; `offset` is the job's jitter, added to every due time."""

    trigger: Trigger
    context: Context
    offset: int = 0

    def next_after(self, t: int) -> int | None:
        """Returns the first due time later than t, whether handled before or not."""
        due = self.trigger.next_after(t - self.offset, self.context)
        return None if due is None else due + self.offset

    def next_due(self, state: JobState, t: int | None = None) -> int | None:
        """Returns the first due time after t (default: after the last handled one) that was never handled."""
        t = state.handled if t is None else t
        while True:
            due = self.next_after(t)
            covered = [hi for lo, hi in state.past if due is not None and lo <= due <= hi]
            if not covered:
                return due
            t = max(covered)

    def outstanding(self, state: JobState, now: int, most: int) -> list[int]:
        """Returns the newest (at most `most`) due times up to now that were not handled, in order.

        The search goes back in growing steps, so that a year of missed minutes costs no more than the last few, and
        never before a time that was dealt with already: the clock was wrong in between.
        """
        first = max([state.handled, *(hi for _, hi in state.past if hi <= now)])
        last = min([now, *(lo - 1 for lo, hi in state.past if lo <= now < hi)])
        found = list(islice(self._between(first, last), 2))
        span = MINUTE
        while len(found) == 2:
            begin = max(first, last - span)
            newest = deque(self._between(begin, last), maxlen=most)
            if begin == first or len(newest) == most:
                return list(newest)
            span *= 4
        return found

    def _between(self, begin: int, end: int) -> Iterator[int]:
        due = self.next_after(begin)
        while due is not None and due <= end:
            yield due
            due = self.next_after(due)


def begin(schedule: str, now: int) -> JobState:
    """Returns the memory of a job seen for the first time: earlier due times are no concern of agentd's."""
    return JobState(schedule=schedule, anchor=now, since=now, handled=now)


def changed(state: JobState, schedule: str, trigger: Trigger, now: int, offset: int = 0) -> JobState:
    """Returns a job's memory under another schedule: intervals count from the last due time, calendars from `now`.

    Of the new interval's due times in the past at most one counts: the interval did not exist yet at the others.
    """
    if trigger.elapsed:
        anchor, handled = state.handled, state.handled
        if anchor != state.anchor:  # else nothing was due yet: the first due time is `offset` later than the grid
            anchor -= offset
        if trigger.interval is not None and (passed := (now - offset - anchor) // trigger.interval) > 1:
            handled = anchor + (passed - 1) * trigger.interval + offset
        moved = replace(state, schedule=schedule, anchor=anchor, handled=handled, past=())
        return _off_the_grids(moved, trigger.interval)
    since = max(now, state.handled)  # a due time may have been dealt with a little ahead
    return replace(state, schedule=schedule, anchor=now, since=since, handled=since, past=())


def stepped(state: JobState, trigger: Trigger, delta: int, now: int) -> JobState:
    """Returns the memory of a job after the clock was set by `delta` and shows `now`.

    Elapsed time went on as before, so intervals move along, to instants that were not due before. A calendar starts
    afresh after a step back, but remembers what it handled: an instant that comes twice is due once.
    """
    if trigger.elapsed:
        own = () if trigger.interval is None else ((state.anchor, state.handled, trigger.interval),)
        ahead = sorted((grid for grid in (*state.grids, *own) if grid[1] > now), key=lambda grid: grid[1])
        return _off_the_grids(_moved(replace(state, past=(), grids=tuple(ahead[-_GRIDS:])), delta), trigger.interval)
    return state if now >= state.handled else replace(state, since=now, handled=now, past=_ranges(state))


def _moved(state: JobState, by: int) -> JobState:
    return replace(state, anchor=state.anchor + by, handled=state.handled + by, since=state.since + by)


def _off_the_grids(state: JobState, interval: int | None) -> JobState:
    """Returns a job's memory with its grid moved by as few microseconds as keep it off those from before the clock was
    set back: clocks are set by whole seconds, and intervals are whole seconds. Where two intervals share no more than
    some microseconds, the grid stays: two such grids meet once in days."""
    if interval is not None:
        for by in range(len(state.grids) + 1):
            if all((state.anchor + by - anchor) % gcd(interval, other) for anchor, _, other in state.grids):
                return _moved(state, by)
    return state


def dealt_with(state: JobState, trigger: Trigger, dues: list[int], chosen: list[int], now: int) -> JobState:
    """Returns the memory of a job whose outstanding due times were dealt with: the chosen ones lead to a run.

    The others, of a calendar, are due again if the clock goes back to before them: the clock had run ahead then.
    """
    back = any(state.handled < hi <= now for _, hi in state.past)  # from a wrong clock: what lay between is open
    if trigger.elapsed or (chosen and len(dues) == 1 and not back):
        return replace(state, handled=dues[-1] if dues else now)
    since, handled = (chosen[0], chosen[-1]) if chosen else (now, now)
    return replace(state, since=since, handled=handled, past=_ranges(state))


def _ranges(state: JobState) -> tuple[tuple[int, int], ...]:
    """Returns all that was dealt with, as at most _RANGES ranges: of more, the closest to each other become one."""
    found: list[tuple[int, int]] = []
    for lo, hi in sorted((*state.past, (state.since, state.handled))):
        if found and lo <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], hi))
        else:
            found.append((lo, hi))
    while len(found) > _RANGES:
        gaps = [after[0] - before[1] for before, after in pairwise(found)]
        closest = gaps.index(min(gaps))
        found[closest : closest + 2] = [(found[closest][0], found[closest + 1][1])]
    return tuple(found)


def catch_up(missed: Missed, dues: list[int], now: int, *, clock_step: bool) -> tuple[list[int], str]:
    """Returns those of the outstanding due times that lead to a run, and why not all of them do (a sentence, or "").

    After a clock step no time has really gone by, so at most one run makes up for what the step passed over.
    """
    newest = dues[-1]
    policy = missed.policy
    if policy == "all" and not clock_step:
        return dues, ""
    if now - newest <= ON_TIME:
        return [newest], "" if len(dues) == 1 else f"earlier due times were missed (missed: {policy})"
    if policy == "skip" or (policy == "within" and now - newest > missed.within):
        return [], f"the due time had passed (missed: {policy})"
    return [newest], f"made up for once (missed: {policy})"
