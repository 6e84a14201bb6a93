"""The shell of learning: what becomes of a training where peers and the disk fail."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from agentd.core.learning.learning import Learning
from agentd.core.learning.model import Saved
from agentd.core.learning.settings import LearningSettings
from agentd.core.part import Decided, Refused
from agentd.learning import looking
from agentd.learning.networks import FIRST, Networks
from agentd.learning.part import Reach, Shell
from agentd.part import Host
from agentd.tasks import Tasks
from tests.unit.learning.life import START, Life, adaptive


class FakeHost:
    """A daemon whose store answers, or does not."""

    def __init__(self, refusal: str = "") -> None:
        self.refusal = refusal
        self.server = self

    def now(self) -> int:
        return START

    def hear(self, _part: str, deed: Callable[[], object]) -> None:
        deed()

    async def ask(self, _question: Callable[..., Any]) -> list[object]:
        if self.refusal:
            raise Refused("StoreUnavailable", self.refusal)
        return []

    def changed(self, *_names: str) -> None:
        """Tells nobody."""


def trained(tmp_path: Path, host: FakeHost, train: Callable[[Networks], str]) -> tuple[Learning, str]:
    """Returns the core after a training, and what was decided about it."""
    life = Life(adaptive("feed"))
    core = Learning(life.jobs, Saved(), LearningSettings(mode="on"), START)
    defects: list[BaseException] = []

    async def go() -> None:
        tasks = Tasks(defects.append)

        async def training(files: Networks) -> str:
            return train(files)

        reach = Reach(output=looking.from_files(tmp_path), train=training)
        shell = Shell(cast("Host", host), core, Networks(tmp_path / "networks"), tasks, reach)
        shell.take_up(0)
        core.train()
        (wanted,) = core.effects()
        await cast("asyncio.Task[None]", shell.does()[type(wanted)](wanted))

    asyncio.run(go())
    assert not defects
    (said,) = [effect.reason for effect in core.effects() if isinstance(effect, Decided)]
    return core, said


def better(files: Networks) -> str:
    assert files.in_force.read_bytes() == FIRST.read_bytes()
    files.fresh.write_bytes(FIRST.read_bytes())
    files.told.write_text("made from\nnothing\x1b[2J")
    return ""


def garbage(files: Networks) -> str:
    files.fresh.write_bytes(b"garbage")
    return ""


def nothing(files: Networks) -> str:
    files.told.write_text("nothing was written: the counted rate foretells better\n")
    return ""


@pytest.mark.parametrize(
    ("host", "train", "number", "said"),
    [
        (FakeHost(), better, 1, "network 1 is in force: made from nothing[2J"),
        (FakeHost(), garbage, 0, "the result of the training was refused: "),
        (FakeHost(), nothing, 0, "nothing was written: the counted rate foretells better"),
        (FakeHost(), lambda _: "the process ended with 1", 0, "the training failed: the process ended with 1"),
        (FakeHost("the disk is full"), better, 0, "no training: the disk is full"),
    ],
    ids=["better", "garbage", "nothing better", "failed", "no store"],
)
def test_whatever_becomes_of_a_training_another_may_follow(
    tmp_path: Path, host: FakeHost, train: Callable[[Networks], str], number: int, said: str
) -> None:
    core, told = trained(tmp_path, host, train)
    assert told.startswith(said), told
    assert (core.number, core.training) == (number, False)
    assert {file.name for file in (tmp_path / "networks").glob("*")} <= {"000001.json"}
