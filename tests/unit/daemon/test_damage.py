"""The state never goes back silently: what is damaged is told, and no due time that was dealt with runs again."""

import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agentd.core.jobs.model import JobSaved, JobState, Run, RunSaved
from agentd.core.reboots.model import LedgerSaved, Reboot, RebootSaved
from agentd.daemon import mark as marks
from agentd.daemon import store as stores
from agentd.daemon.store import FILE, Store
from agentd.jobs.tables import JobTables
from agentd.reboots.tables import RebootTables
from tests.examples import examples
from tests.unit.daemon.life import BEGIN, Life, clocked


@pytest.fixture
def life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Life:
    """An agentd that was started and stopped once, and has lived some seconds since."""
    life = clocked(Life(tmp_path), monkeypatch).start().live(4)
    life.store.close()
    return life.start().live(5.5)


def sql(*statements: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        with closing(sqlite3.connect(folder / FILE)) as db:
            for statement in statements:
                assert db.execute(statement).rowcount, statement
            db.commit()

    return change


def flip(name: str, at: float) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[int(len(data) * at)] ^= 4
        (folder / name).write_bytes(data)

    return change


def delete(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def truncate(name: str, to: float) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((data := (folder / name).read_bytes())[: int(len(data) * to)])


WAL = f"{FILE}-wal"


@pytest.mark.parametrize(
    "damage",
    [delete(WAL), truncate(WAL, 0.5), truncate(WAL, 0), flip(WAL, 0.5), flip(WAL, 0.001)],
    ids=["deleted", "truncated", "emptied", "flipped", "header"],
)
def test_a_wal_that_is_lost_is_told_and_nothing_runs_again(life: Life, damage: Callable[[Path], object]) -> None:
    before = len(life.starts)
    assert before == len(set(life.starts)) > 8
    life.kill(damage).start()
    assert "is older than what was stored there last" in life.store.warning
    life.live(3.2)
    assert life.twice() == []
    assert len(set(life.ids)) == len(life.ids)  # nor is a number used again
    assert len(life.starts) >= before + 4  # what is due from here on runs as ever
    assert life.kill().start().store.warning == ""  # said once: the state is whole again


@pytest.mark.parametrize("left", [0, 0.02, 0.1, 0.3, 0.9])
def test_a_wal_that_is_lost_before_it_was_ever_emptied_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: float
) -> None:
    life = clocked(Life(tmp_path), monkeypatch).start().live(4)
    life.kill(truncate(WAL, left)).start()
    assert "is gone or empty" in life.store.warning or "is older than what was stored there" in life.store.warning
    assert life.live(3.2).twice() == []


def test_a_database_that_was_restored_from_a_copy_is_told_and_nothing_runs_again(life: Life) -> None:
    life.store.checkpoint()
    copy = life.folder.parent / "copy"
    shutil.copy(life.folder / FILE, copy)
    life.live(20)

    def restore(folder: Path) -> None:
        (folder / WAL).unlink()
        shutil.copy(copy, folder / FILE)

    life.kill(restore).start()
    assert "is older than what was stored there last" in life.store.warning
    assert life.live(3.2).twice() == []
    assert len(set(life.ids)) == len(life.ids)


@pytest.mark.parametrize("damage", [delete(FILE), truncate(FILE, 0)], ids=["deleted", "emptied"])
def test_a_database_that_is_gone_is_told_and_nothing_runs_again(life: Life, damage: Callable[[Path], object]) -> None:
    life.kill(damage).start()
    assert "is gone or empty" in life.store.warning
    assert life.live(3.2).twice() == []


def test_after_a_rollback_what_came_due_while_nobody_was_there_is_still_made_up_for(life: Life) -> None:
    died = life.now
    life.kill(delete(WAL))
    life.now += 10_000_000
    life.start().live(0.2)
    assert life.twice() == []
    dues = [due - died for name, due in life.starts if name == "a" and due > died + 1_000_000]
    assert len(dues) in (9, 10)
    assert dues == [dues[0] + second * 1_000_000 for second in range(len(dues))]


@pytest.mark.parametrize("away", [0, 0.3, 0.6])
def test_a_rollback_that_is_found_at_once_is_no_clock_that_was_set_back(life: Life, away: float) -> None:
    life.live(0.25).kill(delete(WAL))  # just after a commit
    life.now += round(away * 1_000_000)
    life.start().live(9.2)
    kinds = {kind for (kind,) in life.store.db.execute("SELECT kind FROM decisions")}
    assert "clock" not in kinds
    assert {due % 3_000_000 for name, due in life.starts if name == "b"} == {BEGIN % 3_000_000}
    assert len({due % 1_000_000 for name, due in life.starts if name == "a"}) == 1
    assert life.twice() == []


def test_a_run_whose_end_was_lost_is_not_started_again(tmp_path: Path) -> None:
    def saved(folder: Path, *runs: Run) -> JobTables:
        store, tables = Store(folder), JobTables(folder)
        store.open(1)
        store.take_up(tables)
        for run in runs:
            store.write([RunSaved(run)])
        store.checkpoint()
        return tables

    waiting = Run(seq=1, job="a", due=10, cause="schedule")
    under_way = Run(seq=2, job="b", due=10, cause="schedule", state="running")
    saved(tmp_path / "old", waiting, under_way)
    saved(tmp_path / "new", waiting, under_way, Run(seq=7, job="a", due=20, cause="schedule", state="ended"))
    shutil.copy(tmp_path / "new" / marks.FILE, tmp_path / "old" / marks.FILE)
    store = Store(tmp_path / "old")
    store.open(2)
    found = store.take_up(JobTables(tmp_path / "old"))
    assert found.open_runs == ()
    assert {name: run.result for name, run in found.last_runs.items()} == {"a": "cancelled", "b": "interrupted"}
    assert found.next_seq == 8


def test_a_ledger_of_reboots_that_lost_its_newest_records_is_not_trusted(tmp_path: Path) -> None:
    def opened() -> tuple[Store, object]:
        store = Store(tmp_path)
        store.open(1)
        return store, store.take_up(RebootTables())

    store, _ = opened()
    store.write([LedgerSaved({"a": "why"}, "", slot=False)])
    store.checkpoint()
    shutil.copy(tmp_path / FILE, tmp_path / "copy")
    store.write([RebootSaved(Reboot(id=5, cause="nightly", reason="why", kind="reboot", requested=1))])
    store.close()
    shutil.copy(tmp_path / "copy", tmp_path / FILE)
    store, ledger = opened()
    assert "older than what was stored last" in ledger.lost  # type: ignore[attr-defined]
    assert (ledger.breakers, ledger.next_id) == ({"a": "why"}, 6)  # type: ignore[attr-defined]


NONSENSE: dict[str, Callable[[Path], object]] = {
    "a brace": sql("""UPDATE jobs SET state = '[' || substr(state, 2) WHERE job = 'a'"""),
    "a key": sql("""UPDATE jobs SET state = replace(state, '"handled"', '"handlee"') WHERE job = 'a'"""),
    "a digit": sql("""UPDATE jobs SET state = replace(state, '"handled":1', '"handled":0') WHERE job = 'a'"""),
    "no text": sql("UPDATE jobs SET state = x'ff61' WHERE job = 'a'"),
    "no name": sql("UPDATE jobs SET job = x'ff61' WHERE job = 'a'"),
    "a reason": sql("UPDATE runs SET reason = x'ff61'"),
    "a text": sql("UPDATE runs SET reason = CAST(x'ff61' AS TEXT)"),
    "a number": sql("UPDATE runs SET due = 'soon' WHERE seq = 3"),
    "a fact": sql("UPDATE facts SET value = '1x' WHERE name = 'batch'"),
    "the next number": sql("INSERT OR REPLACE INTO facts VALUES ('next_seq', '1x')"),
    "a word": sql("UPDATE runs SET state = 'endex' WHERE seq = 1"),
    "every word": sql("UPDATE runs SET state = 'endex'"),
    "a column": lambda folder: _rename(folder, "decisions", "reason TEXT", "reasom TEXT"),
    "a column of runs": lambda folder: _rename(folder, "runs", "state TEXT", "stbte TEXT"),
    "no version": sql("DELETE FROM versions"),
    "a version before": sql("UPDATE versions SET version = 1 WHERE part = 'jobs'"),
    "a version of none": sql("UPDATE versions SET version = 'x' WHERE part = 'jobs'"),
    "a version below": sql("UPDATE versions SET version = -1 WHERE part = 'jobs'"),
    "an index": lambda folder: _rename(folder, "runs_open", "'ended'", "'endee'"),
}


def _rename(folder: Path, name: str, old: str, new: str) -> None:
    with closing(sqlite3.connect(folder / FILE)) as db:
        db.execute("PRAGMA writable_schema=ON")
        db.execute("UPDATE sqlite_master SET sql = replace(sql, ?, ?) WHERE name = ?", (old, new, name))
        db.commit()


@pytest.mark.parametrize("damage", NONSENSE.values(), ids=NONSENSE)
def test_rows_that_hold_nonsense_keep_nobody_from_starting_and_start_nothing_again(
    life: Life, damage: Callable[[Path], object]
) -> None:
    life.kill(damage).start()
    assert life.live(3.2).twice() == []
    for _ in range(2):
        life.kill().start()
    assert life.live(3.2).twice() == []


@pytest.mark.parametrize(
    "name", ["a brace", "a key", "a digit", "no text", "a reason", "a text", "a word", "the next number"]
)
def test_rows_that_cannot_be_read_are_told_and_kept_for_a_person(life: Life, name: str) -> None:
    life.kill(NONSENSE[name]).start()
    (warning,) = life.store.warnings
    assert "could not be read" in warning
    if name != "the next number":
        kept = life.store.db.execute("SELECT count(*) FROM unreadable").fetchone()[0]
        assert kept >= 1
        life.kill().start()
        assert life.store.warnings == [], "what was set aside is told again"
        assert life.store.db.execute("SELECT count(*) FROM unreadable").fetchone()[0] == kept


def test_what_another_agentd_stored_of_a_job_is_read(tmp_path: Path) -> None:
    store, tables = Store(tmp_path), JobTables(tmp_path)
    store.open(1)
    store.take_up(tables)
    store.write([JobSaved("a", JobState(schedule="x", handled=5))])
    older = '{"schedule":"x","anchor":0,"since":0,"handled":5}'
    newer = '{"schedule":"x","anchor":0,"since":0,"handled":5,"past":[],"grids":[],"interval":null,"fixed":false,'
    newer += '"enabled":null,"preference":0,"last_skip":"","last_skip_at":0,"watched":null,"colour":"red"}'
    for text in (older, newer):
        store.db.execute("UPDATE jobs SET state = ?", (text,))
        assert tables.load(store.db).states == {"a": JobState(schedule="x", handled=5)}
        assert tables.warning == ""
    store.close()


def test_an_index_that_lies_is_found_before_anything_is_started(life: Life) -> None:
    def lie(folder: Path) -> None:
        """Takes a run that was a success for another, in the index alone."""
        with closing(sqlite3.connect(folder / FILE)) as db:
            db.execute("PRAGMA writable_schema=ON")
            db.execute("UPDATE sqlite_master SET sql = replace(sql, 'WHERE result', 'WHERE seq = 1 OR result')"
                       " WHERE name = 'runs_unusual'")  # fmt: skip
            db.commit()

    life.kill(lie).start()
    assert "set aside" in life.store.warning
    assert life.live(2).twice() == []


DAMAGES = ("flip", "flips", "truncate", "zero", "delete", "garbage")


def harm(folder: Path, name: str, kind: str, seed: int) -> None:
    """Does some damage to a file at random places."""
    chance, file = random.Random(seed), folder / name
    if not file.exists() or not (data := bytearray(file.read_bytes())):
        return
    if kind == "delete":
        file.unlink()
        return
    if kind in {"flip", "flips"}:
        for _ in range(1 if kind == "flip" else 30):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    elif kind == "truncate":
        del data[chance.randrange(len(data)) :]
    elif kind == "zero":
        page = chance.randrange(len(data)) // 4096 * 4096
        data[page : page + 4096] = bytes(len(data[page : page + 4096]))
    else:
        data += chance.randbytes(3000)
    file.write_bytes(data)


# SQLite's own words are no text then
@example(name=FILE, kind="flips", seed=451758, lived=1.0, checkpoint=False, large=False)
@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from((FILE, FILE, WAL, f"{FILE}-shm")),
    kind=st.sampled_from(DAMAGES),
    seed=st.integers(0, 1 << 30),
    lived=st.floats(0.5, 8),
    checkpoint=st.booleans(),
    large=st.booleans(),
)
def test_random_damage_never_makes_a_due_time_run_again(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    kind: str,
    seed: int,
    lived: float,
    checkpoint: bool,
    large: bool,
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        if large:  # as if it were: only the tables that decide what runs are examined before
            monkeypatch.setattr(stores, "EXAMINED_AT_ONCE", 0)
        life = clocked(Life(tmp_path_factory.mktemp("d")), monkeypatch).start().live(3)
        life.store.close()
        life.start().live(2)
        if checkpoint:
            life.store.checkpoint()
        life.live(lived)
        life.kill(lambda folder: harm(folder, name, kind, seed)).start().live(2)
        life.kill().start().live(2)
        assert life.twice() == []
        life.store.close()
        shutil.rmtree(life.base)


def test_a_mark_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    file = marks.MarkFile(tmp_path)
    assert file.open() == marks.Mark()
    file.write(marks.Mark(7, 5, {"jobs": 3}))
    assert file.open() == marks.Mark(7, 5, {"jobs": 3})
    file.write(marks.Mark(8, 6, {}))
    assert file.open() == marks.Mark(8, 6)
    flip(marks.FILE, 0.03)(tmp_path)
    assert file.open() == marks.Mark()
    file.close()


def test_the_store_keeps_its_word_about_the_mark(life: Life) -> None:
    """The mark is never behind a batch whose effects were carried out."""
    file = marks.MarkFile(life.folder)
    known = file.open()
    assert str(known.batch) == life.store.fact("batch")
    assert known.upto >= max(due for _, due in life.starts)
