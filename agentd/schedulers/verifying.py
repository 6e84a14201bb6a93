"""Verification in system mode: units of their own compile and try; files carry what goes there and comes back.

agentd writes /run/agentd/verify/NAME.bpf.c and starts agentd-verify@NAME.service, which leaves its report and the
object in /run/agentd-verify; then it writes NAME.bpf.o in the place of the source and starts
agentd-scx-try@NAME.service, which leaves its report in /run/agentd-try. Both units run as another user than agentd, who
touches neither agentd's files nor its bus. What comes back is data: bounded, of plain files, and about the very bytes
that were handed over.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from agentd.core.schedulers import objects
from agentd.core.schedulers.custom import Compiled, Tried, digest
from agentd.schedulers.files import put, take
from agentd.schedulers.verification import Cannot

_LARGEST_REPORT = 256 << 10
_T = TypeVar("_T", Compiled, Tried)


class ByUnits:
    """The means of a verification, as units. `start` starts a unit and waits for its end; it returns why that failed,
    as a sentence, or ""."""

    def __init__(
        self,
        start: Callable[[str], Awaitable[str]],
        handed: Path = Path("/run/agentd/verify"),
        compiled: Path = Path("/run/agentd-verify"),
        tried: Path = Path("/run/agentd-try"),
    ) -> None:
        self._start, self._handed, self._compiled, self._tried = start, handed, compiled, tried

    async def compiled(self, name: str, source: bytes) -> tuple[Compiled, bytes]:
        """Has a source checked and compiled; returns the report and the object. Raises Cannot."""
        await self._by(f"agentd-verify@{name}.service", self._handed / f"{name}.bpf.c", source)
        report = await _report(self._compiled / "report.json", Compiled)
        if report.source != digest(source):
            raise Cannot("the report is of another source: somebody started agentd-verify@ as well; try again")
        if not report.object:
            return report, b""
        made = await _taken(self._compiled / "object.bpf.o", objects.LARGEST)
        if digest(made) != report.object:
            raise Cannot("the object is not the one of the report: somebody started agentd-verify@ as well; try again")
        return report, made

    async def tried(self, name: str, made: bytes) -> Tried:
        """Has an object loaded and tried in the kernel; returns the report. Raises Cannot."""
        await self._by(f"agentd-scx-try@{name}.service", self._handed / f"{name}.bpf.o", made)
        report = await _report(self._tried / "report.json", Tried)
        if report.object != digest(made):
            raise Cannot("the report is of another object: somebody started agentd-scx-try@ as well; try again")
        return report

    async def _by(self, unit: str, file: Path, data: bytes) -> None:
        """Hands data over in a file while a unit runs. Raises Cannot."""
        try:
            await asyncio.to_thread(put, file, data)
            why = await self._start(unit)
        except OSError as error:
            raise Cannot(f"{error.filename} cannot be written: {error.strerror}") from None
        finally:
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)
        if why:
            raise Cannot(f"{why}; see: journalctl -u {unit}")


async def _report(file: Path, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(await _taken(file, _LARGEST_REPORT), type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Cannot(f"{file} is no report: {error}") from None


async def _taken(file: Path, largest: int) -> bytes:
    try:
        return await asyncio.to_thread(take, file, largest)
    except OSError as error:
        raise Cannot(f"{file} cannot be read: {error.strerror}") from None
