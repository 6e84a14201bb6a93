"""Who waits for something to be stored learns when it cannot be."""

import asyncio
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from agentd.core.config import History
from agentd.core.part import Beginning, Decided, Effect, Refused, Sampled, Urgent
from agentd.daemon import storing as module
from agentd.daemon.damage import Damaged
from agentd.daemon.store import Store
from agentd.daemon.storing import Storing
from agentd.part import Tables


class FullDisk:
    """A store whose first write hangs until it is let go, and then fails."""

    folder = Path("/nowhere")
    warning = lost = ""

    def __init__(self) -> None:
        self.writing, self.go = threading.Event(), threading.Event()

    def write(self, _effects: Any) -> None:
        self.writing.set()
        self.go.wait(10)
        raise sqlite3.OperationalError("database or disk is full")

    def make_room(self) -> bool:
        return False

    def close(self) -> None: ...


class Host:
    """A daemon that notes what is carried out."""

    history = History()

    def __init__(self) -> None:
        self.done: list[Effect] = []
        self.full = asyncio.Event()

    def carry_out(self, effect: Effect) -> None:
        self.done.append(effect)

    def trouble_changed(self) -> None:
        self.full.set()


def test_who_comes_while_a_write_is_about_to_fail_is_told_too() -> None:
    async def scenario() -> None:
        disk, host = FullDisk(), Host()
        storing = Storing(disk, host)  # type: ignore[arg-type]
        storing.add([Decided(1, "reboots", "reboot", "", "first")])
        early = asyncio.ensure_future(storing.settle())
        while not disk.writing.is_set():
            await asyncio.sleep(0)
        late = asyncio.ensure_future(storing.settle())
        await asyncio.sleep(0)
        disk.go.set()
        for waiting in (early, late):
            with pytest.raises(Refused, match="cannot be stored"):
                await asyncio.wait_for(waiting, 10)
        await storing.close()

    asyncio.run(scenario())


class Ends(Urgent, frozen=True):
    """Something of a part that nobody wrote yet is to be ended."""

    name: str

    @property
    def subject(self) -> str:
        return self.name


class Begins(Beginning, frozen=True):
    name: str

    @property
    def subject(self) -> str:
        return self.name


def test_whatever_is_urgent_passes_while_the_disk_is_full_but_never_overtakes_its_beginning() -> None:
    async def scenario() -> None:
        disk, host = FullDisk(), Host()
        storing = Storing(disk, host)  # type: ignore[arg-type]
        asked = Decided(1, "schedulers", "lease", "bpfland", "asked for")
        storing.add([asked, Begins("bpfland"), Ends("flash"), Ends("bpfland")])
        disk.go.set()
        await asyncio.wait_for(host.full.wait(), 10)
        assert host.done == [Ends("flash")]  # although it stood in the batch that found the disk full
        storing.add([Ends("lavd"), Ends("bpfland"), Decided(2, "schedulers", "end", "lavd", "its client left")])
        assert host.done == [Ends("flash"), Ends("lavd")]
        await storing.close()

    asyncio.run(scenario())


class Answers(Host):
    """A daemon in which what is carried out leads to more, which ends with a defect."""

    def __init__(self, more: dict[Effect, list[Effect]]) -> None:
        super().__init__()
        self.more, self.lost_by = more, ""
        self.storing: Storing

    def carry_out(self, effect: Effect) -> None:
        super().carry_out(effect)
        if effect == Ends("of a defect"):
            raise TypeError("no part carries that out")
        self.storing.add(self.more.get(effect, []))

    def defect(self, where: str, error: BaseException) -> None:
        self.lost_by = f"{where}: {error}"

    def lost(self, why: str) -> None:
        self.lost_by += f"; {why}"


def test_what_need_not_be_stored_is_carried_out_at_once_and_in_order() -> None:
    async def scenario() -> None:
        disk, host = (
            FullDisk(),
            Answers({Ends("a"): [Ends("c"), Decided(1, "jobs", "stop", "a", "asked for"), Ends("d")]}),
        )
        host.storing = storing = Storing(disk, host)  # type: ignore[arg-type]
        storing.add([Ends("a"), Ends("b")])
        assert host.done == [Ends("a"), Ends("b")]  # the others are of a batch that waits for the disk
        disk.go.set()
        await asyncio.wait_for(host.full.wait(), 10)
        assert host.done == [Ends("a"), Ends("b"), Ends("c"), Ends("d")]
        await storing.close()

    asyncio.run(scenario())


def test_a_defect_in_what_is_carried_out_at_once_ends_agentd() -> None:
    async def scenario() -> None:
        host = Answers({})
        storing = Storing(FullDisk(), host)  # type: ignore[arg-type]
        storing.add([Ends("of a defect")])
        assert host.lost_by == ("carrying out effects: no part carries that out; of a defect, which is in the log")
        await storing.close()

    asyncio.run(scenario())


class Reading(Sampled, frozen=True):
    value: int


