"""The shell of jobs: what the core decided reaches the executor, unless it was taken back or agentd is about to end."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentd.core.config import Config
from agentd.core.jobs.model import Outcome, Run, RunSaved, RunStarts, Saved
from agentd.core.jobs.settings import Job
from agentd.core.jobs.triggers import Manual
from agentd.core.part import Stored
from agentd.jobs.part import JobsShell, _sentence
from agentd.part import Part

NOW = 1_800_000_000_000_000
JOB = Job(name="q", run=("true",), when=Manual(), timezone="UTC", overlap="queue")


class Host:
    """A daemon that stores at once whatever it is given, and notes why it ends."""

    folder = Path("/nowhere")

    def __init__(self) -> None:
        self.failure = ""

    def now(self) -> int:
        return NOW

    def hear(self, _part: str, deed: Callable[[], object]) -> None:
        deed()

    async def take_up(self, _tables: object) -> Saved:
        return Saved()


class Executor:
    """An executor that notes which runs it was given."""

    outlives = False
    output = None
    under_way = 0

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.done: list[str] = []
        self.stopped: list[str] = []

    def noted(self) -> set[str]:
        return set()

    async def take_up(self, saved: Saved, *, rebooted: bool) -> Saved:
        del rebooted
        return saved

    async def prepare(self, _config: Config) -> None: ...
    def configure(self, _config: Config) -> None: ...
    def taken_up(self) -> None: ...
    def close(self) -> None: ...

    def start(self, run: Run, _job: Job) -> None:
        self.runs.append(run)

    def stop(self, run_id: str, _result: str) -> None:
        self.stopped.append(run_id)

    def stored(self, run_id: str) -> None:
        self.done.append(run_id)


def plugged() -> tuple[Any, Executor, JobsShell, Part]:
    host: Any = Host()  # as much of a daemon, and of an executor, as is needed
    executor: Any = Executor()
    shell = JobsShell(host)
    config = Config(jobs={"q": JOB})
    making = shell.plug(executor, config, machine="", booted=0, rebooted=False)
    return host, executor, shell, asyncio.run(making)


def carry_out(shell: JobsShell, part: Part) -> list[Run]:
    """Carries out what the core wants; returns what was stored of runs."""
    effects = shell.core.effects()
    for effect in effects:
        if not isinstance(effect, Stored) and isinstance(effect, RunStarts):
            part.does[type(effect)](effect)
    return [effect.run for effect in effects if isinstance(effect, RunSaved)]


def test_a_start_that_was_taken_back_while_it_waited_for_the_disk_is_not_made() -> None:
    _, executor, shell, part = plugged()
    kept, back = shell.core.run("q", NOW), shell.core.run("q", NOW)
    shell.core.storable("nothing starts: the disk is full", NOW)
    assert shell.core.stop(back.run_id, NOW) == [back.run_id]
    assert shell.core.stop(kept.run_id, NOW) == [kept.run_id]
    shell.core.storable("", NOW)
    assert carry_out(shell, part)[-1].result == "cancelled"
    assert executor.runs == []


def test_once_the_executor_is_lost_no_run_that_waits_is_given_to_it() -> None:
    """The ends of all that ran are told then, and each makes room."""
    host, executor, shell, part = plugged()
    first, second = shell.core.run("q", NOW), shell.core.run("q", NOW)
    carry_out(shell, part)
    assert [run.run_id for run in executor.runs] == [first.run_id]
    host.failure = "the supervisor of the jobs ended unexpectedly"
    shell.ended(first.run_id, Outcome(result="interrupted", reason="the supervisor of the jobs ended"))
    carry_out(shell, part)
    assert [run.run_id for run in executor.runs] == [first.run_id]
    assert [run.run_id for run in shell.core.entry("q").waiting] == [second.run_id]


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ({"result": "success"}, "q.1 succeeded after 2s"),
        ({"result": "exit-code", "exit_code": 3}, "q.1 failed with exit code 3 after 2s"),
        ({"result": "signal", "signal": "SIGKILL"}, "q.1 was ended by SIGKILL after 2s"),
        ({"result": "core-dump", "signal": "SIGSEGV"}, "q.1 was ended by SIGSEGV, and dumped its core, after 2s"),
        ({"result": "timeout"}, "q.1 took too long and was ended after 2s"),
        ({"result": "oom-kill"}, "q.1 ran out of memory and was ended after 2s"),
        ({"result": "stopped"}, "q.1 was stopped after 2s"),
        ({"result": "start-failed", "started": 0, "reason": "no such user"}, "q.1 could not be started (no such user)"),
        ({"result": "cancelled", "started": 0, "reason": "disabled"}, "q.1 was cancelled (disabled)"),
    ],
)
def test_the_log_tells_how_a_run_ended_in_a_sentence_with_a_verb(end: dict[str, Any], words: str) -> None:
    run = Run(seq=1, job="q", due=NOW, cause="manual", **{"started": NOW, "ended": NOW + 2_000_000, **end})
    assert _sentence(run) == words
