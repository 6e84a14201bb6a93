"""systemd-logind: who is logged in, who keeps the machine up, when it goes down, and the wish that it reboots."""

import asyncio
import contextlib
import os
import pwd
from collections.abc import Callable
from typing import Any

from agentd.bus.connection import Bus, BusError, CallFailed
from agentd.core.reboots.model import Blocker, Session
from agentd.core.reboots.policy import Kind

_NAME = "org.freedesktop.login1"
_PATH = "/org/freedesktop/login1"
_MANAGER = (_NAME, _PATH, f"{_NAME}.Manager")
_CHECK_INHIBITORS = 1  # SD_LOGIND_ROOT_CHECK_INHIBITORS: block inhibitors count for everyone
_FLAGS: dict[Kind, int] = {"reboot": 0, "kexec": 2, "soft-reboot": 4}  # SD_LOGIND_REBOOT_VIA_KEXEC, _SOFT_REBOOT
# Classes of sessions that are people's; others are greeters, managers, cron.
_PEOPLE = {"user", "user-early", "user-light", "user-early-light", "user-incomplete"}
_LONGEST = 200  # characters of what somebody says about an inhibitor
_AGAIN = 60.0  # seconds until a lock that was not given is asked for again
_POLL = 1.0  # seconds; a cancelled shutdown is not always told
_MOST_ASKED = 64  # sessions that are looked into; whoever has one of the others counts as logged in
_FIRST = 3.0  # seconds that a start waits for logind to answer; jobs do not wait for one that is slow


