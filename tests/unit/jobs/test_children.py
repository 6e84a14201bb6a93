"""The executor of standalone mode beside supervisors that do as told; with real ones it is tested on the bus."""

import asyncio
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from msgspec.structs import replace

from agentd.core.config import Config
from agentd.core.jobs.model import Run, RunSaved, Saved
from agentd.core.jobs.settings import Job
from agentd.core.quantities import SECOND
from agentd.daemon.store import FILE, Store
from agentd.jobs import children
from agentd.jobs.children import Children
from agentd.jobs.link import Link
from agentd.jobs.part import LEAD
from agentd.jobs.supervisor import tree
from agentd.jobs.tables import JobTables
from agentd.linux import now

JOB = Job(name="a", run=("/bin/true",))


class FakeLink:
    """A link that keeps its orders, and reports what the test puts there."""

    made: ClassVar[list["FakeLink"]] = []
    room = 3

    def __init__(self, _note: Path, _state: str, _lock: int, _umask: int, *callbacks: Any) -> None:
        if len(self.made) == self.room:
            raise OSError(24, "Too many open files")
        self.under_way: set[str] = set()
        self.unstored: set[str] = set()
        self.orders: list[dict[str, Any]] = []
        self.unread: list[dict[str, Any]] = []
        self.pid = 0
        self.is_stopped = self.is_closed = False
        self._on_report, self._on_lost, self._may_wait = callbacks
        self.made.append(self)

    def order(self, **order: Any) -> None:
        self.orders.append(order)

    def read_all(self) -> None:
        while self.unread:
            self._on_report(self.unread.pop(0))

    @property
    def has_reports(self) -> bool:
        return bool(self.unread)

    def waits(self) -> bool:
        return bool(self._may_wait(self))

    def ends(self, run_id: str) -> None:
        self.unread.append({"ev": "ended", "id": run_id, "result": "success", "exit_code": 0})

    def dies(self) -> None:
        self._on_lost(self)

    def close(self) -> Callable[[], int]:
        self.is_closed = True
        return lambda: 0


class World:
    """The executor, and what it told in order."""

    def __init__(self, folder: Path) -> None:
        self.told: list[tuple[str, str]] = []
        with (folder / "lock").open("wb") as lock:
            self.children = Children(
                folder,
                "/",
                lock.fileno(),
                lambda run_id, _: self.told.append((run_id, "started")),
                lambda run_id, outcome: self.told.append((run_id, outcome.result)),
                lambda: self.told.append(("agentd", f"{self.children.under_way} go on")),
                lambda _: self.told.append(("agentd", "lost")),
            )

    def start(self, seq: int, due: int = 0) -> Run:
        run = Run(job="a", seq=seq, due=due, cause="schedule", state="running")
        self.children.start(run, JOB)
        return run


@pytest.fixture(autouse=True)
def links(monkeypatch: pytest.MonkeyPatch) -> list[FakeLink]:
    made: list[FakeLink] = []
    monkeypatch.setattr(FakeLink, "made", made)
    monkeypatch.setattr(children, "Link", FakeLink)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(tree, "adopt_orphans", lambda: None)
    monkeypatch.setattr(tree, "send", lambda *_: None)
    return made


def test_a_run_never_waits_longer_than_the_lead_whatever_the_clock_shows(tmp_path: Path, links: list[FakeLink]) -> None:
    async def scenario() -> None:
        one = World(tmp_path)
        one.start(1, due=now() + 7200 * SECOND)  # the clock was set back by two hours since the run was decided
        latest = time.monotonic() + LEAD / SECOND
        assert links[0].orders[0]["at"] <= latest
        one.start(2, due=now() - 5 * SECOND)
        assert links[0].orders[1]["at"] <= time.monotonic()

    asyncio.run(scenario())


def test_a_run_is_never_planned_before_it_is_due_however_long_a_look_at_the_clock_takes(
    tmp_path: Path, links: list[FakeLink], monkeypatch: pytest.MonkeyPatch
) -> None:
    elapsed = 0.0

    def look() -> float:
        nonlocal elapsed
        elapsed += 0.005  # somebody else has the processor meanwhile
        return elapsed

    async def scenario() -> None:
        one = World(tmp_path)
        with monkeypatch.context() as patched:
            patched.setattr(children, "now", lambda: round(look() * SECOND))
            patched.setattr(time, "monotonic", look)
            one.start(1, due=round(0.1 * SECOND))
        assert links[0].orders[0]["at"] >= 0.1

    asyncio.run(scenario())


