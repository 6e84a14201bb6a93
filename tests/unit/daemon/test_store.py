"""The store: what was written comes back, what is old goes, what is damaged is set aside."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from agentd.core.config import History
from agentd.core.jobs.model import JobSaved, JobState, Run, RunSaved
from agentd.core.part import Decided, Effect
from agentd.core.quantities import DAY
from agentd.daemon.store import FILE, VERSION, Store

RUN = Run(seq=1, job="a", due=10, cause="schedule", state="running", started=11)
ENDED = replace(RUN, state="ended", ended=20, result="exit-code", exit_code=3, tail="last words")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path)
    opened.open(1)
    yield opened
    opened.close()


def again(store: Store, at: int = 2_000_000) -> Store:
    """The store after a restart."""
    store.close()
    store.open(at)
    return store


def test_what_was_written_comes_back_after_a_restart(store: Store) -> None:
    state = JobState(schedule="every 1h", anchor=5, since=5, handled=10, past=((1, 4),), interval=60, enabled=False)
    store.write([RunSaved(RUN), JobSaved("a", state), Decided(12, "jobs", "skip", "a", "why", "a.1")])
    saved = again(store).load()
    assert (saved.states, saved.open_runs, saved.next_seq) == ({"a": state}, (RUN,), 2)


def test_the_last_word_on_a_run_counts(store: Store) -> None:
    store.write([RunSaved(RUN), RunSaved(ENDED)])
    assert store.runs() == [ENDED]
    assert store.load().open_runs == ()
    assert store.load().last_runs == {"a": ENDED}


def test_a_transaction_is_stored_whole_or_not_at_all(store: Store) -> None:
    broken: list[Effect] = [RunSaved(RUN), Decided(12, "jobs", "skip", "a", None, "a.1")]  # type: ignore[arg-type]
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
def test_runs_are_found_by_what_is_asked_for(store: Store, wanted: dict[str, object], found: list[int]) -> None:
    others = (replace(ENDED, seq=2, due=20, result="success"), replace(RUN, seq=3, job="b", due=30, cause="manual"))
    store.write([RunSaved(ENDED), *map(RunSaved, others)])
    assert [run.seq for run in store.runs(**wanted)] == found  # type: ignore[arg-type]


def test_old_runs_and_their_output_are_forgotten_but_none_that_is_not_over(store: Store) -> None:
    old, young = replace(ENDED, seq=1, due=1, ended=1), replace(ENDED, seq=2, due=2, ended=50 * DAY)
    waiting = replace(RUN, seq=3, due=3, state="queued")
    store.write([RunSaved(old), RunSaved(young), RunSaved(waiting), Decided(1, "jobs", "skip", "a", "old")])
    for run in (old, young):
        (store.output / f"{run.run_id}.log").write_text("words")
    store.prune(History(keep=30 * DAY), now=60 * DAY)
    assert [run.seq for run in store.runs()] == [3, 2]
    assert [file.name for file in store.output.iterdir()] == ["a.2.log"]
    assert store.decisions() == []


def test_only_so_many_runs_are_kept_and_their_numbers_are_not_used_again(store: Store) -> None:
    store.write([RunSaved(replace(ENDED, seq=seq, due=seq, ended=seq)) for seq in range(1, 301)])
    store.prune(History(keep=DAY, runs=100), now=300)
    assert [run.seq for run in store.runs(limit=1000)] == list(range(300, 200, -1))
    store.prune(History(keep=1000), now=DAY)
    assert again(store).load().next_seq == 301


def test_the_oldest_output_goes_when_there_is_too_much(store: Store) -> None:
    for seq in (1, 2, 3):
        run = replace(ENDED, seq=seq, due=seq, ended=DAY)
        store.write([RunSaved(run)])
        file = store.output / f"{run.run_id}.log"
        file.write_bytes(b"x" * 1000)
        os.utime(file, (seq, seq))
    store.prune(History(total_output=2500), now=DAY)
    assert sorted(file.name for file in store.output.iterdir()) == ["a.2.log", "a.3.log"]


@pytest.mark.parametrize("damage", [b"", b"no database at all" * 500], ids=["emptied", "overwritten"])
def test_a_damaged_file_is_set_aside_whole_and_work_goes_on(store: Store, tmp_path: Path, damage: bytes) -> None:
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


def test_one_torn_page_is_noticed(store: Store, tmp_path: Path) -> None:
    store.write([RunSaved(replace(ENDED, seq=seq, due=seq, tail="x" * 500)) for seq in range(1, 400)])
    store.close()
    with (tmp_path / FILE).open("r+b") as file:
        file.seek(4096 * 9)
        file.write(b"\xff" * 4096)
    assert "set aside" in again(store).warning


def test_the_version_is_in_the_file(store: Store, tmp_path: Path) -> None:
    store.close()
    with closing(sqlite3.connect(tmp_path / FILE)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (VERSION,)
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
