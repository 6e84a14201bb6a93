"""The monitor of schedulers, which measures how the machine fares: one session at a time."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace

from agentd.bus.arguments import Records, only, record
from agentd.bus.connection import Bus, CallFailed, Undo
from agentd.bus.server import Caller
from agentd.core.part import Refused
from agentd.core.schedulers.catalogue import NONE
from agentd.core.schedulers.measuring import planned
from agentd.core.schedulers.monitor import UNITS, Reading, Stat, Summary
from agentd.core.schedulers.schedulers import Schedulers
from agentd.part import Host
from agentd.schedulers import readings
from agentd.schedulers.measuring import Measuring
from agentd.schedulers.sysfs import Unreadable
from agentd.tasks import Tasks, Threads

_OPTIONS = {"interval": int, "for": int, "groups": list, "keep": bool}
_FIELDS = {"interval": "interval", "for": "span", "groups": "groups", "keep": "keep"}
_SESSION = {
    **dict.fromkeys(("on", "keep"), "b"),
    **dict.fromkeys(("since", "until", "interval", "samples", "switches", "forgotten"), "t"),
    **dict.fromkeys(("trouble", "ended"), "s"),
    "groups": "as",
}
_SUMMARY = {
    **dict.fromkeys(("name", "ops"), "s"),
    **dict.fromkeys(("seq", "since", "until", "samples"), "t"),
    "seconds": "d",
    "events": "a{st}",
}
_FIGURE = {
    "summary": "u",
    **dict.fromkeys(("group", "name", "unit", "why"), "s"),
    **dict.fromkeys(("mean", "max", "p95"), "d"),
}


class Figure(NamedTuple):
    """A figure of the summary with that number, from 0 on, or the reason why it is missing. `group` is empty for one of
    the whole machine; without `name` the group itself is missing."""

    summary: int
    group: str
    name: str
    found: Stat | str


class Told(NamedTuple):
    """The state of a session and what it measured."""

    session: dict[str, Any]
    summaries: Sequence[Summary]


class Monitor:
    """The session that is on, and what the last one measured."""

    def __init__(self, host: Host, core: Schedulers, bus: Bus, threads: Threads, root: Path) -> None:
        self._host, self._core, self._bus, self._threads, self._root = host, core, bus, threads, root
        self._tasks = Tasks(lambda error: host.defect("the monitor of schedulers", error))
        self._on: Measuring | None = None
        self._last = Told({}, ())

    def close(self) -> None:
        """Reads no more."""
        self._tasks.close()

    async def start(self, options: dict[str, Any], caller: Caller) -> dict[str, Any]:
        """Begins a session, and returns it once there is a first reading. Raises Refused."""
        only(options, **_OPTIONS)
        plan = planned(**{_FIELDS[key]: value for key, value in options.items()})
        if self._on is not None:
            raise Refused("Busy", "the monitor measures already; to end that: agentctl sched monitor --stop")
        self._on = measuring = Measuring(plan, partial(self._read, plan.groups), self._known)
        with ExitStack() as after:
            after.callback(self._free, measuring)
            try:
                await measuring.begin()
                if not plan.keep:
                    after.callback(await self._follow(measuring, caller.sender))
            except (Unreadable, CallFailed) as error:
                raise Refused("Failed", f"nothing can be measured: {error}") from None
            self._tasks.do(self._measure(measuring, after.pop_all()))
        return record(self._tell(measuring).session, _SESSION)

    async def stop(self) -> bool:
        """Ends the session that is on; returns whether one was, once its last reading is taken."""
        if (measuring := self._on) is None:
            return False
        measuring.stop("stopped")
        await measuring.over.wait()
        return True

    def get(self) -> tuple[dict[str, Any], Records[Summary], Records[Figure]]:
        """Returns the session that is on, or else the last one, its summaries and their figures."""
        told = self._last if self._on is None else self._tell(self._on)
        figures = [*_figures(told.summaries)]
        return record(told.session, _SESSION), Records(_summary, told.summaries), Records(_figure, figures)

    # A session

    async def _measure(self, measuring: Measuring, after: ExitStack) -> None:
        with after:
            await measuring.run()

    def _free(self, measuring: Measuring) -> None:
        """Keeps what a session measured, where it came to that, and makes room for another."""
        measuring.stop("a defect inside agentd")  # which is not so where it has ended before
        self._on = None
        if measuring.since:
            self._last = self._tell(measuring)
        measuring.over.set()

    async def _follow(self, measuring: Measuring, client: str) -> Undo:
        """Ends a session as its client leaves the bus, until the function returned is called. Raises CallFailed."""

        def changed(owner: str) -> None:
            if not owner:
                measuring.stop("the client left")

        undo = await self._bus.follow(client, changed)
        changed(self._bus.owner(client))
        return undo

    def _read(self, groups: Sequence[str]) -> asyncio.Future[Reading]:
        """Begins a reading, on a thread: a file of the kernel's may be long in coming."""
        return self._threads.do(lambda: readings.read(time.monotonic(), self._root, groups))

    def _known(self, reading: Reading) -> Reading:
        """Returns a reading with its instant, and with what the catalogue calls the scheduler where that is the one
        that agentd has seen last."""
        seen, tenure = self._core.seen, self._core.tenure
        known = seen.on and tenure is not None and (seen.seq, seen.ops) == reading.scheduler
        name = tenure.chosen.name if known and tenure is not None and tenure.chosen.name != NONE else ""
        return replace(reading, instant=self._host.now(), name=name)

    def _tell(self, measuring: Measuring) -> Told:
        plan, on = measuring.plan, measuring is self._on
        session = {
            "on": on,
            "keep": plan.keep,
            "since": measuring.since,
            "until": self._host.now() + (measuring.left() if on else 0),
            "interval": plan.interval,
            "groups": plan.groups,
            "samples": measuring.samples,
            "switches": measuring.switches,
            "forgotten": measuring.forgotten,
            "trouble": measuring.trouble,
            "ended": measuring.ended,
        }
        return Told(session, measuring.summaries())


def _figures(summaries: Sequence[Summary]) -> Iterator[Figure]:
    """Returns the figures of all summaries: those of the machine in the order of UNITS, then those of groups."""
    for number, summary in enumerate(summaries):
        of_machine: dict[str, Stat | str] = {**summary.missing, **summary.figures}
        yield from (Figure(number, "", name, of_machine[name]) for name in UNITS if name in of_machine)
        for group, figures in summary.groups.items():
            yield from (Figure(number, group, name, figures[name]) for name in UNITS if name in figures)
        for name, why in summary.missing.items():
            if name.startswith("/"):
                yield Figure(number, name[1:], "", why)


def _figure(figure: Figure) -> dict[str, Any]:
    values: dict[str, Any] = {"summary": figure.summary, "group": figure.group, "name": figure.name}
    if isinstance(figure.found, str):
        values["why"] = figure.found
    else:
        stat = figure.found
        values |= {"unit": UNITS[figure.name], "mean": stat.mean, "max": stat.max, "p95": stat.p95}
    return record(values, _FIGURE)


def _summary(summary: Summary) -> dict[str, Any]:
    values = {key: getattr(summary, key) for key in _SUMMARY}
    return record({**values, "name": summary.name or summary.ops or NONE}, _SUMMARY)
