"""The checks of the self-test that are about jobs: systemd answers and has their units, and a run begins and ends."""

import asyncio
import fnmatch
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from agentd.bus.connection import CallFailed
from agentd.core.config import Config
from agentd.core.quantities import counted
from agentd.core.rules import unitfile as rules
from agentd.jobs import generator
from agentd.part import Check, CheckFailed, CheckSkipped

if TYPE_CHECKING:
    from agentd.peers.systemd import Systemd

_SHOWN = 3  # units that are named where many are wrong
_STANDALONE = "agentd runs standalone here: its jobs are processes of its own, and no units of systemd"


def checks(
    systemd: "Systemd | None", canary: Callable[[], Awaitable[str]], config: Callable[[], Config]
) -> list[Check]:
    """Returns the checks of jobs. `systemd` runs the jobs, or None does where they are agentd's own processes; `canary`
    runs something, `config` returns the configuration in force."""
    return [
        Check(
            name="systemd",
            look=partial(answers, systemd),
            remedy="see whether PID 1 answers anybody: systemctl is-system-running",
            limit=10.0,
        ),
        Check(
            name="units",
            look=partial(units, systemd, config),
            remedy="have the units written anew and see what the generator says: "
            "systemctl daemon-reload; journalctl -b -t agentd-generator",
            limit=10.0,
        ),
        Check(
            name="canary",
            look=canary,
            remedy="see why no job runs: journalctl -b -t systemd -t @canary; agentctl status",
            limit=15.0,
        ),
    ]


async def answers(systemd: "Systemd | None") -> str:
    """Asks systemd something easy. Raises CheckFailed, CheckSkipped."""
    try:
        failed = await _there(systemd).failed_units()
    except CallFailed as error:
        raise CheckFailed(f"systemd does not answer: {error}") from None
    return f"systemd answers ({counted(failed, 'unit')} failed)"


async def units(systemd: "Systemd | None", config: Callable[[], Config]) -> str:
    """Compares the files that systemd takes for the generated units with what the configuration says.

    A file in /etc hides the generated one, which is a fault: what is to be added is added by drop-ins. A unit of a job
    that is no more may still have a run; one that restarts what agentd may not restart any more is a fault. Raises
    CheckFailed, CheckSkipped.
    """
    try:
        found = await _there(systemd).unit_files(generator.PATTERNS)
    except CallFailed as error:
        raise CheckFailed(f"systemd does not say which units there are: {error}") from None
    wanted = generator.units_of(config())
    if wrong := await asyncio.to_thread(_differ, wanted, found):
        more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise CheckFailed("; ".join(wrong[:_SHOWN]) + more)
    return f"systemd has the units that the configuration asks for ({len(wanted)})"


def _differ(wanted: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Returns a sentence for each unit that is not what the configuration asks for. `wanted` are texts by the units'
    names, `found` the paths of files."""
    wrong = []
    for name, text in wanted.items():
        if name not in found:
            wrong.append(f"systemd has no {name}")
            continue
        try:
            same = Path(found[name]).read_text() == text
        except (OSError, UnicodeDecodeError):
            same = False
        if not same:
            wrong.append(f"{found[name]} is not as the configuration says")
    beyond = fnmatch.filter(found.keys() - wanted.keys(), rules.unit("*"))
    return [*wrong, *(f"{found[name]} is there, and the configuration asks for none" for name in sorted(beyond))]


def _there(systemd: "Systemd | None") -> "Systemd":
    """Returns systemd. Raises CheckSkipped where jobs do without."""
    if systemd is None:
        raise CheckSkipped(_STANDALONE)
    return systemd
