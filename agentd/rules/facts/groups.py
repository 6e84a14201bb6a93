"""The units that take most of the machine, by their control groups: where agentd may not look at other processes."""

import heapq
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from msgspec import Struct

from agentd.core.rules.kpis import Missing
from agentd.rules.facts.host import number, read

_MOST = 5000  # groups that are looked at
_UNITS = (".service", ".scope", ".mount", ".swap")


class Group(Struct, frozen=True):
    """A unit: its name, bytes of memory, and seconds of processors that it took since it started."""

    name: str
    memory: int
    cpu: float


def top(count: int = 5, root: Path = Path("/")) -> list[Group]:
    """Returns the `count` units that have most memory; none where there is no cgroup v2 with the memory controller."""
    found = []
    for path in _units(f"{str(root).rstrip('/')}/sys/fs/cgroup"):
        try:
            memory = number(read(f"{path}/memory.current").strip())
            first = read(f"{path}/cpu.stat").partition(b"\n")[0]  # usage_usec
            cpu = number(first.rpartition(b" ")[2]) / 1_000_000
        except (OSError, ValueError, Missing):  # gone meanwhile, or not counted
            continue
        found.append(Group(path.rpartition("/")[2], memory, cpu))
    return heapq.nlargest(count, found, key=lambda group: group.memory)


def _units(top_: str) -> Iterator[str]:
    """Yields the folders of units that have no unit below them."""
    for folder, below, _ in islice(os.walk(top_), _MOST):
        if folder.endswith(_UNITS):
            below.clear()
            yield folder
