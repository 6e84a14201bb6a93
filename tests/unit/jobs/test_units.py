"""Runs as units beside a systemd that answers as told; in a machine the same is tested with the real one."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from agentd.bus.connection import CallFailed
from agentd.core.config import Config
from agentd.core.jobs import unitfile
from agentd.core.jobs.model import Outcome, Run, RunSaved, Saved
from agentd.core.jobs.settings import Job
from agentd.core.part import Refused
from agentd.core.quantities import SECOND
from agentd.daemon.store import FILE, Store
from agentd.jobs import spool, units
from agentd.jobs.part import LEAD
from agentd.jobs.tables import JobTables
from agentd.linux import now
from agentd.peers import systemd

JOB = Job(name="a", run=("/bin/true",))
UNIT = "agentd-job@a.service"
ERROR = "org.freedesktop.DBus.Error."
GONE = CallFailed(f"{ERROR}NoReply", "Message recipient disconnected")
REFUSED = CallFailed("org.freedesktop.systemd1.NoSuchUnit", "Unit not found")


def run(job: str = "a", seq: int = 1, due: int = 0, **more: Any) -> Run:
    return Run(job=job, seq=seq, due=due, cause="schedule", **more)


class FakeSystemd:
    """Answers each start and stop with the next of `answers`; what units do is what the test sets."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.asked: list[str] = []
        self.alive: bool | CallFailed = True
        self.began: tuple[int, str] | CallFailed = (5_000_000, "new")
        self.busy: set[str] = set()
        self.last: dict[str, Any] = {}
        self.generate: Callable[[], None] = lambda: None
        self.signals: dict[str, Any] = {}
        self.missed: Callable[[], Awaitable[None]]

    async def listen(self, on_missed: Any, **listeners: Any) -> Any:
        self.missed, self.signals = on_missed, listeners
        return self.signals.clear

    async def start_unit(self, unit: str, **_: Any) -> Any:
        return self._answer(f"start {unit}")

    async def stop_unit(self, unit: str, **_: Any) -> Any:
        return self._answer(f"stop {unit}")

    async def reload(self) -> None:
        self.asked.append("reload")
        self.generate()

    async def is_alive(self, *names: str) -> bool:
        if isinstance(self.alive, CallFailed):
            raise self.alive
        return bool(self.busy.intersection(names)) or (self.alive and UNIT in names)

    async def last_end(self, _: str) -> dict[str, Any]:
        return self.last

    async def beginning(self, _: str) -> tuple[int, str]:
        if isinstance(self.began, CallFailed):
            raise self.began
        return self.began

    async def failure(self, _: str) -> str:
        return "exit-code, status 203"

    def _answer(self, asked: str) -> Any:
        self.asked.append(asked)
        answer = self.answers.pop(0) if self.answers else "/job/1"
        if isinstance(answer, Exception):
            raise answer
        return answer() if callable(answer) else answer


