"""systemd-logind as a peer: sessions, inhibitors, the shutdown that is about to come, and reboots."""

import asyncio
import contextlib
import os
import pwd
from collections.abc import Callable
from typing import Any

from agentd.bus.connection import PROPERTIES, Bus, BusError, CallFailed, Undo
from agentd.core.reboots.model import Blocker, Session
from agentd.core.reboots.policy import Kind
from agentd.tasks import Tasks

_NAME = "org.freedesktop.login1"
_PATH = "/org/freedesktop/login1"
_MANAGER = (_NAME, _PATH, f"{_NAME}.Manager")
_CHECK_INHIBITORS = 1  # SD_LOGIND_ROOT_CHECK_INHIBITORS: block inhibitors count for everyone
_FLAGS: dict[Kind, int] = {"reboot": 0, "kexec": 2, "soft-reboot": 4}  # SD_LOGIND_REBOOT_VIA_KEXEC, _SOFT_REBOOT
# Classes of sessions that are nobody's: greeters, cron, managers. A session of any other class is a person's.
_NOBODY = {"greeter", "lock-screen", "background", "background-light", "manager", "manager-early", "none"}
# logind has no such session any more; whatever else goes wrong, the session may be a person's.
_ENDED = {"UnknownObject", "NoSuchSession"}
_SYSTEM = range(1, 1000)  # the users whom packages make: login.defs(5) has SYS_UID_MAX 999; root is a person's
_NEVER = (1 << 63) - 1  # microseconds; logind says "at no time" by a greater number
_LONGEST = 200  # characters of a program's text about its inhibitor
_AGAIN = 60.0  # seconds until a lock that was not given is asked for again
_POLL = 1.0  # seconds; a cancelled shutdown is not always told
_MOST_ASKED = 64  # sessions that are looked into; whoever has one of the others counts as logged in
_PATIENCE = 5.0  # seconds for which somebody who wants to see the machine waits for an answer
_MESSAGE = 2.0  # seconds that a reboot waits for its message; the window may be about to end
_FIRST = 3.0  # seconds that agentd's start waits for logind; jobs do not wait for a slow logind


