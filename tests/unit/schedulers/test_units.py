"""Schedulers as units, beside a systemd that answers as told."""

import asyncio
import json
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from agentd.bus.connection import PROPERTIES, CallFailed
from agentd.core.schedulers.model import Chosen, Exit
from agentd.peers.systemd import Systemd
from agentd.schedulers import units
from agentd.schedulers.units import SchedulerUnits, exit_of, name_of, unit_of, write_request

ERROR = "org.freedesktop.DBus.Error."
GONE = CallFailed(f"{ERROR}NoReply", "Message recipient disconnected")
REFUSED = CallFailed(f"{ERROR}AccessDenied", "Interactive authentication required")
UNKNOWN = CallFailed("org.freedesktop.systemd1.NoSuchUnit", "Unit agentd-scx@scx_simple.service not loaded.")
SIMPLE = Chosen(name="scx_simple", mode="gaming", flags={"fifo": True, "slice-us": 5000})
UNIT = "agentd-scx@scx_simple.service"
KILLED = {"Result": "signal", "ExecMainCode": 2, "ExecMainStatus": 9, "InvocationID": "f00"}


class FakeSystemd:
    """Answers each start and stop with the next of `answers`; which units run is what the test sets."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.asked: list[str] = []
        self.running: list[str] | CallFailed = []
        self.last: dict[str, Any] = {}
        self.tried: list[list[str]] = []
        self.watched: dict[str, Callable[[], None]] = {}
        self.missed: Callable[[], Awaitable[None]]

    async def listen(self, on_missed: Any) -> Any:
        self.missed = on_missed
        return lambda: None

    async def watch_rest(self, unit: str, on_rest: Any) -> Any:
        self.watched[unit] = on_rest
        return lambda: self.watched.pop(unit)

    async def start_unit(self, unit: str, **_: Any) -> Any:
        return self._answer(f"start {unit}")

    async def stop_unit(self, unit: str, **_: Any) -> Any:
        return self._answer(f"stop {unit}")

    async def start_and_wait(self, unit: str, *, patience: float) -> Any:
        assert patience > 0
        return self._answer(f"run {unit}")

    async def failure(self, unit: str) -> str:
        return f"exit-code, status 1 ({unit})" if self.last else ""

    async def alive(self, pattern: str) -> Any:
        if pattern == "agentd-scx-try@*.service":
            return self.tried.pop(0) if self.tried else []
        assert pattern == "agentd-scx@*.service"
        if isinstance(self.running, CallFailed):
            raise self.running
        return self.running

    async def last_end(self, _: str) -> Any:
        return self.last

    def _answer(self, asked: str) -> Any:
        self.asked.append(asked)
        answer = self.answers.pop(0) if self.answers else "/job/1"
        if isinstance(answer, Exception):
            raise answer
        return answer() if callable(answer) else answer


class World:
    """Units on a fake systemd, and what they told."""

    def __init__(self, folder: Path) -> None:
        fake: Any = FakeSystemd()
        self.systemd = fake
        self.ended: list[tuple[str, Exit]] = []
        self.trouble: list[str] = []
        self.units = SchedulerUnits(
            self.systemd,
            lambda *end: self.ended.append(end),
            self.trouble.append,
            lambda where, error: self.trouble.append(f"{where}: {error!r}"),
            folder,
        )


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "AGAIN", 0)


def lived(folder: Path, work: Callable[[World], Awaitable[None]]) -> World:
    world = World(folder)

    async def whole() -> None:
        await world.units.take_up()
        await work(world)
        while tasks := [*world.units._tasks._tasks]:
            await asyncio.gather(*tasks)
        world.units.close()
        assert world.systemd.watched == {}

    asyncio.run(whole())
    return world


# The file that root's side reads


def test_a_choice_is_written_for_root_to_read(tmp_path: Path) -> None:
    write_request(SIMPLE, tmp_path)
    (file,) = tmp_path.iterdir()
    assert (file.name, stat.S_IMODE(file.stat().st_mode)) == ("scx_simple.json", 0o644)
    assert json.loads(file.read_text()) == {
        "name": "scx_simple",
        "mode": "gaming",
        "flags": {"fifo": True, "slice-us": 5000},
    }


def test_a_choice_replaces_the_one_before_and_follows_no_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / ".scx_simple.json").symlink_to(victim)
    (tmp_path / "scx_simple.json").symlink_to(victim)
    write_request(SIMPLE, tmp_path)
    assert victim.read_text() == "mine"
    assert not (tmp_path / "scx_simple.json").is_symlink()


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "-x", ".x", "a b", "a\n", "a@b", "a\\x2fb", "x" * 101, "%i"])
def test_a_name_that_no_unit_can_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name"):
        write_request(Chosen(name=name), tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert name_of(f"agentd-scx@{name}.service") == ""


def test_names_and_units_belong_to_each_other() -> None:
    assert unit_of("custom:fifo-2") == "agentd-scx@custom:fifo-2.service"
    assert name_of(UNIT) == "scx_simple"
    assert name_of("agentd-job@scx_simple.service") == name_of("agentd-scx@x.timer") == ""


# Starting and stopping


def test_a_start_is_asked_for_after_the_choice_is_written(tmp_path: Path) -> None:
    written: list[bool] = []

    async def work(world: World) -> None:
        world.systemd.answers = [lambda: written.append((tmp_path / "scx_simple.json").exists())]
        assert await world.units.start(SIMPLE) == ""

    world = lived(tmp_path, work)
    assert (world.systemd.asked, written, world.ended) == ([f"start {UNIT}"], [True], [])


def test_a_start_that_systemd_refuses_is_a_sentence(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        world.systemd.answers = [REFUSED]
        sentence = await world.units.start(SIMPLE)
        assert sentence == f"systemd did not start {UNIT}: Interactive authentication required"

    assert lived(tmp_path, work).ended == []


def test_a_choice_that_cannot_be_written_starts_nothing(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        assert "could not be written to" in await world.units.start(SIMPLE)
        assert "cannot be the name" in await world.units.start(Chosen(name="../x"))

    assert lived(tmp_path / "absent", work).systemd.asked == []


def test_a_start_is_asked_for_again_while_systemd_is_away(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        world.systemd.answers = [GONE, GONE]
        assert await world.units.start(SIMPLE) == ""

    assert lived(tmp_path, work).systemd.asked == [f"start {UNIT}"] * 3


def test_a_start_that_systemd_heard_before_it_went_away_is_not_asked_for_twice(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        world.systemd.answers, world.systemd.running = [GONE], [UNIT]
        assert await world.units.start(SIMPLE) == ""

    assert lived(tmp_path, work).systemd.asked == [f"start {UNIT}"]


def test_an_end_is_told_once_with_how_the_process_ended(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        await world.units.start(SIMPLE)
        world.systemd.last = KILLED
        rested = world.systemd.watched[UNIT]
        rested()
        rested()

    assert lived(tmp_path, work).ended == [("scx_simple", Exit("signal", "killed", 9))]


def test_a_stop_is_told_when_the_unit_came_to_rest(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        await world.units.start(SIMPLE)
        world.systemd.running = [UNIT]
        assert await world.units.stop("scx_simple") == ""
        assert world.ended == []
        world.systemd.running = []
        world.systemd.watched[UNIT]()
        world.systemd.watched[UNIT]()

    assert lived(tmp_path, work).ended == [("scx_simple", Exit())]


def test_a_unit_that_is_told_to_rest_and_has_a_start_before_it_has_not_ended(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        await world.units.start(SIMPLE)
        world.systemd.running = [UNIT]
        world.systemd.watched[UNIT]()  # as systemd tells of a unit that it has just loaded

    assert lived(tmp_path, work).ended == []


@pytest.mark.parametrize("answer", ["/job/2", UNKNOWN])
def test_the_end_of_a_unit_that_did_not_run_is_told_as_well(tmp_path: Path, answer: Any) -> None:
    async def work(world: World) -> None:
        world.systemd.answers = [answer]
        assert await world.units.stop("scx_simple") == ""

    assert lived(tmp_path, work).ended == [("scx_simple", Exit())]


def test_a_stop_that_systemd_refuses_is_a_sentence(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        world.systemd.answers = [REFUSED]
        assert (await world.units.stop("scx_simple")).startswith(f"systemd did not stop {UNIT}: ")

    assert lived(tmp_path, work).ended == []


def test_schedulers_that_run_are_taken_up_and_their_ends_told(tmp_path: Path) -> None:
    async def whole() -> None:
        world = World(tmp_path)
        world.systemd.running = [UNIT, "agentd-scx@odd@name.service", "agentd-scx@scx_rusty.service"]
        assert await world.units.take_up() == ["scx_rusty", "scx_simple"]
        world.systemd.running = []
        world.systemd.watched[UNIT]()
        await asyncio.gather(*world.units._tasks._tasks)
        assert world.ended == [("scx_simple", Exit())]
        world.units.close()

    asyncio.run(whole())


def test_an_end_while_pid_1_executed_itself_anew_is_found(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        await world.units.start(SIMPLE)
        world.systemd.running = REFUSED
        await world.systemd.missed()
        assert (world.ended, len(world.trouble)) == ([], 1)
        world.systemd.running = [UNIT]
        await world.systemd.missed()
        assert world.ended == []
        world.systemd.running = []
        await world.systemd.missed()

    assert lived(tmp_path, work).ended == [("scx_simple", Exit())]


@pytest.mark.parametrize(
    ("properties", "end"),
    [
        ({}, Exit()),
        (KILLED, Exit("signal", "killed", 9)),
        ({"Result": "exit-code", "ExecMainCode": 1, "ExecMainStatus": 1}, Exit("exit-code", "exited", 1)),
        ({"Result": "core-dump", "ExecMainCode": 3, "ExecMainStatus": 11}, Exit("core-dump", "dumped", 11)),
        ({"Result": "resources", "ExecMainCode": 0, "ExecMainStatus": 0}, Exit("resources", "", 0)),
    ],
)
def test_how_the_process_ended_is_systemds_word(properties: dict[str, Any], end: Exit) -> None:
    assert exit_of(properties) == end


# The peer


class Bus:
    """Answers one call, and keeps the listener."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer
        self.listener: Any = None

    async def call(self, _: Any, member: str, signature: str, *arguments: Any) -> Any:
        assert (member, signature, arguments) == ("ListUnitsByPatterns", "asas", ([], ["agentd-scx@*.service"]))
        return [self.answer]

    async def watch(self, remote: Any, member: str, listener: Any) -> Any:
        assert remote[1:] == ("/org/freedesktop/systemd1/unit/agentd_2dscx_40a_2eservice", PROPERTIES)
        assert member == "PropertiesChanged"
        self.listener = listener
        return lambda: None


