"""The looks at a world: its database beside the truth, and its answers beside /proc."""

import contextlib
import shutil
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass

from agentd.core.quantities import iso
from tests.chaos import processes, truth
from tests.chaos.caller import Caller, CallFailed, plain
from tests.chaos.report import uptime
from tests.chaos.truth import Decision, Known, Recorded, Start
from tests.chaos.world import World

DATABASE = "agentd.db"
_RUNS = "SELECT seq, job, due, attempt, cause, state, started, result, exit_code, reason FROM runs"
_DECISIONS = "SELECT at, kind, about, run_id, reason FROM decisions WHERE part = 'jobs'"
_TOLD = (
    "set aside",
    "damaged",
    "cannot be read",
    "could not be read",
    "behind",
    "older",
    "lost",
    "gone",
    "was removed",
)


@dataclass(frozen=True)
class State:
    """A database as it lies on the disk: whether it is sound, and what it holds."""

    check: str
    rows: Mapping[str, Recorded]
    decisions: list[Decision]


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def read_state(world: World) -> State | None:
    """Reads a copy of the database, while no agentd runs; None where there is none, or none that can be read."""
    copies = world.folder / "copies"
    shutil.rmtree(copies, ignore_errors=True)
    copies.mkdir()
    for suffix in ("", "-wal"):
        with contextlib.suppress(FileNotFoundError):
            shutil.copy(world.state / f"{DATABASE}{suffix}", copies / f"{DATABASE}{suffix}")
    if not (copies / DATABASE).exists():
        return None
    offset = time.time() - uptime()

    def at(usec: object) -> float:
        known = isinstance(usec, int) and usec and not world.profile.shifts
        return usec / 1e6 - offset if known and isinstance(usec, int) else 0.0

    try:
        with contextlib.closing(sqlite3.connect(copies / DATABASE)) as database:
            database.text_factory = lambda data: data.decode(errors="replace")
            check = str(database.execute("PRAGMA integrity_check(1)").fetchone()[0])
            rows = {}
            for seq, job, due, attempt, cause, state, started, result, code, reason in database.execute(_RUNS):
                run_id, began = f"{_text(job)}.{seq}", max(at(due), at(started))
                known = iso(due) if isinstance(due, int) and abs(due) < 1 << 57 else _text(due)
                words = (attempt, _text(cause), _text(state), began, _text(result), code, _text(reason))
                rows[run_id] = Recorded(run_id, known, at(due), *words)
            decisions = [Decision(at(when), *map(_text, rest)) for when, *rest in database.execute(_DECISIONS)]
    except sqlite3.Error as error:
        return State(str(error), {}, [])
    return State(check, rows, decisions)


