"""The upkeep of the store: bounds are kept at every moment, in small steps; questions and upkeep delay no write."""

import asyncio
import shutil
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from agentd import part as part_module
from agentd.core.config import History
from agentd.core.jobs.model import JobSaved, JobState, Run, RunSaved
from agentd.core.part import Decided, Effect, Refused
from agentd.core.quantities import DAY
from agentd.daemon import upkeep as module
from agentd.daemon.reading import Reader
from agentd.daemon.store import FILE, Store
from agentd.daemon.storing import Storing
from agentd.jobs.tables import JobTables, list_runs
from agentd.linux import now

ENDED = Run(seq=1, job="a", due=1, cause="manual", state="ended", result="success", started=1, ended=1)


class Host:
    """A daemon with one job in its memory."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.done: list[Effect] = []
        self.defects: list[BaseException] = []

    def carry_out(self, effect: Effect) -> None:
        self.done.append(effect)

    def everything(self) -> list[Effect]:
        return [JobSaved("a", JobState(schedule="every 1s", handled=5))]

    def trouble_changed(self) -> None: ...

    def defect(self, _where: str, error: BaseException) -> None:
        self.defects.append(error)

    def lost(self, why: str) -> None:
        raise AssertionError(why)


class World:
    """An open store with jobs, and who stores there."""

    def __init__(self, folder: Path, history: History | None = None) -> None:
        self.store, self.tables, self.host = Store(folder), JobTables(folder), Host(history or History())
        self.storing = Storing(self.store, self.host)  # type: ignore[arg-type]

    async def open(self) -> None:
        await self.storing.call(self.store.open, 1)
        await self.storing.call(self.store.take_up, self.tables)

    def put(self, *runs: Run, size: int = 0) -> None:
        """Stores runs that have ended, with so much output each."""
        for run in runs:
            if size:
                (self.tables.output / f"{run.run_id}.log").write_bytes(b"x" * size)
        self.storing.add(map(RunSaved, runs))

    def kept(self) -> list[int]:
        return [run.seq for run in list_runs(self.store.db, limit=10_000)]

    def outputs(self) -> set[str]:
        return {file.name for file in self.tables.output.iterdir()}

    async def until(self, true: Callable[[], object]) -> None:
        for _ in range(2000):
            if await self.storing.call(true):
                return
            await asyncio.sleep(0.01)
        raise AssertionError("it did not come true")

    async def close(self) -> None:
        await self.storing.close()
        assert self.host.defects == []


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scenario())  # type: ignore[arg-type]


def test_what_is_too_old_goes_when_agentd_starts(tmp_path: Path) -> None:
    """A machine that reboots each night never writes a thousand rows in one life."""

    async def scenario() -> None:
        world = World(tmp_path, History(keep=DAY))
        await world.open()
        world.put(replace(ENDED, seq=1, ended=now() - 2 * DAY), replace(ENDED, seq=2, due=2, ended=now()), size=10)
        await world.storing.done()
        (world.tables.output / "gone.7.log").write_text("of nobody")
        world.storing.start()
        await world.until(lambda: (world.kept(), world.outputs()) == ([2], {"a.2.log"}))
        await world.close()

    run(scenario)


def test_the_output_that_is_kept_is_bounded_after_every_run(tmp_path: Path) -> None:
    async def scenario() -> None:
        world = World(tmp_path, History(total_output=3000))
        await world.open()
        world.storing.start()
        # The first look at all output removes what is there before its run is stored, as here alone.
        await world.until(lambda: world.storing._upkeep._pruning is not None and world.storing._upkeep._pruning.done())
        for seq in range(1, 8):
            world.put(replace(ENDED, seq=seq, due=seq, ended=now()), size=1000)
            wanted = {f"a.{number}.log" for number in range(max(1, seq - 2), seq + 1)}
            await world.until(lambda wanted=wanted: world.outputs() == wanted)  # type: ignore[misc]
        assert await world.storing.call(world.kept) == [7, 6, 5, 4, 3, 2, 1]
        await world.close()
        world = World(tmp_path, History(total_output=1000))  # and after a restart with another limit
        await world.open()
        world.storing.start()
        await world.until(lambda: world.outputs() == {"a.7.log"})
        await world.close()

    run(scenario)


def test_the_output_of_a_run_under_way_is_never_removed(tmp_path: Path) -> None:
    async def scenario() -> None:
        world = World(tmp_path, History(total_output=0))
        await world.open()
        world.put(replace(ENDED, state="running", ended=0, result=""), replace(ENDED, seq=2, due=2), size=1000)
        await world.storing.done()
        world.storing.start()
        await world.until(lambda: world.outputs() == {"a.1.log"})
        world.put(replace(ENDED, ended=now()))
        await world.until(lambda: world.outputs() == set())
        await world.close()

    run(scenario)


def stored(folder: Path, *runs: Run) -> tuple[Store, JobTables]:
    """A store with runs that have a kilobyte of output each, counted."""
    store, tables = Store(folder), JobTables(folder)
    store.open(1)
    store.take_up(tables)
    for run in runs:
        (tables.output / f"{run.run_id}.log").write_bytes(b"x" * 1000)
    store.write(list(map(RunSaved, runs)))
    for _ in tables.files.sweep(store.db):
        pass
    return store, tables


@pytest.mark.parametrize("written", [1, 2])
def test_the_output_of_a_run_that_outlasted_others_goes_before_theirs(tmp_path: Path, written: int) -> None:
    long, later = replace(ENDED, state="running"), [replace(ENDED, seq=seq, due=seq, ended=now()) for seq in (2, 3, 4)]
    store, tables = stored(tmp_path, long, *later)
    store.prune(History(total_output=2000), now())
    assert {file.name for file in tables.output.iterdir()} == {"a.1.log", "a.3.log", "a.4.log"}
    for number in range(written):
        if number:  # the batch could not be stored and comes again, after room was looked for
            tables.files.oldest = 5
        store.write([RunSaved(replace(ENDED, ended=now()))])
    assert tables.crowded(History(total_output=2000))
    for _ in tables.files.trim(store.db, 2000):
        pass
    assert {file.name for file in tables.output.iterdir()} == {"a.3.log", "a.4.log"}
    store.close()


def test_on_a_full_disk_there_is_the_output_of_a_run_that_outlasted_others(tmp_path: Path) -> None:
    store, tables = stored(tmp_path, replace(ENDED, state="running"), replace(ENDED, seq=2, due=2))
    assert tables.make_room(store.db)
    assert {file.name for file in tables.output.iterdir()} == {"a.1.log"}
    store.write([RunSaved(ENDED)])
    assert tables.make_room(store.db)
    assert list(tables.output.iterdir()) == []
    store.close()


def test_the_output_of_a_run_that_ends_while_the_output_is_counted_can_go(tmp_path: Path) -> None:
    late = replace(ENDED, state="running")
    store, tables = stored(tmp_path, late, replace(ENDED, seq=2, due=2))
    (tables.output / "a.1.log").unlink()
    steps = tables.files.sweep(store.db)
    next(steps)
    (tables.output / "a.1.log").write_bytes(b"x" * 1000)  # its first words, after all names were looked at
    store.write([RunSaved(replace(late, state="ended"))])
    assert list(steps) == []
    assert (tables.files.total, tables.files.oldest) == (2000, 1)
    store.close()


def test_forgetting_goes_in_small_steps_and_commits_each(tmp_path: Path) -> None:
    """No step looks at more than a page of rows or files, however much there is to forget."""
    store, tables = Store(tmp_path), JobTables(tmp_path)
    store.open(1)
    store.take_up(tables)
    store.write([RunSaved(replace(ENDED, seq=seq, due=seq)) for seq in range(1, 1001)])
    store.write([Decided(1, "jobs", "skip", "a", "why")] * 500)
    for seq in range(1, 1001):
        (tables.output / f"a.{seq}.log").touch()
    sizes = []
    for _ in store.pruning(History(keep=DAY), now(), whole=True):
        left = [store.db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("runs", "decisions")]
        sizes.append((*left, len(list(tables.output.iterdir()))))
        assert not store.db.in_transaction
        assert store._lazy is not None
        assert not store._lazy.in_transaction
    assert sizes[-1] == (0, 0, 0)
    for before, after in pairwise(sizes):
        assert all(was - is_ <= part_module._PAGE for was, is_ in zip(before, after, strict=True))
    assert store._lazy.execute("PRAGMA synchronous").fetchone() == (1,)  # type: ignore[union-attr]
    store.close()


def test_a_start_waits_for_at_most_one_step_of_forgetting(tmp_path: Path) -> None:
    async def scenario() -> None:
        world = World(tmp_path, History(keep=DAY))
        await world.open()
        world.put(*(replace(ENDED, seq=seq, due=seq) for seq in range(1, 3001)))
        await world.storing.done()
        steps: list[None] = []
        waited: list[int] = []
        pruning = world.store.pruning

        def counted(*arguments: Any, **more: Any) -> Any:
            for step in pruning(*arguments, **more):
                steps.append(None)
                yield step

        world.store.pruning = counted  # type: ignore[method-assign]
        world.storing.start()
        while len(steps) < 25:
            before = len(steps)
            world.storing.add([Decided(1, "jobs", "start", "a", "why")])
            await world.storing.done()
            waited.append(len(steps) - before)
        assert max(waited) <= 2  # the one under way, and one that was handed over at the same time
        await world.close()

    run(scenario)


def test_what_is_stored_is_in_the_database_itself_a_second_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUIET", 0.05)

    async def scenario() -> None:
        world = World(tmp_path)
        await world.open()
        world.put(ENDED)

        def in_the_file() -> bool:
            shutil.copy(tmp_path / FILE, tmp_path / "alone.db")  # without the -wal
            with sqlite3.connect(tmp_path / "alone.db") as db:
                found = bool(db.execute("SELECT name FROM sqlite_master WHERE name = 'runs'").fetchall())
                return found and len(list_runs(db)) == 1

        await world.until(in_the_file)
        await world.close()

    run(scenario)


@pytest.mark.parametrize("how", ["files", "folder", "replaced"])
def test_a_state_that_is_removed_while_agentd_runs_is_told_and_set_up_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(module, "QUIET", 0.05)
    folder = tmp_path / "state"

    async def scenario() -> None:
        world = World(folder)
        await world.open()
        world.put(ENDED)
        await world.storing.done()
        if how == "files":
            for file in folder.glob(f"{FILE}*"):
                file.unlink()
        elif how == "folder":
            shutil.rmtree(folder)
        else:
            (folder / "other").write_bytes(b"")
            (folder / "other").rename(folder / FILE)
        world.storing.add([Decided(1, "jobs", "start", "a", "why")])
        await world.until(lambda: "while agentd ran" in world.store.warning)
        await world.storing.done()
        assert ("removed" if how != "replaced" else "replaced") in world.store.warning
        world.put(replace(ENDED, seq=9, due=9))
        await world.storing.done()
        await world.close()
        store, tables = Store(folder), JobTables(folder)
        store.open(1)
        saved = store.take_up(tables)
        assert saved.states == {"a": JobState(schedule="every 1s", handled=5)}  # from memory
        assert saved.next_seq == 10
        assert store.warning == ""
        store.close()

    run(scenario)


def test_a_database_that_turns_out_to_be_damaged_beside_the_work_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a large one the tables that decide what runs are examined before, all of it in full afterwards."""

    async def scenario() -> None:
        world = World(tmp_path)
        await world.open()
        world.put(ENDED)
        await world.storing.done()
        world.store.db.execute("PRAGMA writable_schema=ON")
        world.store.db.execute("UPDATE sqlite_master SET sql = replace(sql, '''success''', '''x''')")
        await world.storing.close()
        for name in ("agentd.daemon.store", "agentd.daemon.upkeep"):
            monkeypatch.setattr(f"{name}.EXAMINED_AT_ONCE", 0)
        again = World(tmp_path)
        await again.open()
        assert again.store.warning == ""
        again.storing.start()
        await again.until(lambda: "set aside" in again.store.warning)
        await again.storing.done()
        assert (await again.storing.call(again.tables.load, again.store.db)).states.keys() == {"a"}
        await again.close()

    run(scenario)