class Logind:
    """systemd-logind on the bus at `address` (None: the system bus).

    `on_down` is called with True when the machine is about to go down, with False when the machine stays up after all;
    `on_change` when inhibitors or sessions changed; `on_trouble` with a sentence when logind does not do its part.

    While the lock is not released, the machine waits for agentd before it goes down: at most InhibitDelayMaxSec of
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
        self._tasks = Tasks(
            lambda error: on_trouble(f"a defect in watching logind: {type(error).__name__}: {error}; please report it")
        )

    async def start(self) -> None:
        """Listens from now on, and waits some seconds for what logind has to say at first. Raises CallFailed."""
        await self._bus.follow(_NAME, self._came)
        await self._bus.watch(_MANAGER, "PrepareForShutdown", lambda found: self._preparing(down=bool(found[0])))
        for member in ("SessionNew", "SessionRemoved"):
            await self._bus.watch(_MANAGER, member, lambda _: self._on_change())
        await self._bus.watch((_NAME, _PATH, PROPERTIES), "PropertiesChanged", self._changed)
        meeting = self._tasks.do(self._meet())
        if self._bus.owner(_NAME):
            await asyncio.wait([meeting], timeout=_FIRST)

    async def _meet(self) -> None:
        # A shutdown already under way was announced before this agentd started; PreparingForShutdown tells.
        with contextlib.suppress(CallFailed):
            if await self.preparing():
                self._preparing(down=True)
        await self.take_lock()

    def close(self) -> None:
        """Lets the machine go down, and asks logind nothing more."""
        self._closed = True
        self.release_lock()
        self._tasks.close()

    # The lock that makes a shutdown wait for agentd

    async def take_lock(self) -> None:
        """Takes the delay lock, where there is a logind to give one."""
        async with self._taking:  # a second lock would never be released
            if self._lock >= 0 or self._going_down:
                return
            # By a connection for this one call: dbus_next keeps the files of messages that nobody expects open.
            bus = Bus()
            try:
                await bus.connect(self._address, files=True)
                arguments = ("shutdown", "agentd", "ends jobs and saves its state", "delay")
                self._lock = await bus.call_for_file(_MANAGER, "Inhibit", "ssss", *arguments)
                os.set_inheritable(self._lock, False)
            except (BusError, CallFailed) as error:
                # Without the lock the machine does not wait; nothing else is lost.
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
        """Returns for how many seconds the machine waits for agentd: 0 without the lock."""
        with contextlib.suppress(CallFailed):
            return int(await self._bus.get(_MANAGER, "InhibitDelayMaxUSec")) / 1e6 if self._lock >= 0 else 0.0
        return 0.0

    # Looking

    async def inhibitors(self) -> list[Blocker]:
        """Returns the block inhibitors of a shutdown. Raises CallFailed."""
        (found,) = await self._bus.call(_MANAGER, "ListInhibitors", patience=_PATIENCE)
        return [
            Blocker(
                "inhibitor",
                who,
                f"{who} (process {pid} of {user_name(uid)}) holds the machine up: {why}",
                plainly=f"process {pid} of {user_name(uid)} holds the machine up",
            )
            for what, who, why, mode, uid, pid in (
                (what, _line(who), _line(why), *rest) for what, who, why, *rest in found
            )
            if "shutdown" in what.split(":") and mode.startswith("block")
        ]

    async def sessions(self) -> list[Session]:
        """Returns the sessions of people who are logged in, as far as logind tells: a session that it says nothing
        about, or not what kind of session it is, counts as a person's. Raises CallFailed."""
        (listed,) = await self._bus.call(_MANAGER, "ListSessions", patience=_PATIENCE)
        looked_into = await asyncio.gather(*(self._session(*one) for one in listed[:_MOST_ASKED]))
        found = [session for session in looked_into if session is not None]
        return found + [
            Session(user or user_name(uid), str(seat), system=uid in _SYSTEM)
            for _, uid, user, seat, _ in listed[_MOST_ASKED:]
        ]

    async def _session(self, key: str, uid: int, user: str, seat: str, path: str) -> Session | None:
        """Returns one of the listed sessions; None where that is no person's, or has ended meanwhile.

        Raises CallFailed where logind went away.
        """
        who, peer = user or user_name(uid), (_NAME, path, PROPERTIES)
        try:
            (facts,) = await self._bus.call(peer, "GetAll", "s", f"{_NAME}.Session", patience=_PATIENCE)
        except CallFailed as error:
            if error.away:
                raise
            if error.name.rpartition(".")[2] in _ENDED:
                return None
            unsure = f"logind does not tell about session {key} of {who} ({error})"
            return Session(who, str(seat), unsure=unsure, system=uid in _SYSTEM)
        if facts.get("Class") in _NOBODY or facts.get("State") == "closing":
            return None
        idle = int(facts.get("IdleSinceHint", 0)) if facts.get("IdleHint") else 0
        terminal = facts.get("TTY") or facts.get("Display") or facts.get("RemoteHost") or seat
        return Session(who, str(terminal or ""), idle, system=uid in _SYSTEM)

    async def scheduled(self) -> tuple[str, int]:
        """Returns what was scheduled with shutdown(8), such as poweroff, and its instant; "" and 0 where nothing was.

        Raises CallFailed.
        """
        kind, at = await self._bus.get(_MANAGER, "ScheduledShutdown", patience=_PATIENCE)
        return (_line(kind), int(at)) if kind and int(at) < _NEVER else ("", 0)

    async def user_of(self, pid: int) -> str:
        """Returns the user of the session that a process belongs to, or ""."""
        return await session_user(self._bus, pid, _PATIENCE)

    async def can_reboot(self) -> str:
        """Returns logind's answer: yes, no, challenge or na. Raises CallFailed."""
        (answer,) = await self._bus.call(_MANAGER, "CanReboot", patience=_PATIENCE)
        return str(answer)

    # Rebooting

    async def reboot(self, kind: Kind, message: str) -> None:
        """Has the machine rebooted; people who are logged in read the message. Raises CallFailed."""
        with contextlib.suppress(CallFailed):  # a message less must not prevent the reboot
            await self._bus.call(_MANAGER, "SetWallMessage", "sb", message, True, patience=_MESSAGE)
        await self._bus.call(_MANAGER, "RebootWithFlags", "t", _CHECK_INHIBITORS | _FLAGS[kind])

    async def preparing(self) -> bool:
        """Returns whether the machine is about to go down. Raises CallFailed."""
        return bool(await self._bus.get(_MANAGER, "PreparingForShutdown"))

    # Reports of logind

    def _preparing(self, *, down: bool) -> None:
        if down == self._going_down:
            return
        self._going_down = down
        self._on_down(down)
        if down:
            self._tasks.do(self._watch_for_change_of_mind())

    async def _watch_for_change_of_mind(self) -> None:
        """Asks whether the shutdown still comes: logind does not tell of one that is cancelled meanwhile."""
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
        """Takes note that logind ended or started: the lock of the one before is worth nothing any more."""
        self.release_lock()
        if owner:
            self._retake()

    def _retake(self) -> None:
        if not (self._going_down or self._closed):
            self._tasks.do(self.take_lock())


async def watch_sleep(bus: Bus, on_sleep: Callable[[bool], None]) -> Undo:
    """Has `on_sleep` called with True as the machine is about to sleep (suspend, hibernate), and with False once it has
    resumed, until the function returned is called. Raises CallFailed."""
    return await bus.watch(_MANAGER, "PrepareForSleep", lambda found: on_sleep(bool(found[0])))


async def session_user(bus: Bus, pid: int, patience: float) -> str:
    """Returns the user of the session that a process belongs to, or "", also where logind says nothing for `patience`
    seconds."""
    with contextlib.suppress(CallFailed):
        (path,) = await bus.call(_MANAGER, "GetSessionByPID", "u", pid, patience=patience)
        return str(await bus.get((_NAME, path, f"{_NAME}.Session"), "Name", patience=patience))
    return ""


def _line(text: str) -> str:
    """Returns a text that any program may have written as a part of a sentence."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


def user_name(uid: int) -> str:
    """Returns the user's name, or "user 1234" where the number has no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
