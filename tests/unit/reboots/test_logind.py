"""Sessions, as logind tells of them or does not: whoever may be a person counts."""

import asyncio
from typing import Any

import pytest

from agentd.bus.connection import CallFailed
from agentd.core.quantities import DAY
from agentd.core.reboots import guards
from agentd.core.reboots.model import Boot, Facts, Reboot, Session
from agentd.core.reboots.policy import RebootPolicy, WaitFor
from agentd.peers.logind import Logind, watch_sleep
from tests.unit.reboots.fakes import Bus as FakeBus

ERROR = "org.freedesktop.DBus.Error"
USER = {"Class": "user", "State": "active", "TTY": "tty2"}


class Bus:
    """A logind with alice's session 7, which answers GetAll with what it was given, after all were asked."""

    def __init__(self, *answers: Any, uid: int = 1000) -> None:
        self.answers = answers
        self.uid = uid
        self.asked = 0

    async def call(self, remote: Any, member: str, *_: Any, patience: float) -> Any:
        assert patience <= 5, "somebody waits"
        if member == "ListSessions":
            return [[[str(7 + n), self.uid, "alice", "seat0", f"/session/{7 + n}"] for n in range(len(self.answers))]]
        self.asked += 1
        await asyncio.sleep(0)
        assert self.asked == len(self.answers), "one after the other takes too long"
        answer = self.answers[int(remote[1].rpartition("/")[2]) - 7]
        if isinstance(answer, Exception):
            raise answer
        return [answer]


def sessions(*answers: Any, uid: int = 1000) -> list[Session]:
    bus: Any = Bus(*answers, uid=uid)
    return asyncio.run(Logind(bus, None, lambda _: None, lambda: None, lambda _: None).sessions())


@pytest.mark.parametrize(
    "error",
    [
        CallFailed(f"{ERROR}.Timeout", "login1 did not answer GetAll within 5 s"),
        CallFailed(f"{ERROR}.AccessDenied", "not for you"),
        CallFailed(f"{ERROR}.UnknownMethod", "no GetAll"),
        CallFailed(f"{ERROR}.UnknownInterface", "no Session"),
        CallFailed("org.example.Anything", "who knows"),
    ],
)
def test_a_session_that_logind_does_not_tell_about_is_somebodys(error: CallFailed) -> None:
    (found,) = sessions(error)
    assert found.user == "alice"
    facts, boot = Facts(sessions=(found,)), Boot("b", 0)
    (blocker,) = guards.of_people(Reboot(id=1, cause="x", reason="x"), RebootPolicy(), facts, boot, DAY)
    assert (blocker.kind, blocker.who) == ("session", "alice")
    assert blocker.why == f"logind does not tell about session 7 of alice ({error})"


@pytest.mark.parametrize(
    "error",
    [CallFailed(f"{ERROR}.UnknownObject", "no /session/7"), CallFailed("org.freedesktop.login1.NoSuchSession", "no 7")],
)
def test_only_a_session_that_logind_does_not_have_any_more_has_ended(error: CallFailed) -> None:
    assert sessions(error, USER) == [Session("alice", "tty2")]


@pytest.mark.parametrize("name", ["ServiceUnknown", "NameHasNoOwner", "NoReply", "Disconnected"])
def test_a_logind_that_went_away_tells_nothing(name: str) -> None:
    error = CallFailed(f"{ERROR}.{name}", "gone")
    if not error.away:
        pytest.skip(f"{name} does not mean that the peer is away")
    with pytest.raises(CallFailed):
        sessions(USER, error)


@pytest.mark.parametrize(
    ("facts", "counts"),
    [
        (USER, True),
        ({}, True),
        ({"Class": "user-of-tomorrow", "State": "active"}, True),
        ({"Class": "user-incomplete", "State": "opening"}, True),
        ({**USER, "State": "closing"}, False),
        *(({**USER, "Class": name}, False) for name in ("greeter", "background", "manager", "manager-early", "none")),
    ],
)
def test_a_session_of_an_unknown_class_is_a_persons(facts: dict[str, Any], counts: bool) -> None:
    assert len(sessions(facts)) == counts


@pytest.mark.parametrize(("uid", "holds"), [(0, True), (1, False), (999, False), (1000, True), (65534, True)])
@pytest.mark.parametrize("answer", [USER, CallFailed(f"{ERROR}.Timeout", "no answer")])
def test_users_that_packages_made_count_unless_the_policy_leaves_them_out(uid: int, holds: bool, answer: Any) -> None:
    found = sessions(answer, uid=uid)
    facts, boot, reboot = Facts(sessions=tuple(found)), Boot("b", 0), Reboot(id=1, cause="x", reason="x")
    assert guards.of_people(reboot, RebootPolicy(), facts, boot, DAY)
    policy = RebootPolicy(wait_for=WaitFor(except_system_users=True))
    assert bool(guards.of_people(reboot, policy, facts, boot, DAY)) == holds


def test_all_sessions_are_asked_at_once() -> None:
    assert len(sessions(*[USER] * 64)) == 64


class Slow(Bus):
    """A logind that takes messages for terminals when it likes, and notes what else it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.waited = 0.0
        self.reboots: list[Any] = []

    async def call(self, remote: Any, member: str, *arguments: Any, patience: float = 25.0) -> Any:
        if member == "SetWallMessage":
            self.waited += patience
            raise CallFailed(f"{ERROR}.Timeout", f"login1 did not answer SetWallMessage within {patience} s")
        self.reboots.append((member, *arguments))
        return []


@pytest.mark.parametrize(
    ("told", "found"),
    [
        (["reboot", 1_767_225_600_000_000], ("reboot", 1_767_225_600_000_000)),
        (["", (1 << 64) - 1], ("", 0)),
        (["", 0], ("", 0)),
        (["reboot", (1 << 64) - 1], ("", 0)),
    ],
)
def test_a_shutdown_is_scheduled_where_it_has_a_kind_and_an_instant(told: list[Any], found: tuple[str, int]) -> None:
    bus: Any = FakeBus(ScheduledShutdown=told)
    logind = Logind(bus, None, lambda _: None, lambda: None, lambda _: None)
    assert asyncio.run(logind.scheduled()) == found


def test_a_reboot_waits_two_seconds_at_most_for_its_message() -> None:
    bus: Any = Slow()
    asyncio.run(Logind(bus, None, lambda _: None, lambda: None, lambda _: None).reboot("reboot", "agentd: the window"))
    assert bus.waited <= 2, "the window may be over by then"
    assert bus.reboots == [("RebootWithFlags", "t", 1)]


def test_a_sleep_and_its_end_are_told() -> None:
    told: list[bool] = []

    class Sleepy:
        async def watch(self, remote: Any, member: str, listener: Any) -> Any:
            assert (remote[2], member) == ("org.freedesktop.login1.Manager", "PrepareForSleep")
            listener([True])
            listener([False])
            return told.clear

    bus: Any = Sleepy()
    undo = asyncio.run(watch_sleep(bus, told.append))
    assert told == [True, False]
    undo()
    assert told == []
