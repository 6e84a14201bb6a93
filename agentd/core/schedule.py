"""Which due times of a job are still to be dealt with: the memory of what was, and what a clock step does to it."""

import hashlib
from collections import deque
from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from agentd.core.model import JobState, Missed
from agentd.core.triggers import Context, Trigger
from agentd.core.units import MINUTE

ON_TIME = MINUTE
"""A due time handled within this span is on time; later, the job's `missed` policy decides."""
CATCH_UP = 100
"""The most due times that `missed: all` makes up for at once."""
_RANGES = 4


class Schedule(Struct, frozen=True):
    """A trigger in its context; `offset` is the job's jitter, added to every due time."""

    trigger: Trigger
    context: Context
    offset: int = 0

    def next_after(self, t: int) -> int | None:
        """The first due time later than t, whether it was handled before or not."""
        due = self.trigger.next_after(t - self.offset, self.context)
        return None if due is None else due + self.offset

    def next_due(self, state: JobState, t: int | None = None) -> int | None:
        """The first due time after t (default: after the last handled one) that was never handled."""
        t = state.handled if t is None else t
        while True:
            due = self.next_after(t)
            covered = [hi for lo, hi in state.past if due is not None and lo <= due <= hi]
            if not covered:
                return due
            t = max(covered)

    def outstanding(self, state: JobState, now: int, most: int) -> list[int]:
        """The newest (at most `most`) due times up to now that were not handled, in order.

        Looks back in growing steps, so that a year of missed minutes costs no more than the last few.
        """
        span = MINUTE
        while True:
            begin = max(state.handled, now - span)
            found = deque(self._between(state, begin, now), maxlen=most)
            if begin == state.handled or len(found) == most:
                return list(found)
            span *= 4

    def _between(self, state: JobState, begin: int, end: int) -> Iterator[int]:
        due = self.next_due(state, begin)
        while due is not None and due <= end:
            yield due
            due = self.next_due(state, due)


def jitter_offset(host: str, job: str, jitter: int) -> int:
    """A delay in [0, jitter) that stays the same for a host and job and differs between hosts."""
    if not jitter:
        return 0
    digest = hashlib.blake2b(f"{host}/{job}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % jitter


def begin(schedule: str, now: int) -> JobState:
    """The memory of a job seen for the first time: what was due before concerns nobody."""
    return JobState(schedule=schedule, anchor=now, since=now, handled=now)


def changed(state: JobState, schedule: str, trigger: Trigger, now: int) -> JobState:
    """The job's schedule is another: an interval counts from the last due time, a calendar from now."""
    if trigger.elapsed:
        return replace(state, schedule=schedule, anchor=state.handled, past=())
    return replace(state, schedule=schedule, anchor=now, since=now, handled=now, past=())


def stepped(state: JobState, trigger: Trigger, delta: int, now: int) -> JobState:
    """The clock was set by delta and shows `now`.

    Elapsed time went on as before, so intervals move along. A calendar starts afresh after a step back, but
    remembers what it handled: an instant that comes twice is due once.
    """
    if trigger.elapsed:
        # The odd microsecond keeps the moved grid off instants that were due before a step back.
        move = delta + (1 if delta < 0 else 0)
        return replace(
            state, anchor=state.anchor + move, handled=state.handled + move, since=state.since + move, past=()
        )
    if now >= state.handled:
        return state
    low, high = state.since, state.handled
    apart = []
    for lo, hi in state.past:
        if lo <= high and low <= hi:
            low, high = min(low, lo), max(high, hi)
        else:
            apart.append((lo, hi))
    return replace(state, since=now, handled=now, past=(*apart, (low, high))[-_RANGES:])


def catch_up(missed: Missed, dues: list[int], now: int, *, clock_step: bool) -> tuple[list[int], str]:
    """Which of the outstanding due times lead to a run, and why not all of them do (a sentence, or "").

    After a clock step no time has really gone by, so at most one run makes up for what the step passed over.
    """
    newest = dues[-1]
    policy = missed.policy
    if policy == "all" and not clock_step:
        return dues, ""
    if now - newest <= ON_TIME:
        return [newest], "" if len(dues) == 1 else f"earlier due times were missed (missed: {policy})"
    if policy == "skip" or (policy == "within" and now - newest > missed.within):
        return [], f"its due time had passed (missed: {policy})"
    return [newest], f"made up for once (missed: {policy})"
