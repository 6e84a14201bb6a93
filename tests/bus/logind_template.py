"""A fake systemd-logind, with as much of systemd as starts agentd-wall.service and of timedated as tells of NTP.

It does what logind 257 does where agentd meets it: block inhibitors count for flag 1, a shutdown waits for the delay
inhibitors, and one that is cancelled meanwhile is told to nobody.
"""

import os
import select
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jeepney import DBusAddress, HeaderFields, MessageType, new_error, new_method_return, new_signal
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import open_dbus_connection

NAME = "org.freedesktop.login1"
PATH = "/org/freedesktop/login1"
MANAGER = f"{NAME}.Manager"
NAMES = ("org.freedesktop.systemd1", "org.freedesktop.timedate1", NAME)  # a call that comes between two is lost
DENIED = "org.freedesktop.DBus.Error.AccessDenied"
IN_PROGRESS = f"{NAME}.OperationInProgress"
Answer = tuple[str, tuple[Any, ...]]
TYPES = {bool: "b", int: "t", str: "s"}


class Refusal(Exception):
    """An error to answer with: its name and its sentence."""


class FakeLogind:
    """Owns its names on the bus at `address` from start() to stop(); what it knows outlives that.

    `message` is the file that agentd-wall.service reads; `hangs` are members that get no answer before go_on(),
    `refuses` those that get an error (name, sentence).
    """

    def __init__(self, address: str, message: Path) -> None:
        self.inhibitors: dict[int, tuple[str, str, str, str]] = {}  # by our end of the pipe, -1 and so on by tests
        self.sessions: dict[str, dict[str, Any]] = {}
        self.caller = ""  # the session that every caller belongs to
        self.can = "yes"
        self.patience = 30.0  # InhibitDelayMaxSec
        self.hangs: set[str] = set()
        self.refuses: dict[str, tuple[str, str]] = {}
        self.preparing = False
        self.reboots: list[int] = []  # the flags of each RebootWithFlags that was granted
        self.down_after = -1.0  # seconds from PrepareForShutdown(true) until the machine went down
        self.message, self.walls, self.said = message, list[str](), ""
        self.asked: Counter[str] = Counter()  # the members that were called
        self.clock = {"NTP": False, "NTPSynchronized": False}
        self._held: list[Any] = []
        self._address = address
        self._since = 0.0
        self._lock = threading.RLock()
        handlers: tuple[Callable[..., Answer], ...] = (
            self._inhibit, self._list_inhibitors, self._list_sessions, self._get_session_by_pid, self._can_reboot,
            self._set_wall_message, self._reboot_with_flags, self._start_unit, self._get, self._get_all,
        )  # fmt: skip
        self._handlers = {h.__name__.title().replace("_", "").replace("ByPid", "ByPID"): h for h in handlers}

    def start(self) -> None:
        self._connection = open_dbus_connection(self._address, enable_fds=True)
        for name in NAMES:
            self._connection.send_and_get_reply(message_bus.RequestName(name))
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def stop(self) -> None:
        """Ends, as when it is restarted: the locks that it gave are gone with it."""
        self._ending.set()
        self._thread.join()
        self._connection.close()
        for file in [file for file in self.inhibitors if file >= 0]:
            os.close(file)
            del self.inhibitors[file]

    # What tests do

    def block(self, who: str = "backup-tool", why: str = "copying", mode: str = "block") -> int:
        """Takes an inhibitor; returns what unblock() takes."""
        with self._lock:
            key = min([0, *self.inhibitors]) - 1
            self.inhibitors[key] = ("shutdown:idle", who, why, mode)
            self._tell_inhibited()
        return key

    def unblock(self, key: int) -> None:
        with self._lock:
            del self.inhibitors[key]
            self._tell_inhibited()

    def log_in(self, key: str, user: str, **facts: Any) -> None:
        with self._lock:
            state = {"Class": "user", "State": "active", "TTY": "tty2", "IdleHint": False, "IdleSinceHint": 0}
            self.sessions[key] = {"Name": user, **state, **facts}
            self._emit(MANAGER, "SessionNew", "so", key, f"{PATH}/session/{key}")

    def log_out(self, key: str) -> None:
        with self._lock:
            del self.sessions[key]
            self._emit(MANAGER, "SessionRemoved", "so", key, f"{PATH}/session/{key}")

    def shut_down(self) -> None:
        """Somebody else has the machine go down."""
        with self._lock:
            self.preparing, self.down_after, self._since = True, -1.0, time.monotonic()
            self._emit(MANAGER, "PrepareForShutdown", "b", True)

    def cancel(self, *, told: bool) -> None:
        """The machine does not go down after all. Within the delay logind does not tell it."""
        with self._lock:
            self.preparing, self.down_after = False, -1.0
            if told:
                self._emit(MANAGER, "PrepareForShutdown", "b", False)

    def go_on(self) -> None:
        """Answers what it left hanging, and all that comes from now on."""
        with self._lock:
            self.hangs.clear()
            while self._held:
                self._answer(self._held.pop(0))

    @property
    def delays(self) -> list[str]:
        """Who holds a delay lock."""
        with self._lock:
            return [who for _, who, _, mode in self.inhibitors.values() if mode == "delay"]

    # What it does

    def _serve(self) -> None:
        while not self._ending.is_set():
            try:
                message = self._connection.receive(timeout=0.02)
            except TimeoutError:
                message = None
            with self._lock:
                self._look()
                if message is not None and message.header.message_type is MessageType.method_call:
                    self._answer(message)

    def _look(self) -> None:
        """Sees locks that were closed, and lets the machine go down when nobody delays it any more."""
        given = [file for file in self.inhibitors if file >= 0]
        for file in select.select(given, [], [], 0)[0]:
            os.close(file)
            del self.inhibitors[file]
            self._tell_inhibited()
        took = time.monotonic() - self._since
        if self.preparing and self.down_after < 0 and (not self.delays or took >= self.patience):
            self.down_after = took

    def _answer(self, message: Any) -> None:
        fields = message.header.fields
        member = fields[HeaderFields.member]
        self.asked[member] += 1
        if member in self.hangs:
            self._held.append(message)
            return
        try:
            if member in self.refuses:
                raise Refusal(*self.refuses[member])
            if member not in self._handlers:
                raise Refusal("org.freedesktop.DBus.Error.UnknownMethod", f"no {member}")
            signature, body = self._handlers[member](fields[HeaderFields.path], *message.body)
        except Refusal as refusal:
            self._connection.send(new_error(message, refusal.args[0], "s", (refusal.args[1],)))
            return
        self._connection.send(new_method_return(message, signature or None, body))
        if signature == "h":
            os.close(body[0])

    def _inhibit(self, _: str, what: str, who: str, why: str, mode: str) -> Answer:
        if self.preparing and mode == "delay":
            raise Refusal(IN_PROGRESS, "The operation inhibition has been requested for is already running")
        ours, theirs = os.pipe()
        self.inhibitors[ours] = (what, who, why, mode)
        return "h", (theirs,)

    def _list_inhibitors(self, _: str) -> Answer:
        return "a(ssssuu)", ([(*facts, 0, 7) for facts in self.inhibitors.values()],)

    def _list_sessions(self, _: str) -> Answer:
        found = [(key, 1000, facts["Name"], "", f"{PATH}/session/{key}") for key, facts in self.sessions.items()]
        return "a(susso)", (found,)

    def _get_session_by_pid(self, _: str, pid: int) -> Answer:
        if not self.caller:
            raise Refusal(f"{NAME}.NoSessionForPID", f"PID {pid} does not belong to any known session")
        return "o", (f"{PATH}/session/{self.caller}",)

    def _can_reboot(self, _: str) -> Answer:
        return "s", (self.can,)

    def _set_wall_message(self, _: str, text: str, _enable: bool) -> Answer:
        self.said = text
        return "", ()

    def _reboot_with_flags(self, _: str, flags: int) -> Answer:
        if self.preparing:
            raise Refusal(IN_PROGRESS, "There's already a shutdown or sleep operation in progress")
        if flags & 1 and self._inhibited():
            raise Refusal(DENIED, "Access denied due to active block inhibitor")
        self.reboots.append(flags)
        self.shut_down()
        return "", ()

    def _start_unit(self, _: str, unit: str, mode: str) -> Answer:
        self.walls.append(f"{unit} {mode}: {self.message.read_text()}")
        return "o", ("/org/freedesktop/systemd1/job/1",)

    def _get(self, path: str, _interface: str, name: str) -> Answer:
        if (value := self._facts(path).get(name)) is None:
            raise Refusal("org.freedesktop.DBus.Error.UnknownProperty", f"no {name}")
        return "v", ((TYPES[type(value)], value),)

    def _get_all(self, path: str, _interface: str) -> Answer:
        return "a{sv}", ({name: (TYPES[type(value)], value) for name, value in self._facts(path).items()},)

    def _facts(self, path: str) -> dict[str, Any]:
        if path.startswith(f"{PATH}/session/"):
            if (facts := self.sessions.get(path.rpartition("/")[2])) is None:
                raise Refusal("org.freedesktop.DBus.Error.UnknownObject", f"no {path}")
            return facts
        delay = {"InhibitDelayMaxUSec": int(self.patience * 1e6), "PreparingForShutdown": self.preparing}
        return {**delay, "BlockInhibited": self._inhibited(), **self.clock}

    def _inhibited(self) -> str:
        return "shutdown" if any(mode == "block" for *_, mode in self.inhibitors.values()) else ""

    def _tell_inhibited(self) -> None:
        changed: Any = (MANAGER, {"BlockInhibited": ("s", self._inhibited())}, [])
        self._emit("org.freedesktop.DBus.Properties", "PropertiesChanged", "sa{sv}as", *changed)

    def _emit(self, interface: str, member: str, signature: str, *body: Any) -> None:
        if not self._ending.is_set():
            self._connection.send(new_signal(DBusAddress(PATH, interface=interface), member, signature, body))