def listed(name: str, active: str, job: int = 0) -> list[Any]:
    return [name, "", "loaded", active, "", "", "/unit", job, "", "/"]


def test_units_that_run_or_are_asked_something_are_alive() -> None:
    bus: Any = Bus([listed("a", "active"), listed("b", "failed"), listed("c", "inactive", 7), listed("d", "inactive")])
    systemd = Systemd(bus, lambda _: None, lambda *_: None)
    assert asyncio.run(systemd.alive("agentd-scx@*.service")) == ["a", "c"]


def test_a_unit_that_comes_to_rest_is_told_and_other_news_of_it_are_not() -> None:
    bus: Any = Bus()
    told: list[str] = []
    systemd = Systemd(bus, lambda _: None, lambda *_: None)
    asyncio.run(systemd.watch_rest("agentd-scx@a.service", lambda: told.append("rest")))
    unit, service = "org.freedesktop.systemd1.Unit", "org.freedesktop.systemd1.Service"
    for interface, properties in (
        (unit, {"ActiveState": "activating"}),
        (unit, {"SubState": "dead"}),
        (service, {"ActiveState": "failed"}),
        (unit, {"ActiveState": "deactivating"}),
    ):
        bus.listener([interface, properties, []])
    assert told == []
    bus.listener([unit, {"ActiveState": "failed"}, []])
    bus.listener([unit, {"ActiveState": "inactive"}, []])
    assert told == ["rest", "rest"]


