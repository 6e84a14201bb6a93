"""Who may do what, by what the bus and polkit answer; without an answer nobody may."""

import asyncio
from typing import Any

import pytest

from agentd.bus.connection import CallFailed
from agentd.bus.server import Caller
from agentd.core.part import Refused
from agentd.peers.polkit import Gate

UNIT = "/org/freedesktop/systemd1/unit/agentd_2djob_40a_2eservice"
AWAY = CallFailed("org.freedesktop.DBus.Error.ServiceUnknown", "polkit is not there")


class Bus:
    """Answers as the bus, polkit and systemd do; an answer that is an error is raised."""

    def __init__(self, user: Any = 1000, polkit: Any = (False, False, {}), unit: Any = UNIT) -> None:
        self.answers = {"GetConnectionUnixUser": user, "CheckAuthorization": polkit, "GetUnitByPID": unit}
        self.asked: list[str] = []
        self.patience = 0.0

    async def call_bus(self, member: str, *_: Any) -> Any:
        return self._answer(member) if member in self.answers else 42

    async def call(self, _remote: Any, member: str, *_: Any, patience: float = 0.0) -> Any:
        self.patience = patience
        return [self._answer(member)]

    def _answer(self, member: str) -> Any:
        self.asked.append(member)
        if isinstance(answer := self.answers[member], Exception):
            raise answer
        return answer


def authorize(bus: Any, action: str = "org.agentd1.run-jobs", *, interactive: bool = False) -> str:
    """Returns why the caller may not, or ""."""
    caller = Caller(":1.7", "RunJob", action, ("a.1",), interactive)
    gate = Gate(bus, lambda run_id: UNIT if run_id == "a.1" else "")
    try:
        asyncio.run(gate.authorize(caller))
    except Refused as refused:
        return f"{refused.name}: {refused}".removeprefix("AccessDenied: ")
    return ""


def test_root_may_everything_and_polkit_is_not_asked() -> None:
    bus = Bus(user=0, polkit=AWAY)
    assert (authorize(bus), bus.asked) == ("", ["GetConnectionUnixUser"])


@pytest.mark.parametrize(
    ("answers", "sentence"),
    [
        ({"polkit": (True, False, {})}, ""),
        (
            {"polkit": (False, False, {})},
            "RunJob needs the permission org.agentd1.run-jobs; polkit does not give it to you",
        ),
        (
            {"polkit": (False, True, {})},
            "RunJob needs the permission org.agentd1.run-jobs; an administrator has it: try it with sudo",
        ),
        (
            {"polkit": AWAY},
            "RunJob needs the permission org.agentd1.run-jobs, but polkit could not be asked: polkit is not there",
        ),
        ({"user": AWAY}, "RunJob: the bus does not know who asks: polkit is not there"),
    ],
)
def test_others_may_what_polkit_says_and_nothing_when_it_is_silent(answers: dict[str, Any], sentence: str) -> None:
    assert authorize(Bus(**answers)) == sentence


def test_a_person_gets_time_to_type_a_password() -> None:
    bus = Bus(polkit=(True, False, {}))
    assert authorize(bus, interactive=True) == ""
    assert bus.patience == 300.0


def test_a_process_of_the_run_itself_needs_no_permission() -> None:
    assert authorize(Bus(polkit=AWAY), "org.agentd1.report-progress") == ""
    refused = "RunJob needs the permission org.agentd1.report-progress; polkit does not give it to you"
    assert authorize(Bus(unit="/other"), "org.agentd1.report-progress") == refused
    assert authorize(Bus(unit=AWAY), "org.agentd1.report-progress") == refused


def test_one_user_cannot_have_all_open_questions() -> None:
    class Silent(Bus):
        async def call(self, *_: Any, **__: Any) -> Any:
            await asyncio.Event().wait()

    async def scenario() -> None:
        bus: Any = Silent()
        gate = Gate(bus, lambda _: "")
        caller = Caller(":1.7", "RunJob", "org.agentd1.run-jobs", (), False)
        asking = [asyncio.ensure_future(gate.authorize(caller)) for _ in range(8)]
        await asyncio.sleep(0)
        with pytest.raises(Refused, match="RunJob: too many questions are open; answer those first"):
            await gate.authorize(caller)
        for one in asking:
            one.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        assert gate._asking.total() == 0

    asyncio.run(scenario())
