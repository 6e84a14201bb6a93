"""The daemon's own checks of the self-test: its store, the room for it, its bus and the clock."""

import asyncio
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from agentd.bus.connection import NAME, PATH, Bus, CallFailed
from agentd.core.part import Refused
from agentd.core.quantities import SECOND, iso
from agentd.daemon.damage import ERRORS, examine, examine_apart, is_damage
from agentd.part import Check, CheckFailed

CANARY = "self-test.canary"
"""The file in the state directory that is written, and removed at once."""
_SIZE = 4096  # bytes of the canary
_ROOM = 16 << 20  # bytes: for the reserve, a full -wal, and the first hours of another database
_INODES = 64
_STEP = 5 * SECOND  # microseconds by which a clock may be set back without a fault: servers correct it by as much
_PATIENCE = 5.0  # seconds; timedated is started when it is asked
_MANAGER = (NAME, PATH, f"{NAME}.Manager")
_TIMEDATE = ("org.freedesktop.timedate1", "/org/freedesktop/timedate1", "org.freedesktop.timedate1")
_NO_TIMEDATE = {"ServiceUnknown", "NameHasNoOwner", "NoSuchUnit", "UnitMasked", "UnknownProperty"}


class Host(Protocol):
    """The daemon, as its checks need it."""

    bus: Bus
    started_at: int

    @property
    def folder(self) -> Path: ...
    def now(self) -> int: ...
    def reading(self) -> Any:
        """Returns a connection of its own to the database, which can only read. Raises sqlite3.Error."""

    def ready(self) -> None:
        """Raises Refused StoreUnavailable while nothing can be stored."""

    async def ask(self, question: Callable[..., Any], /, **wanted: Any) -> Any:
        """Calls question(db, **wanted) on the reading thread. Raises Refused StoreUnavailable."""


def checks(host: Host) -> list[Check]:
    """Returns the checks of the daemon itself."""
    return [
        Check(
            name="store intact",
            look=partial(intact, host),
            remedy="a damaged database is set aside when agentd starts, and history begins anew: "
            "systemctl restart agentd",
            limit=60.0,
        ),
        Check(
            name="store in full",
            look=partial(intact_in_full, host),
            remedy="a damaged database is set aside when agentd starts, and history begins anew: "
            "systemctl restart agentd",
            limit=300.0,
            full=True,
        ),
        Check(
            name="store writable",
            look=partial(writable, host),
            remedy=f"see who may write there, and whether the file system is read-only: findmnt -T {host.folder}",
            limit=10.0,
        ),
        Check(name="room for the store", look=partial(roomy, host), remedy=f"make room: df -h {host.folder}"),
        Check(
            name="bus",
            look=partial(answered, host),
            remedy=f"see who has the name, and what the bus says: busctl status {NAME}",
        ),
        Check(
            name="clock",
            look=partial(on_time, host),
            remedy="see what the clock is and who keeps it: timedatectl status",
            limit=15.0,
        ),
    ]


async def intact(host: Host) -> str:
    """Has the database looked through for damage, on the reading thread; what is to be stored does not wait for that.

    Raises CheckFailed.
    """
    if wrong := await _asked(host, examine, in_full=False):
        raise CheckFailed(f"the database in {host.folder} is damaged: {wrong}")
    return f"the database in {host.folder} is sound"


async def intact_in_full(host: Host) -> str:
    """Has the database looked through in full, which may take minutes: over a connection and on a thread of its own, so
    that no question waits for that. Raises CheckFailed."""
    try:
        wrong = await examine_apart(host.reading())
    except ERRORS as error:
        what = "is damaged" if is_damage(error) else "cannot be read"
        raise CheckFailed(f"the database in {host.folder} {what}: {error}") from None
    if wrong:
        raise CheckFailed(f"the database in {host.folder} is damaged: {wrong}")
    return f"the database in {host.folder} is sound, and so are its indexes"


async def writable(host: Host) -> str:
    """Writes a file beside the database, has it put on the disk and removes it. Raises CheckFailed."""
    try:
        host.ready()
        await asyncio.to_thread(_write, host.folder / CANARY)
    except Refused as refused:
        raise CheckFailed(str(refused)) from None
    except OSError as error:
        raise CheckFailed(f"no file can be written in {host.folder}: {_why(error)}") from None
    return f"a file was written in {host.folder}, and was on the disk"


async def roomy(host: Host) -> str:
    """Returns how much room there is for the store. Raises CheckFailed where that is little."""
    try:
        disk = await asyncio.to_thread(os.statvfs, host.folder)
    except OSError as error:
        raise CheckFailed(f"{host.folder} cannot be looked at: {_why(error)}") from None
    free, inodes = disk.f_bavail * disk.f_frsize, disk.f_favail
    counted = disk.f_files > 0  # else the file system makes inodes as they are needed
    left = f"{free >> 20} MiB" + (f" and {inodes} inodes" if counted else "")
    if free < _ROOM or (counted and inodes < _INODES):
        raise CheckFailed(f"{host.folder} has {left} left, and needs {_ROOM >> 20} MiB and {_INODES} inodes")
    return f"{host.folder} has {left} left"


async def answered(host: Host) -> str:
    """Asks whoever has agentd's name on the bus when it started: the answer comes from this process, or from another.

    Raises CheckFailed.
    """
    try:
        started = await host.bus.get(_MANAGER, "StartedUSec", patience=_PATIENCE)
    except CallFailed as error:
        raise CheckFailed(f"nobody answers as {NAME} on the bus: {error}") from None
    if started != host.started_at:
        raise CheckFailed(f"another process answers as {NAME} on the bus")
    return f"the bus answers, and {NAME} is this agentd"


async def on_time(host: Host) -> str:
    """Returns what can be known of the clock. Raises CheckFailed where the clock stands before what was stored, or its
    service has not reached a server."""
    latest, now = await _asked(host, _latest), host.now()
    if now < latest - _STEP:
        raise CheckFailed(
            f"the clock says {iso(now)}, but agentd stored a decision at {iso(latest)}: "
            "the clock was set back since then, or was wrong then"
        )
    try:
        if not await host.bus.get(_TIMEDATE, "NTP", patience=_PATIENCE):
            return "the clock is not before what was stored last; no time service is on"
        if not await host.bus.get(_TIMEDATE, "NTPSynchronized", patience=_PATIENCE):
            raise CheckFailed("a time service is on, and has not reached any server")
    except CallFailed as error:
        if error.name.rpartition(".")[2] in _NO_TIMEDATE:
            return "the clock is not before what was stored last; nobody here knows whether a server keeps it"
        raise CheckFailed(f"timedated does not say whether a server keeps the clock: {error}") from None
    return "the clock is not before what was stored last, and is kept by a server"


async def _asked(host: Host, question: Callable[..., Any], **wanted: Any) -> Any:
    """Returns what the store answers. Raises CheckFailed where it cannot be read."""
    try:
        return await host.ask(question, **wanted)
    except Refused as refused:
        raise CheckFailed(str(refused)) from None


def _latest(db: Any) -> int:
    """Returns the latest instant at which a decision was stored, 0 without any: that of the newest one is earlier where
    the clock was set back."""
    (found,) = db.execute("SELECT max(at) FROM decisions WHERE typeof(at) = 'integer'").fetchone()
    return found or 0


def _write(file: Path) -> None:
    """Writes a file and removes it. Raises OSError."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as canary:
            canary.write(b"canary\n".ljust(_SIZE))
            canary.flush()
            os.fsync(descriptor)
    finally:
        file.unlink()


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
