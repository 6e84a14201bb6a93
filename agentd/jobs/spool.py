"""Files in /run about the units of jobs: which run a unit was started for, and how its last invocation ended."""

import os
import signal
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from agentd.core.jobs.model import Outcome, Run
from agentd.core.quantities import iso

NOTES = Path("/run/agentd/runs")
"""agentd's notes of the runs that were asked for; start-job hands them to the job."""
ENDED = Path("/run/agentd-ended")
"""The folder, root's own, where end-job leaves how a unit ended."""
_PASSED_ON = {"timeout", "oom-kill"}  # systemd's words that are agentd's too


class End(Struct, frozen=True):
    """The end of an invocation of a unit; words and numbers as $SERVICE_RESULT and so on in systemd.exec(5)."""

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
            code, name = None, f"SIG{self.status}"
            name = name if name in signal.Signals.__members__ else f"signal {self.status}"
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


class Note(Struct, frozen=True):
    """The run that a unit was started for, and the invocation of the unit that had ended last before."""

    instance: str
    run_id: str
    before: str


def read_end(instance: str) -> End | None:
    """Returns how the last invocation of a job's unit ended; None where none did, or end-job is still writing."""
    try:
        with (ENDED / instance).open() as file:
            lines = file.read(4096).split("\n")
            at = os.fstat(file.fileno()).st_mtime_ns // 1000
    except (OSError, UnicodeDecodeError):
        return None
    if len(lines) < 7 or lines[6] != "end":
        return None
    cpu, peak = (int(line) if line.isdecimal() else 0 for line in lines[4:6])
    return End(lines[0], lines[1], lines[2], lines[3], cpu, peak, at)


def write_note(instance: str, run: Run, before: str) -> None:
    """Notes a run before its start is asked for; jobs of all users can read the note. Raises OSError."""
    note = NOTES / f".{instance}"
    note.write_text(f"{run.run_id} {iso(run.due)} {run.attempt} {before}\n")
    note.chmod(0o644)
    note.rename(NOTES / instance)


def forget_note(instance: str) -> None:
    """Removes the note of a run whose end is stored."""
    (NOTES / instance).unlink(missing_ok=True)


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
