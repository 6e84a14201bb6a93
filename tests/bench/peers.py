"""What agentd is compared with: each peer starts the same program N times, all due at one instant.

Run as `python peers.py NAME COUNT PHASE`, in a process of its own, small as agentd's supervisor is; prints JSON. One
starts nothing: `asyncio-idle` wakes up once a second until it is ended.
"""

import asyncio
import json
import math
import multiprocessing
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

PROGRAM = "/bin/true"
CAPTURE: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
POLL = 1.0  # seconds between two looks of a poller
EACH_SECOND = 14
"""Single starts a second. agentd decides 300 ms before each: with twenty, each start came as another was decided."""


def lateness(due: float, stamps: Iterable[float], ended: float = 0.0) -> dict[str, float]:
    """How late starts were against `due`, in milliseconds; when the last process had ended, where known."""
    late = sorted((stamp - due) * 1000 for stamp in stamps)
    figures = {"first_ms": late[0], "p50_ms": percentile(late, 50)}
    figures |= {"p95_ms": percentile(late, 95), "p99_ms": percentile(late, 99), "last_ms": late[-1]}
    return {**figures, "all_ended_ms": (ended - due) * 1000} if ended else figures


def percentile(ordered: list[float], percent: float) -> float:
    """The nearest-rank percentile of ordered values."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


async def _asyncio(count: int, streams: dict[str, Any], *, in_turn: bool = False) -> dict[str, float]:
    stamps: list[float] = []

    async def start() -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(PROGRAM, **streams)
        stamps.append(time.time())
        return process

    due = time.time()
    if in_turn:
        processes = [await start() for _ in range(count)]
    else:
        processes = await asyncio.gather(*(start() for _ in range(count)))
    await asyncio.gather(*(process.communicate() for process in processes))
    return lateness(due, stamps, time.time())


def bare(count: int, _phase: float) -> dict[str, float]:
    """asyncio alone, nothing redirected: the least that starting processes from asyncio costs."""
    return asyncio.run(_asyncio(count, {}))


def in_turn(count: int, _phase: float) -> dict[str, float]:
    """The same, one awaited after the other: what asyncio is quickest with."""
    return asyncio.run(_asyncio(count, {}, in_turn=True))


def piped(count: int, _phase: float) -> dict[str, float]:
    """asyncio that captures the output, as agentd does."""
    return asyncio.run(_asyncio(count, CAPTURE))


def _spawn(count: int, due: float) -> list[float]:
    time.sleep(max(0.0, due - time.time()))
    stamps = []
    for _ in range(count):
        os.posix_spawn(PROGRAM, [PROGRAM], os.environ)
        stamps.append(time.time())
    for _ in range(count):
        os.wait()
    return stamps


def two_spawners(count: int, _phase: float) -> dict[str, float]:
    """Two processes that start processes and do nothing else, with nothing redirected: what this machine allows."""
    due = time.time() + 0.5
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.starmap(_spawn, [(count // 2, due)] * 2)
    return lateness(due, (stamp for stamps in found for stamp in stamps), time.time())


def spaced(count: int, phase: float) -> dict[str, float]:
    """Sleeps until each of `count` due times, EACH_SECOND of them a second, and starts one process: what this machine
    allows. The first is due `phase` seconds after the begin of a second."""
    begin = math.ceil(time.time() + 0.1) + phase
    late, processes = [], []
    for number in range(count):
        due = begin + number / EACH_SECOND
        time.sleep(max(0.0, due - time.time()))
        processes.append(subprocess.Popen([PROGRAM]))
        late.append(time.time() - due)
    for process in processes:
        process.wait()
    return lateness(0.0, late)


class _Starter:
    """Starts processes for a scheduler and notes when. Keeps them: Popen.__del__ would look after each again."""

    def __init__(self, **streams: Any) -> None:
        self.stamps: list[float] = []
        self._streams = streams
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        process: subprocess.Popen[bytes] = subprocess.Popen([PROGRAM], **self._streams)
        self.stamps.append(time.time())
        self._processes.append(process)

    def finish(self, due: float, count: int) -> dict[str, float]:
        """Waits until all were started and have ended."""
        deadline = time.time() + 60
        while len(self._processes) < count and time.time() < deadline:
            time.sleep(0.05)
        for process in self._processes:
            process.wait()
        return {"started": len(self.stamps), **lateness(due, self.stamps)}


def _apscheduler(scheduler: Any, starter: _Starter, count: int) -> float:
    """Adds the jobs and starts the scheduler; returns when they are due."""
    due = float(int(time.time()) + 3)
    when = datetime.fromtimestamp(due, UTC)
    for number in range(count):
        scheduler.add_job(starter.start, "date", run_date=when, id=str(number), misfire_grace_time=3600)
    scheduler.start()
    return due


def apscheduler_threads(count: int, _phase: float) -> dict[str, float]:
    """APScheduler's BackgroundScheduler with its thread pool."""
    return _in_background(count, _Starter())