class Judge:
    """Judges a world again and again. An era lasts as long as a database does: after a loss that agentd told of, run
    ids begin again."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._begin = uptime()
        self._known: dict[str, Recorded] = {}  # before the last damage: rows that must be there
        self._unseen = 0  # how many of them may have become others, where no one can see that
        self._damage = ""
        self._blurred = 0.0  # rows of before that time may not be what they were
        self._altered: frozenset[str] = frozenset()  # nor are these, whatever time they tell
        self._seen_starts = 0
        self._all: list[Start] = []
        self._counts = truth.Counts()
        self._recorded = self._decided = 0
        self._base: tuple[int, int, int] = (0, 0, 0)  # of this daemon: its process id, files and memory

    @property
    def facts(self) -> Mapping[str, Known]:
        """The facts about the jobs whose configuration never changes."""
        return {name: job.known for name, job in self._world.profile.jobs.items()}

    def starts(self) -> list[Start]:
        """Returns the starts of this era."""
        starts, odd = truth.read((self._world.folder / "truth").read_text())
        self._world.found(odd)
        self._world.report.count("starts by the jobs' own word", len(starts) - self._seen_starts)
        self._seen_starts = len(starts)
        self._all = starts
        return [start for start in starts if start.at >= self._begin]

    # The database beside the truth

    def judge(self) -> State | None:
        """Compares what is recorded with the truth, while no agentd runs. Returns the state that was read."""
        world = self._world
        world.report.count("databases compared with the truth")
        starts = self.starts()
        world.found(truth.runs_doubled(starts))
        world.found(truth.dues_doubled(self._all))  # of all eras: a due time stays what it was
        world.found(truth.beside_themselves(starts, self.facts))
        state = read_state(world)
        if state is None:
            if starts:
                world.violated("no state", str(world.fault), "there is no database, though jobs have started")
            return None
        if state.check != "ok":
            world.violated("integrity", str(world.fault), f"the database is not sound: {state.check}")
            return state
        gone = self._known.keys() - state.rows.keys()
        if len(gone) > self._unseen:
            some = ", ".join(sorted(gone)[:3])
            text = (
                f"after fault {self._damage} {len(gone)} recorded runs are gone, such as {some}; agentd did not say so"
            )
            world.violated("the state went back silently", str(world.fault), text)
            self.new_era()
            return state
        world.found(truth.unrecorded(starts, state.rows))
        self._compare(starts, state)
        return state

    def _compare(self, starts: list[Start], state: State) -> None:
        world = self._world
        rows = {
            run_id: row
            for run_id, row in state.rows.items()
            if run_id not in self._altered and (world.profile.shifts or row.began > self._blurred + 0.1)
        }
        stopped = frozenset(one.run_id for one in state.decisions if one.kind == "stop")
        lag = world.lag.worst
        found, counts = truth.untrue_ends(starts, rows, world.deeds, stopped, self.facts, lag)
        world.found(found)
        self._counts = counts
        self._recorded = len(state.rows)
        self._decided = len(state.decisions)
        if not world.profile.shifts:
            due = [row for row in rows.values() if row.due_at > self._blurred]  # what passed before, the loss told of
            world.found(truth.skipped_silently(due, state.decisions, self.facts))
            cost = world.lag.cost
            world.found(truth.untrue_reasons(state.decisions, starts, world.deeds, rows, self.facts, lag, cost))

    def close(self) -> None:
        """Adds the counts of the era to the report."""
        report = self._world.report
        report.count("runs recorded", self._recorded)
        report.count("decisions recorded", self._decided)
        report.count("runs cut off by a death, told as interrupted", self._counts.cut_off)
        report.count("runs that ended during a stop which a death followed", self._counts.frozen)
        report.count("runs cut off before their first word", self._counts.wordless)
        with report.lock:
            report.unseen += self._counts.unseen
        self._counts, self._recorded, self._decided = truth.Counts(), 0, 0

    # Eras

    def new_era(self) -> None:
        """Begins an era: what was recorded before is gone, and agentd said so, or its silence was told."""
        self.close()
        self._begin = uptime()
        self._known, self._blurred, self._altered = {}, self._begin, frozenset()

    def damaged(self, before: State | None, log: str, unseen: int) -> None:
        """Looks, once agentd runs again after damage, whether it told of a loss. In silence every row must still be
        there, but for `unseen` ones: nobody can see that a bit makes another text of a text."""
        told = log
        with contextlib.suppress(OSError, TimeoutError, CallFailed), self._world.caller() as caller:
            told += "\n".join(caller.property("Manager.Warnings"))
        lines = [line for line in told.lower().splitlines() if "state" in line or "database" in line]
        if any(word in line for line in lines for word in _TOLD):
            self.new_era()
            self._world.report.count("losses of state that were told")
            return
        self._damage = f"{self._world.fault} ({self._world.during})"
        self._known, self._unseen = dict(before.rows) if before is not None else {}, unseen
        self._altered |= frozenset(self._known) if unseen else frozenset()
        self._blurred = uptime()

    # The answers beside /proc

    def agree(self) -> None:
        """Looks, while agentd runs and nothing is done to it, whether its answers agree with what there is."""
        world = self._world
        if not world.pid:
            return
        world.report.count("answers compared with /proc")
        begin = uptime()
        try:
            with world.caller() as caller:
                first, alive = self._running(caller), self._runs_alive()
                time.sleep(2.0 + 4 * world.lag.worst(begin - 2, uptime()))
                alive |= self._runs_alive()
                second = self._running(caller)
                alive |= self._runs_alive()
                unknown = self._leading() - self._running(caller) - second - first
                if unknown:  # a run that began just now may be told of a moment later
                    time.sleep(1.0 + 4 * world.lag.worst(begin, uptime()))
                    unknown -= self._running(caller)
                after = self._running(caller)
                warnings = caller.property("Manager.Warnings")
        except (OSError, TimeoutError, CallFailed) as error:
            world.violated("no answer", str(world.fault), f"agentd does not answer: {error}")
            return
        for run_id in (first & second & after) - alive:
            text = f"{run_id} is said to be running for {uptime() - begin:.1f} s, and has no process"
            world.violated("running without a process", run_id, text)
        for run_id in unknown & self._leading():
            world.violated("a process unknown", run_id, f"{run_id} has a process and is not said to be running")
        self._beats(warnings)
        self._bounded()
        self.hidden()

    def _running(self, caller: Caller) -> set[str]:
        records = map(plain, caller.property("Jobs.Running"))
        return {str(record["run_id"]) for record in records if record["state"] == "running"}

    def _runs_alive(self) -> set[str]:
        return {one.run_id for one in processes.of_world(self._world.folder) if one.run_id}

    def _leading(self) -> set[str]:
        """Returns the runs whose leading process is alive, and has not written of its end."""
        leaders = {start.pid: start.run_id for start in self.starts() if not start.word}
        alive = processes.of_world(self._world.folder)
        return {one.run_id for one in alive if one.run_id and leaders.get(one.pid) == one.run_id}

    def _beats(self, warnings: list[str]) -> None:
        """Looks whether the job of every second still runs, unless a disk is full just now."""
        world = self._world
        begin = uptime() - 1

        def beaten() -> bool:
            with (world.folder / "truth").open("rb") as file:
                file.seek(max(0, file.seek(0, 2) - 20_000))
                lines = [line.split() for line in file.read().decode(errors="replace").splitlines()[1:]]
            return any(
                words[1].startswith("metronome.") and float(words[5]) >= begin for words in lines if len(words) > 5
            )

        if not world.until(beaten, 15.0):
            told = f" ({'; '.join(warnings)})" if warnings else ", and no warning says so"
            text = f"metronome, due every second, has not started for {uptime() - begin:.0f} s{told}"
            world.violated("nothing starts", str(world.fault), text)

    def _bounded(self) -> None:
        """Looks whether this daemon has as many files open, and as much memory, as at its first look."""
        world, pid = self._world, self._world.pid
        now = (pid, processes.files(pid), processes.resident(pid))
        if self._base[0] != pid:
            self._base = now
        elif pid:
            files, memory = now[1], now[2]
            if files > self._base[1] + 8:
                text = f"agentd has {files} files open, {self._base[1]} at first"
                world.violated("files", str(pid), text)
            if memory > self._base[2] * 3 // 2:
                text = f"agentd has {memory >> 20} MiB of memory, {self._base[2] >> 20} MiB at first"
                world.violated("memory", str(pid), text)

    # The configuration

    def in_force(self, version: int, *, bad: bool = False) -> None:
        """Waits for the configuration of a version to be in force, with an error told where the file is `bad`."""
        world = self._world
        wanted, begin = {f"v{version}"}, uptime()
        names: set[str] = set()
        error = ""

        def settled() -> bool:
            nonlocal names, error
            with contextlib.suppress(OSError, TimeoutError, CallFailed), world.caller() as caller:
                jobs = {str(plain(record)["name"]) for record in caller.call("Jobs.ListJobs", "a{sv}", {})}
                names = {name for name in jobs if name[0] == "v" and name[1:].isdigit()}
                error = caller.property("Manager.ConfigurationError")
                return names == wanted and bool(error) == bad
            return False

        if not world.until(settled, 15.0):
            told = f'with the error "{error}"' if error else "without an error"
            text = f"after {uptime() - begin:.0f} s {names or 'nothing'} is in force {told}, not v{version}"
            world.violated("another configuration", str(world.fault), text)

    # What stopped runs leave behind

    def hidden(self) -> None:
        """Looks whether what a run hid in another session is still there, long after SIGTERM ended the run."""
        world = self._world
        alive = {one.pid: one for one in processes.of_world(world.folder)}
        for start in self.starts():
            if start.word != "T" or uptime() <= start.end + world.patience(start.end):
                continue
            for child in start.children:
                if child in alive and alive[child].run_id == start.run_id:
                    after = uptime() - start.end
                    text = f"process {child} of {start.run_id} lives on {after:.0f} s after that was ended"
                    world.violated("a child lives on", start.run_id, text)
