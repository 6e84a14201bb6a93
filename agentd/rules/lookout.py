"""The looks at what KPIs follow from. The kernel's own files are read at once; a file system that may hang, and what
takes long, is looked at on a thread of its own."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

from agentd.core.rules.kpis import Missing
from agentd.core.rules.model import Gone, Moment, Source
from agentd.tasks import Threads

Look = Callable[[str], Any]
"""Returns what a source has to tell about an instance. Raises Missing."""
Ask = Callable[[str], Awaitable[Any]]
"""The same, for a source that answers over a bus."""

SILENT, DEFECT = "no answer for ", "a defect in looking at it: "
"""The beginnings of why a source is gone that are no reasons of the machine's."""
PATIENCE = 2.0
"""Seconds that a source has to answer; one that has not is not waited for again until it does."""
AGE = 4.5
"""Seconds for which what was seen of a source that seldom changes is good enough, and of any that is looked at on a
thread, which costs ten times as much as a look at once: a bit less than the usual period."""


class Lookout:
    """Asks sources, by their names: `glances` at once, `looks` on a thread, `asks` on the loop. The `looks`, and the
    glances that are `slow`, are not taken more often than every AGE seconds. A source whose answer has not come is not
    asked again before it has, and is gone until then. A look at a source that is `near` is taken at once as well, once
    that is known of it.

    A source at which looking raises what it must not is gone alone; `on_defect` is told of it once, with where it was.
    """

    def __init__(
        self,
        glances: Mapping[str, Look],
        looks: Mapping[str, Look],
        asks: Mapping[str, Ask],
        boot: str,
        wall: Callable[[], int],
        on_defect: Callable[[str, BaseException], None],
        slow: Collection[str] = (),
        near: Callable[[Source], bool] = lambda _: False,
    ) -> None:
        self._glances, self._looks, self._asks, self._slow = glances, looks, asks, slow
        self._boot, self._wall, self._on_defect, self._near = boot, wall, on_defect, near
        self._broken: set[Source] = set()  # those whose defect was told
        self._threads = Threads()
        self._one_by_one = asyncio.Lock()
        self._open: dict[Source, tuple[asyncio.Future[Any], float]] = {}
        self._seen: dict[Source, tuple[float, Any]] = {}  # what was seen that is good enough for a while, and when

    def moment(self) -> Moment:
        """Returns this moment on all clocks."""
        at, alive = time.clock_gettime_ns(time.CLOCK_MONOTONIC), time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        return Moment(at // 1000, alive // 1000, self._wall(), self._boot)

    def at_once(self, sources: Sequence[Source]) -> dict[Source, Any] | None:
        """Returns what each source has to tell, as look() does; None where one of them has to be waited for."""
        now = asyncio.get_running_loop().time()
        if self._late(sources, now):
            return None
        return self._known(sources, now)

    async def look(self, sources: Sequence[Source]) -> dict[Source, Any]:
        """Returns what each source has to tell: a record of kpis.py, or Gone."""
        clock = asyncio.get_running_loop().time
        now = clock()
        late = self._late(sources, now)
        if new := [self._begin(source, now) for source in late if source not in self._open]:
            await asyncio.wait(new, timeout=PATIENCE)
        found = self._known([source for source in sources if source not in late], now)
        for source in late:
            future, begun = self._open[source]
            found[source] = self._answer(source, future, clock() - begun)
            if source.name in self._looks and future.done():
                self._seen[source] = begun, found[source]
        return found

    async def on_thread(self, work: Callable[[], Any]) -> Any:
        """Returns what `work` returns, on a thread of its own; one after the other, so that only one can hang."""
        async with self._one_by_one:
            return await self._threads.do(work)

    def close(self) -> None:
        """Asks no more; what hangs is left to the end of the process."""
        for future, _ in self._open.values():
            future.cancel()
        self._threads.close()

    def _late(self, sources: Sequence[Source], now: float) -> list[Source]:
        """Returns the sources that have to be waited for."""
        return [
            source
            for source in sources
            if source.name not in self._glances and not self._is_fresh(source, now) and not self._near(source)
        ]

    def _is_fresh(self, source: Source, now: float) -> bool:
        seen = self._seen.get(source)
        return seen is not None and now - seen[0] < AGE

    def _known(self, sources: Sequence[Source], now: float) -> dict[Source, Any]:
        """Returns what sources have to tell that need not be waited for. All in one go: to call for each of them, and
        for how old what was seen is, were 13 of the 210 calls of a look."""
        found: dict[Source, Any] = {}
        for source in sources:
            name = source.name
            glance = self._glances.get(name)
            slow = glance is None or name in self._slow
            if slow and (seen := self._seen.get(source)) is not None and now - seen[0] < AGE:
                found[source] = seen[1]
                continue
            try:
                found[source] = (glance or self._looks[name])(source.instance)
            except Exception as error:  # noqa: BLE001 - whatever it is, the others are looked at
                found[source] = self._gone(source, error)
            if slow:
                self._seen[source] = now, found[source]
        return found

    def _begin(self, source: Source, now: float) -> asyncio.Future[Any]:
        future: asyncio.Future[Any]
        if source.name in self._asks:
            future = asyncio.ensure_future(self._asks[source.name](source.instance))
        elif source.name in self._looks:
            future = self._threads.do(partial(self._looks[source.name], source.instance))
        else:
            future = asyncio.get_running_loop().create_future()
            future.set_exception(Missing("agentd does not look at that here"))
        self._open[source] = (future, now)
        return future

    def _answer(self, source: Source, future: asyncio.Future[Any], waited: float) -> Any:
        if not future.done():
            return Gone(f"{SILENT}{waited:.0f} s")
        del self._open[source]
        if future.cancelled():
            return Gone("agentd stops")
        error = future.exception()
        return future.result() if error is None else self._gone(source, error)

    def _gone(self, source: Source, error: BaseException) -> Gone:
        """Returns why a source has nothing to tell; tells of a defect that is new."""
        if isinstance(error, Missing):
            return Gone(str(error))
        if source not in self._broken:
            self._broken.add(source)
            name = f"{source.name}:{source.instance}" if source.instance else source.name
            self._on_defect(f"looking at {name}", error)
        return Gone(f"{DEFECT}{type(error).__name__}: {error}")