class Torn(sqlite3.DatabaseError):
    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


def test_a_report_of_damage_that_comes_late_throws_no_new_database_away(tmp_path: Path) -> None:
    async def scenario() -> None:
        world = World(tmp_path)
        await world.open()
        world.put(ENDED)
        await world.storing.done()
        reader = Reader(world.store, world.storing.damaged, world.storing.call)
        asked, go = threading.Event(), threading.Event()

        def torn(_: sqlite3.Connection) -> None:
            asked.set()
            go.wait(20)
            raise Torn("database disk image is malformed")

        late = asyncio.ensure_future(reader.ask(torn, {}))
        while not asked.is_set():
            await asyncio.sleep(0.001)
        found_in = world.store.opening
        world.storing.damaged(found_in, "torn")
        world.storing.damaged(found_in, "torn")
        await world.until(lambda: "(torn) and was set aside" in world.store.warning)
        world.put(replace(ENDED, seq=2, due=2))
        await world.storing.done()
        go.set()
        with pytest.raises(Refused, match="malformed"):
            await late
        world.storing.damaged(found_in, "torn")
        await asyncio.sleep(0.05)
        assert await world.storing.call(world.kept) == [2]
        assert "(torn) and was set aside" in world.store.warning
        assert len([file for file in tmp_path.glob("*.damaged-*") if file.suffix[-1].isdecimal()]) == 1
        reader.close()
        await world.close()

    run(scenario)


