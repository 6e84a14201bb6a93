"""The kernel's own news: a scheduler was loaded or left, a power supply changed. They come over a netlink socket, which
programs may write to as well: only what the kernel sent counts. News may be lost; then everything is looked at."""

import asyncio
import errno
import socket
from collections.abc import Callable

from msgspec import Struct

_PROTOCOL = 15  # NETLINK_KOBJECT_UEVENT
_KERNEL = 1  # the group of what the kernel tells; udev tells in another one
_LARGEST = 8192  # bytes; the kernel's are at most 2 KiB
_AT_ONCE = 64  # messages that are read before the loop gets its turn
_SCHEDULERS = "/kernel/sched_ext/"
_POWER = "power_supply"
POLL = 5.0
"""Seconds between two looks where news cannot be heard."""


class Event(Struct, frozen=True):
    """A message of the kernel: what happened (add, remove, change), to what, and its variables (SUBSYSTEM, SCXOPS)."""

    action: str
    path: str
    variables: dict[str, str] = {}


def parse(message: bytes) -> Event | None:
    """Returns the event that a message tells; None where its form is not the kernel's (libudev has another)."""
    head, *lines = message.split(b"\0")
    action, at, path = head.decode(errors="replace").partition("@")
    if not at or not action.isalpha() or not path.startswith("/"):
        return None
    pairs = (line.decode(errors="replace").partition("=") for line in lines)
    return Event(action, path, {name: value for name, equals, value in pairs if equals})


def news_socket() -> socket.socket:
    """Returns a socket that hears the kernel's news. Raises OSError."""
    kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    made = socket.socket(socket.AF_NETLINK, kind, _PROTOCOL)
    try:
        made.bind((0, _KERNEL))
    except OSError:
        made.close()
        raise
    return made


class Uevents:
    """Calls back on the loop: `on_scheduler` with each event of a scheduler, or with None after events were lost (then
    the kernel's state has to be looked at); `on_power` when a power supply changed, or may have.

    Where no socket can be had, `on_scheduler` and `on_power` are called every POLL seconds instead, and `trouble` says
    so as a sentence.
    """

    def __init__(
        self,
        on_scheduler: Callable[[Event | None], None],
        on_power: Callable[[], None],
        open_: Callable[[], socket.socket] = news_socket,
    ) -> None:
        self.trouble = ""
        self._on_scheduler = on_scheduler
        self._on_power = on_power
        self._open = open_
        self._socket: socket.socket | None = None
        self._poll: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Hears from now on; what happened before is to be looked at after this call."""
        try:
            self._socket = self._open()
        except OSError as error:
            self.trouble = (
                f"the kernel's news of schedulers cannot be heard ({error.strerror or error}): agentd looks every "
                f"{POLL:.0f} s, and sees an ejection that much later (see RestrictAddressFamilies= of agentd.service)"
            )
            self._poll_later()
            return
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._ready)

    def close(self) -> None:
        """Calls back no more."""
        if self._poll is not None:
            self._poll.cancel()
            self._poll = None
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _poll_later(self) -> None:
        self._poll = asyncio.get_running_loop().call_later(POLL, self._polled)

    def _polled(self) -> None:
        self._poll_later()
        self._look()

    def _look(self) -> None:
        self._on_scheduler(None)
        self._on_power()

    def _ready(self) -> None:
        """Takes what waits: of many events at once each is told, but that of power supplies once."""
        power = False
        for _ in range(_AT_ONCE):
            if self._socket is None:  # a callback closed it
                return
            try:
                message, _, flags, sender = self._socket.recvmsg(_LARGEST)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._look()
                continue
            if _port(sender) != 0 or flags & socket.MSG_TRUNC:
                continue
            event = parse(message)
            if event is None:
                continue
            if event.path.startswith(_SCHEDULERS):
                self._on_scheduler(event)
            power = power or event.variables.get("SUBSYSTEM") == _POWER
        if power:
            self._on_power()


def _port(sender: object) -> int:
    """Returns the netlink port that a message comes from: 0 is the kernel, which no program can be."""
    return int(sender[0]) if isinstance(sender, tuple) else -1