# Units of a verification


TRY = "agentd-scx-try@fifo.service"


@pytest.mark.parametrize(
    ("answer", "last", "why"),
    [
        ("done", {}, ""),
        ("failed", {"Result": "exit-code"}, f"{TRY} is failed: exit-code, status 1 ({TRY})"),
        ("timeout", {}, f"{TRY} is timeout: systemd does not say why"),
        ("", {}, f"{TRY} is not over after 200 s"),
        (REFUSED, {}, f"systemd did not start {TRY}: Interactive authentication required"),
    ],
)
def test_a_unit_that_ends_by_itself_is_waited_for(tmp_path: Path, answer: Any, last: Any, why: str) -> None:
    async def work(world: World) -> None:
        fake: Any = world.systemd
        fake.answers, fake.last = [answer], last
        assert await world.units.run(TRY) == why
        assert fake.asked == [f"run {TRY}"]

    lived(tmp_path, work)


def test_a_trial_that_is_under_way_is_known_and_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "_PAUSE", 0)

    async def work(world: World) -> None:
        fake: Any = world.systemd
        fake.tried = [[TRY]]
        assert await world.units.trial() == "fifo"
        assert await world.units.trial() == ""
        fake.tried = [[TRY], [TRY], []]
        await world.units.trials_over()
        assert fake.tried == []

    lived(tmp_path, work)
