"""Whoever changes something is told to the log by name, as is who was refused it."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from agentd import log
from agentd.bus.connection import CallFailed
from agentd.bus.server import Caller
from agentd.core.part import Refused
from agentd.peers import door
from agentd.peers.door import Door

AWAY = CallFailed("org.freedesktop.DBus.Error.ServiceUnknown", "logind is not there")


class Bus:
    """Answers as the bus and logind do; an answer that is an error is raised."""

    def __init__(self, session: Any = "alice", uid: Any = 0) -> None:
        self.session, self.uid = session, uid
        self.patience: list[float] = []

    async def call_bus(self, member: str, *_: Any) -> Any:
        if isinstance(self.uid, Exception):
            raise self.uid
        return self.uid if member == "GetConnectionUnixUser" else 42

    async def call(self, _remote: Any, _member: str, *_: Any, patience: float) -> Any:
        self.patience.append(patience)
        if isinstance(self.session, Exception):
            raise self.session
        return ["/session"]

    async def get(self, *_: Any, patience: float) -> Any:
        self.patience.append(patience)
        return self.session


def caller(action: str = "org.agentd1.run-jobs", *arguments: Any, member: str = "StopJob") -> Caller:
    return Caller(":1.7", member, action, arguments or ("backup",), interactive=False)


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    monkeypatch.setattr(door, "log", log.get())
    with capture_logs() as lines:
        yield lines


@pytest.mark.parametrize(
    ("bus", "who"), [(Bus(), "alice"), (Bus(session=AWAY), "root"), (Bus(session=AWAY, uid=4_000_000), "user 4000000")]
)
def test_a_change_is_told_with_the_login_name_of_who_wants_it(bus: Any, who: str, logged: list[Any]) -> None:
    assert asyncio.run(Door(bus).admit(caller())) == who
    (line,) = logged
    assert (line["event"], line["by"], line["id"]) == (f"{who} asked for StopJob backup", who, "asked")
    assert max(bus.patience) <= 1.0  # a stop does not wait for a logind that hangs


def test_a_caller_who_left_is_somebody_and_no_field_says_otherwise(logged: list[Any]) -> None:
    assert asyncio.run(Door(Bus(uid=AWAY)).admit(caller())) == ""  # type: ignore[arg-type]
    assert (logged[0]["event"], "by" in logged[0]) == ("somebody asked for StopJob backup", False)


def test_what_a_run_tells_of_itself_is_no_change_by_a_person(logged: list[Any]) -> None:
    for action in ("org.agentd1.report-progress", "org.agentd1.tell"):
        assert asyncio.run(Door(Bus()).admit(caller(action))) == ""  # type: ignore[arg-type]
    assert logged == []


def test_an_argument_that_is_no_name_stays_out_of_the_line(logged: list[Any]) -> None:
    for argument in ("two\nlines", "\x1b[2J", "x" * 121, 5, ""):
        asyncio.run(Door(Bus()).admit(caller("org.agentd1.run-jobs", argument)))  # type: ignore[arg-type]
    assert {line["event"] for line in logged} == {"alice asked for StopJob"}


def test_refused_changes_are_told_at_most_once_a_second(logged: list[Any]) -> None:
    async def refuse(_: Caller) -> None:
        raise Refused("AccessDenied", "StopJob needs the permission org.agentd1.run-jobs")

    now = 10.0
    gate = Door(Bus(), refuse, lambda: now)  # type: ignore[arg-type]

    async def ask() -> None:
        with pytest.raises(Refused, match="needs the permission"):
            await gate.admit(caller())

    for at in (10.0, 10.2, 10.9, 11.0):
        now = at
        asyncio.run(ask())
    text = "alice was refused StopJob backup: StopJob needs the permission org.agentd1.run-jobs"
    assert [line["event"] for line in logged] == [text, f"{text} (and 2 more since the last such line)"]
    assert {line["by"] for line in logged} == {"alice"}
