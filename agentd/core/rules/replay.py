"""Samples that were written down, through rules: what would have become of them.

A line is one JSON object with "at", seconds on the monotonic clock that never go back but at a boot, and one of

    "kpis": {"MemoryUsage": 91.5, ...}     a sample of all KPIs; one that is left out is missing
    "suspended": SECONDS                   the machine slept, in which the monotonic clock stood still
    "clock_step": SECONDS                  the wall clock was set
    "restarted": true, "downtime": SECONDS agentd was down until now
    "rebooted": true                       the machine booted; its monotonic clock began anew
    "running": ["backup", ...]             the jobs that run from now on
    "self_test_failed": true               a self-test failed, or with false passed
"""

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from statistics import median_low
from typing import Any
from zoneinfo import ZoneInfo

from agentd.core.quantities import SECOND
from agentd.core.rules.model import Moment
from agentd.core.rules.settings import Parsed, Rule
from agentd.core.rules.standing import Change, Seen, Standing, calm
from agentd.core.times import instant_of

_EVENTS = ("kpis", "suspended", "clock_step", "restarted", "rebooted", "running", "self_test_failed")
_BESIDE = {"restarted": {"downtime"}}
LONGEST = 1 << 20
"""Bytes of the longest line."""
_LATEST = 1e11  # seconds: three thousand years
_CALENDAR = instant_of(datetime(1900, 1, 1, tzinfo=UTC)), instant_of(datetime(9999, 1, 1, tzinfo=UTC))
"""The instants between which the wall clock is: all zones have a date then, and one that shows 1970 as the samples
begin, for want of a better time, can be set back by decades."""
_ALIKE = SECOND // 10
"""Microseconds by which distances between samples may differ and count as the same."""
_LATE = 20
"""Samples that are further apart by no more than one part in so many are late, not meant to be."""


class Foreign(ValueError):
    """A line that is no event of a replay; the text is a sentence."""


def read(line: str) -> tuple[float, str, Any, float]:
    """Returns the seconds, the event, its value and the downtime of a line. Raises Foreign."""
    if len(line) > LONGEST:
        raise Foreign(f"is longer than {LONGEST >> 20} MiB")
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise Foreign('is not a JSON object such as {"at": 5, "kpis": {"MemoryUsage": 91.5}}') from None
    if not isinstance(found, dict) or "at" not in found:
        raise Foreign('is not a JSON object with "at"')
    events = [key for key in found if key in _EVENTS]
    if len(events) != 1:
        raise Foreign(f"needs exactly one of {', '.join(_EVENTS)}")
    (event,) = events
    strangers = set(found) - {"at", event} - _BESIDE.get(event, set())
    if strangers:
        raise Foreign(f'has "{min(strangers)}", which means nothing beside {event}')
    value = _CHECKS[event](found[event])
    return _seconds(found["at"], "at"), event, value, _seconds(found.get("downtime", 0), "downtime")


def _seconds(value: Any, what: str, least: float = 0) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= _LATEST:
        raise Foreign(f"has {json.dumps(value)[:50]} as {what}: expected seconds")
    return float(value)


def _numbers(value: Any) -> dict[str, float]:
    if not isinstance(value, dict):
        raise Foreign("has kpis that are no object")
    for name, number in value.items():
        if isinstance(number, bool) or not isinstance(number, int | float | None):
            raise Foreign(f"has {json.dumps(number)[:50]} as {name[:50]}: expected a number")
    # A number too large for a float is as missing as an infinite one.
    known = {name: number for name, number in value.items() if number is not None}
    return {name: float(number) for name, number in known.items() if abs(number) <= sys.float_info.max}


