"""A session of the monitor, from its first reading to its last."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence

from agentd.core.quantities import SECOND
from agentd.core.schedulers.measuring import Plan
from agentd.core.schedulers.monitor import Reading, Session, Summary
from agentd.schedulers.sysfs import Unreadable

PATIENCE = 10.0  # seconds for one reading, which takes milliseconds
_LEAST = 0.2  # seconds before the end of a session that are measured; the kernel counts in ticks of up to 10 ms


async def wait(event: asyncio.Event, seconds: float) -> None:
    """Returns after some time, or as soon as the event is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


class Measuring:
    """A session that goes by a plan. `read` begins a reading, `known` adds what agentd knows of it; `clock` tells
    seconds and is never set."""

    def __init__(
        self,
        plan: Plan,
        read: Callable[[], asyncio.Future[Reading]],
        known: Callable[[Reading], Reading],
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[asyncio.Event, float], Awaitable[None]] = wait,
    ) -> None:
        self.plan = plan
        self.since = 0
        """The instant of the first reading; 0: there was none."""
        self.samples = 0
        self.trouble = ""
        """The reason why there was no reading the last time, as a sentence."""
        self.ended = ""
        """The reason why the session ends, as a few words."""
        self.over = asyncio.Event()
        """Is set once the session has ended and what it measured is kept."""
        self._session = Session()
        self._read, self._known, self._clock, self._wait = read, known, clock, wait
        self._reading: asyncio.Future[Reading] | None = None
        self._stopped = asyncio.Event()
        self._began = self._last = clock()
        self._end = self._began + plan.span / SECOND

    @property
    def switches(self) -> int:
        """The times that another scheduler came between two readings."""
        return self._session.switches

    @property
    def forgotten(self) -> int:
        """The schedulers of which no summary is kept, as there were so many."""
        return self._session.forgotten

    def left(self) -> int:
        """Returns how long the session still goes on, in microseconds."""
        return max(0, round((self._end - self._clock()) * SECOND))

    def summaries(self) -> Sequence[Summary]:
        """Returns what was measured until now, under each scheduler."""
        return self._session.summaries()

    async def begin(self) -> None:
        """Takes the first reading. Raises Unreadable."""
        await self._take()
        if self.trouble:
            raise Unreadable(self.trouble)

    async def run(self) -> None:
        """Reads until the time is over or the session is stopped."""
        due = self._began
        while not self._stopped.is_set():
            due = self.plan.due_after(due, self._clock(), self._end)
            await self._wait(self._stopped, due - self._clock())
            if not self._stopped.is_set() or not self.samples or self._clock() - self._last >= _LEAST:
                await self._take()
            if due >= self._end:
                self.stop("the time was over")

    def stop(self, why: str) -> None:
        """Has the session end after one more reading."""
        self.ended = self.ended or why
        self._stopped.set()

    async def _take(self) -> None:
        """Takes a reading. While one does not return, no other is begun."""
        if self._reading is None:
            self._reading = self._read()
        await asyncio.wait({self._reading}, timeout=PATIENCE)
        if not self._reading.done():
            self.trouble = f"the kernel's counters take longer than {PATIENCE:.0f} s to read"
            return
        reading, self._reading = self._reading, None
        try:
            found = self._known(reading.result())
        except Unreadable as error:
            self.trouble = str(error)
            return
        self.trouble, self._last, self.since = "", found.at, self.since or found.instant
        if self._session.add(found) is not None:
            self.samples += 1
