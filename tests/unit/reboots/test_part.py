"""The shell around reboots: what it asks of logind, timedated and a fleet, and what it does not ask any more."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agentd.bus.connection import CallFailed
from agentd.core.reboots.model import Boot, Reboot, RebootIssues
from agentd.core.reboots.policy import FleetPolicy
from agentd.linux import now
from agentd.peers.logind import Logind
from agentd.reboots.part import Rebooter

ISSUED = Reboot(id=7, cause="nightly", reason="the window", state="issued", attempts=1)


class Bus:
    """Answers each property with the value, or the error, that it was given for it."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers

    async def get(self, _peer: Any, name: str) -> Any:
        if isinstance(answer := self.answers[name], Exception):
            raise answer
        return answer

    async def call(self, _peer: Any, _member: str) -> Any:
        return (self.answers["inhibitors"],)


class Host:
    async def saved(self) -> None: ...
    def pump(self) -> None: ...


def rebooter(bus: Any = None, **reboots: Any) -> Any:
    made: Any = Rebooter(bus, Host(), Path("/nowhere"))
    made._reboots = SimpleNamespace(**reboots)
    return made


@pytest.mark.parametrize(
    ("pending", "asked"),
    [
        (ISSUED, 1),
        (None, 0),
        (Reboot(id=8, cause="manual", reason="later", state="issued", attempts=1), 0),
        (Reboot(id=7, cause="nightly", reason="the window", state="waiting", attempts=2), 0),
        (Reboot(id=7, cause="nightly", reason="the window", state="issued", attempts=2), 0),
    ],
)
def test_logind_is_only_asked_for_what_is_still_wanted_once_it_is_stored(pending: Reboot | None, asked: int) -> None:
    calls = []

    async def scenario() -> None:
        made = rebooter(pending=pending)

        async def reboot(kind: str, _message: str) -> None:
            calls.append(kind)

        made.logind.reboot = reboot
        made.carry_out(RebootIssues(ISSUED))
        await asyncio.gather(*made._tasks)

    asyncio.run(scenario())
    assert calls == ["reboot"] * asked


@pytest.mark.parametrize(
    ("answers", "sentence"),
    [
        ({"NTP": True, "NTPSynchronized": True}, ""),
        ({"NTP": False, "NTPSynchronized": False}, ""),
        ({"NTP": True, "NTPSynchronized": False}, "not synchronised yet"),
        ({"NTP": CallFailed("org.freedesktop.DBus.Error.ServiceUnknown", "no such name")}, ""),
        ({"NTP": CallFailed("org.freedesktop.DBus.Error.Timeout", "too slow")}, "timedated does not answer (too slow)"),
    ],
)
def test_a_clock_is_trusted_only_when_that_is_known(answers: dict[str, Any], sentence: str) -> None:
    made = rebooter(Bus(**answers))
    found = asyncio.run(made._distrust(Boot("b", now())))
    assert (sentence in found, bool(found)) == (True, bool(sentence))
    made._bus = Bus(NTP=True, NTPSynchronized=False)
    assert bool(asyncio.run(made._distrust(Boot("b", now())))) == bool(sentence), (
        "what was not known is not asked again"
    )


def test_the_slot_of_a_fleet_that_is_configured_no_more_is_given_back_to_it() -> None:
    released = []

    async def scenario() -> None:
        made = rebooter(ledger=SimpleNamespace(slot=True))
        made.configure(FleetPolicy(fleetlock="https://old.example"), "0" * 31 + "1")
        former = made.fleet
        assert former is not None
        former.release = lambda: released.append("old")
        made.configure(FleetPolicy(fleetlock="https://old.example"), "0" * 31 + "1")  # reloaded, the same
        assert made._tasks == set()
        made.fleet = former
        made.configure(None, "0" * 31 + "1")
        await asyncio.gather(*made._tasks)

    asyncio.run(scenario())
    assert released == ["old"]


def test_who_holds_the_machine_up_is_one_line_however_it_is_written() -> None:
    text = "first line\n\x1b[31msecond\tline " + "x" * 1000
    bus: Any = Bus(inhibitors=[("shutdown:idle", "a\nb", text, "block", 0, 7), ("sleep", "c", "d", "block", 0, 8)])
    logind = Logind(bus, None, lambda _: None, lambda: None, lambda _: None)
    (blocker,) = asyncio.run(logind.inhibitors())
    assert blocker.who == "a b"
    assert blocker.why.isprintable()
    assert "first line [31msecond line" in blocker.why
    assert len(blocker.why) < 300
