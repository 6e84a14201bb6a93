"""The daemon's own checks of the self-test: each passes where all is well, and fails of a real fault."""

import asyncio
import sqlite3
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agentd.config import files
from agentd.core.part import Decided
from agentd.core.quantities import HOUR, SECOND
from agentd.daemon import checks as module
from agentd.daemon import manager
from agentd.daemon.checks import CANARY, checks
from agentd.daemon.daemon import Daemon
from agentd.daemon.store import FILE, Store
from agentd.linux import now
from agentd.part import CheckFailed
from tests.bus.logind_template import FakeLogind
from tests.unit.bus.conftest import address, connected

__all__ = ["address"]

PAGE = 4096  # bytes
NOT_BEFORE = "the clock is not before what was stored last"


async def look(host: Any, name: str) -> str:
    """Returns what a check found, "failed: " before it where it failed."""
    (check,) = [one for one in checks(host) if one.name == name]
    try:
        return await asyncio.wait_for(check.look(), check.limit)
    except CheckFailed as failed:
        return f"failed: {failed}"


def within(folder: Path, address: str, question: Callable[[Daemon], Awaitable[Any]]) -> Any:
    """Returns what the question to a real daemon comes to, which has its state in the folder."""

    async def scenario() -> Any:
        config = folder.parent / "agentd.yaml"
        config.write_text("timezone: UTC\njobs: {a: {run: 'true'}}\n")
        async with connected(address) as bus:
            daemon = Daemon("standalone", files.load(config), lambda: files.load(config), lambda: [config])
            await daemon.open(folder, "boot", 1)
            await daemon.start([manager.part(daemon)], bus)
            try:
                return await question(daemon)
            finally:
                await daemon.close()

    return asyncio.run(scenario())


def stored(folder: Path, number: int, at: int) -> None:
    """Leaves so many decisions of an instant in the folder."""
    store = Store(folder)
    store.open(at)
    store.write([Decided(at, "jobs", "skip", "a", f"because of {one} {'x' * 200}") for one in range(number)])
    store.close()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@contextmanager
