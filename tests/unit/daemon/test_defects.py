"""A defect in one part is told, and is that part's alone; without a vital part agentd ends and is started anew."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agentd.config.files import Loaded
from agentd.core.config import Config
from agentd.core.part import Core, Decided, Effect
from agentd.daemon import daemon as module
from agentd.daemon.daemon import Daemon
from agentd.part import Part


class Wants(Effect, frozen=True):
    """Something that a part wants done."""


class Faulty(Core):
    """A core that raises where it is told to, and counts how often it is asked."""

    def __init__(self, where: str = "") -> None:
        self.where = where
        self.asked = 0

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
        daemon._store = SimpleNamespace(warning="")
        daemon._timer = SimpleNamespace(set=lambda _: None)
        self.daemon = daemon
        daemon._plug(
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


def test_an_effect_that_two_parts_claim_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        scene = Scene(monkeypatch, vital=False, core=Faulty(), does=nothing)
        with pytest.raises(TypeError, match="Wants is carried out by bad and by other"):
            scene.daemon._plug([Part(name="other", does={Wants: nothing})])

    run(scenario())


def test_an_effect_that_is_only_stored_leads_to_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        scene = Scene(monkeypatch, vital=False, core=Faulty(), does=nothing)
        scene.daemon.carry_out(Decided(1, "bad", "start", "", "why"))
        with pytest.raises(TypeError, match="no part carries out Effect"):
            scene.daemon.carry_out(Effect())
        assert scene.told == []

    run(scenario())
