"""The properties of org.agentd1.Scheduler, of which each change is told, whether somebody asks anything or not."""

from collections.abc import Callable
from typing import Any

from agentd.core.schedulers.catalogue import NONE
from agentd.core.schedulers.schedulers import Schedulers


def current(core: Schedulers) -> str:
    """Returns what runs, as the kernel says."""
    if not core.seen.on:
        return NONE
    name = core.tenure.chosen.name if core.tenure is not None else NONE
    return core.seen.ops if name == NONE else name


def properties(core: Schedulers) -> dict[str, Callable[[], Any]]:
    """Returns the getters by their properties' names."""
    return {
        "State": lambda: core.seen.state,
        "Current": lambda: current(core),
        "Ops": lambda: core.seen.ops,
        "LoadedBy": lambda: core.tenure.loaded_by if core.seen.on and core.tenure else "",
        "Probation": lambda: core.tenure.probation if core.tenure else 0,
    }
