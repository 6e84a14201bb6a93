"""The turns of rules: which of them a look at the KPIs has to ask, and which it may pass over."""

import math
from bisect import bisect
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from agentd.core.rules.model import Moment

if TYPE_CHECKING:  # nothing of these is loaded where there is no rule: see agentd.light
    from agentd.core.rules.standing import Change, Seen, Standing


class _Band:
    """The numbers with which rules compare a KPI, and nothing else: while its value stays between two of them, all of
    these say what they said. `places` are those of the rules."""

    def __init__(self) -> None:
        self.places: list[int] = []
        self.limits: list[float] = []
        self.low = self.high = math.nan  # the two between which it is; NaN: it may be anywhere

    def move(self, value: float | None) -> None:
        """Takes note of the value of the KPI, None where it is missing."""
        place = 0 if value is None else bisect(self.limits, value)
        if value is None or (place and self.limits[place - 1] == value):
            self.low = self.high = math.nan
        else:
            self.low, self.high = ([-math.inf, *self.limits, math.inf])[place : place + 2]


class Turns:
    """Rules in an order. One that rests is passed over as long as no KPI of it has another value, or, where it compares
    KPIs with numbers and does nothing else, one on the other side of such a number."""

    def __init__(self, standings: "Iterable[Standing]" = ()) -> None:
        self._standings = tuple(standings)
        self._about: dict[str, list[int]] = {}  # by KPI: the places of those that need it and are in no band
        self._bands: dict[str, _Band] = {}
        for place, standing in enumerate(self._standings):
            for kpi in standing.kpis:
                if standing.limits is None:
                    self._about.setdefault(kpi, []).append(place)
                else:
                    band = self._bands.setdefault(kpi, _Band())
                    band.places.append(place)
                    band.limits = sorted({*band.limits, *standing.limits})
        self._restless = {*range(len(self._standings))}  # the places of the rules that do not rest

    def look(self, seen: "Seen", now: Moment) -> "list[tuple[Standing, list[Change]]]":
        """Takes a sample of all KPIs; returns the rules of which something became, and what, in their order."""
        restless, found = self._restless, []
        for place in sorted(self._asked(seen)):
            standing = self._standings[place]
            if changes := standing.look(seen, now):
                found.append((standing, changes))
            if standing.rests:
                restless.discard(place)
            else:
                restless.add(place)
        return found

    def _asked(self, seen: "Seen") -> set[int]:
        """Returns the places of the rules that do not rest, and of those to which another value of a KPI may matter."""
        values = seen.look.values
        if seen.changed is None:
            for kpi, band in self._bands.items():
                band.move(values.get(kpi))
            return {*range(len(self._standings))}
        places = self._restless.union(*[self._about.get(kpi, ()) for kpi in seen.changed])
        for kpi in self._bands.keys() & seen.changed:
            band, value = self._bands[kpi], values.get(kpi)
            if value is None or not band.low < value < band.high:
                places.update(band.places)
                band.move(value)
        return places

    def roused(self, before: int | None) -> "Sequence[Standing]":
        """Returns all rules, for something that happens to each; `before` is when the latest look before that was
        (monotonic, None: there was none). None of them rests any longer, and the next look asks all."""
        self._restless = {*range(len(self._standings))}
        for standing in self._standings:
            standing.rouse(before)
        return self._standings
