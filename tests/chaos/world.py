"""A world: one real agentd with its folders, its processes and its jobs, to which faults are done."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.chaos import processes, shifted
from tests.chaos.caller import Caller
from tests.chaos.processes import Process
from tests.chaos.profiles import Job, Profile
from tests.chaos.report import Lag, Report, Violation, uptime
from tests.chaos.truth import Deed, Finding

ROOT = Path(__file__).parents[2]
PATIENCE = 10.0
"""Seconds in which agentd does what takes it a moment; four times the machine's own delay is added."""
START = 60.0
"""Seconds in which agentd answers after its start; an agentd that was killed is waited for up to 15 s."""
_DEFECT = re.compile(r"Traceback \(most recent|a defect in |was never retrieved|Exception ignored")


class World:
    """An agentd under test in the folder `top`/`number`; `seed` names its faults. Where something is violated, the
    folder is copied to `kept` in the end."""

    def __init__(
        self, top: Path, number: int, seed: str, profile: Profile, report: Report, lag: Lag, kept: Path
    ) -> None:
        folder = self.folder = top / str(number)
        self._kept = kept / str(number)
        self.number = number
        self.seed = seed
        self.profile = profile
        self.report = report
        self.lag = lag
        self.fault = 0
        self.during = "the first start"
        self.deeds: list[Deed] = []
        self.shift = 0
        self.zone: str | None = "UTC"
        self.version = 0
        self.more: dict[str, Job] = {}
        self.process: subprocess.Popen[bytes] | None = None
        self.state, self.config, self.log = folder / "state", folder / "conf", folder / "log"
        self._left: list[tuple[float, str, list[Process]]] = []
        self._seen: set[tuple[str, str]] = set()
        self._read = 0
        for name in ("state", "conf/conf.d", "run", "alive", "elsewhere", "copies"):
            (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "truth").touch()
        self.log.touch()
        python = self.folder / "python"
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "{shifted.__file__}" "$@"\n')
        python.chmod(0o700)
        self.set_clock(0)
        if profile.disk:
            options = ["-t", "tmpfs", "-o", f"size={profile.disk},mode=0700", "tmpfs", str(self.state)]
            subprocess.run(["mount", *options], check=True)

    # The violations

    def violated(self, kind: str, key: str, sentence: str) -> None:
        """Takes note of a violation, once for a kind and key."""
        if (kind, key) not in self._seen:
            self._seen.add((kind, key))
            where = (self.seed, self.number, self.profile.name, self.fault, self.during)
            self.report.violated(Violation(*where, kind, sentence, str(self._kept)))

    def found(self, findings: Iterable[Finding]) -> None:
        """Takes note of what a judge found."""
        for one in findings:
            self.violated(one.kind, one.key, one.sentence)

    @property
    def sound(self) -> bool:
        """Whether nothing was violated in this world."""
        return not self._seen

    def patience(self, begin: float, seconds: float = PATIENCE) -> float:
        """Returns how long something that began then may take, in seconds, on this machine as busy as it is."""
        return seconds + 4 * self.lag.worst(begin, uptime())

    def until(self, true: Callable[[], object], seconds: float = PATIENCE) -> bool:
        """Waits for something to come true; returns whether it did."""
        begin = uptime()
        while not true():
            if uptime() > begin + self.patience(begin, seconds):
                return False
            time.sleep(0.05)
        return True

    # The configuration

    def configure(self, *, more: dict[str, Job] | None = None) -> int:
        """Writes a valid configuration anew, which a job that is named after its version tells from all others."""
        self.version += 1
        self.more = self.more if more is None else more
        self.replace("agentd.yaml", self.profile.text(self.folder, self.more))
        self.replace("conf.d/50-version.yaml", self.versioned())
        return self.version

    def versioned(self) -> str:
        """Returns the text of the file that tells the version."""
        return f"jobs:\n  v{self.version}: {{run: 'true'}}\n"

    def replace(self, name: str, text: str) -> None:
        """Puts a file in the place of another at once."""
        new = self.config / f".{Path(name).name}.new"
        new.write_text(text)
        new.rename(self.config / name)

    def set_clock(self, shift: int) -> None:
        """Has agentd see the machine's clock moved by `shift` seconds, from now on."""
        self.shift = shift
        new = self.folder / "clock"
        with new.open("r+b" if new.exists() else "wb", buffering=0) as file:  # in place: those who run have it open
            file.write((shift * 10**9).to_bytes(8, "little", signed=True))
        if self.address():
            processes.send(signal.SIGRTMIN, [self.pid])

    # The processes

    @property
    def pid(self) -> int:
        """The process id of the daemon, 0 while there is none."""
        return self.process.pid if self.process is not None and self.process.poll() is None else 0

    def role(self, role: str) -> list[int]:
        """Returns the living processes of a role: daemon, supervisor, bus, job."""
        if role == "daemon":
            pid = self.pid  # a daemon may end between two looks
            return [pid] if pid else []
        found = [one for one in processes.of_world(self.folder) if one.pid != self.pid and _plays(role, one)]
        # What a supervisor has just forked is not a supervisor, and will be a job.
        parents = {one.pid for one in found} if role == "supervisor" else set()
        return sorted(one.pid for one in found if one.parent not in parents)

    def send(self, number: int, role: str, pids: Iterable[int]) -> None:
        """Sends a signal to processes of a role. Of a deed that kills, the end is when agentd has started again."""
        pids = list(pids)
        begin = uptime()
        deadly = number in {signal.SIGKILL, signal.SIGTERM} and role != "job"
        there = processes.of_world(self.folder) if deadly else []
        reached = frozenset(processes.send(number, pids))
        if deadly and reached:  # the daemon, or what it needs, ends: all of this must be gone soon
            self._left.append((begin, self.during, there))
        kind = "stopped" if number in {signal.SIGSTOP, signal.SIGCONT} else "term" if number == signal.SIGTERM else role
        if reached:
            end = float("inf") if deadly or number == signal.SIGSTOP else uptime()
            self.deeds.append(Deed(self.fault, begin, end, frozenset({kind}), reached))

    def did(self, begin: float, *kinds: str) -> None:
        """Takes note of another deed, from `begin` to now."""
        self.deeds.append(Deed(self.fault, begin, uptime(), frozenset(kinds)))

    def over(self) -> None:
        """Ends the deeds that are under way: from here on nothing is their consequence any more."""
        now = uptime()
        for place, deed in enumerate(self.deeds):
            if deed.end == float("inf"):
                self.deeds[place] = Deed(deed.number, deed.begin, now, deed.kinds, deed.pids)

    def kill(self, role: str = "daemon") -> None:
        """Kills all processes of a role with -9."""
        self.send(signal.SIGKILL, role, self.role(role))

    # Life

    def start(self, *, quick: bool = False, refusal: str = "") -> bool:
        """Starts agentd and waits until it answers (not so where `quick`); returns whether it runs.

        Where it may refuse, `refusal` is a pattern of the sentence.
        """
        environment = {**os.environ, "XDG_RUNTIME_DIR": str(self.folder / "run"), processes.MARK: str(self.folder)}
        environment |= {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        for name in [name for name in environment if name == "TZ" or name.startswith("AGENTD_")]:
            del environment[name]
        if self.zone is not None:
            environment["TZ"] = self.zone
        if self.profile.shifts:
            environment |= {shifted.CLOCK: str(self.folder / "clock"), shifted.PYTHON: str(self.folder / "python")}
        python = [sys.executable, *([shifted.__file__] if self.profile.shifts else [])]
        command = [*python, "-m", "agentd", "--standalone", "--config", str(self.config)]
        begin, size = uptime(), self.log.stat().st_size
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--state-dir", str(self.state)],
                stdout=log,
                stderr=log,
                env=environment,
                cwd=ROOT,
                start_new_session=True,  # Ctrl-C is for the harness
            )
        self.report.count("starts of agentd")
        if quick:
            return True
        self.until(lambda: self.address() or self.process is None or self.process.poll() is not None, START)
        if not self.pid or not self.address():
            self._not_started(size, refusal, uptime() - begin)
            return False
        self.over()
        return True

    def _not_started(self, size: int, refusal: str, took: float) -> None:
        told = self.log.read_bytes()[size:].decode(errors="replace").strip()
        last = told.splitlines()[-1] if told else ""
        if self.pid:
            self.violated("no start", str(self.fault), f"agentd did not answer within {took:.0f} s of its start")
            self.kill()
        elif not (refusal and re.search(refusal, told)):
            code = self.process.poll() if self.process is not None else None
            self.violated("no start", str(self.fault), f'agentd did not start (exit code {code}): "{last}"')
        if self.process is not None:
            self.process.wait()
        if not re.search(r"agentd: .{10}", told):
            self.violated("no sentence", str(self.fault), f'agentd ended at its start without a sentence: "{last}"')

    def address(self) -> str:
        """Returns the address of the bus, once this very daemon has published it; else ""."""
        with contextlib.suppress(OSError):
            for published in (self.folder / "run/agentd").glob("address*"):
                lines = published.read_text().splitlines()
                if len(lines) > 1 and lines[1] == str(self.pid):
                    return lines[0]
        return ""

    def caller(self, patience: float = 30.0) -> Caller:
        """Connects a caller that behaves."""
        return Caller(self.address(), patience)

    def ended(self, seconds: float = PATIENCE) -> bool:
        """Waits for the daemon to end by itself; returns whether it did. Else it is killed."""
        process = self.process
        if process is None or self.until(lambda: process.poll() is not None, seconds):
            told = b"agentd ends: " in self.log.read_bytes()[-50_000:]
            if process is not None and process.returncode > 0 and not told:
                text = f"agentd ended with exit code {process.returncode} after {self.during}, and the log says no word"
                self.violated("no sentence", str(self.fault), text)
            return True
        self.violated("no end", str(self.fault), f"agentd still runs {seconds:.0f} s after {self.during}")
        self.kill()
        process.wait()
        return False

    def terminate(self) -> bool:
        """Ends the daemon in peace; returns whether it did so."""
        if self.process is None or not self.pid:
            return False
        self.send(signal.SIGTERM, "daemon", [self.pid])
        if self.ended() and self.process.returncode:
            code = self.process.returncode
            self.violated("no peace", str(self.fault), f"agentd ended with exit code {code} after SIGTERM")
        return self.process.returncode == 0

    # What must not outlive its daemon

    def outlived(self, *, wait: bool = False) -> None:
        """Looks whether processes outlived their daemon beyond all patience. With `wait`, until that is certain."""
        seconds = self.profile.patience + PATIENCE
        for entry in list(self._left):
            begin, during, old = entry
            gone = self.until(lambda old=old: not any(one.alive() for one in old), seconds) if wait else False  # type: ignore[misc] # mypy sees no default of a lambda
            alive = [] if gone else [one for one in old if one.alive()]
            if alive and uptime() <= begin + self.patience(begin, seconds):
                continue
            self._left.remove(entry)
            for one in alive:
                text = f"process {one} is still there {uptime() - begin:.0f} s after {during}"
                self.violated("outlived its daemon", str(one.pid), text)
            processes.send(signal.SIGKILL, (one.pid for one in alive if one.alive()))

    # The log

    def look_at_log(self) -> str:
        """Returns what the log says since the last look, after having looked for defects in it."""
        data = self.log.read_bytes()[self._read :]
        self._read += len(data)
        text = data.decode(errors="replace")
        for line in text.splitlines():
            if _DEFECT.search(line):
                self.violated("a defect", line[9:60], f"the log says: {line}")
        return text

    def close(self) -> None:
        """Ends everything of this world, and removes its folder; keeps a copy where something was violated."""
        processes.end_all(self.folder)
        if self.process is not None:
            self.process.wait()
        if not self.sound:
            with contextlib.suppress(shutil.Error):  # tells of sockets, after all else was copied
                shutil.copytree(self.folder, self._kept, dirs_exist_ok=True)
        if self.profile.disk:
            subprocess.run(["umount", "--lazy", str(self.state)], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


def _plays(role: str, process: Process) -> bool:
    """Tells whether a process is a supervisor, the bus, or the leading process of a job."""
    if role == "supervisor":
        return "agentd/jobs/supervisor" in process.command and not process.run_id
    if role == "bus":
        return process.name == "dbus-daemon"
    return bool(process.run_id) and str(ROOT) in process.command
