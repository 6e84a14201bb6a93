"""A look at the machine: what is unseen is in the way, and those who read share looks."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from agentd.bus.connection import CallFailed
from agentd.core.quantities import HOUR
from agentd.core.reboots.model import Blocker, Session
from agentd.peers.logind import Logind as RealLogind
from agentd.reboots import look, machine
from agentd.reboots.look import RECENT, Looks
from agentd.tasks import Tasks
from tests.unit.reboots.fakes import GONE, Bus, Logind

ALICE = Session("alice", "tty2")
INHIBITOR = Blocker("inhibitor", "backup-tool", "backup-tool holds the machine up")
MUTE = CallFailed("org.freedesktop.DBus.Error.AccessDenied", "not for you")


@pytest.fixture(autouse=True)
def no_package_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "package_manager", list)


def looks(logind: Logind, bus: Bus | None = None, clock: Callable[[], float] = lambda: 0.0, up: int = 7 * HOUR) -> Any:
    def defect(error: BaseException) -> None:
        raise AssertionError from error

    return Looks(bus or Bus(), logind, lambda: up, Tasks(defect), clock)  # type: ignore[arg-type]


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scenario())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answers", "blockers", "sessions", "can"),
    [
        ({}, [], 0, "yes"),
        ({"people": [ALICE]}, [], 1, "yes"),
        ({"can": "challenge"}, ["CanReboot says challenge"], 0, "challenge"),
        ({"held": [INHIBITOR]}, ["holds the machine up"], 0, "yes"),
        ({"held": [INHIBITOR], "can": "no"}, ["holds the machine up"], 0, "yes"),
        ({"held": [INHIBITOR], "can": GONE}, ["holds the machine up"], 0, "yes"),
        ({"held": GONE, "people": [ALICE]}, ["does not answer: no such name"], 0, "yes"),
        ({"people": MUTE}, ["does not answer: not for you"], 0, "yes"),
        ({"can": MUTE, "people": [ALICE]}, ["does not answer: not for you"], 0, "na"),
        ({"held": GONE, "people": GONE, "can": GONE}, ["does not answer: no such name"], 0, "na"),
    ],
)
def test_what_cannot_be_seen_is_in_the_way(
    answers: dict[str, Any], blockers: list[str], sessions: int, can: str
) -> None:
    async def scenario() -> None:
        logind = Logind()
        for name, answer in answers.items():
            setattr(logind, name, answer)
        look = await looks(logind).anew()
        assert len(look.facts.blockers) == len(blockers)
        assert all(text in blocker.why for text, blocker in zip(blockers, look.facts.blockers, strict=True))
        assert (len(look.facts.sessions), look.can) == (sessions, can)
        assert logind.asked == {"inhibitors": 1, "sessions": 1, "can_reboot": 1, "scheduled": 1}

    run(scenario)


def test_those_who_read_share_a_look_for_some_seconds() -> None:
    async def scenario() -> None:
        logind, at = Logind(), [100.0]
        own = looks(logind, clock=lambda: at[0])
        await asyncio.gather(*(own.recent() for _ in range(100)))
        for _ in range(100):
            await own.recent()
        assert logind.asked == {"inhibitors": 1, "sessions": 1, "can_reboot": 1, "scheduled": 1}
        at[0] += RECENT - 0.01
        await own.recent()
        assert logind.asked["inhibitors"] == 1
        logind.people = [ALICE]
        at[0] += 0.01
        assert (await own.recent()).facts.sessions == (ALICE,)
        assert logind.asked["inhibitors"] == 2

    run(scenario)


def test_whoever_acts_looks_anew_and_the_others_see_that_too() -> None:
    async def scenario() -> None:
        logind = Logind()
        own = looks(logind)
        await own.recent()
        logind.people = [ALICE]
        assert (await own.anew()).facts.sessions == (ALICE,)
        assert (await own.recent()).facts.sessions == (ALICE,)
        assert logind.asked["sessions"] == 2

    run(scenario)


def test_a_look_that_began_before_is_not_enough_for_whoever_acts() -> None:
    async def scenario() -> None:
        logind = Logind()
        own = looks(logind)
        reading = asyncio.ensure_future(own.recent())
        await asyncio.sleep(0)
        acting = asyncio.ensure_future(own.anew())
        await asyncio.gather(reading, acting)
        assert logind.asked["sessions"] == 2

    run(scenario)


def test_what_changed_is_seen_by_the_next_who_reads() -> None:
    async def scenario() -> None:
        logind = Logind()
        own = looks(logind)
        await own.recent()
        logind.held = [INHIBITOR]
        own.forget()
        assert (await own.recent()).facts.blockers == (INHIBITOR,)

    run(scenario)


def test_a_reader_who_gives_up_takes_the_look_from_nobody() -> None:
    async def scenario() -> None:
        own = looks(Logind())
        readers = [asyncio.ensure_future(own.recent()) for _ in range(2)]
        await asyncio.sleep(0)
        readers[0].cancel()
        assert (await readers[1]).can == "yes"

    run(scenario)


@pytest.mark.parametrize(
    ("answers", "sentence"),
    [
        ({"NTP": True, "NTPSynchronized": True}, ""),
        ({"NTP": False, "NTPSynchronized": False}, ""),
        ({"NTP": True, "NTPSynchronized": False}, "not synchronised yet"),
        ({"NTP": GONE}, ""),
        ({"NTP": CallFailed("org.freedesktop.DBus.Error.Timeout", "too slow")}, "timedated does not answer (too slow)"),
    ],
)
def test_a_clock_is_trusted_only_when_that_is_known(answers: dict[str, Any], sentence: str) -> None:
    async def scenario() -> None:
        bus = Bus(**answers)
        own = looks(Logind(), bus, up=HOUR)
        found = (await own.anew()).facts.clock
        assert (sentence in found, bool(found)) == (True, bool(sentence))
        bus.answers = {"NTP": True, "NTPSynchronized": False}
        again = (await own.anew()).facts.clock
        assert bool(again) == bool(sentence), "what was not known is not asked again"

    run(scenario)


def test_a_machine_that_is_up_for_long_is_not_asked_for_its_clock() -> None:
    async def scenario() -> None:
        bus = Bus(NTP=True, NTPSynchronized=False)
        assert (await looks(Logind(), bus).anew()).facts.clock == ""
        assert bus.asked == Counter()

    run(scenario)


def test_of_very_many_sessions_only_some_are_looked_into_and_all_count() -> None:
    listed = [(str(number), 0, f"user{number}", "seat0", f"/session/{number}") for number in range(1000)]

    class Many(Bus):
        async def call(self, _peer: Any, member: str, *_: Any, **_how: Any) -> Any:
            self.asked[member] += 1
            return (listed if member == "ListSessions" else {"Class": "user", "State": "active", "TTY": "pts/1"},)

    bus: Any = Many()
    sessions = asyncio.run(RealLogind(bus, None, lambda _: None, lambda: None, lambda _: None).sessions())
    assert [session.user for session in sessions] == [f"user{number}" for number in range(1000)]
    assert bus.asked["GetAll"] == 64


def test_the_contract_says_how_old_an_answer_may_be() -> None:
    contract = Path(look.__file__).with_name("org.agentd1.Reboot.xml").read_text()
    assert contract.count(f"may be {RECENT:g} seconds") == 2
