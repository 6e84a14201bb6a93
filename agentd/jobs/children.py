"""Runs as child processes, without root and systemd. Supervisor processes (the package `supervisor`) start them, so
that nothing outlives agentd.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import convert
from msgspec.structs import replace

from agentd.core.config import Config, History
from agentd.core.jobs.model import Outcome, Run, Saved
from agentd.core.jobs.settings import Job, Limits
from agentd.core.quantities import SECOND, iso
from agentd.jobs.leftover import Leftover
from agentd.jobs.link import Link
from agentd.jobs.part import LEAD
from agentd.jobs.supervisor import tree
from agentd.jobs.supervisor.child import is_short
from agentd.jobs.supervisor.wire import NOT_BEGUN, PATIENCE
from agentd.linux import now

_BURST = 32  # runs of each supervisor from which on one more is worth its start, 20 ms of a processor
_MOST = 2  # supervisors: with four, 1,000 runs at once begin no sooner, measured with the whole daemon
_CROWD = 16  # starts of a supervisor that are overdue together
_SPARE = 10.0  # seconds for which a further supervisor, of 10 MiB, stays without a run


class Children:
    """Runs jobs as child processes below a supervisor. Reports reach the callbacks on the event loop.

    `state` is the state directory, `folder` where a job works unless it says otherwise, `umask` the one of whoever
    started agentd, which jobs get (-1: this process still has it). A burst gets further supervisors for as long as it
    lasts: each start keeps the one that starts it waiting until the program is loaded, and each has a share of its own
    of the processors.
    """

    outlives = False

    def __init__(
        self,
        state: Path,
        folder: str,
        lock_file: int,
        on_started: Callable[[str, int], None],
        on_ended: Callable[[str, Outcome], None],
        on_set_aside: Callable[[], None],
        on_lost: Callable[[str], None],
        umask: int = -1,
    ) -> None:
        self.output: Path | None = state / "output"
        self._folder = folder
        self._cap = History().output
        self._lock_file = lock_file
        self._on_started = on_started
        self._on_ended = on_ended
        self._on_set_aside = on_set_aside
        self._on_lost = on_lost
        self._umask = umask
        self._leftover = Leftover(state, lock_file)
        self._closing = False
        self._is_lost = False  # a supervisor: agentd is about to end
        self._supervisors: list[Link] = []
        self._spare: dict[Link, asyncio.TimerHandle] = {}  # further supervisors without a run
        self._links: dict[str, Link] = {}  # by run, until its end is stored
        self._unstarted: dict[str, float] = {}  # when runs begin of which no report came yet, on the monotonic clock
        self._helpers: dict[str, str] = {}  # the names for people, by id; ids of runs have a dot, these have none
        self.address = ""
        tree.adopt_orphans()
        self._add_supervisor()

    def _add_supervisor(self) -> Link:
        leftover = self._leftover
        added = Link(
            leftover.new_note(), leftover.state, self._lock_file, self._umask,
            self._report, self._lost, self._may_wait,
        )  # fmt: skip
        self._supervisors.append(added)
        return added

    def _link(self) -> Link:
        """Returns the supervisor for one more run."""
        link = min(self._supervisors, key=lambda one: len(one.under_way))
        if len(link.under_way) >= _BURST and len(self._supervisors) < min(_MOST, os.cpu_count() or 1):
            with contextlib.suppress(OSError):  # no room for one more process: those that are there start all
                return self._add_supervisor()
        if (timer := self._spare.pop(link, None)) is not None:
            timer.cancel()
        return link

    def _may_wait(self, link: Link) -> bool:
        """Returns whether another supervisor is still starting a crowd, so that the reports of this one had better
        wait: to deal with them takes time from the starts, and made the last of 1,000 later by 7 to 19 %.

        A supervisor reports once its own crowd has started, so what counts is whether there is something to read of it.
        Nobody waits for starts that are overdue by more than supervisors give them.
        """
        latest = time.monotonic()
        for one in self._supervisors:
            if one is not link and not one.has_reports:
                overdue = (latest - self._unstarted.get(run_id, latest + 1) for run_id in one.under_way)
                if sum(0 <= late < PATIENCE for late in overdue) > _CROWD:
                    return True
        return False

    @property
    def under_way(self) -> int:
        """The number of runs that were started and have not ended."""
        return sum(len(one.under_way) for one in self._supervisors)

    def keep(self, name: str, what: str, argv: Sequence[str], output: Path) -> None:
        """Starts a program that agentd cannot do without; where it ends, agentd does. `what` names it to people."""
        self._helpers[name] = what
        self._supervisors[0].order(
            op="keep",
            id=name,
            argv=argv,
            env={},
            cwd="/",
            user=None,
            group=None,
            output=str(output),
            cap=1 << 16,
            timeout=None,
            kill_after=2.0,
            at=None,
            due=None,
        )

    def configure(self, config: Config) -> None:
        """Takes from a configuration how much of a run's output is kept."""
        self._cap = config.history.output

    def start(self, run: Run, job: Job) -> None:
        """Starts a run's process when it is due, at most LEAD from now: a clock that was set back strands nothing."""
        if self._is_lost:
            self._leftover.set_aside(run.run_id)
            return
        self._leftover.forget()
        facts = {
            "AGENTD_JOB": run.job,
            "AGENTD_RUN_ID": run.run_id,
            "AGENTD_DUE": iso(run.due),
            "AGENTD_ATTEMPT": str(run.attempt),
            "AGENTD_ADDRESS": self.address,
            "AGENTD_STATE": self._leftover.state,
        }
        # The wall clock is looked at first: a moment between the two looks makes the start late, and never early.
        wait = min(run.due - now(), LEAD) / SECOND
        at = time.monotonic() + wait
        link = self._links[run.run_id] = self._link()
        link.under_way.add(run.run_id)
        self._unstarted[run.run_id] = at
        link.unstored.add(run.run_id)
        link.order(
            op="start",
            id=run.run_id,
            argv=job.run,
            env={**job.environment, **facts},
            cwd=job.working_directory or self._folder,
            user=job.user,
            group=job.group,
            output=f"{self.output}/{run.run_id}.log",
            cap=self._cap,
            timeout=None if job.timeout is None else job.timeout / SECOND,
            kill_after=job.stop_timeout / SECOND,
            at=at,
            due=run.due,
        )

    def stop(self, run_id: str, result: str) -> None:
        """Ends a run's process group; the run will be reported with that result."""
        if (link := self._links.get(run_id)) is not None:
            link.order(op="stop", id=run_id, result=result)

    def stored(self, run_id: str) -> None:
        """Lets the supervisor forget a run whose end is stored; a further supervisor without other runs goes soon."""
        link = self._links.pop(run_id, None)
        if link is None:
            return
        link.order(op="stored", id=run_id)
        link.unstored.discard(run_id)
        if not link.unstored and link in self._supervisors[1:]:
            self._spare[link] = asyncio.get_running_loop().call_later(_SPARE, self._dismiss, link)

    def _dismiss(self, link: Link) -> None:
        del self._spare[link]
        self._supervisors.remove(link)
        asyncio.get_running_loop().run_in_executor(None, link.close())

    def warnings(self, config: Config) -> list[str]:
        """Returns a sentence for what has no effect here, and for a supervisor that somebody stopped."""
        stopped = [
            f"the supervisor of the jobs is stopped: it starts nothing and sees no end until kill -CONT {link.pid}"
            for link in self._supervisors
            if link.is_stopped
        ]
        without = [job.name for job in config.jobs.values() if job.systemd or job.limits != Limits()]
        text = f"limits and systemd settings of {', '.join(without)} have no effect: standalone mode runs jobs itself"
        found = [*stopped, *([text] if without else [])]
        with contextlib.suppress(OSError):
            if self.output is not None and is_short(os.statvfs(self.output)):
                found.append(f"the disk of {self.output} is almost full: no output of runs is kept until there is room")
        return found

    async def prepare(self, config: Config) -> None:
        """Does nothing: the jobs of any configuration can start here."""

    def noted(self) -> set[str]:
        """Returns the ids of the runs of which the supervisors of the last daemon left word. Raises OSError."""
        return set(self._leftover.read())

    async def take_up(self, saved: Saved, *, rebooted: bool) -> Saved:
        """Returns what the store has with what the supervisors of the last daemon left: ends that were not stored any
        more, and runs that had not begun, which wait again."""
        del rebooted
        await self._leftover.end_processes()
        reports = self._leftover.read()
        not_begun = {run_id for run_id, outcome in reports.items() if outcome.result == NOT_BEGUN}
        runs = tuple(replace(run, state="queued") if run.run_id in not_begun else run for run in saved.open_runs)
        return replace(saved, open_runs=runs, outcomes=reports)

    def taken_up(self) -> None:
        """Removes what was left behind, now that it is stored."""
        self._leftover.forget()

    def close(self) -> None:
        """Ends the supervisors, and with them the bus and whatever still runs."""
        self._closing = True
        for wait in [one.close() for one in self._supervisors]:
            wait()

    def _lost(self, dead: Link) -> None:
        """Has agentd end, as a supervisor was killed; ends the runs of that one alone, after all that was reported.

        Telling comes first: whatever fails below, for want of descriptors say, agentd ends.
        """
        if self._closing:
            return
        self._is_lost = True
        self._supervisors.remove(dead)
        if (timer := self._spare.pop(dead, None)) is not None:
            timer.cancel()
        self._on_lost("the supervisor of the jobs ended unexpectedly")
        for link in (dead, *self._supervisors):
            link.read_all()
        dead.close()  # which leaves a descriptor to look around with
        spared = [one.pid for one in self._supervisors]
        tree.send(tree.Snapshot().below(os.getpid(), but=spared), signal.SIGKILL)  # this process has adopted them
        for run_id in sorted(dead.under_way):
            if self._unstarted.get(run_id, 0.0) > time.monotonic():
                dead.under_way.discard(run_id)
                self._leftover.set_aside(run_id)
                self._on_set_aside()
            else:
                self._ended(run_id, Outcome(result="interrupted", reason="the supervisor of the jobs ended"))

    def _report(self, report: dict[str, object]) -> None:
        run_id, event = str(report.pop("id")), report.pop("ev")
        self._unstarted.pop(run_id, None)
        if run_id in self._helpers:
            if event == "ended" and not self._closing:
                # The last line: a bus that was flooded has said the same many times. Who is killed has no last word.
                killed = "killed by SIGKILL" if report.get("signal") == "SIGKILL" else ""
                why = str(report.get("reason") or killed or report.get("tail") or "").splitlines()[-1:]
                self._on_lost(f"{self._helpers[run_id]} ended: {''.join(why)}".strip())
        elif event == "started":
            self._on_started(run_id, convert(report["at"], int))
        else:
            self._ended(run_id, convert(report, Outcome))

    def _ended(self, run_id: str, outcome: Outcome) -> None:
        if (link := self._links.get(run_id)) is not None:
            link.under_way.discard(run_id)
        self._on_ended(run_id, outcome)
