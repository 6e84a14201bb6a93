"""The store: what was written comes back, what is old goes, what is damaged is set aside."""

import os
import resource
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from agentd.core.config import History
from agentd.core.jobs.model import JobSaved, JobState, Run, RunSaved, Saved
from agentd.core.part import Decided, Stored
from agentd.core.quantities import DAY
from agentd.daemon import mark as marks
from agentd.daemon.damage import left_aside, set_aside
from agentd.daemon.reading import decisions
from agentd.daemon.store import FILE, VERSION, Store
from agentd.jobs.tables import JobTables, list_runs
from agentd.part import Tables

RUN = Run(seq=1, job="a", due=10, cause="schedule", state="running", started=11)
ENDED = replace(RUN, state="ended", ended=20, result="exit-code", exit_code=3, tail="last words")


class JobStore(Store):
    """A store with the tables of jobs."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.tables = JobTables(folder)
        self.output = self.tables.output

    def open(self, at: int) -> None:
        super().open(at)
        self.take_up(self.tables)

    def load(self) -> Saved:
        return self.tables.load(self.db)

    def runs(self, **wanted: Any) -> list[Run]:
        return list_runs(self.db, **wanted)

    def decisions(self) -> list[Decided]:
        return decisions(self.db)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    opened = JobStore(tmp_path)
    opened.open(1)
    yield opened
    opened.close()


def again(store: JobStore, at: int = 2_000_000) -> JobStore:
    """The store after a restart."""
    store.close()
    store.open(at)
    return store


def test_what_was_written_comes_back_after_a_restart(store: JobStore) -> None:
    state = JobState(schedule="every 1h", anchor=5, since=5, handled=10, past=((1, 4),), interval=60, enabled=False)
    store.write([RunSaved(RUN), JobSaved("a", state), Decided(12, "jobs", "skip", "a", "why", "a.1")])
    saved = again(store).load()
    assert (saved.states, saved.open_runs, saved.next_seq) == ({"a": state}, (RUN,), 2)


def test_the_last_word_on_a_run_counts(store: JobStore) -> None:
    store.write([RunSaved(RUN), RunSaved(ENDED)])
    assert store.runs() == [ENDED]
    assert store.load().open_runs == ()
    assert store.load().last_runs == {"a": ENDED}


def test_a_due_time_that_comes_again_has_one_run(store: JobStore) -> None:
    store.write([RunSaved(ENDED)])
    store.write([RunSaved(replace(RUN, seq=2))])
    assert [run.seq for run in store.runs()] == [2]


def test_a_run_costs_few_pages(store: JobStore) -> None:
    """Of a run five pages are written when it starts and two when it ends, where all fits on one of each kind: the run,
    its two indexes, what is remembered of the job, the number of the batch; then the run and that number."""
    store.write([RunSaved(replace(ENDED, seq=seq, due=seq)) for seq in range(1, 5)])
    store.write([JobSaved("a", JobState(schedule="every 1h", handled=1))])
    store.db.execute("PRAGMA wal_autocheckpoint=0")
    wal = store.file.with_name(f"{FILE}-wal")
    pages = []
    for state in (RUN, replace(ENDED, result="success")):
        store.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        moved = JobSaved("a", JobState(schedule="every 1h", handled=2))
        store.write([RunSaved(replace(state, seq=5)), *([moved] if state == RUN else [])])
        pages.append((wal.stat().st_size - 32) // (4096 + 24))
    assert pages == [5, 2]


def test_a_transaction_is_stored_whole_or_not_at_all(store: JobStore) -> None:
    broken: list[Stored] = [RunSaved(RUN), Decided(12, "jobs", "skip", "a", None, "a.1")]  # type: ignore[arg-type]
    with pytest.raises(sqlite3.IntegrityError):
        store.write(broken)
    assert store.runs() == []
    store.write([RunSaved(RUN)])
    assert store.runs() == [RUN]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"job": "b"}, [3]),
        ({"seq": 2, "job": "a"}, [2]),
        ({"seq": 2, "job": "b"}, []),
        ({"result": "success"}, [2]),
        ({"failed": True}, [1]),
        ({"since": 25}, [3]),
        ({"limit": 2}, [3, 2]),
        ({"job": "a' OR 1=1 --"}, []),
    ],
)
def test_runs_are_found_by_what_is_asked_for(store: JobStore, wanted: dict[str, object], found: list[int]) -> None:
    others = (replace(ENDED, seq=2, due=20, result="success"), replace(RUN, seq=3, job="b", due=30, cause="manual"))
    store.write([RunSaved(ENDED), *map(RunSaved, others)])
    assert [run.seq for run in store.runs(**wanted)] == found


def test_old_runs_and_their_output_are_forgotten_but_none_that_is_not_over(store: JobStore) -> None:
    old, young = replace(ENDED, seq=1, due=1, ended=1), replace(ENDED, seq=2, due=2, ended=50 * DAY)
    waiting = replace(RUN, seq=3, due=3, state="queued")
    store.write([RunSaved(old), RunSaved(young), RunSaved(waiting), Decided(1, "jobs", "skip", "a", "old")])
    for run in (old, young):
        (store.output / f"{run.run_id}.log").write_text("words")
    store.prune(History(keep=30 * DAY), now=60 * DAY)
    assert [run.seq for run in store.runs()] == [3, 2]
    assert [file.name for file in store.output.iterdir()] == ["a.2.log"]
    assert store.decisions() == []


def test_only_so_many_runs_are_kept_and_their_numbers_are_not_used_again(store: JobStore) -> None:
    store.write([RunSaved(replace(ENDED, seq=seq, due=seq, ended=seq)) for seq in range(1, 301)])
    store.prune(History(keep=DAY, runs=100), now=300)
    assert [run.seq for run in store.runs(limit=1000)] == list(range(300, 200, -1))
    store.prune(History(keep=1000), now=DAY)
    assert again(store).load().next_seq == 301


def test_the_oldest_output_goes_when_there_is_too_much(store: JobStore) -> None:
    for seq in (1, 2, 3):
        run = replace(ENDED, seq=seq, due=seq, ended=DAY)
        store.write([RunSaved(run)])
        file = store.output / f"{run.run_id}.log"
        file.write_bytes(b"x" * 1000)
        os.utime(file, (seq, seq))
    store.prune(History(total_output=2500), now=DAY)
    assert sorted(file.name for file in store.output.iterdir()) == ["a.2.log", "a.3.log"]


@pytest.mark.parametrize("damage", [b"", b"no database at all" * 500], ids=["emptied", "overwritten"])
def test_a_damaged_file_is_set_aside_whole_and_work_goes_on(store: JobStore, tmp_path: Path, damage: bytes) -> None:
    store.write([RunSaved(ENDED)])
    store.close()
    (tmp_path / FILE).write_bytes(damage)
    opened = again(store, 3_000_000)
    assert opened.load().next_seq == 1
    if damage:
        assert f"{FILE}.damaged-3" in opened.warning
        assert (tmp_path / f"{FILE}.damaged-3").read_bytes() == damage
    opened.write([RunSaved(RUN)])
    assert opened.runs() == [RUN]


def test_one_torn_page_is_noticed(store: JobStore, tmp_path: Path) -> None:
    store.write([RunSaved(replace(ENDED, seq=seq, due=seq, tail="x" * 500)) for seq in range(1, 400)])
    store.close()
    with (tmp_path / FILE).open("r+b") as file:
        file.seek(4096 * 9)
        file.write(b"\xff" * 4096)
    assert "set aside" in again(store).warning


def test_the_version_is_in_the_file(store: JobStore, tmp_path: Path) -> None:
    store.close()
    with closing(sqlite3.connect(tmp_path / FILE)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (VERSION,)
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


BEFORE_PARTS = (  # the layouts of 0.1.0 and before, whose version counted the tables of all parts
    """
    CREATE TABLE runs (
        seq INTEGER PRIMARY KEY, job TEXT NOT NULL, due INTEGER NOT NULL, cause TEXT NOT NULL,
        attempt INTEGER NOT NULL, state TEXT NOT NULL, not_before INTEGER NOT NULL, started INTEGER NOT NULL,
        ended INTEGER NOT NULL, result TEXT NOT NULL, exit_code INTEGER, signal TEXT NOT NULL,
        cpu_usec INTEGER NOT NULL, peak_memory INTEGER NOT NULL, progress TEXT NOT NULL, reason TEXT NOT NULL,
        tail TEXT NOT NULL);
    CREATE INDEX runs_by_job ON runs (job, seq);
    CREATE INDEX runs_open ON runs (state) WHERE state != 'ended';
    CREATE UNIQUE INDEX runs_once ON runs (job, due, attempt) WHERE cause IN ('schedule', 'missed');
    CREATE TABLE jobs (job TEXT PRIMARY KEY, state TEXT NOT NULL);
    CREATE TABLE decisions (
        id INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL, job TEXT NOT NULL,
        run_id TEXT NOT NULL, reason TEXT NOT NULL);
    CREATE INDEX decisions_by_job ON decisions (job, id);
    CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
    INSERT INTO decisions VALUES (1, 10, 'skip', 'a', 'a.1', 'still under way'), (2, 20, 'reboot', '', '', 'pending');
    INSERT INTO runs (seq, job, due, cause, attempt, state, not_before, started, ended, result, signal, cpu_usec,
        peak_memory, progress, reason, tail)
        VALUES (1, 'a', 10, 'schedule', 1, 'ended', 0, 11, 12, 'success', '', 0, 0, '', '', '');
    """,
    "ALTER TABLE runs ADD COLUMN invocation TEXT NOT NULL DEFAULT '';",
    "CREATE TABLE reboots (id INTEGER PRIMARY KEY, state TEXT NOT NULL, cause TEXT NOT NULL, record TEXT NOT NULL);",
)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_database_of_before_there_were_parts_goes_on(tmp_path: Path, version: int) -> None:
    with closing(sqlite3.connect(tmp_path / FILE)) as database:
        database.executescript("".join(BEFORE_PARTS[:version]) + f"PRAGMA user_version={version};")
    store = JobStore(tmp_path)
    for at in (1, 2):  # as it was found, and when agentd is started again
        store.open(at)
        assert store.warning == ""
        assert [run.run_id for run in store.runs()] == ["a.1"]
        assert store.decisions() == [
            Decided(20, "reboots", "reboot", "", "pending"),
            Decided(10, "jobs", "skip", "a", "still under way", "a.1"),
        ]
        assert dict(store.db.execute("SELECT * FROM versions"))["jobs"] == len(JobTables.migrations)
        store.close()


class Toys(Tables):
    """Tables of a part that is at its second version."""

    part = "toys"
    migrations: tuple[str, ...] = ("CREATE TABLE toys (name TEXT);", "ALTER TABLE toys ADD COLUMN colour TEXT;")

    def __init__(self, releases: int = 2) -> None:
        self.migrations = self.migrations[:releases]
        self.aside: list[Path] = []

    def load(self, db: sqlite3.Connection) -> list[str]:
        return [row[1] for row in db.execute("PRAGMA table_info(toys)")]

    def afresh(self, db: sqlite3.Connection, aside: Path) -> None:
        self.aside.append(aside)

    def write(self, db: sqlite3.Connection, effects: Sequence[object]) -> int:
        return 0


def test_a_full_disk_or_a_lock_at_the_start_is_no_damage(store: JobStore, tmp_path: Path) -> None:
    store.write([RunSaved(ENDED)])
    store.close()
    with closing(sqlite3.connect(tmp_path / FILE)) as database:  # as 0.1.0 left it: there is something to migrate
        database.executescript("PRAGMA user_version=3; DROP TABLE versions; BEGIN IMMEDIATE;")
        locked = Store(tmp_path)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            locked.open(3_000_000)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limit[1]))  # to SQLite, a full disk
    try:
        with pytest.raises(sqlite3.OperationalError):
            Store(tmp_path).open(4_000_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert list(tmp_path.glob("*damaged*")) == []


def test_a_crash_while_a_database_is_set_aside_hides_nothing(store: JobStore, tmp_path: Path) -> None:
    store.close()
    (tmp_path / FILE).rename(tmp_path / f"{FILE}.damaged-3")  # and agentd was killed before it began a new one
    toys = Toys()
    opened = Store(tmp_path)
    opened.open(4_000_000)
    opened.take_up(toys)
    opened.taken_up()
    assert opened.warning == (
        f"the state was set aside as {tmp_path}/{FILE}.damaged-3, because it was damaged; history starts afresh"
    )
    assert toys.aside == [tmp_path / f"{FILE}.damaged-3"]
    opened.close()
    late = Toys()
    late.part = "late"  # comes with a later release
    late.migrations = ("CREATE TABLE late (name TEXT);",)
    opened.open(5_000_000)
    opened.take_up(late)
    assert late.aside == []
    opened.close()


class Full(sqlite3.OperationalError):
    sqlite_errorcode = sqlite3.SQLITE_FULL


def without_room(monkeypatch: pytest.MonkeyPatch, tries: int) -> None:
    """Has the disk too full for a new database, so many times."""
    begin = Store._begin

    def full(store: Store, version: int, aside: str) -> None:
        nonlocal tries
        tries -= 1
        if tries >= 0:
            raise Full("database or disk is full")
        begin(store, version, aside)

    monkeypatch.setattr(Store, "_begin", full)


def opened_with_toys(folder: Path) -> tuple[Store, Toys]:
    """A store at the instant of the damage, with a part."""
    store, toys = Store(folder), Toys()
    store.open(3_000_000)
    store.take_up(toys)
    return store, toys


@pytest.mark.parametrize("marked", [True, False])
def test_a_database_that_is_set_aside_on_an_almost_full_disk_is_kept_and_named(
    store: JobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, marked: bool
) -> None:
    damage = b"no database at all" * 500
    store.write([RunSaved(ENDED)])
    store.close()
    (tmp_path / FILE).write_bytes(damage)
    if not marked:
        (tmp_path / marks.FILE).unlink()
    without_room(monkeypatch, 1)
    opened, toys = opened_with_toys(tmp_path)
    assert opened.warning.endswith(
        f"(file is not a database) and was set aside as {tmp_path}/{FILE}.damaged-3; history starts afresh"
    )
    assert [file.read_bytes() for file in tmp_path.glob("*damaged*")] == [damage]
    assert toys.aside == [tmp_path / f"{FILE}.damaged-3"]
    opened.close()


def test_a_database_for_whose_successor_there_is_no_room_is_named_by_the_next_agentd(
    store: JobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write([RunSaved(ENDED)])
    store.close()
    (tmp_path / FILE).write_bytes(b"no database at all" * 500)
    without_room(monkeypatch, 3)
    with pytest.raises(Full):
        Store(tmp_path).open(3_000_000)
    opened, toys = opened_with_toys(tmp_path)
    assert f"was set aside as {tmp_path}/{FILE}.damaged-3, because" in opened.warning
    assert toys.aside == list(tmp_path.glob("*damaged*")) == [tmp_path / f"{FILE}.damaged-3"]
    opened.close()


def test_a_database_that_is_lost_on_a_full_disk_while_agentd_runs_is_named_once_there_is_room(
    store: JobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write([RunSaved(ENDED)])
    toys = Toys()
    store.take_up(toys)
    without_room(monkeypatch, 2)
    for at in (3_000_000, 4_000_000):
        with pytest.raises(Full):
            store.recover(at)
    store.recover(5_000_000)
    assert f"(the database is damaged) and was set aside as {tmp_path}/{FILE}.damaged-3" in store.warning
    assert toys.aside == [tmp_path / f"{FILE}.damaged-3"]
    assert sorted(file.name for file in tmp_path.glob("*damaged*")) == [f"{FILE}.damaged-3", f"{FILE}.damaged-3-output"]
    with closing(sqlite3.connect(tmp_path / f"{FILE}.damaged-3")) as kept:
        assert kept.execute("SELECT count(*) FROM runs").fetchone() == (1,)


def test_what_is_set_aside_in_one_second_replaces_nothing(tmp_path: Path) -> None:
    file, kept = tmp_path / FILE, []
    (tmp_path / f"{FILE}.damaged-4-output").mkdir()
    for content in ("first", "second", "third"):
        file.write_text(content)
        file.with_name(f"{FILE}-wal").write_text(f"-wal of the {content}")
        kept.append(set_aside(file, 3_000_000))
        assert left_aside(file) == str(kept[-1])
    assert [name.name for name in kept] == [f"{FILE}.damaged-{second}" for second in (3, 5, 6)]
    assert [name.read_text() for name in kept] == ["first", "second", "third"]
    assert [Path(f"{name}-wal").read_text() for name in kept] == [f"-wal of the {name.read_text()}" for name in kept]


def test_output_that_was_set_aside_already_keeps_nobody_from_starting(store: JobStore, tmp_path: Path) -> None:
    store.close()
    (tmp_path / FILE).unlink()
    (tmp_path / f"{FILE}.damaged-3").write_text("damaged")
    (tmp_path / f"{FILE}.damaged-3-output").mkdir()
    (tmp_path / f"{FILE}.damaged-3-output" / "a.1.log").write_text("words")
    opened = again(store)
    assert opened.output.is_dir()


class Broken(Toys):
    """Tables with a defect."""

    part = "broken"
    migrations: tuple[str, ...] = ("CREATE TABLE broken (name TEXT);",)

    def __init__(self, error: Callable[[sqlite3.Connection], object]) -> None:
        super().__init__()
        self.error = error
        self.asked = 0

    def write(self, db: sqlite3.Connection, effects: Sequence[object]) -> int:
        self.asked += 1
        db.execute("INSERT INTO broken VALUES ('half')")
        self.error(db)
        return 1


def raising(_: sqlite3.Connection) -> None:
    raise ValueError("cannot")


@pytest.mark.parametrize("error", [raising, lambda db: db.execute("INSERT INTO nowhere VALUES (1)")])
def test_a_defect_in_the_tables_of_one_part_keeps_no_other_from_storing(
    store: JobStore, error: Callable[[sqlite3.Connection], object]
) -> None:
    broken = Broken(error)
    store.take_up(broken)
    assert list(store.write([RunSaved(ENDED)])) == ["broken"]
    assert store.runs() == [ENDED]
    assert store.db.execute("SELECT * FROM broken").fetchall() == []
    assert store.write([RunSaved(replace(ENDED, seq=2))]) == {}
    assert broken.asked == 1


def test_each_part_brings_its_own_tables_up_to_date(store: JobStore) -> None:
    assert store.take_up(Toys(1)) == ["name"]
    assert store.take_up(Toys()) == ["name", "colour"]
    assert again(store).take_up(Toys()) == ["name", "colour"]
    with pytest.raises(sqlite3.DatabaseError, match="the tables of toys are a newer agentd's"):
        store.take_up(Toys(1))


def test_a_migration_that_fails_leaves_the_tables_as_they_were(store: JobStore) -> None:
    broken = Toys(1)
    broken.migrations = ("CREATE TABLE toys (name TEXT); INSERT INTO nowhere VALUES (1);",)
    with pytest.raises(sqlite3.OperationalError):
        store.take_up(broken)
    assert store.take_up(Toys()) == ["name", "colour"]


def test_a_part_learns_that_a_database_was_lost_even_after_a_crash_in_between(store: JobStore, tmp_path: Path) -> None:
    store.close()
    (tmp_path / FILE).write_bytes(b"no database at all" * 500)
    crashed = Store(tmp_path)
    crashed.open(3_000_000)
    crashed.close()  # before any part took up its tables
    toys = Toys()
    for at in (4_000_000, 5_000_000):
        opened = Store(tmp_path)
        opened.open(at)
        opened.take_up(toys)
        opened.close()
    assert toys.aside == [tmp_path / f"{FILE}.damaged-3"]
