"""The things that a daemon before this one left when it was killed: ends that nobody stored, and processes of runs."""

import asyncio
import os
import signal
import time
from pathlib import Path

import msgspec

from agentd import log as logging
from agentd.core.jobs.model import Outcome
from agentd.jobs.supervisor import tree
from agentd.jobs.supervisor.wire import GRACE_AFTER_CRASH, NOT_BEGUN

log = logging.get()

_LAST_PATIENCE = 10.0  # seconds for processes to end that were sent SIGKILL


class Leftover:
    """The notes and processes of daemons before, in the state directory whose lock this daemon holds.

    `state` is the value by which processes are known as started for this state directory (AGENTD_STATE): the file that
    is locked, so that whoever may end those processes is who holds the lock, by whatever path.
    """

    def __init__(self, folder: Path, lock_file: int) -> None:
        self._folder = folder
        status = os.fstat(lock_file)
        self.state = f"{status.st_dev}:{status.st_ino}"
        self._own: set[Path] = set()
        self._read: list[Path] = []
        self._note = self.new_note()

    def new_note(self) -> Path:
        """Returns a file for ends that nobody stored, with a name that none had before: nothing replaces another's."""
        path = self._folder / f"unstored-{os.urandom(8).hex()}.jsonl"
        self._own.add(path)
        return path

    def read(self) -> dict[str, Outcome]:
        """Returns the ends that nobody stored, by run; a result of NOT_BEGUN is of a run that waits again."""
        self._read = [
            path for glob in ("ended-*.jsonl", "unstored-*.jsonl") for path in self._folder.glob(glob)
            if path not in self._own
        ]  # fmt: skip
        reports: dict[str, Outcome] = {}
        for line in b"\n".join(path.read_bytes() for path in self._read).splitlines():
            try:
                report = msgspec.json.decode(line, type=dict[str, object])
                run_id, outcome = str(report.get("id")), msgspec.convert(report, Outcome)
            except msgspec.MsgspecError:
                # The room of a note that was not written, or a line that was cut short: that run counts as interrupted.
                continue
            if outcome.result != NOT_BEGUN or run_id not in reports:
                reports[run_id] = outcome
        return reports

    def forget(self) -> None:
        """Removes the notes that were read, once they are stored, and before anything starts because of them."""
        if not self._read:
            return
        for path in self._read:
            path.unlink()
        self._read = []
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)  # a power cut must not bring them back, and with them a run that began meanwhile
        finally:
            os.close(folder)

    def set_aside(self, run_id: str) -> None:
        """Leaves word for the next daemon that a run has not begun."""
        try:
            with self._note.open("ab") as file:
                file.write(msgspec.json.encode({"id": run_id, "result": NOT_BEGUN}) + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            text = f"{run_id} has not begun, which could not be noted in {self._note}: {error.strerror}"
            log.error(f"{text}; the run will count as interrupted", id="state-trouble")

    async def end_processes(self) -> None:
        """Ends what is left of runs whose daemon and supervisor were killed together, and waits for that: they must not
        count as interrupted, or start again, while they are under way."""
        begin = time.monotonic()
        asked: set[int] = set()
        while found := self._processes():
            waited = time.monotonic() - begin
            if waited > GRACE_AFTER_CRASH + _LAST_PATIENCE:
                log.error(f"processes of runs before do not end: {', '.join(map(str, found))}", id="peer-trouble")
                return
            if waited > GRACE_AFTER_CRASH:
                tree.send(found, signal.SIGKILL)
            else:
                tree.send([pid for pid in found if pid not in asked], signal.SIGTERM, signal.SIGCONT)
            asked.update(found)
            await asyncio.sleep(0.02)

    def _processes(self) -> list[int]:
        """Returns the processes that were started for this state directory, and those below them. This process counts
        neither, nor what it started and was started by: a job may have started this agentd."""
        wanted = self.state.encode()
        me = os.getpid()
        marked = [pid for pid in tree.every() if tree.variables(pid).get(tree.STATE) == wanted]
        if not [pid for pid in marked if pid != me]:
            return []
        processes = tree.Snapshot()
        own = {me, *processes.below(me), *processes.above(me)}
        roots = [pid for pid in marked if pid not in own and processes.group(pid)]
        return [*roots, *(pid for pid in processes.below(*roots, but=own) if pid not in roots)]
