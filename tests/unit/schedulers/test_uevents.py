"""The kernel's news: parsed, told on the loop, believed of the kernel alone, and missed without harm."""

import asyncio
import errno
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from agentd.schedulers import uevents
from agentd.schedulers.uevents import Event, Uevents, news_socket, parse

ADD = (
    b"add@/kernel/sched_ext/root\0ACTION=add\0DEVPATH=/kernel/sched_ext/root\0SUBSYSTEM=sched_ext\0"
    b"SCXOPS=bpfland_1.1.4_x86_64_unknown_linux_gnu\0SEQNUM=1711\0"
)
REMOVE = b"remove@/kernel/sched_ext/root\0ACTION=remove\0SUBSYSTEM=sched_ext\0SEQNUM=1712\0"
MAINS = b"change@/devices/LNXSYSTM:00/ACPI0003:00/power_supply/AC\0ACTION=change\0SUBSYSTEM=power_supply\0SEQNUM=9\0"
DISK = b"add@/devices/virtual/block/loop0\0ACTION=add\0SUBSYSTEM=block\0SEQNUM=10\0"


def test_a_message_is_read_as_the_kernel_writes_it() -> None:
    found = parse(ADD)
    assert found is not None
    assert (found.action, found.path) == ("add", "/kernel/sched_ext/root")
    assert found.variables["SCXOPS"] == "bpfland_1.1.4_x86_64_unknown_linux_gnu"


@pytest.mark.parametrize(
    "message", [b"", b"\0\0", b"libudev\0\xfe\xed\xca\xfe", b"add", b"add@relative", b"@/x", b"a d@/x", b"\xff@/x"]
)
def test_what_is_no_message_of_the_kernel_is_no_event(message: bytes) -> None:
    assert parse(message) is None


def test_odd_variables_harm_nothing() -> None:
    assert parse(b"change@/x\0A=b=c\0nothing\0=\0\xff=\xff\0") == Event(
        "change", "/x", {"A": "b=c", "": "", "\ufffd": "\ufffd"}
    )


class Fed:
    """A socket that receives what a test sends, from the sender that the message names; an error is raised."""

    def __init__(self) -> None:
        self.ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.ours.setblocking(False)
        self.waiting: list[tuple[Any, int, int]] = []

    def send(self, message: Any, sender: int = 0, flags: int = 0) -> None:
        self.waiting.append((message, sender, flags))
        self._theirs.send(b"!")

    def fileno(self) -> int:
        return self.ours.fileno()

    def recvmsg(self, size: int) -> tuple[bytes, list[Any], int, Any]:
        self.ours.recv(1)
        message, sender, flags = self.waiting.pop(0)
        if isinstance(message, Exception):
            raise message
        return message[:size], [], flags, (sender, 1 if sender == 0 else 2)

    def close(self) -> None:
        self.ours.close()
        self._theirs.close()


class Told:
    """What was told, in order: events of schedulers, None after a loss, and "power"."""

    def __init__(self) -> None:
        self.all: list[Any] = []
        self.fed: Any = Fed()
        self.news = Uevents(self.all.append, lambda: self.all.append("power"), lambda: self.fed)

    async def hear(self) -> list[Any]:
        """Lets the loop take what waits; returns what was told of it."""
        while self.fed.waiting:
            await asyncio.sleep(0)
        found, self.all[:] = [*self.all], []
        return found


def hearing(work: Callable[[Told], Awaitable[None]]) -> None:
    async def whole() -> None:
        told = Told()
        told.news.start()
        assert told.news.trouble == ""
        await work(told)
        told.news.close()

    asyncio.run(whole())


def test_a_scheduler_that_comes_and_one_that_goes_are_told_in_order() -> None:
    async def work(told: Told) -> None:
        for message in (ADD, DISK, REMOVE):
            told.fed.send(message)
        found = await told.hear()
        assert [(event.action, event.variables.get("SCXOPS", "")[:7]) for event in found] == [
            ("add", "bpfland"),
            ("remove", ""),
        ]

    hearing(work)


def test_what_a_program_sends_is_not_believed() -> None:
    async def work(told: Told) -> None:
        told.fed.send(ADD, sender=os.getpid())
        told.fed.send(MAINS, sender=1)
        told.fed.send(ADD, flags=socket.MSG_TRUNC)
        assert await told.hear() == []

    hearing(work)


def test_many_changes_of_power_at_once_are_one() -> None:
    async def work(told: Told) -> None:
        for _ in range(5):
            told.fed.send(MAINS)
        assert await told.hear() == ["power"]

    hearing(work)


def test_lost_news_have_everything_looked_at_and_the_rest_is_heard() -> None:
    async def work(told: Told) -> None:
        told.fed.send(OSError(errno.ENOBUFS, "No buffer space available"))
        told.fed.send(REMOVE)
        lost, power, removed = await told.hear()
        assert (lost, power, removed.action) == (None, "power", "remove")

    hearing(work)


def test_a_flood_leaves_the_loop_its_turn() -> None:
    async def work(told: Told) -> None:
        for _ in range(3 * uevents._AT_ONCE):
            told.fed.send(DISK)
        turns = 0
        while told.fed.waiting:
            await asyncio.sleep(0)
            turns += 1
        assert turns >= 3

    hearing(work)


def test_a_callback_may_close() -> None:
    async def work(told: Told) -> None:
        told.news._on_scheduler = lambda _: told.news.close()
        told.fed.send(ADD)
        told.fed.send(ADD)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(told.fed.waiting) == 1

    hearing(work)


def test_without_a_socket_agentd_looks_now_and_then_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uevents, "POLL", 0.0)

    def refused() -> Any:
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

    async def whole() -> None:
        told: list[Any] = []
        news = Uevents(told.append, lambda: told.append("power"), refused)
        news.start()
        assert news.trouble.startswith(
            "the kernel's news of schedulers cannot be heard (Address family not supported by protocol): agentd looks"
        )
        while len(told) < 4:
            await asyncio.sleep(0)
        news.close()
        assert told[:4] == [None, "power", None, "power"]
        seen = len(told)
        await asyncio.sleep(0.01)
        assert len(told) == seen

    asyncio.run(whole())


def test_the_kernel_itself_is_heard() -> None:
    """Root may have the kernel tell something anew: that of a device, whose message must come from the kernel."""
    device = Path("/sys/class/net/lo/uevent")
    if not os.access(device, os.W_OK):
        pytest.skip("only root has the kernel tell something")
    try:
        ours = news_socket()
    except OSError as error:
        pytest.skip(f"no netlink here: {error}")
    with ours:
        try:
            device.write_text("change")
        except OSError as error:
            pytest.skip(f"the kernel tells nothing here: {error}")
        ours.settimeout(10)
        while True:
            message, _, _, sender = ours.recvmsg(8192)
            event = parse(message)
            if event is not None and event.path.endswith("/net/lo"):
                break
        assert (sender[0], event.action, event.variables["SUBSYSTEM"]) == (0, "change", "net")