def apscheduler_pipes(count: int, _phase: float) -> dict[str, float]:
    """The same with jobs whose output is captured, in sessions of their own, as agentd's are."""
    return _in_background(count, _Starter(**CAPTURE, start_new_session=True))


def _in_background(count: int, starter: _Starter) -> dict[str, float]:
    from apscheduler.schedulers.background import BackgroundScheduler

    scheduler = BackgroundScheduler()
    due = _apscheduler(scheduler, starter, count)
    time.sleep(due - time.time())
    figures = starter.finish(due, count)
    scheduler.shutdown()
    return figures


def apscheduler_asyncio(count: int, _phase: float) -> dict[str, float]:
    """APScheduler's AsyncIOScheduler, which gives plain functions to the loop's thread pool."""
    from apscheduler.schedulers.asyncio import AsyncIOScheduler

    async def schedule() -> dict[str, float]:
        starter, scheduler = _Starter(), AsyncIOScheduler()
        due = _apscheduler(scheduler, starter, count)
        while len(starter.stamps) < count and time.time() < due + 60:
            await asyncio.sleep(0.1)
        figures = starter.finish(due, count)
        scheduler.shutdown()
        return figures

    return asyncio.run(schedule())


def polling(count: int, phase: float) -> dict[str, float]:
    """A loop that looks each second, as cron does each minute; jobs come due `phase` seconds before a look."""
    starter = _Starter()
    first = time.time() + 0.2
    due = first + POLL - phase
    jobs = [due] * count
    look = first
    while jobs:
        time.sleep(max(0.0, look - time.time()))
        look += POLL
        now = time.time()
        ready = sum(job <= now for job in jobs)
        jobs = [job for job in jobs if job > now]
        for _ in range(ready):
            starter.start()
    return starter.finish(due, count)


def asyncio_idle(_count: int, _phase: float) -> dict[str, float]:
    """An asyncio program that wakes up once a second, to do nothing."""

    async def wake() -> None:
        while True:
            await asyncio.sleep(1)

    asyncio.run(wake())
    return {}


PEERS: dict[str, Callable[[int, float], dict[str, float]]] = {
    "asyncio": bare,
    "asyncio-in-turn": in_turn,
    "asyncio-pipes": piped,
    "apscheduler-threads": apscheduler_threads,
    "apscheduler-pipes": apscheduler_pipes,
    "apscheduler-asyncio": apscheduler_asyncio,
    "poll-1s": polling,
    "two-spawners": two_spawners,
    "spaced": spaced,
    "asyncio-idle": asyncio_idle,
}


def _as_debian_13() -> None:
    """Python 3.13, which agentd is made for, watches children by pidfd; 3.11 would start a thread for each."""
    if sys.version_info < (3, 12):
        asyncio.set_child_watcher(asyncio.PidfdChildWatcher())


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    _as_debian_13()
    name, number, early = sys.argv[1:]
    print(json.dumps(PEERS[name](int(number), float(early))))
