"""A defect in one part is told, and is that part's alone; without a vital part agentd ends and is started anew."""

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agentd.config.files import Loaded
from agentd.core.config import Config
from agentd.core.jobs.jobs import Jobs
from agentd.core.jobs.model import RunStarts, Saved
from agentd.core.jobs.settings import Job
from agentd.core.jobs.triggers import Every
from agentd.core.part import Core, Decided, Effect, Refused
from agentd.daemon import daemon as module
from agentd.daemon import plugged as plugged_module
from agentd.daemon.daemon import Daemon
from agentd.daemon.plugged import Plugged
from agentd.part import Part


class Wants(Effect, frozen=True):
    """Something that a part wants done."""


class Faulty(Core):
    """A core that raises where it is told to, and counts how often it is asked."""

    def __init__(self, where: str = "") -> None:
        self.where = where
        self.asked = 0

    def wakeup(self) -> int | None:
        return 0  # always due

    def tick(self, now: int) -> None:
        self.asked += 1
        if self.where == "tick":
            raise KeyError("a defect")


class Scene:
    """A daemon with a part that fails and one that does not, and what people are told."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, *, vital: bool, core: Faulty, does: Callable[[Any], object]
    ) -> None:
        self.told: list[str] = []
        self.refused: list[str] = []
        self.changed: list[str] = []
        self.closed: list[str] = []
        monkeypatch.setattr(module, "log", SimpleNamespace(error=lambda text, **_: self.told.append(text)))
        self.good = Faulty()
        daemon: Any = Daemon("system", Loaded(Config(), ()), lambda: Loaded(Config(), ()), list)
        daemon.server = SimpleNamespace(
            refuse=lambda contract, why: self.refused.append(f"{contract.stem}: {why}"),
            changed=lambda *names: self.changed.extend(names),
        )
        daemon._storing = SimpleNamespace(trouble="", add=lambda effects: list(map(daemon.carry_out, effects)))
        daemon._store = SimpleNamespace(warnings=[])
        daemon._timer = SimpleNamespace(set=lambda _: None)
        self.daemon = daemon
        daemon._plugged = daemon._plug(
            [
                Part(
                    name="bad",
                    vital=vital,
                    core=core,
                    does={Wants: does},
                    contract=Path("org.agentd1.Bad.xml"),
                    close=lambda: self.closed.append("bad"),
                ),
                Part(name="good", core=self.good, warnings=lambda: ["a warning of its own"]),
            ]
        )


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


def nothing(_: object) -> None: ...


def broken(_: object) -> None:
    raise ZeroDivisionError("cannot be done")


def check_shut_off(scene: Scene, error: str) -> None:
    """The part is off, everybody is told once, and the other goes on."""
    assert len([text for text in scene.told if text.startswith(f"a defect in the part bad: {error}")]) == 1
    off, own = scene.daemon.warnings
    assert off.startswith(f"the part bad is shut off because of a defect in it ({error})")
    assert own == "a warning of its own"
    assert scene.refused == [f"org.agentd1.Bad: {off}"]
    assert (scene.closed, scene.changed) == (["bad"], ["Manager.Warnings"])
    assert (scene.daemon.failure, scene.daemon.ending.is_set()) == ("", False)
    before = scene.good.asked
    scene.daemon._tick()
    assert scene.good.asked == before + 1


def test_a_core_that_raises_is_shut_off_and_due_times_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        core = Faulty("tick")
        scene = Scene(monkeypatch, vital=False, core=core, does=nothing)
        for _ in range(3):
            scene.daemon._tick()
        assert core.asked == 1
        check_shut_off(scene, "KeyError: 'a defect'")

    run(scenario())


def test_an_effect_that_cannot_be_carried_out_shuts_its_part_off(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        scene = Scene(monkeypatch, vital=False, core=Faulty(), does=broken)
        scene.daemon.carry_out(Wants())
        scene.daemon.carry_out(Wants())  # nobody does it any more
        check_shut_off(scene, "ZeroDivisionError: cannot be done")

    run(scenario())


def test_a_report_that_a_core_cannot_deal_with_shuts_its_part_off(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        scene = Scene(monkeypatch, vital=False, core=Faulty(), does=nothing)
        heard: list[int] = []
        scene.daemon.hear("bad", lambda: broken(None))
        scene.daemon.hear("bad", lambda: heard.append(1))
        scene.daemon.hear("good", lambda: heard.append(2))
        await asyncio.sleep(0)
        assert heard == [2]
        check_shut_off(scene, "ZeroDivisionError: cannot be done")

    run(scenario())


@pytest.mark.parametrize("where", ["tick", "carry out", "hear"])
def test_agentd_ends_with_a_vital_part(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    async def scenario() -> None:
        scene = Scene(monkeypatch, vital=True, core=Faulty(where), does=broken)
        if where == "tick":
            scene.daemon._tick()
        elif where == "hear":
            scene.daemon.hear("bad", lambda: broken(None))
        else:
            scene.daemon.carry_out(Wants())
        assert scene.daemon.failure == "of a defect in the part bad, which is in the log"
        assert scene.daemon.ending.is_set()
        assert scene.told[0].startswith("a defect in the part bad: ")
        assert scene.closed == []  # the daemon closes it when it ends

    run(scenario())


def test_an_error_in_a_callback_of_the_loop_is_told_as_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        scene = Scene(monkeypatch, vital=False, core=Faulty(), does=nothing)
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(scene.daemon._unhandled)
        loop.call_soon(broken, None)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        (told,) = scene.told
        assert told.startswith("a defect in the loop: ZeroDivisionError: cannot be done (test_defects.py:")
        assert told.endswith("; please report it")

    run(scenario())


@pytest.mark.parametrize(
    "error",
    [
        None,
        sqlite3.OperationalError("database or disk is full"),
        sqlite3.OperationalError("database is locked"),
        sqlite3.ProgrammingError("Cannot operate on a closed database."),
    ],
)
def test_parts_are_told_that_they_are_started_whatever_the_store_can_do(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    async def scenario() -> None:
        scene = Scene(monkeypatch, vital=False, core=Faulty(), does=nothing)
        order: list[str] = []

        async def done() -> None:
            order.append("stored")

        async def call(function: Callable[[], object]) -> object:
            return function()

        def taken_up() -> None:
            order.append("taken up")
            if error is not None:
                raise error

        scene.daemon._storing = SimpleNamespace(trouble="", done=done, call=call)
        scene.daemon._store = SimpleNamespace(warnings=[], taken_up=taken_up)
        scene.daemon._plugged = scene.daemon._plug([Part(name="good", started=lambda: order.append("started"))])
        tasks = scene.daemon._begun
        await tasks.do(scene.daemon._all_taken_up())
        assert sorted(order) == ["started", "stored", "taken up"]
        assert order[0] == "stored"
        assert scene.told == []

    run(scenario())


def test_an_effect_that_two_parts_claim_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        scene = Scene(monkeypatch, vital=False, core=Faulty(), does=nothing)
        with pytest.raises(TypeError, match="Wants is carried out by bad and by other"):
            scene.daemon._plug([Part(name=name, does={Wants: nothing}) for name in ("bad", "other")])

    run(scenario())


def test_an_effect_that_is_only_stored_leads_to_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        scene = Scene(monkeypatch, vital=False, core=Faulty(), does=nothing)
        scene.daemon.carry_out(Decided(1, "bad", "start", "", "why"))
        with pytest.raises(TypeError, match="no part carries out Effect"):
            scene.daemon.carry_out(Effect())
        assert scene.told == []

    run(scenario())


def part_with(name: str, where: str, deed: Callable[[], Any]) -> Part:
    """A part of which one callable does something."""

    def do(*_: object) -> Any:
        return deed()

    async def do_later(*_: object) -> None:
        deed()

    callables: dict[str, Any] = {where: do_later if where in {"prepare", "start", "finish"} else do}
    return Part(name=name, **callables)


def cannot() -> Any:
    raise ZeroDivisionError("cannot be done")


USES: dict[str, Callable[[Plugged], Any]] = {
    "prepare": lambda plugged: plugged.await_each(lambda part: part.prepare(Config())),
    "start": lambda plugged: plugged.await_each(lambda part: part.start(), OSError),
    "finish": lambda plugged: plugged.await_each(lambda part: part.finish()),
    "configure": lambda plugged: plugged.each(lambda part: part.configure(Config(), 1)),
    "warnings": lambda plugged: plugged.each(lambda part: part.warnings()),
    "status": lambda plugged: plugged.each(lambda part: part.status()),
    "held": lambda plugged: plugged.each(lambda part: part.held()),
    "started": lambda plugged: plugged.each(lambda part: part.started()),
}


@pytest.mark.parametrize("where", USES)
def test_whatever_a_part_raises_in_the_next_one_is_asked_all_the_same(where: str) -> None:
    async def scenario() -> None:
        told: list[str] = []
        answers: list[str] = []
        parts = [part_with("bad", where, cannot), part_with("good", where, lambda: answers.append("good"))]
        plugged = Plugged(parts, lambda: 1, lambda place, _: told.append(place), told.append, lambda *_: None)
        for _ in range(2):
            result = USES[where](plugged)
            if asyncio.iscoroutine(result):
                await result
        assert told == ["the part bad"]
        assert answers == ["good", "good"]
        assert len(plugged.warnings) == 1

    run(scenario())


def test_a_part_that_cannot_be_closed_keeps_no_other_from_being_closed() -> None:
    told: list[str] = []
    closed: list[str] = []
    parts = [Part(name="good", close=lambda: closed.append("good")), part_with("bad", "close", cannot)]
    Plugged(parts, lambda: 1, lambda place, _: told.append(place), told.append, lambda *_: None).close()
    assert (closed, told) == (["good"], ["closing the part bad"])


def test_a_part_that_cannot_be_made_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async def making() -> Part:
            raise KeyError("no such table")

        scene = Scene(monkeypatch, vital=False, core=Faulty(), does=nothing)
        part = await scene.daemon.plug("toy", making())
        assert part.name == "toy"
        assert part.warnings()[0].startswith("the part toy is shut off because of a defect in it (KeyError")
        assert scene.told[0].startswith("a defect in the part toy: KeyError")

    run(scenario())


def test_a_refusal_is_no_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(_: object) -> None:
        raise Refused("Busy", "hello was not started: it runs already")

    async def scenario() -> None:
        scene = Scene(monkeypatch, vital=False, core=Faulty(), does=refuses)
        noted: list[str] = []
        monkeypatch.setattr(plugged_module, "log", SimpleNamespace(info=lambda text, **_: noted.append(text)))
        scene.daemon.carry_out(Wants())
        assert noted == ["bad: hello was not started: it runs already"]
        assert scene.daemon.warnings == ["a warning of its own"]

    run(scenario())


def test_what_a_part_held_is_let_go_when_the_part_is_shut_off() -> None:
    job = Job(name="hello", run=("true",), when=Every(1_000_000), timezone="UTC")
    jobs = Jobs({"hello": job}, Saved(), 0)
    jobs.hold("bad", "a rule paused the jobs")
    parts = [Part(name="jobs", core=jobs), Part(name="bad", core=Faulty("tick"))]
    plugged = Plugged(parts, lambda: 5_000_000, lambda *_: None, lambda _: None, lambda *_: None)
    plugged.cores.tick(5_000_000)
    assert jobs.held == ""
    assert [effect.run.job for effect in plugged.cores.effects(5_000_000) if isinstance(effect, RunStarts)] == ["hello"]