def disk(options: str) -> Iterator[Path]:
    """A small file system of its own, with the options of mount(8)."""
    mount = f"mount -t tmpfs -o {options} tmpfs /mnt && echo && exec sleep infinity"
    with subprocess.Popen(["unshare", "-m", "sh", "-c", mount], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        try:
            if not holder.stdout.readline():
                pytest.skip("no disk can be mounted here: that takes root")
            yield Path(f"/proc/{holder.pid}/root/mnt")
        finally:
            holder.kill()


def on(folder: Path) -> Any:
    """As much of a daemon as the checks of its folder need."""
    return SimpleNamespace(folder=folder, ready=lambda: None)


def test_all_checks_of_a_daemon_in_order_pass_and_leave_nothing_behind(state: Path, address: str) -> None:
    async def question(daemon: Daemon) -> tuple[list[str], set[str], set[str]]:
        before = {file.name for file in state.iterdir()}
        found = [await check.look() for check in manager.part(daemon).checks() if not check.full]
        return found, before, {file.name for file in state.iterdir()}

    found, before, after = within(state, address, question)
    assert found == [
        f"the database in {state} is sound",
        f"a file was written in {state}, and was on the disk",
        found[2],
        "the bus answers, and org.agentd1 is this agentd",
        f"{NOT_BEFORE}; nobody here knows whether a server keeps it",
    ]
    assert "MiB" in found[2]
    assert found[2].endswith(" left")
    assert after - {f"{FILE}-wal", f"{FILE}-shm"} <= before


def test_each_check_names_a_command_and_has_words_for_a_name(state: Path) -> None:
    for check in checks(on(state)):
        assert check.name == check.name.lower()
        assert ": " in check.remedy
        assert 0 < check.limit <= (300 if check.full else 60)


# The store


def test_a_database_that_was_damaged_while_agentd_ran_is_found(state: Path, address: str) -> None:
    stored(state, 500, now())

    async def question(daemon: Daemon) -> str:
        with (state / FILE).open("r+b") as file:
            for page in range(4, 12):
                file.seek(page * PAGE)
                file.write(b"\xff" * PAGE)
        return await look(daemon, "store intact")

    found = within(state, address, question)
    assert found.startswith("failed: ")
    assert "is damaged" in found or "malformed" in found


def lose_from_index(file: Path) -> None:
    """Removes a decision from its table and leaves it in its index, as no torn page does."""
    index = "decisions_by_job"
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        db.execute("PRAGMA writable_schema=ON")
        entry = db.execute("SELECT * FROM sqlite_master WHERE name = ?", (index,)).fetchone()
        db.execute("DELETE FROM sqlite_master WHERE name = ?", (index,))
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        db.execute("PRAGMA writable_schema=ON")
        db.execute("DELETE FROM decisions WHERE id = 1")
        db.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", entry)


def test_the_full_self_test_finds_an_index_that_is_not_as_its_table(state: Path, address: str) -> None:
    stored(state, 5, now())

    async def question(daemon: Daemon) -> tuple[str, str]:
        sound = await look(daemon, "store in full")
        lose_from_index(state / FILE)  # which the quick look finds as well where SQLite is recent
        return sound, await look(daemon, "store in full")

    assert within(state, address, question) == (
        f"the database in {state} is sound, and so are its indexes",
        f"failed: the database in {state} is damaged: wrong # of entries in index decisions_by_job",
    )


def test_a_look_in_full_keeps_no_question_waiting_and_is_ended_with_the_self_test(state: Path, address: str) -> None:
    stored(state, 5, now())

    async def question(daemon: Any) -> tuple[int, bool]:
        begun, interrupted = threading.Event(), threading.Event()

        class Slow(sqlite3.Connection):
            """A connection that looks through gigabytes: until it is interrupted."""

            def execute(self, *_: Any) -> Any:
                begun.set()
                interrupted.wait()
                raise sqlite3.OperationalError("interrupted")

            def interrupt(self) -> None:
                interrupted.set()

        daemon.reading = lambda: sqlite3.connect(":memory:", factory=Slow, check_same_thread=False)
        (check,) = [one for one in checks(daemon) if one.name == "store in full"]
        looking = asyncio.ensure_future(check.look())
        await asyncio.to_thread(begun.wait)
        found = len(await daemon.decisions())
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        return found, interrupted.is_set()

    assert within(state, address, question) == (5, True)


def test_only_what_takes_long_waits_for_the_full_self_test(state: Path) -> None:
    assert [check.name for check in checks(on(state)) if check.full] == ["store in full"]


def test_things_are_stored_while_the_database_is_looked_through(state: Path, address: str) -> None:
    async def question(daemon: Any) -> tuple[bool, str]:
        slow = threading.Event()
        daemon._reader._thread.submit(slow.wait)  # as a question before it, on a database of gigabytes
        looking = asyncio.ensure_future(look(daemon, "store intact"))
        await daemon._storing.call(daemon._store.remember, "one", "fact")
        still = not looking.done()
        slow.set()
        return still, await looking

    assert within(state, address, question) == (True, f"the database in {state} is sound")


def test_a_disk_that_is_read_only_fails() -> None:
    with disk("ro") as folder:
        found = asyncio.run(look(on(folder), "store writable"))
    assert found == f"failed: no file can be written in {folder}: read-only file system"


def test_a_disk_that_is_full_fails_and_the_canary_does_not_stay() -> None:
    with disk("size=64k") as folder:
        (folder / "foreign").write_bytes(bytes(64 << 10))
        writable, room = (asyncio.run(look(on(folder), name)) for name in ("store writable", "room for the store"))
        assert [file.name for file in folder.iterdir()] == ["foreign"]
    assert writable == f"failed: no file can be written in {folder}: no space left on device"
    assert room.startswith(f"failed: {folder} has 0 MiB and ")


def test_a_disk_without_inodes_fails() -> None:
    with disk("size=64m,nr_inodes=32") as folder:
        found = asyncio.run(look(on(folder), "room for the store"))
    assert found.startswith(f"failed: {folder} has 64 MiB and ")
    assert found.endswith(" inodes left, and needs 16 MiB and 64 inodes")


def test_a_canary_that_a_crash_left_is_in_nobodys_way_and_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / CANARY).write_text("of an agentd that was killed")
    assert asyncio.run(look(on(tmp_path), "store writable")).startswith("a file was written")
    (tmp_path / "precious").write_text("kept")
    (tmp_path / CANARY).symlink_to(tmp_path / "precious")
    assert asyncio.run(look(on(tmp_path), "store writable")).startswith("failed: no file can be written")
    assert (tmp_path / "precious").read_text() == "kept"