class Readings(Tables):
    """Tables of a part that takes samples."""

    part = "readings"
    migrations: tuple[str, ...] = ("CREATE TABLE readings (value INTEGER NOT NULL);",)

    def load(self, db: sqlite3.Connection) -> list[int]:
        return [value for (value,) in db.execute("SELECT value FROM readings ORDER BY rowid")]

    def write(self, db: sqlite3.Connection, effects: Sequence[Effect]) -> int:
        rows = [(effect.value,) for effect in effects if isinstance(effect, Reading)]
        db.executemany("INSERT INTO readings VALUES (?)", rows)
        return len(rows)


async def sampling(folder: Path, readings: range) -> tuple[Store, Storing, list[str]]:
    """A store that took samples, and what its main connection was asked meanwhile."""
    store, asked = Store(folder), list[str]()
    storing = Storing(store, Host())  # type: ignore[arg-type]
    await storing.call(store.open, 1)
    await storing.call(store.take_up, Readings())
    store.db.set_trace_callback(asked.append)
    for value in readings:
        storing.add([Reading(value)])
    return store, storing, asked


def test_samples_are_stored_together_and_cost_no_fsync_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        store, storing, asked = await sampling(tmp_path, range(1000))
        assert await storing.call(Readings().load, store.db) == []  # the minute is not over
        storing._store_samples()
        assert await storing.call(Readings().load, store.db) == list(range(1000))
        assert not any("BEGIN" in text or "INSERT" in text for text in asked)
        assert store._lazy is not None
        assert store._lazy.execute("PRAGMA synchronous").fetchone() == (1,)  # NORMAL: no fsync at a commit
        assert store.db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL: what is decided is on the disk
        await storing.close()

    asyncio.run(scenario())


def test_samples_are_stored_with_the_one_that_ends_the_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FLUSH", 0.0)

    async def scenario() -> None:
        store, storing, _ = await sampling(tmp_path, range(5))
        assert await storing.call(Readings().load, store.db) == [0, 1, 2, 3]
        assert [sample.value for sample in storing.collected(Reading)] == [4]
        await storing.close()

    asyncio.run(scenario())


def test_samples_that_no_other_follows_are_stored_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LATER", 0.01)
    monkeypatch.setattr(module, "FLUSH", 0.01)

    async def scenario() -> None:
        store, storing, _ = await sampling(tmp_path, range(1))
        while storing._flush is not None:
            await asyncio.sleep(0.005)
        assert await storing.call(Readings().load, store.db) == [0]
        assert storing.collected(Reading) == []
        await storing.close()

    asyncio.run(scenario())


def test_a_defect_in_storing_samples_is_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        store, storing, _ = await sampling(tmp_path, range(3))
        told: list[str] = []
        anything: Any = storing
        anything._host.defect = lambda where, error: told.append(f"{where}: {error}")
        store.sample = lambda _: 1 / 0  # type: ignore[method-assign, assignment, return-value]
        storing._store_samples()
        await storing.call(list)
        assert storing.collected(Reading) == []
        assert told == ["storing samples: division by zero"]
        await storing.close()

    asyncio.run(scenario())


def test_samples_among_what_a_new_database_gets_are_collected_like_others(tmp_path: Path) -> None:
    async def scenario() -> None:
        _, storing, _ = await sampling(tmp_path, range(0))
        anything: Any = storing
        anything._host.everything = lambda: [Reading(1), Decided(1, "jobs", "start", "a", "again")]
        errors: list[Exception | None] = [Damaged("torn"), None]
        anything._write = lambda _: errors.pop(0)
        storing.add([Decided(1, "jobs", "start", "a", "why")])
        await storing.finish()
        assert [sample.value for sample in storing._samples] == [1]  # type: ignore[attr-defined]
        await storing.close()

    asyncio.run(scenario())


def test_a_thousand_ends_pass_a_full_disk_in_no_time() -> None:
    """Each effect is looked at a bounded number of times."""

    async def scenario() -> None:
        looks = 0

        class Counted(Ends, frozen=True):
            @property
            def subject(self) -> str:
                nonlocal looks
                looks += 1
                return self.name

        disk, host = FullDisk(), Host()
        storing = Storing(disk, host)  # type: ignore[arg-type]
        storing.add([Decided(1, "jobs", "stop", "a", "why"), *(Counted(str(number)) for number in range(1000))])
        disk.go.set()
        await asyncio.wait_for(host.full.wait(), 10)
        assert len(host.done) == 1000
        assert looks <= 2000
        await storing.close()

    asyncio.run(scenario())


def test_samples_of_the_last_minute_are_stored_when_agentd_stops(tmp_path: Path) -> None:
    async def scenario() -> None:
        _, storing, _ = await sampling(tmp_path, range(5))
        await storing.close()
        again = Store(tmp_path)
        again.open(2)
        assert again.take_up(Readings()) == [0, 1, 2, 3, 4]
        again.close()

    asyncio.run(scenario())


def test_samples_are_bounded_and_go_first_when_there_is_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_SAMPLES", 10)

    async def scenario() -> None:
        store, storing, _ = await sampling(tmp_path, range(100))
        assert [sample.value for sample in storing._samples] == list(range(90, 100))  # type: ignore[attr-defined]
        storing.trouble = "the disk is full"
        storing._store_samples()
        assert await storing.call(Readings().load, store.db) == []
        await storing.close()

    asyncio.run(scenario())