class World:
    """Units on a fake systemd, and what they reported."""

    def __init__(self, folder: Path) -> None:
        fake: Any = FakeSystemd()
        self.systemd = fake
        self.started: list[tuple[str, int, str]] = []
        self.ended: dict[str, Outcome] = {}
        self.trouble: list[str] = []
        self.generated = folder / "generator"
        self.units = units.Units(
            fake,
            lambda *began: self.started.append(began),
            self.ended.__setitem__,
            self.trouble.append,
            lambda where, error: self.trouble.append(f"{where}: {error!r}"),
        )

    async def begin(self, *, answer: Any = "/job/1") -> None:
        """Starts a run that is due, up to systemd's answer."""
        await self.units.take_up(Saved(), rebooted=False)
        self.units.taken_up()
        self.systemd.answers.append(answer)
        self.units.start(run(), JOB)
        await self.settle()

    async def settle(self) -> None:
        while tasks := self.units._tasks._tasks:
            await asyncio.wait(tasks)

    async def job_removed(self, result: str = "done", job: str = "/job/1") -> None:
        self.systemd.signals["JobRemoved"]([1, job, UNIT, result])
        await self.settle()

    def end(self, invocation: str = "new", result: str = "success", code: str = "exited", status: str = "0") -> None:
        """note-end has written; what inotify tells is told here."""
        lines = (invocation, result, code, status, "7", "4096", "Wed 2026-11-25 23:17:42.123456 UTC", "end")
        (spool.ENDED / "a").write_text("".join(f"{line}\n" for line in lines))
        self.units._end_arrived("a")


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[World], Awaitable[None]]], World]:
    for name in ("runs", "ended", "generator"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(spool, "NOTES", tmp_path / "runs")
    monkeypatch.setattr(spool, "ENDED", tmp_path / "ended")
    monkeypatch.setattr(units, "GENERATED", tmp_path / "generator")
    for module in (units, systemd):
        monkeypatch.setattr(module, "AGAIN", 0)

    def play(scenario: Callable[[World], Awaitable[None]]) -> World:
        world = World(tmp_path)

        async def whole() -> None:
            await scenario(world)
            world.units.close()

        asyncio.run(whole())
        return world

    return play


Play = Callable[[Callable[[World], Awaitable[None]]], World]


def test_a_run_is_noted_started_and_ends_as_note_end_says(play: Play) -> None:
    async def scenario(world: World) -> None:
        await world.begin()
        assert [note.run_id for note in spool.read_notes()] == ["a.1"]
        assert (world.units.under_way, world.started) == (1, [])
        await world.job_removed()
        assert (world.units.under_way, world.started) == (0, [("a.1", 5_000_000, "new")])
        world.end(status="3", result="exit-code")
        assert world.units.unit_of("a.1") == systemd.unit_path(UNIT)
        world.units.stored("a.1")
        assert (spool.read_notes(), world.units.unit_of("a.1")) == ([], "")

    world = play(scenario)
    outcome = world.ended["a.1"]
    assert (outcome.result, outcome.exit_code, outcome.cpu_usec, outcome.invocation) == ("exit-code", 3, 7, "new")
    assert (world.systemd.asked, world.trouble, world.systemd.signals) == ([f"start {UNIT}"], [], {})


def test_the_end_of_the_invocation_before_is_not_that_of_the_run(play: Play) -> None:
    async def scenario(world: World) -> None:
        world.end("old")
        await world.begin()
        await world.job_removed()
        world.units._end_arrived("")
        assert world.ended == {}
        world.end("new")

    assert play(scenario).ended["a.1"].result == "success"


def test_what_became_of_the_start_may_be_told_before_its_answer(play: Play) -> None:
    async def scenario(world: World) -> None:
        def answer() -> str:
            world.systemd.signals["JobRemoved"]([1, "/job/0", UNIT, "failed"])  # somebody else's
            world.systemd.signals["JobRemoved"]([1, "/job/1", UNIT, "done"])
            return "/job/1"

        await world.begin(answer=answer)

    assert play(scenario).started == [("a.1", 5_000_000, "new")]


def test_a_start_that_systemd_may_have_heard_is_not_asked_for_twice(play: Play) -> None:
    async def scenario(world: World) -> None:
        await world.begin(answer=GONE)

    world = play(scenario)
    assert (world.systemd.asked, world.started) == ([f"start {UNIT}"], [("a.1", 5_000_000, "new")])


def test_a_start_that_systemd_did_not_hear_is_asked_for_again(play: Play) -> None:
    async def scenario(world: World) -> None:
        world.systemd.alive, world.systemd.began = False, (4_000_000, "")
        await world.begin(answer=GONE)
        world.systemd.began = (5_000_000, "new")
        await world.job_removed()

    world = play(scenario)
    assert (world.systemd.asked, len(world.started), world.ended) == ([f"start {UNIT}"] * 2, 1, {})


def test_a_start_that_waits_for_its_turn_while_pid_1_executes_itself_anew_has_not_begun(play: Play) -> None:
    async def scenario(world: World) -> None:
        world.end("old")
        world.systemd.began = (4_000_000, "old")
        await world.begin()
        await world.systemd.missed()
        await world.settle()
        assert (world.units.under_way, world.started) == (1, [])
        world.systemd.began = (5_000_000, "new")
        await world.job_removed()
        assert world.started == [("a.1", 5_000_000, "new")]

    assert play(scenario).ended == {}


def test_a_start_that_was_taken_back_while_pid_1_executed_itself_anew_failed(play: Play) -> None:
    async def scenario(world: World) -> None:
        world.systemd.alive, world.systemd.began = False, (0, "")
        await world.begin()
        await world.systemd.missed()
        await world.settle()

    outcome = play(scenario).ended["a.1"]
    assert (outcome.result, outcome.reason.partition(":")[0]) == (
        "start-failed",
        "systemd did not start the unit (exit-code, status 203)",
    )


def test_a_run_is_not_taken_for_one_that_never_began_because_systemd_does_not_answer(play: Play) -> None:
    async def scenario(world: World) -> None:
        spool.write_note("a", run(), "old")
        world.systemd.alive, world.systemd.began = False, REFUSED
        with pytest.raises(CallFailed):
            await world.units.take_up(Saved(open_runs=(run(state="running", started=2),)), rebooted=False)
        assert [note.run_id for note in spool.read_notes()] == ["a.1"]

    play(scenario)


def test_a_run_that_waited_for_its_turn_when_agentd_ended_has_not_the_times_of_the_run_before(play: Play) -> None:
    async def scenario(world: World) -> None:
        spool.write_note("a", run(), "old")
        world.systemd.began = (4_000_000, "old")
        saved = await world.units.take_up(Saved(open_runs=(run(state="running", started=9),)), rebooted=False)
        assert [(run.started, run.invocation) for run in saved.under_way] == [(9, "")]

    play(scenario)


def test_a_start_that_is_refused_or_fails_is_the_runs_end(play: Play) -> None:
    async def refused(world: World) -> None:
        await world.begin(answer=REFUSED)

    async def failed(world: World) -> None:
        world.systemd.alive = False
        await world.begin()
        await world.job_removed("failed")

    outcome = play(refused).ended["a.1"]
    assert (outcome.result, outcome.reason) == ("start-failed", f"systemd did not start {UNIT}: Unit not found")
    outcome = play(failed).ended["a.1"]
    assert outcome.result == "start-failed"
    assert outcome.reason == f"systemd did not start the unit (exit-code, status 203): systemctl status {UNIT}"


def test_a_note_that_cannot_be_written_is_told_with_its_place_and_nothing_is_started(play: Play) -> None:
    async def scenario(world: World) -> None:
        await world.units.take_up(Saved(), rebooted=False)
        (spool.NOTES / ".a").mkdir()
        world.units.start(run(), JOB)
        await world.settle()

    world = play(scenario)
    outcome = world.ended["a.1"]
    assert outcome.reason == f"could not write the run's note in {spool.NOTES}: Is a directory"
    assert (outcome.result, world.systemd.asked) == ("start-failed", [])


def test_of_many_starts_some_are_asked_for_at_once_and_one_that_is_stopped_before_never_is(play: Play) -> None:
    many = [Job(name=f"many{number}", run=("/bin/true",)) for number in range(40)]

    async def scenario(world: World) -> None:
        answers: list[asyncio.Future[str]] = []

        async def start_unit(unit: str, **_: Any) -> str:
            world.systemd.asked.append(unit)
            answers.append(asyncio.get_running_loop().create_future())
            return await answers[-1]

        world.systemd.start_unit = start_unit
        await world.units.take_up(Saved(), rebooted=False)
        for job in many:
            world.units.start(run(job.name), job)
        world.units.stop("many39.1", "stopped")
        for given in range(39):
            for _ in range(9):
                await asyncio.sleep(0)
            assert len(answers) == min(39, units._AT_ONCE + given)
            answers[given].set_result(f"/job/{given}")
        await world.settle()

    world = play(scenario)
    assert world.systemd.asked == [unitfile.unit(job.name) for job in many[:-1]]
    assert [(run, outcome.result) for run, outcome in world.ended.items()] == [("many39.1", "stopped")]


def test_more_runs_than_units_are_not_started(play: Play) -> None:
    async def scenario(world: World) -> None:
        await world.begin()
        world.units.start(run(seq=2), JOB)

    assert play(scenario).ended["a.2"].reason == "every unit of the job is taken by a run that has not ended"


def test_a_run_that_is_not_due_yet_is_stopped_without_systemd(play: Play) -> None:
    async def scenario(world: World) -> None:
        world.units.start(run(due=now() + 3600 * 1_000_000), JOB)
        world.units.stop("a.1", "cancelled")

    world = play(scenario)
    assert (world.ended["a.1"].result, world.systemd.asked) == ("cancelled", [])


def test_a_stop_is_asked_for_until_systemd_hears_it_and_has_its_result(play: Play) -> None:
    async def scenario(world: World) -> None:
        await world.begin()
        await world.job_removed()
        world.systemd.answers += [GONE, GONE]
        world.units.stop("a.1", "timeout")
        await world.settle()
        world.end(result="signal", code="killed", status="TERM")

    world = play(scenario)
    assert world.systemd.asked == [f"start {UNIT}", *[f"stop {UNIT}"] * 3]
    assert (world.ended["a.1"].result, world.trouble) == ("timeout", [])


def test_a_stop_never_stops_the_run_that_has_the_unit_next(play: Play) -> None:
    async def scenario(world: World) -> None:
        await world.begin()
        await world.job_removed()

        def gone() -> str:
            world.end()  # the run ended while PID 1 was away
            raise GONE

        world.systemd.answers.append(gone)
        world.units.stop("a.1", "stopped")
        await world.settle()

    world = play(scenario)
    assert (world.systemd.asked, world.trouble) == ([f"start {UNIT}", f"stop {UNIT}"], [])


def test_a_stop_that_systemd_refuses_is_told(play: Play) -> None:
    async def scenario(world: World) -> None:
        await world.begin()
        await world.job_removed()
        world.systemd.answers.append(REFUSED)
        world.units.stop("a.1", "stopped")
        await world.settle()

    assert play(scenario).trouble == ["a.1 could not be stopped: Unit not found"]


def test_who_else_stops_the_unit_is_seen_by_systemds_job(play: Play) -> None:
    async def scenario(world: World) -> None:
        await world.begin()
        await world.job_removed()
        world.systemd.signals["JobNew"]([2, "/job/2", UNIT])
        world.end(code="killed", status="TERM")

    outcome = play(scenario).ended["a.1"]
    assert (outcome.result, outcome.reason) == ("stopped", "stopped through systemd")


@pytest.mark.parametrize("order", [(7, 8), (8, 7)], ids=["told in order", "told the other way round"])
def test_who_starts_the_unit_again_while_its_end_is_noted_did_not_stop_it(play: Play, order: tuple[int, int]) -> None:
    noting, *_ = unitfile.ended("a")

    async def scenario(world: World) -> None:
        await world.begin()
        await world.job_removed()
        jobs = {7: noting, 8: UNIT}
        for number in order:
            world.systemd.signals["JobNew"]([number, f"/job/{number}", jobs[number]])
        world.end(result="exit-code", status="3")

    outcome = play(scenario).ended["a.1"]
    assert (outcome.result, outcome.exit_code) == ("exit-code", 3)


def test_the_noting_of_an_end_before_the_run_hides_no_stop(play: Play) -> None:
    async def scenario(world: World) -> None:
        await world.begin(answer="/job/5")
        world.systemd.signals["JobNew"]([4, "/job/4", unitfile.ended("a")[0]])
        await world.job_removed(job="/job/5")
        world.systemd.signals["JobNew"]([6, "/job/6", UNIT])
        world.systemd.signals["JobNew"]([7, "/job/7", unitfile.ended("a")[1]])
        world.end(code="killed", status="TERM")

    assert play(scenario).ended["a.1"].result == "stopped"


def test_after_pid_1_executed_itself_anew_every_run_is_checked(play: Play) -> None:
    async def scenario(world: World) -> None:
        await world.begin()
        await world.systemd.missed()  # the start was heard, its end not told
        await world.settle()
        assert world.started == [("a.1", 5_000_000, "new")]
        world.systemd.alive = False
        await world.systemd.missed()

    outcome = play(scenario).ended["a.1"]
    assert outcome.result == "interrupted"
    assert outcome.reason == f"the unit does not run, and how the run ended was not noted: systemctl status {UNIT}"


KNOWN = {
    "InvocationID": "new",
    "Result": "exit-code",
    "ExecMainCode": 1,
    "ExecMainStatus": 3,
    "CPUUsageNSec": 7999,
    "MemoryPeak": (1 << 64) - 1,
    "StateChangeTimestamp": 9_000_000,
}


def test_an_end_that_is_being_noted_is_waited_for(play: Play) -> None:
    async def scenario(world: World) -> None:
        await world.begin()
        await world.job_removed()
        world.systemd.alive, world.systemd.last = False, KNOWN
        for note in unitfile.ended("a"):
            world.systemd.busy = {note}
            world.units._patrol()
            await world.settle()
            assert world.ended == {}
        world.end(status="4", result="exit-code")

    assert play(scenario).ended["a.1"].exit_code == 4


def test_an_end_that_could_not_be_noted_is_what_systemd_knows_of_it(play: Play) -> None:
    async def scenario(world: World) -> None:
        await world.begin()
        await world.job_removed()
        world.systemd.alive, world.systemd.last = False, KNOWN
        world.units._patrol()
        await world.settle()
        world.units.stored("a.1")
        world.systemd.alive = True
        world.units.start(run(seq=2), JOB)
        await world.settle()
        await world.job_removed()
        world.end("new")  # of the run before, and late
        assert list(world.ended) == ["a.1"]
        world.systemd.alive = False
        world.units._patrol()
        await world.settle()

    world = play(scenario)
    first, second = world.ended.values()
    assert (first.result, first.exit_code, first.ended) == ("exit-code", 3, 9_000_000)
    assert (first.cpu_usec, first.peak_memory, first.invocation) == (7, 0, "new")
    assert second.result == "interrupted", "what systemd knows is the end of the run before"


def test_an_end_that_was_not_noted_while_no_agentd_was_there_is_what_systemd_knows(play: Play) -> None:
    async def scenario(world: World) -> None:
        spool.write_note("a", run(), "old")
        world.systemd.alive, world.systemd.last = False, KNOWN
        saved = await world.units.take_up(Saved(open_runs=(run(state="running", started=2),)), rebooted=False)
        assert (saved.outcomes["a.1"].result, saved.outcomes["a.1"].exit_code) == ("exit-code", 3)

    play(scenario)


def test_a_note_that_outlived_the_boot_starts_no_run_again(play: Play) -> None:
    async def scenario(world: World) -> None:
        spool.write_note("a", run(), "old")
        world.systemd.alive, world.systemd.began = False, (0, "")
        saved = await world.units.take_up(Saved(open_runs=(run(state="running", started=2),)), rebooted=True)
        assert [run.state for run in saved.open_runs] == ["running"], "what a boot ended is for the core to tell"
        assert saved.outcomes["a.1"].result == "interrupted"
        world.units.stored("a.1")
        assert spool.read_notes() == []

    play(scenario)


def test_a_check_that_systemd_refuses_is_told_and_ends_nothing(play: Play) -> None:
    async def scenario(world: World) -> None:
        await world.begin()
        await world.job_removed()
        world.systemd.alive = CallFailed(f"{ERROR}AccessDenied", "no")
        world.systemd.signals["UnitRemoved"]([UNIT, "/unit"])
        await world.settle()
        world.systemd.alive = GONE
        world.units._patrol()
        await world.settle()

    world = play(scenario)
    assert (world.ended, world.trouble) == ({}, [f"systemd does not say what became of {UNIT}: no"])


def test_what_was_under_way_is_taken_up_by_its_note(play: Play) -> None:
    running = run(state="running", started=2)

    async def scenario(world: World) -> None:
        found: dict[str, Saved] = {}
        for name, noted, alive, end in (
            ("alive", True, True, ""),
            ("ended", True, False, "new"),
            ("never began", True, False, ""),
            ("not asked for", False, False, ""),
        ):
            world.units = World(world.generated.parent).units
            world.units._systemd = world.systemd
            world.systemd.alive, world.systemd.began = alive, (9, "new") if alive else (0, "")
            for file in (*spool.NOTES.iterdir(), *spool.ENDED.iterdir()):
                file.unlink()
            if noted:
                spool.write_note("a", running, "old")
            if end:
                world.end(end)
            spool.write_note("gone", run("gone", 4), "-")  # its end is stored
            found[name] = await world.units.take_up(Saved(open_runs=(running,)), rebooted=False)
            assert not (spool.NOTES / "gone").exists()
            world.units.close()
        assert [(run.run_id, run.started, run.invocation) for run in found["alive"].under_way] == [("a.1", 9, "new")]
        assert found["ended"].outcomes["a.1"].result == "success"
        assert [run.state for run in found["never began"].open_runs] == ["queued"]
        assert [run.state for run in found["not asked for"].open_runs] == ["queued"]
        saved = await world.units.take_up(Saved(open_runs=(running,)), rebooted=True)
        (kept,) = saved.open_runs
        assert kept.state == "running", "what a boot ended is for the core to tell"
        assert saved.outcomes["a.1"].reason == "the machine went down before the end of the run was known"

    play(scenario)


@pytest.mark.parametrize("became", ["runs", "ended", "never began"])
def test_a_run_that_an_older_database_has_as_waiting_is_taken_up_by_its_note(
    play: Play, tmp_path: Path, became: str
) -> None:
    """A -wal that was lost, or a copy that was restored, does not know that the start was asked for."""

    async def scenario(world: World) -> None:
        folder, waiting = tmp_path / "state", run(due=7)
        store = Store(folder)
        store.open(1)
        store.take_up(JobTables(folder))
        store.write([RunSaved(waiting)])
        store.close()
        shutil.copy(folder / FILE, tmp_path / "copy")
        store.open(2)
        store.write([RunSaved(replace(waiting, state="running", started=8))])
        store.close()
        shutil.copy(tmp_path / "copy", folder / FILE)
        spool.write_note("a", waiting, "old")
        world.systemd.alive, world.systemd.began = became == "runs", (9, "new") if became != "never began" else (0, "")
        if became == "ended":
            world.end()
        store = Store(folder)
        store.open(3)
        saved = await world.units.take_up(store.take_up(JobTables(folder, world.units.noted)), rebooted=False)
        store.close()
        (found,) = saved.open_runs
        assert {run.run_id: run.started for run in saved.under_way} == ({"a.1": 9} if became == "runs" else {})
        assert {run_id: end.result for run_id, end in saved.outcomes.items()} == (
            {"a.1": "success"} if became == "ended" else {}
        )
        assert found.state == ("queued" if became == "never began" else "running")
        assert [note.run_id for note in spool.read_notes()] == ([] if became == "never began" else ["a.1"])

    play(scenario)


def test_units_that_differ_from_the_configuration_are_generated_anew_or_refused(play: Play) -> None:
    config = Config(jobs={"a": JOB})

    def write() -> None:
        for name, text in unitfile.units(config.jobs):
            (units.GENERATED / name).write_text(text)

    async def scenario(world: World) -> None:
        with pytest.raises(
            Refused, match=f"did not write {UNIT} as the configuration has it; see: journalctl"
        ) as refused:
            await world.units.prepare(config)
        assert refused.value.name == "PeerFailed"
        world.systemd.generate = write
        await world.units.prepare(config)
        await world.units.prepare(config)
        assert world.systemd.asked == ["reload", "reload", f"start {unitfile.KEEP}"]
        (units.GENERATED / "agentd-job@surplus.service").write_text("left the configuration")
        with pytest.raises(Refused, match="surplus"):
            await world.units.prepare(config)

    play(scenario)


def test_a_unit_is_asked_for_within_the_lead_whatever_the_clock_shows(play: Play) -> None:
    async def scenario(world: World) -> None:
        await world.units.take_up(Saved(), rebooted=False)
        world.units.start(run(due=now() + 7200 * SECOND), JOB)  # the clock was set back by two hours meanwhile
        planned = world.units._by_run["a.1"].planned
        assert planned is not None
        assert planned.when() - asyncio.get_running_loop().time() <= LEAD / SECOND
        world.units.stop("a.1", "stopped")

    play(scenario)