def test_nobody_waits_for_runs_that_a_dead_supervisor_was_to_begin(tmp_path: Path, links: list[FakeLink]) -> None:
    async def scenario() -> None:
        one = World(tmp_path)
        for seq in range(1, 35):
            one.start(seq, due=now() + LEAD)
        first, second = links
        first.dies()
        second.dies()
        assert one.told[-1] == ("agentd", "0 go on")

    asyncio.run(scenario())


def test_the_death_of_one_supervisor_is_told_first_and_costs_only_what_nobody_reported(
    tmp_path: Path, links: list[FakeLink]
) -> None:
    async def scenario() -> None:
        one = World(tmp_path)
        for seq in range(1, 35):  # more than one supervisor is given alone
            one.start(seq)
        first, second = links
        assert first.under_way == {f"a.{seq}" for seq in range(1, 33)}
        assert second.under_way == {"a.33", "a.34"}
        one.start(35, due=now() + LEAD)  # of the second, as it has fewer
        for run_id in ("a.1", "a.33"):
            (first if run_id in first.under_way else second).ends(run_id)
        second.dies()
        assert one.told[0] == ("agentd", "lost")
        ends = [(about, what) for about, what in one.told if about != "agentd"]
        assert ends == [("a.33", "success"), ("a.1", "success"), ("a.34", "interrupted")]
        assert one.children.under_way == 31
        assert second.is_closed
        assert not first.is_closed
        one.start(36)  # was decided already, and could not be started by anybody
        assert one.children.under_way == 31
        # The next daemon has word of what has not begun.
        again = World(tmp_path).children
        runs = tuple(Run(job="a", seq=seq, due=0, cause="schedule", state="running") for seq in (34, 35, 36))
        saved = await again.take_up(Saved(open_runs=runs), rebooted=False)
        assert [run.state for run in saved.open_runs] == ["running", "queued", "queued"]

    asyncio.run(scenario())


