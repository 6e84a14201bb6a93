"""Jobs as a part: their core's decisions are handed to an executor, and told."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from agentd import log as logging
from agentd.core.config import Config
from agentd.core.jobs.jobs import Jobs
from agentd.core.jobs.model import (
    FAILURES,
    AsExpected,
    JobDisabled,
    Notified,
    Outcome,
    Run,
    RunChanged,
    RunStarts,
    RunStops,
    Saved,
    Unexpected,
)
from agentd.core.jobs.settings import Job
from agentd.core.quantities import SECOND, counted, format_duration
from agentd.jobs import checks
from agentd.jobs.api import JobsApi, run_record
from agentd.jobs.canary import Canary
from agentd.jobs.tables import JobTables
from agentd.part import Host, Part

if TYPE_CHECKING:
    from agentd.peers.systemd import Systemd

log = logging.get()

NAME = "jobs"
LEAD = 300_000
"""Microseconds before a due time at which its run is decided and stored: more than a slow disk takes, and than a
thousand runs that are due together take."""


class Executor(Protocol):
    """Runs the jobs that the core wants to run: children.Children or units.Units."""

    outlives: bool
    """Whether runs go on when agentd ends."""

    @property
    def output(self) -> Path | None:
        """The folder of the runs' output; None: the journal has it."""

    @property
    def under_way(self) -> int:
        """The number of runs that need agentd's process to go on."""

    def warnings(self, config: Config) -> list[str]:
        """Returns a sentence for each setting that has no effect here."""

    async def prepare(self, config: Config) -> None:
        """Makes sure that the jobs of a configuration can be started. Raises Refused."""

    def configure(self, config: Config) -> None:
        """Takes a configuration that is in force from now on."""

    def noted(self) -> set[str]:
        """Returns the ids of the runs that an agentd before this one left word of: they were to start, or ended. Called
        before take_up(), on another thread. Raises OSError."""

    async def take_up(self, saved: Saved, *, rebooted: bool) -> Saved:
        """Returns what the store has together with what became of runs while no agentd was there."""

    def taken_up(self) -> None:
        """Learns that what was taken up is stored."""

    def start(self, run: Run, job: Job) -> None:
        """Starts a run when it is due, and no later than LEAD from now: the clock may have been set back since."""

    def stop(self, run_id: str, result: str) -> None:
        """Stops a run, which is then reported with that result."""

    def stored(self, run_id: str) -> None:
        """Learns that the end of a run is stored."""

    def close(self) -> None:
        """Ends the runs under way, or leaves them to systemd."""


