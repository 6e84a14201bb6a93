"""Files in /run about the units of jobs: which run a unit was started for, and how its last invocation ended.

What is done for each run makes no Path: that would intern the names, and Python's table of interned names grows with
each that is new there, also where none of them is left.
"""

import contextlib
import os
from datetime import datetime
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from agentd.core.jobs.model import Outcome, Run
from agentd.core.quantities import SECOND, iso
from agentd.jobs.supervisor.signals import name_of

NOTES = Path("/run/agentd/runs")
"""agentd's notes of the runs that were asked for; start-job hands them to the job."""
ENDED = Path("/run/agentd-ended")
"""The folder, root's own, where note-end leaves how a unit ended."""
_PASSED_ON = {"timeout", "oom-kill"}  # systemd's words that are agentd's too
_CODES = {1: "exited", 2: "killed", 3: "dumped"}  # CLD_EXITED and so on of sigaction(2)
_UNKNOWN = (1 << 64) - 1  # systemd's figure for what it does not know


class End(Struct, frozen=True):
    """The end of an invocation of a unit; words and numbers as $MONITOR_SERVICE_RESULT and so on in systemd.exec(5).

    `at` is in microseconds since 1970, `cpu_usec` in microseconds, `peak_memory` in bytes; 0 is not known.
    """

    invocation: str
    result: str
    code: str
    status: str
    cpu_usec: int
    peak_memory: int
    at: int

    def outcome(self, verdict: str, *, by_systemd: bool | None, began: bool) -> Outcome:
        """Returns the end as a run's outcome.

        `verdict` is the result that agentd's own stop stands for; `by_systemd` tells whether somebody else had the unit
        stopped (None: nobody was there to see), `began` whether the job's program is known to have begun.
        """
        return replace(
            self._verdict(verdict, by_systemd=by_systemd, began=began),
            ended=self.at,
            cpu_usec=self.cpu_usec,
            peak_memory=self.peak_memory,
            invocation=self.invocation,
        )

    def _verdict(self, verdict: str, *, by_systemd: bool | None, began: bool) -> Outcome:
        if self.code == "exited" and self.status.isdecimal():
            code, name = int(self.status), ""
            # Of systemd's own codes (systemd.exec(5)) only start-job's 203 comes after the beginning.
            if code == 203 or (200 <= code <= 243 and not began):
                reason = f"systemd could not start the job (status {code}, see systemd.exec(5)); its journal says more"
                return Outcome(result=verdict or "start-failed", exit_code=code, reason=reason)
        elif self.code in {"killed", "dumped"}:
            code, name = None, _signal(self.status)
        else:
            reason = f"systemd could not start the job ({self.result or 'systemd did not say why'})"
            return Outcome(result=verdict or "start-failed", reason=reason)
        if verdict:
            return Outcome(result=verdict, exit_code=code, signal=name)
        # Where nobody saw who sent a signal that systemd takes for a clean end, systemd's view counts.
        if (by_systemd and self.result != "oom-kill") or (by_systemd is None and name and self.result == "success"):
            return Outcome(result="stopped", exit_code=code, signal=name, reason="stopped through systemd")
        if self.result in _PASSED_ON:
            return Outcome(result=self.result, exit_code=code, signal=name)
        if name:
            return Outcome(result="core-dump" if self.code == "dumped" else "signal", signal=name)
        # systemd's word: its SuccessExitStatus= may be set for the job.
        return Outcome(result="success" if self.result == "success" else "exit-code", exit_code=code)


def _signal(status: str) -> str:
    """Returns the name of the signal that ended a process: systemd tells "KILL" and "RTMIN+6", older notes a number."""
    return name_of(int(status)) if status.isascii() and status.isdecimal() and len(status) < 4 else f"SIG{status}"


class Note(Struct, frozen=True):
    """The run that a unit was started for, and the invocations of the unit that had ended before, with commas."""

    instance: str
    run_id: str
    before: str


def read_end(instance: str) -> End | None:
    """Returns how the last invocation of a job's unit ended; None where none did, or note-end is still writing."""
    try:
        with open(f"{ENDED}/{instance}") as file:
            lines = file.read(4096).split("\n")
            written = os.fstat(file.fileno()).st_mtime_ns // 1000
    except (OSError, UnicodeDecodeError):
        return None
    # Six lines and no instant: by end-job, in a unit from before an upgrade.
    if "end" not in lines[6:8]:
        return None
    cpu, peak = (int(line) if line.isdecimal() else 0 for line in lines[4:6])
    return End(lines[0], lines[1], lines[2], lines[3], cpu, peak, _instant(lines[6]) or written)


def _instant(text: str) -> int:
    """Returns the instant of a time such as "Wed 2026-11-25 23:17:42.123456 UTC"; 0 where the text is none."""
    words = text.split()
    try:
        return round(datetime.fromisoformat(f"{words[1]}T{words[2]}+00:00").timestamp() * SECOND)
    except (IndexError, ValueError):
        return 0


def end_of(properties: dict[str, Any]) -> End | None:
    """Returns the end that the properties of a service at rest tell; None where they tell of no run."""
    if not properties:
        return None
    code, status = _CODES.get(properties["ExecMainCode"], ""), properties["ExecMainStatus"]
    if code in {"killed", "dumped"}:
        status = name_of(status).removeprefix("SIG")
    cpu, peak = (0 if properties[name] == _UNKNOWN else properties[name] for name in ("CPUUsageNSec", "MemoryPeak"))
    return End(
        properties["InvocationID"],
        properties["Result"],
        code,
        str(status) if code else "",
        cpu // 1000,
        peak,
        properties["StateChangeTimestamp"],
    )


def write_note(instance: str, run: Run, before: str) -> None:
    """Notes a run before its start is asked for; jobs of all users can read the note. Raises OSError."""
    note = f"{NOTES}/.{instance}"
    with open(note, "w") as file:
        file.write(f"{run.run_id} {iso(run.due)} {run.attempt} {before}\n")
    os.chmod(note, 0o644)
    os.rename(note, f"{NOTES}/{instance}")


def forget_note(instance: str) -> None:
    """Removes the note of a run whose end is stored."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{NOTES}/{instance}")


def read_notes() -> list[Note]:
    """Returns the notes of the agentd before this one, and removes notes that are not whole. Raises OSError."""
    NOTES.mkdir(mode=0o755, exist_ok=True)
    NOTES.chmod(0o755)
    found = []
    for file in NOTES.iterdir():
        words = file.read_text(errors="replace").split()
        if file.name.startswith(".") or len(words) != 4:
            file.unlink(missing_ok=True)  # the start was never asked for
        else:
            found.append(Note(file.name, words[0], words[3]))
    return found
