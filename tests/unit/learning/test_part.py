"""The shell of learning: what becomes of a training where peers and the disk fail."""

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from agentd.core.learning.learning import Learning
from agentd.core.learning.model import NetworkDoubted, Saved
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
        self.told: list[tuple[str, ...]] = []
        self.server = self

    def now(self) -> int:
        return START

    def hear(self, _part: str, deed: Callable[[], object]) -> None:
        deed()

    async def ask(self, _question: Callable[..., Any]) -> list[object]:
        if self.refusal:
            raise Refused("StoreUnavailable", self.refusal)
        return []

    def changed(self, *names: str) -> None:
        self.told.append(names)


def plugged(tmp_path: Path, host: FakeHost, train: Callable[[Networks], str], tasks: Tasks) -> tuple[Learning, Shell]:
    """Returns the core and its shell, with a training that is as `train`."""
    core = Learning(Life(adaptive("feed")).jobs, Saved(), LearningSettings(mode="on"), START)

    async def training(files: Networks) -> str:
        return train(files)

    reach = Reach(output=looking.from_files(tmp_path, lambda _: True), train=training)
    return core, Shell(cast("Host", host), core, Networks(tmp_path / "networks"), tasks, reach)


def decided(core: Learning) -> list[str]:
    return [effect.reason for effect in core.effects() if isinstance(effect, Decided)]


def trained(tmp_path: Path, host: FakeHost, train: Callable[[Networks], str]) -> tuple[Learning, str]:
    """Returns the core after a training, and what was decided about it."""
    defects: list[BaseException] = []

    async def go() -> Learning:
        core, shell = plugged(tmp_path, host, train, Tasks(defects.append))
        shell.take_up(0)
        core.train()
        (wanted,) = core.effects()
        await cast("asyncio.Task[None]", shell.does()[type(wanted)](wanted))
        return core

    core = asyncio.run(go())
    assert not defects
    (said,) = decided(core)
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


def pipe(files: Networks) -> str:
    os.mkfifo(files.fresh)
    return ""


def linked(files: Networks) -> str:
    secret = files.folder.parent / "secret"
    secret.write_text("what a training may not read")
    files.told.symlink_to(secret)
    return "the process ended with 1"


def absent(_: Networks) -> str:
    raise OSError(errno.ENOENT, "No such file or directory", "nice")


@pytest.mark.parametrize(
    ("host", "train", "number", "said", "came"),
    [
        (FakeHost(), better, 1, "network 1 is in force: made from nothing[2J", "better"),
        (FakeHost(), garbage, 0, "the result of the training was refused: ", "failed"),
        (FakeHost(), pipe, 0, "the result of the training was refused: ", "failed"),
        (FakeHost(), nothing, 0, "nothing was written: the counted rate foretells better", "nothing"),
        (
            FakeHost(),
            lambda _: "the process ended with 1",
            0,
            "the training failed: the process ended with 1",
            "failed",
        ),
        (FakeHost(), linked, 0, "the training failed: the process ended with 1", "failed"),
        (FakeHost(), absent, 0, "the training failed: nice: No such file or directory", "failed"),
        (FakeHost("the disk is full"), better, 0, "no training: the disk is full", "failed"),
    ],
    ids=["better", "garbage", "a pipe", "nothing better", "failed", "a link", "no program", "no store"],
)
def test_whatever_becomes_of_a_training_another_may_follow(
    tmp_path: Path, host: FakeHost, train: Callable[[Networks], str], number: int, said: str, came: str
) -> None:
    core, told = trained(tmp_path, host, train)
    assert told.startswith(said), told
    assert "may not read" not in told
    assert (core.number, core.training, core.came) == (number, False, came)
    assert {file.name for file in (tmp_path / "networks").glob("*")} <= {"000001.json"}
    assert host.told[0] == ("Learning.Training",)
    assert "Learning.Trained" in host.told[-1]


def test_a_disk_that_is_full_fails_a_training_and_keeps_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: Path, data: bytes) -> None:
        file.write_text(data.decode()[:100])
        raise OSError(errno.ENOSPC, "No space left on device", str(file))

    monkeypatch.setattr("agentd.learning.networks._write", full)
    core, told = trained(tmp_path, FakeHost(), better)
    assert told.startswith("the training failed: ")
    assert told.endswith(": No space left on device")
    assert (core.training, core.came) == (False, "failed")
    assert not list((tmp_path / "networks").iterdir())


def test_a_defect_ends_a_training_as_well(tmp_path: Path) -> None:
    def defect(_: Networks) -> str:
        raise ZeroDivisionError

    defects: list[BaseException] = []

    async def go() -> Learning:
        core, shell = plugged(tmp_path, FakeHost(), defect, Tasks(defects.append))
        core.train()
        (wanted,) = core.effects()
        task = cast("asyncio.Task[None]", shell.does()[type(wanted)](wanted))
        await asyncio.wait([task])
        await asyncio.sleep(0)
        return core

    core = asyncio.run(go())
    assert [type(error) for error in defects] == [ZeroDivisionError]
    assert (core.training, core.came) == (False, "failed")


# Networks that cannot be used


def cut(file: Path) -> None:
    file.write_bytes(FIRST.read_bytes()[:5000])


def folder(file: Path) -> None:
    file.mkdir()


def circle(file: Path) -> None:
    file.symlink_to(file)


def huge(file: Path) -> None:
    with file.open("wb") as opened:
        opened.truncate(1 << 40)


def gone(_: Path) -> None:
    """Leaves no file."""


@pytest.mark.parametrize("damage", [cut, folder, circle, huge, os.mkfifo, gone])
def test_the_newest_network_that_can_be_used_is_taken_up_and_gone_back_to(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    core, shell = plugged(tmp_path, FakeHost(), nothing, Tasks(lambda _: None))
    networks = tmp_path / "networks"
    networks.mkdir()
    for number in (1, 4):
        (networks / f"{number:06}.json").write_bytes(FIRST.read_bytes())
    for number in (2, 3):
        damage(networks / f"{number:06}.json")
    shell.take_up(3)
    assert core.number == 1
    assert shell.trouble.startswith("network 3 cannot be used: ")
    assert str(networks) in shell.trouble
    shell.take_up(4)
    assert (core.number, shell.trouble) == (4, "")
    assert shell.back("asked for") == 1
    assert decided(core) == ["back to network 1 from network 4: asked for"]
    assert (shell.back("asked for"), shell.back("asked for"), core.number) == (0, -1, 0)


def test_a_better_network_ends_the_trouble_with_one_that_could_not_be_used(tmp_path: Path) -> None:
    async def go() -> Shell:
        core, shell = plugged(tmp_path, FakeHost(), better, Tasks(lambda _: None))
        shell.take_up(9)
        assert shell.trouble
        core.train()
        (wanted,) = core.effects()
        await cast("asyncio.Task[None]", shell.does()[type(wanted)](wanted))
        return shell

    assert asyncio.run(go()).trouble == ""


def test_a_network_that_foretells_badly_is_given_up_for_the_newest_before_it(tmp_path: Path) -> None:
    core, shell = plugged(tmp_path, FakeHost(), nothing, Tasks(lambda _: None))
    networks = tmp_path / "networks"
    networks.mkdir()
    for number in (1, 3):
        (networks / f"{number:06}.json").write_bytes(FIRST.read_bytes())
    cut(networks / "000002.json")
    shell.take_up(3)
    shell.does()[NetworkDoubted](NetworkDoubted(3, -8.5))
    assert core.number == 1
    why = "network 3 foretold runs worse than the counted rate by 8.5 nats"
    assert decided(core) == [f"back to network 1 from network 3: {why}"]