def test_a_long_question_delays_no_write_and_sees_what_was_stored_before(tmp_path: Path) -> None:
    async def scenario() -> None:
        world = World(tmp_path)
        await world.open()
        reader = Reader(world.store, world.storing.damaged, world.storing.call)
        asked, go = threading.Event(), threading.Event()

        def long(db: sqlite3.Connection) -> list[int]:
            db.execute("BEGIN")
            seen = [row[0] for row in db.execute("SELECT seq FROM runs")]
            asked.set()
            go.wait(20)
            db.execute("COMMIT")
            return seen

        world.put(ENDED)
        await world.storing.settle()
        answer = asyncio.ensure_future(reader.ask(long, {}))
        while not asked.is_set():
            await asyncio.sleep(0.001)
        world.put(*(replace(ENDED, seq=seq, due=seq) for seq in range(2, 500)))
        await asyncio.wait_for(world.storing.settle(), 20)  # while the question is still being answered
        assert not answer.done()
        go.set()
        assert await answer == [1]
        assert len(await reader.ask(list_runs, {"limit": 1000})) == 499
        reader.close()
        await world.close()

    run(scenario)


def test_a_question_can_change_nothing_and_rows_that_hold_nonsense_are_left_out(tmp_path: Path) -> None:
    async def scenario() -> None:
        world = World(tmp_path)
        await world.open()
        reader = Reader(world.store, world.storing.damaged, world.storing.call)
        world.put(ENDED, *(replace(ENDED, seq=seq, due=seq) for seq in (2, 3, 4)))
        await world.storing.settle()
        for change in (
            "due = 'soon' WHERE seq = 2",
            "started = -1 WHERE seq = 3",
            "reason = CAST(x'ff' AS TEXT) WHERE seq = 4",
        ):
            await world.storing.call(world.store.db.execute, f"UPDATE runs SET {change}")
        assert [(run.seq, run.reason) for run in await reader.ask(list_runs, {})] == [(4, "\ufffd"), (1, "")]
        with pytest.raises(Refused, match="cannot be read: attempt to write a readonly database"):
            await reader.ask(lambda db: db.execute("DELETE FROM runs"), {})
        reader.close()
        await world.close()

    run(scenario)


class Full(sqlite3.OperationalError):
    sqlite_errorcode = sqlite3.SQLITE_FULL


def test_on_a_full_disk_the_oldest_output_goes_until_the_state_can_be_stored(tmp_path: Path) -> None:
    async def scenario() -> None:
        world = World(tmp_path)
        await world.open()
        world.put(*(replace(ENDED, seq=seq, due=seq) for seq in range(1, 6)), size=1 << 20)
        world.put(replace(ENDED, seq=6, due=6, state="running"), size=10)
        await world.storing.done()
        write = world.store.write

        def full(effects: Any) -> Any:
            if sum(file.stat().st_size for file in world.tables.output.iterdir()) > 3 << 20:
                raise Full("database or disk is full")
            return write(effects)

        world.store.write = full  # type: ignore[method-assign]
        world.storing.add([Decided(1, "jobs", "start", "a", "why")])
        await world.storing.settle()
        assert world.storing.trouble == ""
        assert world.outputs() == {"a.4.log", "a.5.log", "a.6.log"}
        await world.close()

    run(scenario)