def test_a_failure_in_clearing_up_after_a_dead_supervisor_comes_after_the_telling(
    tmp_path: Path, links: list[FakeLink], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> None:
        raise OSError(24, "Too many open files")

    async def scenario() -> None:
        one = World(tmp_path)
        one.start(1)
        monkeypatch.setattr(tree, "Snapshot", fails)
        with pytest.raises(OSError, match="Too many"):
            links[0].dies()
        assert one.told == [("agentd", "lost")]
        assert one.children.under_way == 0  # nobody waits for runs that nobody can report
        one.children.stop("a.1", "stopped")
        one.children.stored("a.1")

    asyncio.run(scenario())


def test_without_room_for_a_second_supervisor_the_first_starts_all(
    tmp_path: Path, links: list[FakeLink], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(FakeLink, "room", 1)
        one = World(tmp_path)
        for seq in range(1, 41):
            one.start(seq)
        assert len(links[0].under_way) == 40

    asyncio.run(scenario())


def test_a_second_supervisor_stays_between_bursts_and_goes_when_there_is_none(
    tmp_path: Path, links: list[FakeLink], monkeypatch: pytest.MonkeyPatch
) -> None:
    def burst(one: World, first: int) -> None:
        runs = [one.start(seq).run_id for seq in range(first, first + 40)]
        for link in links:
            for run_id in list(link.under_way):
                link.ends(run_id)
            link.read_all()
        for run_id in runs:
            one.children.stored(run_id)

    async def scenario() -> None:
        one = World(tmp_path)
        for turn in range(3):
            burst(one, 1000 * turn)
        assert len(links) == 2
        assert not links[1].is_closed
        monkeypatch.setattr(children, "_SPARE", 0)
        burst(one, 5000)
        await until(lambda: links[1].is_closed)
        burst(one, 6000)
        assert len(links) == 3

    asyncio.run(scenario())


def test_a_large_burst_has_two_supervisors_and_one_goes_when_it_is_over(
    tmp_path: Path, links: list[FakeLink], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(FakeLink, "room", 9)
        monkeypatch.setattr(children, "_SPARE", 0)
        one = World(tmp_path)
        runs = [one.start(seq).run_id for seq in range(200)]
        assert [len(link.under_way) for link in links] == [100] * 2
        for link in links:
            for run_id in [*link.under_way]:
                link.ends(run_id)
            link.read_all()
        for run_id in runs:
            one.children.stored(run_id)
        await until(lambda: [link.is_closed for link in links] == [False, True])

    asyncio.run(scenario())


def test_reports_wait_while_another_supervisor_starts_a_crowd(tmp_path: Path, links: list[FakeLink]) -> None:
    async def scenario() -> None:
        one = World(tmp_path)
        for seq in range(200):
            one.start(seq, due=now())
        first, second = links
        first.ends("a.0")
        assert (first.waits(), second.waits()) == (True, False)  # of the first there is something to read: it is done
        crowd = sorted(second.under_way)
        second.ends(crowd[0])
        assert not first.waits()
        second.read_all()
        assert first.waits()
        for run_id in crowd[1 : -children._CROWD]:
            second.ends(run_id)
        second.read_all()
        assert not first.waits()  # for a few, nobody waits

    asyncio.run(scenario())


def test_nobody_waits_for_starts_that_come_later_or_do_not_come(tmp_path: Path, links: list[FakeLink]) -> None:
    async def scenario() -> None:
        one = World(tmp_path)
        for seq in range(100):
            one.start(seq, due=now() + SECOND)
        assert not links[0].waits()
        two = World(tmp_path)
        for seq in range(100):
            two.start(seq, due=now() - 2 * SECOND)  # the supervisor hangs, or somebody stopped it
        assert not links[2].waits()

    asyncio.run(scenario())


def test_a_supervisor_that_is_done_is_heard_once_the_other_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "Link", Link)

    async def scenario() -> None:
        one = World(tmp_path)
        told: list[int] = []
        started: list[int] = []
        one.children._on_ended = lambda *_: told.append(now())
        one.children._on_started = lambda _, at: started.append(at)
        one.children._lock_file = lock = os.open(tmp_path / "lock", os.O_RDONLY | os.O_CLOEXEC)
        supervisors, due = one.children._supervisors, now() + LEAD
        try:
            for seq in range(400):
                second = len(supervisors) == 2 and len(supervisors[0].under_way) > len(supervisors[1].under_way)
                program = "/bin/true" if second else "/of/the/first/which/has/nothing/to/start"
                one.children.start(
                    Run(job="a", seq=seq, due=due, cause="schedule", state="running"), replace(JOB, run=(program,))
                )
            await until(lambda: len(told) == 400)
        finally:
            one.children.close()
            os.close(lock)
        assert len(started) > 150
        assert min(told) >= max(started)

    asyncio.run(scenario())


async def until(true: Callable[[], bool]) -> None:
    for _ in range(1000):
        if true():
            return
        await asyncio.sleep(0.01)
    pytest.fail("waited in vain")


def test_a_stopped_supervisor_is_a_warning(tmp_path: Path, links: list[FakeLink]) -> None:
    async def scenario() -> None:
        one = World(tmp_path)
        assert one.children.warnings(Config()) == []
        links[0].is_stopped, links[0].pid = True, 77
        assert one.children.warnings(Config()) == [
            "the supervisor of the jobs is stopped: it starts nothing and sees no end until kill -CONT 77"
        ]

    asyncio.run(scenario())


def test_a_supervisor_that_somebody_stopped_ends_with_agentd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "Link", Link)

    async def scenario() -> None:
        before = tree.Snapshot().below(os.getpid())
        one = World(tmp_path)
        (pid,) = tree.Snapshot().below(os.getpid(), but=before)
        os.kill(pid, signal.SIGSTOP)
        rescue = threading.Timer(20, os.kill, (pid, signal.SIGCONT))
        rescue.start()
        one.children.close()
        ended_by_itself = rescue.is_alive()
        rescue.cancel()
        assert ended_by_itself

    asyncio.run(scenario())


# What others left


def saved(*seqs: int) -> Saved:
    return Saved(open_runs=tuple(Run(job="a", seq=seq, due=0, cause="schedule", state="running") for seq in seqs))


def note(folder: Path, name: str, *lines: str) -> Path:
    path = folder / name
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def end(run_id: str, result: str) -> str:
    return f'{{"ev":"ended","id":"{run_id}","result":"{result}","tail":""}}'


def test_every_note_is_read_and_removed_only_once_it_is_stored(tmp_path: Path) -> None:
    async def scenario() -> None:
        old = note(tmp_path, "ended-0.jsonl", end("a.1", "success"))  # of an agentd before this one
        first = note(tmp_path, "unstored-1.jsonl", end("a.2", "exit-code"), end("a.4", "success"))
        second = note(
            tmp_path, "unstored-2.jsonl", end("a.3", "not-begun"), end("a.4", "not-begun"), '{"ev":"ended","i'
        )
        empty = tmp_path / "unstored-3.jsonl"
        empty.write_bytes(bytes(1 << 16))  # of a supervisor that had no time to write
        one = World(tmp_path)
        found = await one.children.take_up(saved(1, 2, 3, 4, 5), rebooted=False)
        assert {run_id: outcome.result for run_id, outcome in found.outcomes.items()} == {
            "a.1": "success",
            "a.2": "exit-code",
            "a.3": "not-begun",
            "a.4": "success",
        }
        assert [run.run_id for run in found.open_runs if run.state == "queued"] == ["a.3"]
        late = note(tmp_path, "unstored-4.jsonl", end("a.5", "success"))
        assert all(path.exists() for path in (old, first, second, empty))
        one.children.taken_up()
        assert [path for path in (old, first, second, empty, late) if path.exists()] == [late]

    asyncio.run(scenario())


def test_ends_that_an_older_database_does_not_know_are_told_as_they_were(tmp_path: Path) -> None:
    """What a supervisor left word of is known, also where the database lost that the run was started."""

    async def scenario() -> None:
        store = Store(tmp_path)
        store.open(1)
        store.take_up(JobTables(tmp_path))
        runs = [Run(job="a", seq=seq, due=seq, cause="schedule") for seq in range(1, 5)]
        store.write([RunSaved(runs[0]), RunSaved(runs[1]), RunSaved(replace(runs[2], state="running")),
                     RunSaved(runs[3])])  # fmt: skip
        store.close()
        shutil.copy(tmp_path / FILE, tmp_path / "copy")
        store.open(2)
        store.write([RunSaved(replace(run, state="running")) for run in runs])
        store.close()
        shutil.copy(tmp_path / "copy", tmp_path / FILE)
        note(tmp_path, "unstored-1.jsonl", end("a.1", "success"), end("a.2", "not-begun"), end("a.3", "exit-code"))
        one = World(tmp_path)
        store = Store(tmp_path)
        store.open(3)
        found = await one.children.take_up(store.take_up(JobTables(tmp_path, one.children.noted)), rebooted=False)
        store.close()
        assert [(run.run_id, run.state) for run in found.open_runs] == [
            ("a.1", "running"),
            ("a.2", "queued"),
            ("a.3", "running"),
        ]
        assert (found.outcomes["a.1"].result, found.outcomes["a.3"].result) == ("success", "exit-code")
        assert found.last_runs["a"].reason.startswith("what became of the run is not known")  # of a.4

    asyncio.run(scenario())


def test_what_was_read_is_removed_before_anything_starts_because_of_it(tmp_path: Path) -> None:
    """Else a second kill would leave word of a run that has not begun although it had."""

    async def scenario() -> None:
        left = note(tmp_path, "unstored-1.jsonl", end("a.1", "not-begun"))
        one = World(tmp_path)
        await one.children.take_up(saved(1), rebooted=False)
        one.start(1)
        assert not left.exists()

    asyncio.run(scenario())


def test_a_bus_that_ends_is_told_with_the_last_of_its_lines(tmp_path: Path, links: list[FakeLink]) -> None:
    async def scenario() -> None:
        one, why = World(tmp_path).children, list[str]()
        one._on_lost = why.append
        one.keep("bus", "the private bus", ["dbus-daemon"], tmp_path / "bus.log")
        link = links[0]
        said = "too many pending replies\n" * 16 + "out of memory\n"
        link.unread.append({"ev": "ended", "id": link.orders[0]["id"], "result": "signal", "tail": said})
        link.read_all()
        assert why == ["the private bus ended: out of memory"]
        killed = {"result": "signal", "signal": "SIGKILL", "tail": "Failed to set fd limit to 65536\n"}
        link.unread.append({"ev": "ended", "id": link.orders[0]["id"], **killed})
        link.read_all()
        assert why[1:] == ["the private bus ended: killed by SIGKILL"]

    asyncio.run(scenario())
