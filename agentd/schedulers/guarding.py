"""The figures that the guards of a probation look at."""

import asyncio
from pathlib import Path

from agentd.core.quantities import SECOND
from agentd.core.schedulers import monitor
from agentd.core.schedulers.model import Figures
from agentd.schedulers import readings, units
from agentd.schedulers.sysfs import Unreadable
from agentd.tasks import Threads

_PROBE = 0.1  # seconds of sleep; what it takes longer is agentd's own lateness


class Guarding:
    """Measures over the last ten seconds. A new scheduler begins with no past."""

    def __init__(self, threads: Threads, root: Path = Path("/")) -> None:
        self._threads, self._root = threads, root
        self._recent: monitor.Recent | None = None

    async def figures(self, name: str) -> Figures:
        """Returns the figures as they are now under the scheduler of that name; what is not known is None."""
        group = f"{units.SLICE}/{units.unit_of(name)}"
        self._recent = self._recent or monitor.Recent()
        clock = asyncio.get_running_loop().time
        at = clock()
        try:
            reading = await self._threads.do(lambda: readings.read(at, self._root, (group,)))
            sample = self._recent.add(reading)
        except Unreadable:  # what is looked at beside the guards tells of it
            sample = None
        began = clock()  # last of all: nothing is waited for between this and the verdict
        await asyncio.sleep(_PROBE)
        late = max(0.0, clock() - began - _PROBE)
        known = {} if sample is None else sample.figures
        return Figures(
            pressure=known.get("cpu_some"),
            run_delay=known.get("run_delay"),
            program=None if sample is None else sample.groups.get(group, {}).get("cpus"),
            loop_lag=round(late * SECOND),
        )
