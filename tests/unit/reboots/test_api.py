"""The members of org.agentd1.Reboot: who reads changes nothing, who acts looks first."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from agentd.bus.contract import members
from agentd.core.config import Config
from agentd.core.jobs.jobs import Jobs
from agentd.core.jobs.model import Saved
from agentd.core.part import Effect, Refused
from agentd.core.quantities import DAY, HOUR, MINUTE, SECOND
from agentd.core.reboots import wishes
from agentd.core.reboots.model import Boot, Ledger, Reboot, RebootIssues, Session
from agentd.core.reboots.policy import RebootPolicy
from agentd.core.reboots.reboots import Reboots
from agentd.reboots import absent, machine
from agentd.reboots.api import Api
from agentd.reboots.look import Looks
from agentd.reboots.people import People
from agentd.reboots.records import CONTRACT
from agentd.reboots.tables import list_reboots
from agentd.reboots.terminals import Terminals
from agentd.tasks import Tasks
from tests.unit.reboots.fakes import GONE, Bus, Host, Logind, caller
from tests.unit.reboots.world import START, nightly

ALICE = Session("alice", "tty2")


class Machine:
    """The interface over a real core, a fake daemon and a fake logind."""

    def __init__(self, policy: RebootPolicy) -> None:
        host: Any = Host(START)
        self.host = host
        self.logind = Logind()
        self.bus = Bus()
        self.clock = 0.0
        jobs = Jobs({}, Saved(), START)
        self.reboots = Reboots(jobs, Ledger(), Boot("b", START - DAY), policy, "UTC", START)
        tasks = Tasks(self.host.defects.append)
        bus: Any = self.bus
        logind: Any = self.logind
        looks = Looks(bus, logind, lambda: DAY, tasks, lambda: self.clock)
        slots: Any = None
        systemd: Any = None
        people = People(host, bus, logind, Terminals(host, systemd, tasks, 60), tasks)
        self.api = Api(host, self.reboots, looks, people, slots)

    @property
    def all_asked(self) -> int:
        return self.logind.asked.total()


def plain(record: dict[str, Any]) -> dict[str, Any]:
    return {key: variant.value for key, variant in record.items()}


@pytest.fixture(autouse=True)
def no_package_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "package_manager", list)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scenario())  # type: ignore[arg-type]


def issued(effects: list[Effect]) -> bool:
    return any(isinstance(effect, RebootIssues) for effect in effects)


@pytest.mark.parametrize("together", [False, True])
def test_reading_costs_logind_the_same_however_often_it_is_done(together: bool) -> None:
    async def scenario() -> None:
        own = Machine(RebootPolicy())
        reads = [lambda: own.api.Examine({}, caller()), own.api.GetStatus] * 100
        if together:
            await asyncio.gather(*(read() for read in reads))
        else:
            for read in reads:
                await read()
        assert own.logind.asked == {"inhibitors": 1, "sessions": 1, "can_reboot": 1, "scheduled": 1, "user_of": 1}
        assert own.bus.asked.total() == 2  # whose the caller's process is

    run(scenario)


def test_callers_are_not_taken_for_one_another_and_not_all_remembered() -> None:
    async def scenario() -> None:
        own = Machine(RebootPolicy())
        own.logind.people = [ALICE]
        assert await own.api.Examine({}, caller(":1.1")) == []  # her own session does not hold it
        own.logind.user = "bob"
        (blocker,) = await own.api.Examine({}, caller(":1.2"))
        assert plain(blocker)["who"] == "alice"
        assert await own.api.Examine({}, caller(":1.1")) == []
        for number in range(100):
            await own.api.Examine({}, caller(f":2.{number}"))
        assert len(own.api._people._known) <= 32

    run(scenario)


def test_a_read_neither_issues_nor_withdraws_the_pending_reboot() -> None:
    async def scenario() -> None:
        own = Machine(RebootPolicy(grace=0))
        own.logind.people = [ALICE]
        pending = wishes.request(own.reboots, "the disk is worn", "smart", None, 0, START)
        own.reboots.observed((await own.api._looks.anew()).facts, START)
        own.reboots.effects()
        known = (own.reboots.pending, own.reboots.ledger, own.reboots.blockers)
        assert (pending.state, [blocker.who for blocker in own.reboots.blockers]) == ("waiting", ["alice"])
        own.logind.people = []  # nothing is in the way any more
        own.clock += 10
        assert await own.api.Examine({}, caller()) == []
        status = plain(await own.api.GetStatus())
        assert (status["state"], status["pending_id"]) == ("waiting", pending.id)
        assert (own.reboots.pending, own.reboots.ledger, own.reboots.blockers) == known
        assert own.reboots.effects() == []
        assert own.host.heard == 0
        for _ in range(2):  # the machine's own looks, before and after it drains
            own.reboots.observed((await own.api._looks.anew()).facts, START)
        assert issued(own.reboots.effects())

    run(scenario)


def test_whoever_acts_sees_what_came_a_moment_ago() -> None:
    async def scenario() -> None:
        own = Machine(RebootPolicy())
        own.logind.user = "bob"
        assert await own.api.Examine({}, caller()) == []
        own.logind.people = [ALICE]
        with pytest.raises(Refused, match="alice is logged in") as refused:
            await own.api.RebootNow({}, caller())
        assert (refused.value.name, own.reboots.state) == ("Blocked", "idle")
        assert not issued(own.reboots.effects())
        own.logind.user = "alice"  # the caller is looked up anew, too
        assert plain(await own.api.RebootNow({"reason": "new disks"}, caller()))["reason"] == "new disks"
        assert own.reboots.state == "locked"

    run(scenario)


def test_a_status_tells_what_can_be_told_while_logind_is_away() -> None:
    async def scenario() -> None:
        own = Machine(nightly("03:00"))
        own.logind.held = own.logind.people = own.logind.can = GONE
        status = plain(await own.api.GetStatus())
        assert (status["state"], status["can"], status["next_begin"]) == ("idle", "na", START + 3 * HOUR)
        (blocker,) = await own.api.Examine({}, caller())
        assert plain(blocker)["kind"] == "logind"

    run(scenario)


def test_who_took_a_reboot_back_is_noted() -> None:
    async def scenario() -> None:
        own = Machine(RebootPolicy())
        await own.api.RebootNow({"at": START + 10 * MINUTE}, caller())
        assert plain(await own.api.CancelReboot(caller()))["note"] == "taken back by alice"
        with pytest.raises(Refused, match="no reboot is pending"):
            await own.api.CancelReboot(caller())

    run(scenario)


@pytest.mark.parametrize(
    ("unit", "cause"),
    [
        ("smartd.service", "smartd.service"),
        ("agentd-job@backup.service", "agentd-job@backup.service"),
        ("session-3.scope", "user alice"),
        ("user@1000.service", "user alice"),
        (GONE, "user alice"),
    ],
)
def test_a_program_that_names_no_cause_has_its_own(unit: Any, cause: str) -> None:
    async def scenario() -> None:
        own = Machine(RebootPolicy())
        own.bus.answers = {"GetUnitByPID": "/unit", "Id": unit}
        await own.api.RequestReboot("why", {}, caller())
        await own.api.RequestReboot("why", {"cause": "mine"}, caller())
        assert [wish.cause for wish in own.reboots.wishes] == [cause, "mine"]
        with pytest.raises(Refused, match="cannot be the cause"):
            await own.api.RequestReboot("why", {"cause": ""}, caller())

    run(scenario)


@pytest.mark.parametrize(
    ("written", "by"),
    [("USEC=1\nMODE=poweroff\nUID=0\nTTY=pts/0\n", "root"), ("USEC=1\nWALL_MESSAGE=UID=0\n", ""), (None, "")],
)
def test_a_shutdown_that_somebody_scheduled_is_told_with_who_did(
    written: str | None, by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "SCHEDULED", tmp_path / "scheduled")
    if written is not None:
        (tmp_path / "scheduled").write_text(written)

    async def scenario() -> None:
        own = Machine(RebootPolicy())
        own.logind.coming = ("poweroff", START + HOUR)
        status = plain(await own.api.GetStatus())
        told = (status["scheduled"], status["scheduled_at"], status["scheduled_by"])
        assert told == ("poweroff", START + HOUR, by)
        own.logind.coming, own.clock = GONE, 9.0
        assert plain(await own.api.GetStatus())["scheduled"] == ""

    run(scenario)


@pytest.mark.parametrize(
    ("over", "told"),
    [
        ({"state": "deferred", "note": "alice is logged in"}, "2026-01-01 03:00: deferred: alice is logged in"),
        ({"state": "verified", "down": START, "up": START + 31 * SECOND}, "2026-01-01 03:00: verified: down for 31s"),
    ],
)
def test_the_status_tells_what_became_of_the_last_window(over: dict[str, Any], told: str) -> None:
    async def scenario() -> None:
        own = Machine(nightly("03:00"))
        assert plain(await own.api.GetStatus())["last_window"] == ""
        for key, occurrence in enumerate(("2025-12-31 03:00", "2026-01-01 03:00", ""), 1):
            own.reboots.book.enter(Reboot(id=key, cause="x", reason="x", occurrence=occurrence, **over))
        assert plain(await own.api.GetStatus())["last_window"] == told

    run(scenario)


@pytest.mark.parametrize("options", [{"kind": "halt"}, {"owner": "root"}, {"at": True}, {"within": 1 << 63}])
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    async def scenario() -> None:
        own = Machine(RebootPolicy())
        for member in (own.api.Examine, own.api.RebootNow):
            with pytest.raises(Refused) as refused:
                await member(options, caller())
            assert refused.value.name == "InvalidArgument"
        assert own.reboots.state == "idle"

    run(scenario)


def test_every_member_of_the_contract_has_a_handler() -> None:
    own = Machine(RebootPolicy())
    methods, properties = members(CONTRACT)
    assert (sorted(own.api.methods()), sorted(own.api.properties())) == (sorted(methods), sorted(properties))


def test_a_standalone_agentd_refuses_in_a_sentence_and_tells_what_was_stored() -> None:
    async def scenario() -> None:
        host: Any = Host()
        part = await absent.plug(host, Config())
        assert (part.core, part.properties["State"](), part.properties["Blockers"]()) == (None, "disabled", [])
        assert plain(part.methods["GetStatus"]())["state"] == "disabled"
        assert list(await part.methods["ListReboots"]({"state": "verified"})) == []
        assert host.asked == [(list_reboots, {"state": "verified", "limit": 50})]
        for member in part.methods.keys() - {"GetStatus", "ListReboots"}:
            with pytest.raises(Refused, match="does not reboot the machine") as refused:
                part.methods[member]()
            assert refused.value.name == "Unsupported"

    run(scenario)