def _yes(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Foreign("expected true or false")
    return value


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise Foreign("has running jobs that are no list of names")
    return tuple(value)


_CHECKS = {
    "kpis": _numbers,
    "suspended": lambda value: _seconds(value, "suspended"),
    "clock_step": lambda value: _seconds(value, "clock_step", -_LATEST),
    "restarted": _yes,
    "rebooted": _yes,
    "running": _names,
    "self_test_failed": _yes,
}


class Replay:
    """Rules, and the clocks and the jobs of the machine that the samples are of. The wall clock shows `wall` as the
    monotonic one shows 0."""

    def __init__(self, rules: Mapping[str, tuple[Rule, Parsed]], period: int, zone: ZoneInfo, wall: int = 0) -> None:
        self._rules, self._period, self._zone = rules, period, zone
        self._standings = self._fresh()
        self._boot = 0
        self._at = 0
        self._slept = 0
        self._offset = wall
        self._running: tuple[str, ...] = ()
        self._values: dict[str, float] = {}
        self._failed: Moment | None = None
        self.fired: Counter[str] = Counter()
        """How often each rule began to fire."""
        self.known: set[str] = set()
        """The rules of which something could be told at some sample."""
        self.seen: set[str] = set()
        """The KPIs that had a value in some sample."""

    def take(self, line: str) -> list[Change]:
        """Takes the next line; returns what becomes of the rules. Raises Foreign."""
        at, event, value, downtime = read(line)
        if round(at * SECOND) < self._at and not (event == "rebooted" and value):
            raise Foreign(f"goes back from {self._at / SECOND:g} s to {at:g} s")
        self._pass(round(at * SECOND), event, value, downtime)
        now = self._moment()
        if event != "kpis":
            return []
        self.seen.update(value)
        changed = {kpi for kpi in {*value, *self._values} if value.get(kpi) != self._values.get(kpi)}
        self._values = value
        failed = self._failed
        look = calm(now, value)
        seen = Seen(look, self._running, lambda since: failed is not None and failed.since(since) > 0, changed)
        changes = [change for standing in self._standings for change in standing.look(seen, now)]
        began = (one.rule.name for one in self._standings if one.ladder is not None and one.ladder.began == now)
        self.fired.update(began)
        self.known.update(one.rule.name for one in self._standings if one.state != "unknown")
        return changes

    def _pass(self, at: int, event: str, value: Any, downtime: float) -> None:
        before, self._at = self._at, at
        if event == "suspended":
            self._slept += round(value * SECOND)
            for standing in self._standings:
                standing.resumed(self._moment())
        elif event == "clock_step":
            self._offset += round(value * SECOND)
        elif event == "restarted" and value:
            for standing in self._standings:
                standing.restarted(round(downtime * SECOND))
        elif event == "rebooted" and value:
            self._boot += 1
            self._offset += before - at + self._slept if at < before else 0
            self._slept = 0 if at < before else self._slept
            for standing in self._standings:
                standing.rebooted()
        elif event == "running":
            self._running = value
        elif event == "self_test_failed":
            self._failed = self._moment() if value else None

    def _moment(self) -> Moment:
        """Returns this moment on all clocks. Raises Foreign."""
        alive = self._at + self._slept
        wall = alive + self._offset
        if not _CALENDAR[0] <= wall < _CALENDAR[1]:
            raise Foreign("brings the wall clock to a time outside of the years 1900 to 9998")
        return Moment(self._at, alive, wall, str(self._boot))

    def _fresh(self) -> list[Standing]:
        return [Standing(rule, parsed, self._period, self._zone) for rule, parsed in self._rules.values()]


def period_of(lines: Sequence[str], least: int) -> int:
    """Returns how far apart the samples of a file are, in microseconds, by what is most common; `least` where they are
    closer than that, only a little late, or there are none. Lines that cannot be read are left to Replay."""
    spaces: dict[int, list[int]] = {}
    before: float | None = None
    for line in lines:
        try:
            at, event, _, _ = read(line)
        except Foreign:
            continue
        if event == "kpis":
            if before is not None and at > before:
                space = round((at - before) * SECOND)
                spaces.setdefault(round(space / _ALIKE), []).append(space)
            before = at
    if not spaces:
        return least
    commonest = max(spaces, key=lambda space: len(spaces[space]))
    period = median_low(spaces[commonest])
    return period if period > least + least // _LATE else least


def told(changes: Iterable[Change]) -> Iterator[dict[str, object]]:
    """Yields a JSON object for each change."""
    for change in changes:
        seconds = change.moment.at / SECOND
        yield {
            "at": int(seconds) if seconds.is_integer() else seconds,
            "rule": change.rule,
            "state": change.state,
            "action": None if change.action is None else str(change.action),
        }
