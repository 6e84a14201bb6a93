"""Stalls that the kernel tells of: here this kernel itself, whose processors are made scarce."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from agentd.core.quantities import SECOND
from agentd.core.rules.model import Source
from agentd.rules.facts import stalls
from agentd.rules.facts.stalls import Stalls
from agentd.rules.part import stalling

BUSY = [sys.executable, "-c", "while True: pass"]


def has_triggers() -> bool:
    try:
        file = os.open("/proc/pressure/cpu", os.O_RDWR)
    except OSError:
        return False
    try:
        return os.write(file, b"some 100000 2000000\0") > 0
    except OSError:
        return False
    finally:
        os.close(file)


@pytest.fixture
def scarce() -> Iterator[None]:
    """More programs than processors that want one all the time."""
    with ExitStack() as running:
        for _ in range(2 * (os.cpu_count() or 1)):
            running.callback(running.enter_context(subprocess.Popen(BUSY)).kill)
        yield


@pytest.mark.skipif(not has_triggers(), reason="this kernel has no triggers on pressure, or not for this user")
@pytest.mark.usefixtures("scarce")
def test_a_stall_is_told_as_it_begins_until_nobody_wants_to_know() -> None:
    async def main() -> None:
        told: asyncio.Queue[None] = asyncio.Queue()
        one = Stalls(lambda: told.put_nowait(None))
        before = files()
        one.follow(["cpu", "memory-full"])
        for _ in range(2):
            await asyncio.wait_for(told.get(), 60)
        one.follow([])
        assert files() == before

    asyncio.run(main())


def test_stalls_are_told_where_looks_are_further_apart_than_the_kernel_tells_of_them() -> None:
    sources = [Source("memory"), Source("pressure", "cpu"), Source("pressure", "io-full")]
    assert stalling(sources, 5 * SECOND) == ["cpu", "io-full"]
    assert stalling(sources, 2 * SECOND) == stalling(sources, SECOND) == []


@pytest.mark.parametrize("there", [False, True])
def test_without_triggers_stalls_are_not_told_and_nothing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    """Before Linux 6.4 only root may have triggers; with psi=0 there is no such folder."""
    if there:
        (tmp_path / "cpu").write_text("")  # a file that can be written to, and waited for by no epoll
    monkeypatch.setattr(stalls, "_FOLDER", str(tmp_path))

    async def main() -> None:
        before = files()
        one = Stalls(lambda: pytest.fail("nothing has happened"))
        one.follow(["cpu", "no such resource"])
        one.follow(["cpu"])
        one.close()
        assert files() == before

    asyncio.run(main())


def files() -> int:
    return len([*Path("/proc/self/fd").iterdir()])
