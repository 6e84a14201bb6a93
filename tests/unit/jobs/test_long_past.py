"""A long past: no question and no start looks through all of it. Work is counted in the instructions of SQLite."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from agentd.core.config import History
from agentd.core.jobs.model import Run, RunSaved
from agentd.core.quantities import HOUR, MINUTE
from agentd.daemon import damage
from agentd.daemon.reading import decisions, numbered_decisions
from agentd.daemon.store import FILE, Store
from agentd.jobs import blocks
from agentd.jobs.tables import JobTables, list_runs
from agentd.linux import now
from tests.bench.past import fill
from tests.examples import examples

RUNS, JOBS = 20_000, 20
LITTLE = 12_000
"""Instructions that are few: a look at each of the runs takes ten times as many."""
KEPT = History(runs=2 * RUNS)


def opened(folder: Path) -> tuple[Store, JobTables]:
    store, tables = Store(folder), JobTables(folder)
    store.open(1)
    store.take_up(tables)
    return store, tables


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory with a long past, as an agentd leaves it."""
    folder = tmp_path_factory.mktemp("past")
    opened(folder)[0].close()
    fill(folder / FILE, RUNS, JOBS)
    store, _ = opened(folder)
    store.prune(KEPT, now())
    assert len(list_runs(store.db, limit=RUNS)) == RUNS
    assert (folder / FILE).stat().st_size > damage.EXAMINED_AT_ONCE
    store.close()
    return folder


@pytest.fixture
def store(past: Path) -> Iterator[Store]:
    store, _ = opened(past)
    yield store
    store.close()


def work(db: sqlite3.Connection, deed: Callable[[], object]) -> int:
    """The instructions that SQLite carried out, to a hundred."""
    done = 0

    def count() -> None:
        nonlocal done
        done += 100

    db.set_progress_handler(count, 100)
    deed()
    db.set_progress_handler(None, 100)
    return done


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"job": "job7"},
        {"job": "no-such-job"},
        {"job": "job7", "seq": 1007},
        {"before": 1000},
        {"failed": True},
        {"result": "oom-kill"},  # none has it
        {"result": "success"},
        {"since": now() - 10 * MINUTE, "limit": 10_000},
        {"since": now() + HOUR},
        {"job": "job7", "since": now() - HOUR},
        {"failed": True, "since": now() - HOUR},
    ],
)
def test_no_question_for_runs_looks_through_the_past(store: Store, wanted: dict[str, Any]) -> None:
    assert work(store.db, lambda: list_runs(store.db, **wanted)) < LITTLE


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"before": 1000},
        {"about": "job7"},
        {"about": "no-such-job"},
        {"run_id": "no-such-job.5"},
        {"run_id": "no-id"},
        {"about": "job7", "run_id": "job8.8"},
        {"part": "jobs"},
        {"part": "rules"},
        {"part": "rules", "about": "job7"},
    ],
)
def test_no_question_for_decisions_looks_through_the_past(store: Store, wanted: dict[str, Any]) -> None:
    assert work(store.db, lambda: numbered_decisions(store.db, **wanted)) < LITTLE


def test_of_an_old_run_the_decisions_of_its_job_are_looked_at(store: Store) -> None:
    found: list[Any] = []
    done = work(store.db, lambda: found.extend(decisions(store.db, run_id="job7.1007")))
    assert [decision.run_id for decision in found] == ["job7.1007"]
    assert done < 20 * RUNS // JOBS


def test_a_start_looks_at_the_newest_runs_and_once_at_each_job(past: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, tables = Store(past), JobTables(past)
    connection, done = store._connection, 0

    def counted() -> sqlite3.Connection:
        def count() -> None:
            nonlocal done
            done += 100

        db = connection()
        db.set_progress_handler(count, 100)
        return db

    monkeypatch.setattr(store, "_connection", counted)
    store.open(1)
    saved = store.take_up(tables)
    assert done < LITTLE
    assert (len(saved.last_runs), saved.next_seq) == (JOBS, RUNS + 1)
    store.close()


def test_a_large_database_is_examined_where_it_decides_what_runs(past: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examined: list[str] = []

    def examine(_: object, tables: tuple[str, ...] = damage.ALL) -> str:
        examined.extend(tables)
        return ""

    monkeypatch.setattr("agentd.daemon.store.examine", examine)
    opened(past)[0].close()
    assert examined == ["facts", "versions", "jobs", "blocks"]


def test_a_look_at_all_that_could_be_forgotten_takes_few_steps(store: Store) -> None:
    steps = sum(1 for _ in store.pruning(KEPT, now(), whole=True))
    assert steps < 4 * RUNS // 1000  # of runs and decisions a thousand each, and what belongs to both


# Blocks


ENDED = Run(seq=1, job="a", due=1, cause="manual", state="ended", result="success", started=1, ended=1)


@settings(max_examples=examples(50), deadline=None)
@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 9), st.booleans(), st.booleans()), max_size=40))
def test_what_is_open_and_what_began_since_an_instant_is_found(
    tmp_path_factory: pytest.TempPathFactory, written: list[tuple[int, int, bool, bool]]
) -> None:
    """Runs are found in whatever order they are written, and whenever blocks are noted."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(blocks, "SIZE", 3)
        store, tables = opened(tmp_path_factory.mktemp("blocks"))
        store.db.execute("PRAGMA synchronous=OFF")
        runs: dict[int, Run] = {}
        for seq, started, over, pruned in written:
            state = "ended" if over else "running"
            runs[seq] = replace(ENDED, seq=seq, due=seq * 7 % 10, started=started, state=state)
            store.write([RunSaved(runs[seq])])
            if pruned:
                store.prune(History(), 0)
        for since in range(1, 11):
            found = {run.seq for run in list_runs(store.db, since=since, limit=100)}
            assert found == {seq for seq, run in runs.items() if max(run.due, run.started) >= since}
        still = [run.seq for run in tables.load(store.db).open_runs]
        assert still == sorted(seq for seq, run in runs.items() if run.state == "running")
        store.close()


def noted(store: Store) -> list[tuple[int, int]]:
    return store.db.execute("SELECT upto, latest FROM blocks").fetchall()


def test_a_run_that_is_not_over_keeps_its_block_and_those_after_it_from_being_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "SIZE", 3)
    store, _ = opened(tmp_path)
    store.write([RunSaved(replace(ENDED, seq=seq, due=seq)) for seq in range(1, 11)])
    store.write([RunSaved(replace(ENDED, seq=5, due=5, state="running"))])
    store.prune(History(), 0)
    assert noted(store) == [(3, 3)]
    store.write([RunSaved(replace(ENDED, seq=5, due=5))])
    store.prune(History(), 0)
    assert noted(store) == [(3, 3), (6, 6), (9, 9)]
    store.prune(History(keep=1), 10)  # all runs are forgotten, and the blocks with them, but for the last
    assert noted(store) == [(9, 9)]
    store.close()


@pytest.mark.parametrize(
    "damage", ["UPDATE blocks SET upto = upto + 3 WHERE upto = 9", "UPDATE blocks SET latest = latest - 1"]
)
def test_blocks_that_are_not_as_they_were_noted_hide_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setattr(blocks, "SIZE", 3)
    store, tables = opened(tmp_path)
    store.write([RunSaved(replace(ENDED, seq=seq, due=seq)) for seq in range(1, 11)])
    store.write([RunSaved(replace(ENDED, seq=11, due=11, state="running"))])
    store.prune(History(), 0)
    store.db.execute(damage)
    assert [run.seq for run in tables.load(store.db).open_runs] == [11]
    assert noted(store) == []
    store.close()
