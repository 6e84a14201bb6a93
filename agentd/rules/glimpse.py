"""A look at KPIs that no rule needs, because a person asks."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agentd.core.rules.gauges import Value
from agentd.core.rules.kpis import USUAL
from agentd.core.rules.model import Source
from agentd.core.rules.rules import Rules
from agentd.rules.lookout import Lookout

BETWEEN = 0.25
"""Seconds between the two looks of which a share of time is made."""
FRESH = 1.0
"""Seconds for which others who ask get the same answer: nobody makes agentd look without end."""
_SHARES = {"cpu", "pressure", "agent"}
"""The sources that tell of the time since the look before."""


class Glimpse:
    """Looks at the usual KPIs and those of one's own. Which ones these are is said by nobody who asks: a path that a
    caller names is not looked at.

    `make` makes the lookout, one beside that of the rules, whose shares of time count from their own looks; `now`
    returns the instant (microseconds since 1970).
    """

    def __init__(self, rules: Rules, make: Callable[[], Lookout], now: Callable[[], int]) -> None:
        self._rules, self._make, self._now = rules, make, now
        self._lookout: Lookout | None = None
        self._looking: asyncio.Task[dict[str, Value]] | None = None
        self._looked = 0.0  # on the loop's clock

    async def values(self) -> dict[str, Value]:
        """Returns the KPIs that no rule needs, as they are now."""
        now = asyncio.get_running_loop().time()
        if self._looking is None or (self._looking.done() and now - self._looked >= FRESH):
            self._looked = now
            self._looking = asyncio.get_running_loop().create_task(self._look())
        return await asyncio.shield(self._looking)  # who asks may be gone before the others who wait

    def close(self) -> None:
        """Looks no more."""
        if self._looking is not None:
            self._looking.cancel()
        if self._lookout is not None:
            self._lookout.close()

    async def _look(self) -> dict[str, Value]:
        if self._lookout is None:
            self._lookout = self._make()
        gauges = self._rules.gauges
        names = [name for name in (*USUAL, *gauges.own) if name not in gauges.values]
        facts = await self._facts(self._lookout, gauges.outside(names))
        return self._rules.glance(names, facts, self._now())

    async def _facts(self, lookout: Lookout, sources: Sequence[Source]) -> Mapping[Source, Any]:
        facts = await lookout.look(sources)
        if shares := [source for source in sources if source.name in _SHARES]:
            await asyncio.sleep(BETWEEN)
            facts |= await lookout.look(shares)
        return facts