class Logind:
    """`on_down` is called with True when the machine is about to go down, with False when it does not after all;
    `on_change` when inhibitors or sessions changed, `on_trouble` with a sentence when logind does not do its part.

    While the lock is not released, the machine waits for us before it goes down: at most InhibitDelayMaxSec of
    logind.conf(5).
    """

    def __init__(
        self,
        bus: Bus,
        address: str | None,
        on_down: Callable[[bool], None],
        on_change: Callable[[], None],
        on_trouble: Callable[[str], None],
    ) -> None:
        self._bus = bus
        self._address = address
        self._on_down = on_down
        self._on_change = on_change
        self._on_trouble = on_trouble
        self._lock = -1
        self._taking = asyncio.Lock()
        self._going_down = False
        self._closed = False
        self._poller: asyncio.Task[None] | None = None
        self._meeting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listens from now on; what a logind that answers has to say is known then. Raises CallFailed."""
        await self._bus.follow(_NAME, self._came)
        await self._bus.watch(_MANAGER, "PrepareForShutdown", lambda found: self._preparing(down=bool(found[0])))
        for member in ("SessionNew", "SessionRemoved"):
            await self._bus.watch(_MANAGER, member, lambda _: self._on_change())
        await self._bus.watch((_NAME, _PATH, "org.freedesktop.DBus.Properties"), "PropertiesChanged", self._changed)
        self._meeting = asyncio.get_running_loop().create_task(self._meet())
        if self._bus.owner(_NAME):
            await asyncio.wait([self._meeting], timeout=_FIRST)

    async def _meet(self) -> None:
        with contextlib.suppress(CallFailed):  # one that is under way already was told to the agentd before this one
            if await self.preparing():
                self._preparing(down=True)
        await self.take_lock()

    def close(self) -> None:
        self._closed = True
        self.release_lock()
        for task in (self._meeting, self._poller):
            if task is not None:
                task.cancel()

    # The lock that makes a shutdown wait for us

    async def take_lock(self) -> None:
        """Takes the delay lock, where there is a logind to give it."""
        async with self._taking:  # one too many would never be released
            if self._lock >= 0 or self._going_down:
                return
            # A connection of its own, only for a moment: dbus_next keeps the files of messages nobody expects open.
            bus = Bus()
            try:
                await bus.connect(self._address, files=True)
                arguments = ("shutdown", "agentd", "ends jobs and saves its state", "delay")
                self._lock = await bus.call_for_file(_MANAGER, "Inhibit", "ssss", *arguments)
                os.set_inheritable(self._lock, False)
            except (BusError, CallFailed) as error:
                # Without it the machine does not wait; nothing else is lost.
                self._lock = -1
                if not isinstance(error, CallFailed) or error.name.rpartition(".")[2] != "ServiceUnknown":
                    self._on_trouble(f"a shutdown would not wait for jobs to end: logind gives no lock: {error}")
                    asyncio.get_running_loop().call_later(_AGAIN, self._retake)
            finally:
                bus.close()

    def release_lock(self) -> None:
        """Lets the machine go down."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    async def patience(self) -> float:
        """Seconds for which the machine waits for us."""
        with contextlib.suppress(CallFailed):
            return int(await self._bus.get(_MANAGER, "InhibitDelayMaxUSec")) / 1e6 if self._lock >= 0 else 0.0
        return 0.0

    # Looking

    async def inhibitors(self) -> list[Blocker]:
        """Who keeps the machine up. Raises CallFailed."""
        (found,) = await self._bus.call(_MANAGER, "ListInhibitors")
        return [
            Blocker("inhibitor", who, f"{who} (process {pid} of {user_name(uid)}) holds the machine up: {why}")
            for what, who, why, mode, uid, pid in (
                (what, _line(who), _line(why), *rest) for what, who, why, *rest in found
            )
            if "shutdown" in what.split(":") and mode.startswith("block")
        ]

    async def sessions(self) -> list[Session]:
        """Who is logged in. Raises CallFailed."""
        (listed,) = await self._bus.call(_MANAGER, "ListSessions")
        found = []
        for _, uid, user, seat, path in listed[:_MOST_ASKED]:
            try:
                (facts,) = await self._bus.call(
                    (_NAME, path, "org.freedesktop.DBus.Properties"), "GetAll", "s", f"{_NAME}.Session"
                )
            except CallFailed as error:
                if error.away:
                    raise
                continue  # it ended meanwhile
            if facts.get("Class") in _PEOPLE and facts.get("State") != "closing":
                idle = int(facts.get("IdleSinceHint", 0)) if facts.get("IdleHint") else 0
                place = facts.get("TTY") or facts.get("Display") or facts.get("RemoteHost") or seat
                found.append(Session(user or user_name(uid), str(place or ""), idle))
        return found + [Session(user or user_name(uid), str(seat)) for _, uid, user, seat, _ in listed[_MOST_ASKED:]]

    async def user_of(self, pid: int) -> str:
        """The user of the session that a process belongs to, or ""."""
        with contextlib.suppress(CallFailed):
            (path,) = await self._bus.call(_MANAGER, "GetSessionByPID", "u", pid)
            return str(await self._bus.get((_NAME, path, f"{_NAME}.Session"), "Name"))
        return ""

    async def can_reboot(self) -> str:
        """yes, no, challenge or na. Raises CallFailed."""
        (answer,) = await self._bus.call(_MANAGER, "CanReboot")
        return str(answer)

    # Rebooting

    async def reboot(self, kind: Kind, message: str) -> None:
        """Has the machine rebooted; who is logged in reads the message. Raises CallFailed."""
        with contextlib.suppress(CallFailed):  # a message less must not prevent it
            await self._bus.call(_MANAGER, "SetWallMessage", "sb", message, True)
        await self._bus.call(_MANAGER, "RebootWithFlags", "t", _CHECK_INHIBITORS | _FLAGS[kind])

    async def preparing(self) -> bool:
        """Whether the machine is about to go down. Raises CallFailed."""
        return bool(await self._bus.get(_MANAGER, "PreparingForShutdown"))

    # What logind tells

    def _preparing(self, *, down: bool) -> None:
        if down == self._going_down:
            return
        self._going_down = down
        self._on_down(down)
        if down:
            self._poller = asyncio.get_running_loop().create_task(self._watch_for_change_of_mind())

    async def _watch_for_change_of_mind(self) -> None:
        """A shutdown that is cancelled while we hold it up is not told: it is asked for."""
        while self._going_down:
            await asyncio.sleep(_POLL)
            with contextlib.suppress(CallFailed):
                if not await self.preparing() and self._going_down:
                    self._preparing(down=False)
        await self.take_lock()

    def _changed(self, arguments: list[Any]) -> None:
        changed = {*arguments[1], *arguments[2]}
        if changed & {"BlockInhibited", "BlockWeakInhibited"}:
            self._on_change()

    def _came(self, owner: str) -> None:
        """logind was restarted: the lock that it gave is worth nothing any more."""
        self.release_lock()
        if owner:
            self._retake()

    def _retake(self) -> None:
        if not (self._going_down or self._closed):
            self._retaking = asyncio.get_running_loop().create_task(self.take_lock())


def _line(text: str) -> str:
    """What anybody may write, as a part of a sentence."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


def user_name(uid: int) -> str:
    """The user's name, or the number in words where there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
