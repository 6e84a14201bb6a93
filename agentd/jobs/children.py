"""Runs as child processes, without root and systemd. A supervisor process (supervisor.py, started by its path)
starts them, so that nothing outlives agentd.
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from agentd.core.config import Config, History
from agentd.core.jobs.model import Outcome, Run, Saved
from agentd.core.jobs.settings import Job, Limits
from agentd.core.quantities import SECOND, iso
from agentd.jobs import supervisor
from agentd.linux import now

_SPOOL = "ended"
_BURST = 32  # runs at once from which on a second supervisor is worth starting
_PAUSE = 0.03  # seconds between two looks whether a burst is over


class Link:
    """The link to one supervisor process; `spool` is where it leaves the ends that nobody stored.

    Its reports are left to wait while `in_burst` says so: dealing with them takes time from the processes that start.
    """

    def __init__(
        self,
        spool: Path,
        lock_file: int,
        on_report: Callable[[dict[str, object]], None],
        on_lost: Callable[[], None],
        in_burst: Callable[[], bool],
    ) -> None:
        self.under_way: set[str] = set()
        self.unstored: set[str] = set()  # runs under way, and ended ones whose end is not stored yet
        self._on_report = on_report
        self._on_lost = on_lost
        self._in_burst = in_burst
        self._encode = msgspec.json.Encoder().encode
        self._outbox: deque[bytes] = deque()
        self._closed = False
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self._socket, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        files = (theirs.fileno(), lock_file)
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", supervisor.__file__, *map(str, files), str(spool)],
            pass_fds=files,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the daemon alone
        )
        theirs.close()
        self._socket.setblocking(False)
        self._listen()

    def order(self, **order: object) -> None:
        """Sends an order, as supervisor.py describes them."""
        self._outbox.append(self._encode(order))
        if len(self._outbox) == 1:
            self._write()

    def close(self) -> Callable[[], int]:
        """Makes the process end, and with it whatever it runs; returns what waits for that."""
        self._closed = True
        asyncio.get_running_loop().remove_reader(self._socket)
        asyncio.get_running_loop().remove_writer(self._socket)
        self._socket.close()
        return self._process.wait

    def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while self._outbox:
            try:
                self._socket.send(self._outbox[0])
            except BlockingIOError:
                loop.add_writer(self._socket, self._write)
                return
            except ConnectionError:
                self._outbox.clear()  # the supervisor is gone, as _read notices too
                break
            except OSError as error:
                run_id = msgspec.json.decode(self._outbox[0])["id"]
                reason = f"the job's command and environment cannot be passed on: {error.strerror}"
                loop.call_soon(
                    self._on_report, {"ev": "ended", "id": run_id, "result": "start-failed", "reason": reason}
                )
            self._outbox.popleft()
        loop.remove_writer(self._socket)

    def _listen(self) -> None:
        if not self._closed:
            asyncio.get_running_loop().add_reader(self._socket, self._read)

    def _read(self) -> None:
        if self._in_burst():
            asyncio.get_running_loop().remove_reader(self._socket)
            asyncio.get_running_loop().call_later(_PAUSE, self._listen)
            return
        # A bounded number at a time, so that the timer gets its turn among thousands of reports.
        for _ in range(64):
            try:
                data = self._socket.recv(supervisor.LARGEST_MESSAGE)
            except BlockingIOError:
                return
            except ConnectionError:
                data = b""
            if not data:
                asyncio.get_running_loop().remove_reader(self._socket)
                self._on_lost()
                return
            self._on_report(msgspec.json.decode(data))


class Children:
    """Runs jobs as child processes below a supervisor. Reports reach the callbacks on the event loop.

    `state` is the state directory, `folder` where a job works unless it says otherwise. A burst gets a second
    supervisor: each start keeps the supervisor that starts it waiting until the program is loaded.
    """

    outlives = False

    def __init__(
        self,
        state: Path,
        folder: str,
        lock_file: int,
        on_started: Callable[[str, int], None],
        on_ended: Callable[[str, Outcome], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self.output: Path | None = state / "output"
        self._state = state
        self._folder = folder
        self._cap = History().output
        self._lock_file = lock_file
        self._on_started = on_started
        self._on_ended = on_ended
        self._on_lost = on_lost
        self._closing = False
        self._supervisors: list[Link] = []
        self._links: dict[str, Link] = {}  # by run, until its end is stored
        self._unstarted: dict[str, int] = {}  # when the runs are due of which no report came yet
        self._helpers: dict[str, str] = {}  # the names for people, by id; ids of runs have a dot, these have none
        self.address = ""
        supervisor.adopt_orphans()
        self._add_supervisor()

    def _add_supervisor(self) -> Link:
        spool = self._state / f"{_SPOOL}-{len(self._supervisors)}.jsonl"
        added = Link(spool, self._lock_file, self._report, self._lost, self._in_burst)
        self._supervisors.append(added)
        return added

    def _link(self) -> Link:
        """Returns the supervisor for one more run."""
        link = min(self._supervisors, key=lambda one: len(one.under_way))
        if len(link.under_way) >= _BURST and len(self._supervisors) < min(2, os.cpu_count() or 1):
            return self._add_supervisor()
        return link

    def _in_burst(self) -> bool:
        """Tells whether many processes are to be started right now."""
        latest = now()
        overdue = [due for due in self._unstarted.values() if due <= latest]
        return len(overdue) > _BURST and max(overdue) > latest - supervisor.PATIENCE * SECOND

    @property
    def under_way(self) -> int:
        """The number of runs that were started and have not ended."""
        return sum(len(one.under_way) for one in self._supervisors)

    def keep(self, name: str, what: str, argv: Sequence[str], output: Path) -> None:
        """Starts a program that agentd cannot do without; where it ends, agentd does. `what` names it to people."""
        self._helpers[name] = what
        self._supervisors[0].order(
            op="start",
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
        )

    def configure(self, config: Config) -> None:
        """Takes from a configuration how much of a run's output is kept."""
        self._cap = config.history.output

    def start(self, run: Run, job: Job) -> None:
        """Starts a run's process when it is due."""
        facts = {
            "AGENTD_JOB": run.job,
            "AGENTD_RUN_ID": run.run_id,
            "AGENTD_DUE": iso(run.due),
            "AGENTD_ATTEMPT": str(run.attempt),
            "AGENTD_ADDRESS": self.address,
        }
        link = self._links[run.run_id] = self._link()
        link.under_way.add(run.run_id)
        self._unstarted[run.run_id] = run.due
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
            at=time.monotonic() + (run.due - now()) / SECOND,
        )

    def stop(self, run_id: str, result: str) -> None:
        """Ends a run's process group; the run will be reported with that result."""
        if (link := self._links.get(run_id)) is not None:
            link.order(op="stop", id=run_id, result=result)

    def stored(self, run_id: str) -> None:
        """Lets the supervisor forget a run whose end is stored; a second supervisor without other runs may go."""
        link = self._links.pop(run_id, None)
        if link is None:
            return
        link.order(op="stored", id=run_id)
        link.unstored.discard(run_id)
        if link is not self._supervisors[0] and not link.unstored:
            self._supervisors.remove(link)
            asyncio.get_running_loop().run_in_executor(None, link.close())

    def warnings(self, config: Config) -> list[str]:
        """Returns a sentence for what has no effect here."""
        without = [job.name for job in config.jobs.values() if job.systemd or job.limits != Limits()]
        text = f"limits and systemd settings of {', '.join(without)} have no effect: standalone mode runs jobs itself"
        found = [text] if without else []
        with contextlib.suppress(OSError):
            if supervisor.is_short(os.statvfs(self._state)):
                found.append(f"the disk of {self._state} is almost full: no output of runs is kept until there is room")
        return found

    async def prepare(self, config: Config) -> None:
        """Does nothing: the jobs of any configuration can start here."""

    async def take_up(self, saved: Saved, *, rebooted: bool) -> Saved:
        """Returns what the store has with what the supervisors of the last daemon left: ends that were not stored any
        more, and runs that had not begun, which wait again."""
        del rebooted
        reports = {}
        for line in b"\n".join(spool.read_bytes() for spool in self._spools()).splitlines():
            try:
                report = msgspec.json.decode(line, type=dict[str, object])
                reports[str(report.get("id"))] = msgspec.convert(report, Outcome)
            except msgspec.MsgspecError:
                # A line that a full disk cut short: that run counts as interrupted.
                continue
        not_begun = {run_id for run_id, outcome in reports.items() if outcome.result == supervisor.NOT_BEGUN}
        runs = tuple(replace(run, state="queued") if run.run_id in not_begun else run for run in saved.open_runs)
        return replace(saved, open_runs=runs, outcomes=reports)

    def taken_up(self) -> None:
        """Removes what was left behind, now that it is stored."""
        for spool in self._spools():
            spool.unlink()

    def _spools(self) -> list[Path]:
        return list(self._state.glob(f"{_SPOOL}-*.jsonl"))

    def close(self) -> None:
        """Ends the supervisors, and with them the bus and whatever still runs."""
        self._closing = True
        for wait in [one.close() for one in self._supervisors]:
            wait()

    def _lost(self) -> None:
        """Ends what a supervisor that was killed left behind, which this process has adopted, and all else."""
        if self._closing:
            return
        for below in supervisor.descendants(os.getpid()):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(below, signal.SIGKILL)
        for run_id in list(self._links):
            self._ended(run_id, Outcome(result="interrupted", reason="the supervisor of the jobs ended"))
        self._on_lost("the supervisor of the jobs ended unexpectedly")

    def _report(self, report: dict[str, object]) -> None:
        run_id, event = str(report.pop("id")), report.pop("ev")
        self._unstarted.pop(run_id, None)
        if run_id in self._helpers:
            if event == "ended" and not self._closing:
                why = report.get("reason") or report.get("tail") or ""
                self._on_lost(f"{self._helpers[run_id]} ended: {why}".strip())
        elif event == "started":
            self._on_started(run_id, msgspec.convert(report["at"], int))
        else:
            self._ended(run_id, msgspec.convert(report, Outcome))

    def _ended(self, run_id: str, outcome: Outcome) -> None:
        if (link := self._links.get(run_id)) is not None:
            link.under_way.discard(run_id)
        self._on_ended(run_id, outcome)
