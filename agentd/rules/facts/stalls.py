"""Triggers on the kernel's pressure stall information: a stall is told as it begins, not at the next look."""

import asyncio
import contextlib
import os
import select
from collections.abc import Callable, Iterable

_FOLDER = "/proc/pressure"
WINDOW = 2_000_000
"""Microseconds of time in which the kernel tells of a stall once."""
_TRIGGER = f"{{kind}} 100000 {WINDOW}"
"""A tenth of a second in two; who is not root must take windows of whole multiples of two seconds (Linux 6.4)."""


class Stalls:
    """Calls `happened` on the loop each time that tasks have waited for a resource, once in two seconds at most.

    Where the kernel has no triggers, or not for this user, there are none: then stalls are seen by looking alone.
    """

    def __init__(self, happened: Callable[[], object]) -> None:
        self._happened = happened
        self._files: dict[str, int] = {}
        self._poll: select.epoll | None = None  # asyncio waits for no EPOLLPRI, but an epoll is readable with one

    def follow(self, resources: Iterable[str]) -> None:
        """Has triggers on these resources from here on, such as "memory" or "io-full", and on no others."""
        wanted = set(resources)
        for gone in self._files.keys() - wanted:
            self._drop(gone)
        for new in wanted - self._files.keys():
            with contextlib.suppress(OSError):
                self._add(new)
        if not self._files:
            self.close()

    def close(self) -> None:
        """Calls back no more."""
        for resource in [*self._files]:
            self._drop(resource)
        if self._poll is not None:
            asyncio.get_running_loop().remove_reader(self._poll.fileno())
            self._poll.close()
            self._poll = None

    def _add(self, instance: str) -> None:
        """Sets up a trigger. Raises OSError."""
        resource, _, full = instance.partition("-")
        file = os.open(f"{_FOLDER}/{resource}", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.write(file, _TRIGGER.format(kind=full or "some").encode() + b"\0")
            if self._poll is None:
                self._poll = select.epoll()
                asyncio.get_running_loop().add_reader(self._poll.fileno(), self._read)
            self._poll.register(file, select.EPOLLPRI)
        except OSError:
            os.close(file)
            raise
        self._files[instance] = file

    def _drop(self, instance: str) -> None:
        os.close(self._files.pop(instance))  # which takes it out of the epoll as well

    def _read(self) -> None:
        """Learns that something came; the kernel forgets an event when the loop's own epoll has seen it in this one."""
        if self._poll is None:
            return
        broken = {file for file, event in self._poll.poll(0) if event & select.EPOLLERR}
        for instance in [name for name, file in self._files.items() if file in broken]:
            self._drop(instance)  # the kernel has none any more
        if not broken:
            self._happened()
