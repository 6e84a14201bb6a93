"""A change of what is followed is told, by whatever links that is reached, and is never dropped."""

import asyncio
import ctypes
import errno
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from agentd import linux
from agentd.linux import Watch

SETTLE = 0.02
FOREVER = 20.0
"""Seconds after which something is not to come any more."""


class Told:
    """A watch with a short patience, and how often it called back."""

    def __init__(self, *paths: Path) -> None:
        self.times = 0
        self.paths = paths
        self._told = asyncio.Event()
        self.watch = Watch(self._tell, SETTLE)
        self.watch.follow(paths)

    def _tell(self) -> None:
        self.times += 1
        self._told.set()
        self.watch.follow(self.paths)

    async def after(self, change: Callable[[], object]) -> None:
        """Returns once a change was told."""
        self._told.clear()
        change()
        await asyncio.wait_for(self._told.wait(), FOREVER)

    async def never_after(self, change: Callable[[], object], then: Callable[[], object]) -> None:
        """Makes a change that is none of ours, and one that is: only that is told."""
        before = self.times
        change()
        await asyncio.sleep(5 * SETTLE)
        assert self.times == before
        await self.after(then)


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scenario())


def swap(link: Path, target: str | Path) -> None:
    """Points a link elsewhere at once, as deployments do."""
    new = link.with_name("new")
    new.symlink_to(target)
    new.rename(link)


def test_a_file_behind_links_is_told_wherever_it_changes(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "repo/deep").mkdir(parents=True)
    target, other = tmp_path / "repo/deep/jobs.yaml", tmp_path / "repo/other.yaml"
    target.write_text("a")
    other.write_text("a")
    (tmp_path / "repo/current").symlink_to("deep")
    file = tmp_path / "conf/agentd.yaml"
    file.symlink_to("../repo/current/jobs.yaml")

    async def scenario() -> None:
        told = Told(tmp_path / "conf", file)
        await told.after(lambda: target.write_text("b"))
        await told.after(lambda: other.replace(target))
        await told.after(lambda: swap(tmp_path / "repo/current", "."))  # now a file that is not there
        await told.after(lambda: (tmp_path / "repo/jobs.yaml").write_text("c"))
        await told.never_after(lambda: target.write_text("d"), lambda: (tmp_path / "repo/jobs.yaml").write_text("d"))
        await told.after(lambda: swap(file, target))
        await told.after(lambda: target.write_text("e"))
        told.watch.close()

    run(scenario)


def test_a_folder_behind_a_link_is_told_when_either_changes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "conf").symlink_to("one")

    async def scenario() -> None:
        told = Told(tmp_path / "conf", tmp_path / "conf/agentd.yaml")
        await told.after(lambda: (tmp_path / "one/agentd.yaml").write_text("a"))
        await told.after(lambda: swap(tmp_path / "conf", tmp_path / "two"))
        await told.after(lambda: (tmp_path / "two/agentd.yaml").write_text("b"))
        await told.never_after(
            lambda: (tmp_path / "one/agentd.yaml").write_text("c"), lambda: (tmp_path / "two/new.yaml").write_text("d")
        )
        told.watch.close()

    run(scenario)


def test_a_configuration_that_is_swapped_as_kubernetes_does_it_is_told(tmp_path: Path) -> None:
    for name in ("..v1", "..v2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "agentd.yaml").write_text(name)
    (tmp_path / "..data").symlink_to("..v1")
    (tmp_path / "agentd.yaml").symlink_to("..data/agentd.yaml")

    async def scenario() -> None:
        told = Told(tmp_path, tmp_path / "agentd.yaml")
        await told.after(lambda: swap(tmp_path / "..data", "..v2"))
        await told.after(lambda: (tmp_path / "..v2/agentd.yaml").write_text("new"))
        told.watch.close()

    run(scenario)


def test_a_folder_that_is_made_later_or_replaced_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "conf"

    async def scenario() -> None:
        told = Told(folder)
        await told.after(folder.mkdir)
        await told.after(lambda: (folder / "agentd.yaml").write_text("a"))
        await told.after(lambda: folder.rename(tmp_path / "old"))
        await told.after(folder.mkdir)
        await told.after(lambda: (folder / "agentd.yaml").write_text("b"))
        told.watch.close()

    run(scenario)


def test_what_was_seen_before_another_look_is_told_all_the_same(tmp_path: Path) -> None:
    async def scenario() -> None:
        told = Told(tmp_path)

        def change_and_follow() -> None:
            (tmp_path / "agentd.yaml").write_text("a")
            told.watch.follow(told.paths)

        await told.after(change_and_follow)
        told.watch.close()

    run(scenario)


def test_changes_without_end_are_told_all_the_same(tmp_path: Path) -> None:
    async def scenario() -> None:
        told = Told(tmp_path)

        async def scribble() -> None:
            while not told.times:
                (tmp_path / "agentd.yaml").write_text("a")
                await asyncio.sleep(0)

        await asyncio.wait_for(scribble(), FOREVER)
        told.watch.close()

    run(scenario)


def test_links_that_lead_in_circles_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")

    async def scenario() -> None:
        told = Told(tmp_path / "a/agentd.yaml")
        await told.after(lambda: swap(tmp_path / "b", tmp_path))
        await told.after(lambda: (tmp_path / "agentd.yaml").write_text("a"))
        told.watch.close()

    run(scenario)


def test_a_folder_that_cannot_be_watched_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = linux._libc

    class Full:
        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

        def inotify_add_watch(self, *_: object) -> int:
            ctypes.set_errno(errno.ENOSPC)
            return -1

    async def scenario() -> None:
        monkeypatch.setattr(linux, "_libc", Full())
        told = Told(tmp_path / "sub")
        assert told.watch.blind == {str(tmp_path): "no space left on device"}
        told.watch.close()

    run(scenario)
