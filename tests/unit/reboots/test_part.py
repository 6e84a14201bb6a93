"""The shell around reboots: what it asks of logind and of a fleet, and what it does not ask any more."""

import asyncio
import itertools
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from agentd.core.config import Config
from agentd.core.jobs.jobs import Jobs
from agentd.core.jobs.model import Saved
from agentd.core.part import Effect, Refused, Stored
from agentd.core.reboots import model
from agentd.core.reboots.model import Boot, Ledger, NothingRuns, Reboot, RebootIssues, RebootWarns, RebootWithdrawn
from agentd.core.reboots.policy import FleetPolicy, RebootPolicy
from agentd.linux import now
from agentd.peers.http import Unavailable
from agentd.peers.logind import Logind
from agentd.reboots import part, slots
from agentd.reboots.fleet.lock import Holder
from agentd.reboots.part import Shell, plug
from agentd.reboots.slots import Slots
from agentd.tasks import Tasks
from tests.unit.reboots.fakes import Bus, Host, Systemd
from tests.unit.reboots.world import World

ISSUED = Reboot(id=7, cause="nightly", reason="the window", state="issued", attempts=1, until=1 << 60)
MACHINE = "0" * 31 + "1"


def shell(given: Any = None, **reboots: Any) -> Any:
    host: Any = given or Host()
    bus: Any = Bus()
    systemd: Any = Systemd()
    core: Any = SimpleNamespace(**reboots)
    return Shell(host, bus, systemd, core, MACHINE, None)


@pytest.mark.parametrize(
    ("pending", "asked"),
    [
        (ISSUED, 1),
        (None, 0),
        (replace(ISSUED, down=1, note="the shutdown was cancelled, as logind says"), 0),
        (Reboot(id=8, cause="manual", reason="later", state="issued", attempts=1, until=1 << 60), 0),
        (Reboot(id=7, cause="nightly", reason="the window", state="waiting", attempts=2), 0),
        (Reboot(id=7, cause="nightly", reason="the window", state="issued", attempts=2), 0),
    ],
)
def test_logind_is_only_asked_for_what_is_still_wanted_once_it_is_stored(pending: Reboot | None, asked: int) -> None:
    calls = []

    async def scenario() -> None:
        made = shell(pending=pending)

        async def reboot(kind: str, _message: str) -> None:
            calls.append(kind)

        made.logind.reboot = reboot
        await made.does()[RebootIssues](RebootIssues(ISSUED))

    asyncio.run(scenario())
    assert calls == ["reboot"] * asked


def test_logind_is_not_asked_once_the_time_is_over_by_when_that_was_stored() -> None:
    late, refused = replace(ISSUED, until=now() - 1), list[str]()

    async def scenario() -> None:
        made = shell(pending=late, refused=lambda why, _now: refused.append(why))
        await made.does()[RebootIssues](RebootIssues(late))  # to ask the fake logind would fail

    asyncio.run(scenario())
    assert refused == ["its time was over before that was stored"]


def test_changes_that_come_fast_are_looked_at_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part, "_BETWEEN_LOOKS", 0.2)

    async def scenario() -> None:
        seen, clock = list[float](), asyncio.get_running_loop().time
        made = shell(pending=ISSUED)

        async def look() -> None:
            seen.append(clock())

        made._look = look
        began = clock()
        while clock() - began < 0.5:
            made.look_soon()
            await asyncio.sleep(0.001)
        await asyncio.gather(*made.tasks._tasks)
        assert seen[0] - began < 0.2, "the first at once"
        assert all(later - earlier >= 0.19 for earlier, later in itertools.pairwise(seen))
        assert seen[-1] - began >= 0.19, "the last change is seen"

    asyncio.run(scenario())


@pytest.mark.parametrize(("runs", "ended"), [(0, False), (1, False), (1, True)])
def test_the_machine_goes_down_when_nothing_runs_or_logind_waits_no_longer(runs: int, ended: bool) -> None:
    async def scenario() -> None:
        made = shell(runs=runs, going_down=True, preparing=lambda _down, _now: None)
        let_go = []

        async def patience() -> float:
            return 1.0 if runs and not ended else 3600.0

        made.logind.patience, made.logind.release_lock = patience, lambda: let_go.append(True)
        made.does()[NothingRuns](NothingRuns())  # of a shutdown before, which was cancelled
        made.prepare(True)
        await asyncio.sleep(0)
        assert not (runs and let_go)
        if ended:
            made.does()[NothingRuns](NothingRuns())
        await asyncio.wait_for(made._ending, 10)
        assert let_go == [True]

    asyncio.run(scenario())


def test_people_are_told_that_a_reboot_comes_and_that_it_does_not() -> None:
    async def scenario() -> None:
        host: Any = Host()
        made = shell(host)
        made.does()[RebootWarns](RebootWarns(7, "new disks", now()))
        made.does()[RebootWithdrawn](
            RebootWithdrawn(7, "backup-tool holds the machine up", "process 7 of root holds the machine up")
        )
        assert [(member, body[0]) for _, member, *body in host.server.told] == [
            ("RebootAnnounced", "new disks"),
            ("RebootWithdrawn", "backup-tool holds the machine up"),
        ]
        await asyncio.gather(*made.tasks._tasks)
        assert host.defects == []

    asyncio.run(scenario())


