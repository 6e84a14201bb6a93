"""Threads for work that may hang: as many as it takes, and no more than are of use."""

import asyncio
import threading
from typing import Any

import pytest

from agentd.tasks import Threads


def fails(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "told"),
    [(ValueError("no"), "ValueError: no"), (StopIteration(), "RuntimeError: StopIteration: "), (SystemExit(), ": ")],
)
def test_whatever_work_raises_is_raised_where_it_is_waited_for(error: BaseException, told: str) -> None:
    async def run() -> BaseException | None:
        future = Threads().do(lambda: fails(error))
        await asyncio.wait([future], timeout=20)
        return future.exception()

    found = asyncio.run(run())
    assert told in f"{type(found).__name__}: {found}"


def test_work_in_turn_shares_a_thread_and_work_beside_hanging_work_has_another() -> None:
    async def run() -> list[int]:
        threads, hangs = Threads(), threading.Event()
        seen = [await threads.do(threading.get_ident) for _ in range(5)]
        waits = threads.do(hangs.wait)
        seen.append(await asyncio.wait_for(threads.do(threading.get_ident), 20))
        hangs.set()
        await waits
        threads.close()
        return seen

    *first, other = asyncio.run(run())
    assert len(set(first)) == 1
    assert other not in first


def test_threads_end_that_are_not_kept_and_at_the_close_all(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[threading.Thread] = []
    start = threading.Thread.start

    def noted(thread: threading.Thread) -> None:
        begun.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", noted)

    async def run() -> list[bool]:
        threads, go = Threads(kept=1), threading.Event()
        work = [threads.do(go.wait) for _ in range(3)]
        go.set()
        await asyncio.wait(work)
        for _ in range(2_000):
            if sum(thread.is_alive() for thread in begun) == 1:
                break
            await asyncio.sleep(0.001)
        alive = [thread.is_alive() for thread in begun]
        threads.close()
        return alive

    assert sorted(asyncio.run(run())) == [False, False, True]
    for thread in begun:
        thread.join(20)
    assert not any(thread.is_alive() for thread in begun)


def test_where_no_thread_can_be_had_the_work_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Any) -> None:
        raise RuntimeError("can't start new thread")

    async def run() -> BaseException | None:
        monkeypatch.setattr(threading.Thread, "start", refuse)
        return Threads().do(int).exception()

    assert "can't start new thread" in str(asyncio.run(run()))
