"""PID 1 as a peer: what is asked while it executes itself anew, what it tells, and how units are asked about."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from agentd.bus.connection import CallFailed
from agentd.core.reboots.model import Boot
from agentd.peers import systemd
from agentd.peers.systemd import Systemd

ERROR = "org.freedesktop.DBus.Error."
GONE = CallFailed(f"{ERROR}NoReply", "Message recipient disconnected from message bus without replying")
UNIT = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1/unit/agentd_2djob_40a_2eservice")


class Bus:
    """Gives one answer after the other, whatever is asked; keeps what is listened to."""

    def __init__(self, *answers: Any) -> None:
        self._answers: Iterator[Any] = iter(answers)
        self.asked: list[tuple[Any, ...]] = []
        self.listeners: dict[str, Any] = {}

    async def get(self, peer: Any, name: str) -> Any:
        return self._next(peer, name)

    async def call(self, _peer: Any, member: str, *_: Any, patience: float = 25.0) -> Any:
        return [self._next(member, patience)]

    async def watch(self, peer: Any, member: str, listener: Any) -> Any:
        assert peer == systemd.MANAGER
        return self._listen(member, listener)

    async def follow(self, name: str, on_owner: Any) -> Any:
        return self._listen(name, on_owner)

    def _listen(self, key: str, listener: Any) -> Any:
        self.listeners[key] = listener
        return lambda: self.listeners.pop(key)

    def _next(self, *asked: Any) -> Any:
        self.asked.append(asked)
        if isinstance(answer := next(self._answers), Exception):
            raise answer
        return answer


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "AGAIN", 0)


def this_boot(*answers: Any) -> Boot:
    bus: Any = Bus(*answers)
    return asyncio.run(systemd.this_boot(bus, "abc"))


def made(*answers: Any) -> tuple[Any, Systemd, list[str]]:
    bus: Any = Bus(*answers)
    told: list[str] = []
    return bus, Systemd(bus, told.append, lambda where, error: told.append(f"{where}: {error!r}")), told


def test_systemd_is_asked_again_while_it_is_away() -> None:
    assert this_boot(GONE, GONE, 2, GONE, 1234) == Boot("abc+2", 1234)


@pytest.mark.parametrize("name", ["AccessDenied", "Timeout", "Disconnected"])
def test_systemd_is_not_asked_again_where_that_would_not_help(name: str) -> None:
    with pytest.raises(CallFailed, match="no"):
        this_boot(GONE, CallFailed(f"{ERROR}{name}", "no"), 2, 1234)


def test_a_systemd_that_stays_away_is_given_up() -> None:
    with pytest.raises(CallFailed, match="disconnected"):
        this_boot(*[GONE] * systemd.TRIES, 2, 1234)


def test_after_pid_1_executed_itself_anew_it_is_subscribed_to_again_and_what_was_missed_is_looked_for() -> None:
    bus, pid1, told = made(None, CallFailed(f"{ERROR}AlreadySubscribed", "x"), CallFailed(f"{ERROR}AccessDenied", "no"))
    missed: list[int] = []

    async def look() -> None:
        missed.append(len(bus.asked))

    async def scenario() -> None:
        unlisten = await pid1.listen(look, JobNew=lambda _: None, UnitRemoved=lambda _: None)
        assert set(bus.listeners) == {"org.freedesktop.systemd1", "JobNew", "UnitRemoved"}
        owner_changed = bus.listeners["org.freedesktop.systemd1"]
        owner_changed("")
        await asyncio.sleep(0)
        assert missed == [], "it is not there yet"
        for _ in range(2):
            owner_changed(":1.5")
            await asyncio.gather(*pid1._tasks._tasks)
        unlisten()
        assert bus.listeners == {}

    asyncio.run(scenario())
    assert missed == [2, 3]
    assert told == ["systemd does not tell what becomes of units, agentd looks itself: no"]


def test_an_error_in_catching_up_is_told() -> None:
    bus, pid1, told = made(None, None)

    async def look() -> None:
        raise ZeroDivisionError

    async def scenario() -> None:
        await pid1.listen(look)
        bus.listeners["org.freedesktop.systemd1"](":1.5")
        await asyncio.wait(pid1._tasks._tasks)
        await asyncio.sleep(0)

    asyncio.run(scenario())
    assert told == ["hearing of systemd: ZeroDivisionError()"]


def test_a_start_and_a_stop_are_asked_for_once_and_a_reload_again() -> None:
    bus, pid1, _ = made("/job/1", "/job/2", GONE, GONE, None)

    async def scenario() -> None:
        assert await pid1.start_unit("agentd-wall.service") == "/job/1"
        assert await pid1.stop_unit("a.service", patience=180.0) == "/job/2"
        with pytest.raises(CallFailed):
            await pid1.start_unit("a.service")
        await pid1.reload()

    asyncio.run(scenario())
    assert bus.asked == [("StartUnit", 25.0), ("StopUnit", 180.0), ("StartUnit", 25.0), *[("Reload", 180.0)] * 2]


@pytest.mark.parametrize(
    ("state", "job", "alive"),
    [("active", 0, True), ("inactive", 0, False), ("failed", 0, False), ("inactive", 7, True), ("activating", 7, True)],
)
def test_a_unit_is_alive_while_it_runs_or_something_is_asked_of_it(state: str, job: int, alive: bool) -> None:
    def listed(name: str, state: str, job: int) -> list[Any]:
        return [name, "", "loaded", state, "", "", "/unit", job, "", "/job"]

    rest = listed("b.service", "inactive", 0)
    bus, pid1, _ = made([rest, listed("a.service", state, job)])
    assert asyncio.run(pid1.is_alive("a.service", "b.service")) == alive
    assert bus.asked == [("ListUnitsByPatterns", 25.0)], "in one moment, and without having them loaded"
    assert asyncio.run(made([])[1].is_alive("a.service")) is False


def test_when_a_unit_began_and_why_it_failed_is_what_systemd_knows() -> None:
    invocation = bytes(range(16))
    bus, pid1, _ = made(5, invocation)
    assert asyncio.run(pid1.beginning("agentd-job@a.service")) == (5, invocation.hex())
    names = ("InactiveExitTimestamp", "InvocationID")
    assert bus.asked == [((*UNIT, f"{systemd.NAME}.Unit"), name) for name in names]
    assert asyncio.run(made(0, bytes(16))[1].beginning("a.service")) == (0, "")
    with pytest.raises(CallFailed):
        asyncio.run(made(GONE, GONE)[1].beginning("a.service"))
    assert asyncio.run(made("exit-code", 203)[1].failure("a.service")) == "exit-code, status 203"
    assert asyncio.run(made("resources", 0)[1].failure("a.service")) == "resources"
    assert asyncio.run(made("success", 0)[1].failure("a.service")) == ""
    assert asyncio.run(made(GONE)[1].failure("a.service")) == ""


@pytest.mark.parametrize(
    ("invocation", "state", "after", "known"),
    [
        (b"\x0a\xbc", "failed", b"\x0a\xbc", True),
        (b"\x0a\xbc", "inactive", b"\x0a\xbc", True),
        (b"\0\0", "inactive", b"\0\0", False),
        (b"\x0a\xbc", "active", b"\x0a\xbc", False),
        (b"\x0a\xbc", "failed", b"\x0a\xbd", False),
    ],
    ids=["failed", "over", "never ran", "runs", "ran again meanwhile"],
)
def test_the_last_end_of_a_unit_is_told_of_one_run_only(
    invocation: bytes, state: str, after: bytes, known: bool
) -> None:
    pid_1 = made([["a.service"]], invocation, "exit-code", 1, 7, 1000, 4096, 5, state, after)[1]
    found = asyncio.run(pid_1.last_end("agentd-job@a.service"))
    told = {"Result": "exit-code", "ExecMainCode": 1, "ExecMainStatus": 7, "CPUUsageNSec": 1000, "MemoryPeak": 4096}
    assert found == ({**told, "StateChangeTimestamp": 5, "InvocationID": "0abc"} if known else {})


def test_a_unit_that_systemd_forgot_is_not_loaded_to_ask_how_it_ended() -> None:
    bus, pid_1, _ = made([])
    assert asyncio.run(pid_1.last_end("agentd-scx@scx_simple.service")) == {}
    assert bus.asked == [("ListUnitsByPatterns", 25.0)], "which loads nothing"