def test_a_folder_that_is_gone_fails(tmp_path: Path) -> None:
    for name in ("store writable", "room for the store"):
        assert asyncio.run(look(on(tmp_path / "gone"), name)).endswith(": no such file or directory")


def test_while_nothing_can_be_stored_the_store_is_not_writable(state: Path, address: str) -> None:
    async def question(daemon: Any) -> str:
        daemon._storing.trouble = "nothing starts: the state cannot be stored: disk I/O error"
        return await look(daemon, "store writable")

    assert within(state, address, question) == "failed: nothing starts: the state cannot be stored: disk I/O error"


# The bus


def test_a_name_that_nobody_or_another_process_has_fails(state: Path, address: str) -> None:
    async def alone() -> str:
        async with connected(address) as bus:
            return await look(SimpleNamespace(bus=bus, started_at=1, folder=state), "bus")

    async def another(_: Daemon) -> str:
        async with connected(address) as bus:
            return await look(SimpleNamespace(bus=bus, started_at=1, folder=state), "bus")

    assert asyncio.run(alone()).startswith("failed: nobody answers as org.agentd1 on the bus: ")
    assert within(state, address, another) == "failed: another process answers as org.agentd1 on the bus"


def test_a_connection_that_is_lost_fails(state: Path, address: str) -> None:
    async def question(daemon: Daemon) -> str:
        daemon.bus.close()
        await daemon.bus.lost()
        return await look(daemon, "bus")

    found = within(state, address, question)
    assert found == "failed: nobody answers as org.agentd1 on the bus: the connection to the bus is lost"


# The clock


def clock(daemon: Daemon) -> Awaitable[str]:
    return look(daemon, "clock")


def test_a_clock_before_what_was_stored_fails(state: Path, address: str) -> None:
    stored(state, 1, now() + HOUR)
    stored(state, 1, now())
    found = within(state, address, clock)
    assert found.startswith("failed: the clock says 20")
    assert "but agentd stored a decision at" in found


def test_a_clock_that_a_server_corrected_by_a_little_is_no_fault(state: Path, address: str) -> None:
    stored(state, 1, now() + module._STEP - SECOND)
    assert within(state, address, clock).startswith(NOT_BEFORE)


def test_an_instant_that_is_none_tells_nothing_of_the_clock(state: Path, address: str) -> None:
    stored(state, 1, now())
    store = Store(state)
    store.open(now())
    store.db.execute("UPDATE decisions SET at = 'zz'")
    store.close()
    assert within(state, address, clock).startswith(NOT_BEFORE)


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        (
            {"NTP": True, "NTPSynchronized": True},
            f"{NOT_BEFORE}, and is kept by a server",
        ),
        ({"NTP": True, "NTPSynchronized": False}, "failed: a time service is on, and has not reached any server"),
        ({"NTP": False}, f"{NOT_BEFORE}; no time service is on"),
        ({}, f"{NOT_BEFORE}; nobody here knows whether a server keeps it"),
    ],
)
def test_what_timedated_says_of_the_clock_counts(
    state: Path, address: str, tmp_path: Path, facts: dict[str, bool], found: str
) -> None:
    peer = FakeLogind(address, tmp_path / "wall")  # owns timedated's name as well
    peer.clock = facts
    peer.start()
    try:
        assert within(state, address, clock) == found
    finally:
        peer.stop()


def test_a_timedated_that_refuses_to_answer_is_told(state: Path, address: str, tmp_path: Path) -> None:
    peer = FakeLogind(address, tmp_path / "wall")
    peer.refuses["Get"] = ("org.freedesktop.DBus.Error.AccessDenied", "not you")
    peer.start()
    try:
        assert within(state, address, clock) == (
            "failed: timedated does not say whether a server keeps the clock: not you"
        )
    finally:
        peer.stop()