class JobsShell:
    """Carries out what the core of jobs wants, and lets it hear what the executor reports."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._idle = asyncio.Event()
        self._config = Config()
        self._core: Jobs
        self._executor: Executor
        self._canary: Canary

    async def plug(
        self,
        executor: Executor,
        config: Config,
        *,
        machine: str,
        booted: int,
        rebooted: bool,
        systemd: "Systemd | None" = None,
    ) -> Part:
        """Returns the part with its core, from what the store and the executor know of before.

        `machine` is the machine's id, `booted` the instant of its boot, `rebooted` whether that is another boot than
        before; `systemd` is there where jobs are its units. Raises sqlite3.Error.
        """
        self._executor = executor
        self._canary = Canary(executor, self._host.now)
        tables = JobTables(self._host.folder, executor.noted)
        saved = await executor.take_up(await self._host.take_up(tables), rebooted=rebooted)
        executor.configure(config)
        self._config = config
        self._core = Jobs(
            config.jobs,
            saved,
            self._host.now(),
            concurrency=config.concurrency,
            zone=config.timezone,
            host=machine,
            boot=booted,
            lead=LEAD,
        )
        api = JobsApi(self._host, self._core, executor.output)
        return Part(
            name=NAME,
            vital=True,
            core=self._core,
            does={
                RunStarts: self._start,
                RunStops: self._stop,
                RunChanged: self._tell,
                Notified: self._notify,
                JobDisabled: lambda _: None,
                Unexpected: self._unexpected,
                AsExpected: lambda _: None,
            },
            contract=Path(__file__).with_name("org.agentd1.Jobs.xml"),
            methods=api.methods(),
            properties=api.properties(),
            prepare=executor.prepare,
            configure=self._configure,
            warnings=lambda: [*([self._core.held] if self._core.paused else []), *executor.warnings(self._config)],
            status=lambda: counted(len(self._core.entries), "job"),
            held=lambda: "" if not self._core.held else "paused" if self._core.paused else "draining",
            started=executor.taken_up,
            finish=self._finish,
            close=executor.close,
            checks=lambda: checks.checks(systemd, self._canary.fly, lambda: self._config),
        )

    @property
    def core(self) -> Jobs:
        """The core of jobs, for the parts that build on it."""
        return self._core

    # Reports of the executor

    def started(self, run_id: str, at: int, invocation: str = "") -> None:
        """Lets the core know that the process of a run exists since `at`."""
        if not self._canary.is_one(run_id):
            self._host.hear(NAME, lambda: self._core.started(run_id, at, invocation))
        self._look_idle()

    def ended(self, run_id: str, outcome: Outcome) -> None:
        """Lets the core know that a run is over. Where agentd ends because something was lost, such as the executor,
        the place that gets free is for the next agentd."""
        if self._host.failure:
            self._core.drain()
        if self._canary.is_one(run_id):
            self._canary.ended(run_id, outcome)
        else:
            self._host.hear(NAME, lambda: self._core.ended(run_id, outcome, self._host.now()))
        self._look_idle()

    def set_aside(self) -> None:
        """Learns that a run, which has not begun, waits for the next agentd: this one need not wait for the run."""
        self._look_idle()

    def _look_idle(self) -> None:
        if not self._executor.under_way:
            self._idle.set()

    # Effects

    def _start(self, effect: RunStarts) -> None:
        """Starts a run, unless it was taken back while its start waited for something to be stored."""
        if self._core.asked(effect.run.run_id):
            self._executor.start(effect.run, effect.job)

    def _stop(self, effect: RunStops) -> None:
        self._executor.stop(effect.run_id, effect.result)

    def _notify(self, effect: Notified) -> None:
        if not effect.wanted:
            return
        run = effect.run
        log.info(effect.text, id="notice", job=run.job, run_id=run.run_id)
        self._host.server.emit("Jobs", "Notified", run.job, run.run_id, effect.event, effect.text)

    def _unexpected(self, effect: Unexpected) -> None:
        name, text = effect.job.name, f"{effect.title}: {effect.reason}"
        log.warning(text, id="notice", job=name, **({"run_id": effect.run_id} if effect.run_id else {}))
        if effect.wanted:
            self._host.server.emit("Jobs", "Notified", name, effect.run_id, effect.event, text)

    def _tell(self, effect: RunChanged) -> None:
        """Tells listeners and the log of a run that is stored as it is told."""
        run, server = effect.run, self._host.server
        if effect.event == "started":
            log.debug(f"{run.run_id} started", id="run-started", job=run.job, run_id=run.run_id)
            server.emit("Jobs", "JobStarted", run.job, run.run_id)
        elif effect.event == "finished":
            self._executor.stored(run.run_id)
            failed = run.result in FAILURES
            (log.warning if failed else log.info)(
                _sentence(run), id="run-failed" if failed else "run-finished", job=run.job, run_id=run.run_id
            )
            server.emit("Jobs", "JobFinished", run.job, run.run_id, run.result, run_record(run))
        elif effect.event == "progress":
            server.emit("Jobs", "JobProgress", run.job, run.run_id, run.progress)
        server.changed("Jobs.Running")

    # Life

    def _configure(self, config: Config, now: int) -> Sequence[str]:
        self._executor.configure(config)
        self._config = config
        return self._core.configure(config.jobs, config.concurrency, config.timezone, now)

    async def _finish(self) -> None:
        """Waits up to `stop_timeout` for what runs, unless somebody is in a hurry; then stops what ends with agentd."""
        executor, busy, patience = self._executor, self._executor.under_way, self._config.stop_timeout
        if not busy or (self._host.failure and executor.outlives):
            return
        verb = "be started" if executor.outlives else "end"
        text = f"waiting up to {format_duration(patience)} for {counted(busy, 'run')} to {verb}"
        log.info(f"stopping: {text} (again: stop them now)", id="stopped")
        self._host.ending.clear()
        self._idle.clear()
        hurry = asyncio.create_task(self._host.ending.wait())
        nobody = asyncio.create_task(self._idle.wait())
        await asyncio.wait((hurry, nobody), timeout=patience / SECOND, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if executor.under_way and not executor.outlives:
            self._core.stop_all("interrupted", "agentd was stopped", self._host.now())
            self._host.pump()
            await asyncio.wait((nobody,), timeout=self._core.longest_stop / SECOND + 5)
        nobody.cancel()


def _sentence(run: Run) -> str:
    took = format_duration(max(0, run.ended - run.started) // 1000 * 1000)
    how = {
        "exit-code": f"failed with exit code {run.exit_code}",
        "signal": f"was ended by {run.signal}",
        "success": "succeeded",
        "core-dump": f"was ended by {run.signal or 'a signal'}, and dumped its core,",
        "timeout": "took too long and was ended",
        "oom-kill": "ran out of memory and was ended",
        "start-failed": "could not be started",
        **{word: f"was {word}" for word in ("stopped", "interrupted", "cancelled")},
    }.get(run.result, f"ended with {run.result}")
    reason = f" ({run.reason})" if run.reason and run.result in {"start-failed", "interrupted", "cancelled"} else ""
    return f"{run.run_id} {how}{f' after {took}' if run.started else ''}{reason}"