def test_the_part_carries_out_every_effect_of_its_core() -> None:
    async def scenario() -> None:
        host: Any = Host()
        host.take_up = lambda _: asyncio.sleep(0, Ledger())
        bus: Any = Bus()
        systemd: Any = Systemd()
        config = Config()
        jobs = Jobs(config.jobs, Saved(), now())
        plugged = await plug(host, jobs, bus, systemd, config, Boot("b", now()), MACHINE)
        effects = {
            kind
            for kind in vars(model).values()
            if isinstance(kind, type) and issubclass(kind, Effect) and kind.__module__ == model.__name__
        }
        assert plugged.does.keys() == {kind for kind in effects if not issubclass(kind, Stored)}
        assert (plugged.name, plugged.vital, plugged.core is not None) == ("reboots", True, True)

    asyncio.run(scenario())


def test_the_slot_of_a_fleet_that_is_configured_no_more_is_given_back_to_it() -> None:
    released = []

    async def scenario() -> None:
        tasks = Tasks(lambda _: None)
        core: Any = SimpleNamespace(ledger=SimpleNamespace(slot=True))
        host: Any = Host()
        made = Slots(host, core, MACHINE, tasks)
        made.configure(FleetPolicy(fleetlock="https://old.example"))
        former: Any = made.fleet
        assert former is not None
        former.release = lambda: released.append("old")
        made.configure(FleetPolicy(fleetlock="https://old.example"))  # reloaded, the same
        assert tasks._tasks == set()
        made.fleet = former
        made.configure(None)
        await asyncio.gather(*tasks._tasks)

    asyncio.run(scenario())
    assert released == ["old"]


def test_everybody_who_asks_within_ten_seconds_has_the_keepers_one_answer() -> None:
    asked: list[int] = []
    clock, fails = SimpleNamespace(at=now()), SimpleNamespace(why="")

    def holders() -> list[Holder]:
        asked.append(clock.at)
        if fails.why:
            raise Unavailable(fails.why)
        return [Holder("a", "host", 0, "rebooting", mine=False)]

    async def scenario() -> None:
        core: Any = SimpleNamespace(ledger=SimpleNamespace(slot=False), slot_answered=lambda *_: None)
        host: Any = Host()
        host.now, host.hear = lambda: clock.at, lambda _part, act: act()
        made = Slots(host, core, MACHINE, Tasks(lambda _: None))
        made.configure(FleetPolicy(etcd=("https://a.example",)))
        fleet: Any = made.fleet
        fleet.holders, fleet.acquire = holders, lambda _reason: None
        assert [len(found) for found in await asyncio.gather(*(made.holders() for _ in range(20)))] == [1] * 20
        clock.at += 9_999_999
        await made.holders()
        assert len(asked) == 1
        clock.at += 1
        await made.holders()
        clock.at -= 3_600_000_000  # the clock was set back: the answer is not good for an hour
        await made.holders()
        assert len(asked) == 3
        await made.take("kernel")
        fails.why = "no answer"
        for _ in range(2):
            with pytest.raises(Refused, match="no answer"):
                await made.holders()
        assert len(asked) == 4
        made.configure(FleetPolicy(etcd=("https://b.example",)))
        other: Any = made.fleet
        other.holders = list
        assert await made.holders() == []

    asyncio.run(scenario())


def test_a_slot_that_cannot_be_given_back_is_told_once_for_each_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    answers, told = [*["no route"] * 50, *["status 500"] * 50, *["no route"] * 2], list[str]()

    def release() -> None:
        if answers:
            raise Unavailable(answers.pop(0))

    async def scenario() -> None:
        core: Any = SimpleNamespace(wants_slot=lambda _: False, slot_freed=lambda: told.append("freed"))
        host: Any = Host()
        made = Slots(host, core, MACHINE, Tasks(lambda _: None))
        fleet: Any = SimpleNamespace(release=release)
        made.fleet = fleet
        await made.free()

    monkeypatch.setattr(slots, "_FREE_AGAIN", 0.0)
    monkeypatch.setattr(slots.log, "warning", lambda text, **_: told.append(text))
    asyncio.run(scenario())
    held = "the fleet's slot may still be held: "
    assert told == [f"{held}no route", f"{held}status 500", f"{held}no route", "freed"]


def test_a_slot_that_a_person_frees_is_noted_with_who_did_it() -> None:
    world = World(RebootPolicy())

    async def scenario() -> None:
        host: Any = Host(world.now)
        made = Slots(host, world.reboots, MACHINE, Tasks(lambda _: None))
        with pytest.raises(Refused, match="no fleet is configured"):
            await made.evict("web2", "alice")
        fleet: Any = SimpleNamespace(evict=lambda holder: f"id of {holder}")
        made.fleet = fleet
        assert await made.evict("web2", "alice") == "id of web2"
        fleet.evict = lambda _: 1 / 0
        with pytest.raises(Refused, match="division by zero") as refused:
            await made.evict("web2", "alice")
        assert refused.value.name == "PeerFailed"

    asyncio.run(scenario())
    world.pump()
    assert world.reasons().splitlines() == ["the slot of web2 (id of web2) in the fleet was freed by alice"]


def test_who_holds_the_machine_up_is_one_line_however_it_is_written() -> None:
    text = "first line\n\x1b[31msecond\tline " + "x" * 1000
    listed = [("shutdown:idle", "a\nb", text, "block", 0, 7), ("sleep", "c", "d", "block", 0, 8)]
    bus: Any = Bus(ListInhibitors=listed)
    logind = Logind(bus, None, lambda _: None, lambda: None, lambda _: None)
    (blocker,) = asyncio.run(logind.inhibitors())
    assert blocker.who == "a b"
    assert blocker.why.isprintable()
    assert "first line [31msecond line" in blocker.why
    assert len(blocker.why) < 300
