"""Standalone: no root, no systemd. Jobs are child processes below a supervisor, the bus is our own.

The supervisor process (supervisor.py) starts everything, so that nothing outlives the daemon.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec.structs import replace

from agentd.core.config import Config
from agentd.core.jobs.model import Outcome, Run, Saved
from agentd.core.jobs.settings import Job, Limits
from agentd.core.quantities import SECOND, iso
from agentd.core.reboots.policy import RebootPolicy
from agentd.jobs import supervisor
from agentd.linux import now
from agentd.private import _BUS_CONFIG, Unusable, runtime

_BUS = "bus"  # the id of the bus among the supervisor's children; job runs have a dot in theirs
_SPOOL = "ended"
_BURST = 32  # runs at once from which on a second supervisor is worth starting
_PAUSE = 0.03  # seconds between two looks whether a burst is over


class Supervisor:
    """One supervisor process and the socket to it; `spool` is where it leaves the ends that nobody stored.

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
        self.unstored: set[str] = set()  # those, and the ended ones whose end is not stored yet
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
                reason = f"its command and environment cannot be passed on: {error.strerror}"
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


class Standalone:
    """Runs jobs as child processes below a supervisor, and the bus too. Reports reach the callbacks on the event loop.

    A burst gets a second supervisor: each start keeps the one that starts it waiting until the program is loaded.
    """

    mode = "standalone"
    outlives = False

    def __init__(
        self,
        state: Path,
        lock_file: int,
        on_started: Callable[[str, int], None],
        on_ended: Callable[[str, Outcome], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self._state = state
        self._lock_file = lock_file
        self._on_started = on_started
        self._on_ended = on_ended
        self._on_lost = on_lost
        self._closing = False
        self._supervisors: list[Supervisor] = []
        self._places: dict[str, Supervisor] = {}  # of the runs whose end is not stored yet
        self._unstarted: dict[str, int] = {}  # when the runs are due of which no report came yet
        self.address = ""
        self._folder = runtime()
        supervisor.adopt_orphans()
        self._add_supervisor()

    def _add_supervisor(self) -> Supervisor:
        spool = self._state / f"{_SPOOL}-{len(self._supervisors)}.jsonl"
        added = Supervisor(spool, self._lock_file, self._report, self._lost, self._in_burst)
        self._supervisors.append(added)
        return added

    def _place(self) -> Supervisor:
        """The supervisor for one more run."""
        place = min(self._supervisors, key=lambda one: len(one.under_way))
        if len(place.under_way) >= _BURST and len(self._supervisors) < min(2, os.cpu_count() or 1):
            return self._add_supervisor()
        return place

    def _in_burst(self) -> bool:
        """Whether many processes are to be started right now."""
        latest = now()
        overdue = [due for due in self._unstarted.values() if due <= latest]
        return len(overdue) > _BURST and max(overdue) > latest - supervisor.PATIENCE * SECOND

    @property
    def under_way(self) -> int:
        """How many runs were started and have not ended."""
        return sum(len(one.under_way) for one in self._supervisors)

    async def start_bus(self) -> str:
        """Starts the private bus and publishes its address. Raises Unusable where there is no dbus-daemon."""
        program = shutil.which("dbus-daemon")
        if program is None:
            raise Unusable("dbus-daemon is not installed (apt install dbus-daemon)")
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / f"bus-{os.getpid()}"
        path.unlink(missing_ok=True)
        config = self._state / "bus.conf"
        config.write_text(_BUS_CONFIG.format(socket=path))
        self._supervisors[0].order(
            op="start",
            id=_BUS,
            argv=[program, f"--config-file={config}", "--nofork", "--nopidfile", "--nosyslog"],
            env={},
            cwd="/",
            user=None,
            group=None,
            output=str(self._state / "bus.log"),
            cap=1 << 16,
            timeout=None,
            kill_after=2.0,
            at=None,
        )
        self.address = f"unix:path={path}"
        return self.address

    def publish(self) -> None:
        """Tells agentctl where the bus is, once agentd answers there."""
        new = self._folder / f"address.{os.getpid()}"
        new.write_text(f"{self.address}\n{os.getpid()}\n")
        new.rename(self._folder / "address")

    def start(self, run: Run, job: Job, output: Path, cap: int, folder: str) -> None:
        """Starts a run's process when it is due. `folder` is where it works unless the job says otherwise."""
        facts = {
            "AGENTD_JOB": run.job,
            "AGENTD_RUN_ID": run.run_id,
            "AGENTD_DUE": iso(run.due),
            "AGENTD_ATTEMPT": str(run.attempt),
            "AGENTD_ADDRESS": self.address,
        }
        place = self._places[run.run_id] = self._place()
        place.under_way.add(run.run_id)
        self._unstarted[run.run_id] = run.due
        place.unstored.add(run.run_id)
        place.order(
            op="start",
            id=run.run_id,
            argv=job.run,
            env={**job.environment, **facts},
            cwd=job.working_directory or folder,
            user=job.user,
            group=job.group,
            output=str(output),
            cap=cap,
            timeout=None if job.timeout is None else job.timeout / SECOND,
            kill_after=job.stop_timeout / SECOND,
            at=time.monotonic() + (run.due - now()) / SECOND,
        )

    def stop(self, run_id: str, result: str) -> None:
        """Ends a run's process group; it will be reported with that result."""
        if (place := self._places.get(run_id)) is not None:
            place.order(op="stop", id=run_id, result=result)

    def stored(self, run_id: str) -> None:
        """The end of a run is stored: its supervisor may forget it, and a second one may go when it has no other."""
        place = self._places.pop(run_id, None)
        if place is None:
            return
        place.order(op="stored", id=run_id)
        place.unstored.discard(run_id)
        if place is not self._supervisors[0] and not place.unstored:
            self._supervisors.remove(place)
            asyncio.get_running_loop().run_in_executor(None, place.close())

    def warnings(self, config: Config) -> list[str]:
        """What of the configuration has no effect in this mode."""
        without = [job.name for job in config.jobs.values() if job.systemd or job.limits != Limits()]
        text = f"limits and systemd settings of {', '.join(without)} have no effect: standalone mode runs jobs itself"
        found = [text] if without else []
        if config.reboot != RebootPolicy():
            found.append("reboot has no effect: standalone mode does not reboot the machine")
        return found

    async def prepare(self, config: Config) -> None:
        """Nothing to do before jobs of a configuration can start."""

    async def take_up(self, saved: Saved, *, rebooted: bool) -> Saved:
        """What the store has, with what the supervisors of a daemon before left: ends that it did not live to store,
        and runs that had not begun, which wait again."""
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
        """What was left behind is stored now."""
        for spool in self._spools():
            spool.unlink()

    def _spools(self) -> list[Path]:
        return list(self._state.glob(f"{_SPOOL}-*.jsonl"))

    def close(self) -> None:
        """Ends the supervisors, and with them the bus and whatever still runs."""
        self._closing = True
        for wait in [one.close() for one in self._supervisors]:
            wait()
        published = self._folder / "address"
        if self.address and published.exists() and published.read_text().startswith(f"{self.address}\n"):
            published.unlink(missing_ok=True)
        Path(self.address.removeprefix("unix:path=")).unlink(missing_ok=True)

    def _lost(self) -> None:
        """A supervisor was killed: ends what it left behind, which this process has adopted, and all else."""
        if self._closing:
            return
        for below in supervisor.descendants(os.getpid()):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(below, signal.SIGKILL)
        for run_id in list(self._places):
            self._ended(run_id, Outcome(result="interrupted", reason="the supervisor of the jobs ended"))
        self._on_lost("the supervisor of the jobs ended unexpectedly")

    def _report(self, report: dict[str, object]) -> None:
        run_id, event = str(report.pop("id")), report.pop("ev")
        self._unstarted.pop(run_id, None)
        if run_id == _BUS:
            if event == "ended" and not self._closing:
                self._on_lost(f"the private bus ended: {report.get('reason') or report.get('tail') or ''}".strip())
        elif event == "started":
            self._on_started(run_id, msgspec.convert(report["at"], int))
        else:
            self._ended(run_id, msgspec.convert(report, Outcome))

    def _ended(self, run_id: str, outcome: Outcome) -> None:
        if (place := self._places.get(run_id)) is not None:
            place.under_way.discard(run_id)
        self._on_ended(run_id, outcome)
