"""Processes that outlived their daemon and its supervisor, and the room for notes."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agentd.jobs import leftover
from agentd.jobs.leftover import Leftover
from agentd.jobs.supervisor.notes import ROOM, Note


def until(true: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.005)


def lives(pid: int) -> bool:
    """Tells whether a process lives, adopted by one that need not reap it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def orphan(folder: Path, name: str, state: str, script: str) -> int:
    """Starts a process that nobody here is the parent of; returns its id once it runs the script."""
    pid = folder / name
    script = f"echo $$ > {pid}.new; mv {pid}.new {pid}; {script}"
    subprocess.run(["setsid", "-f", "sh", "-c", script], check=True, env={**os.environ, "AGENTD_STATE": state})
    until(pid.exists, name)
    return int(pid.read_text())


@pytest.fixture
def left(tmp_path: Path) -> Leftover:
    with (tmp_path / "lock").open("wb") as lock:
        return Leftover(tmp_path, lock.fileno())


def test_processes_of_runs_whose_daemon_and_supervisor_were_killed_end_before_anything_else(
    tmp_path: Path, left: Leftover, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftover, "GRACE_AFTER_CRASH", 2.0)
    asked = tmp_path / "asked"
    polite = orphan(
        tmp_path, "polite", left.state, f"trap 'echo asked > {asked}; exit' TERM; while :; do sleep 0.05; done"
    )
    stubborn = orphan(tmp_path, "stubborn", left.state, 'trap "" TERM; while :; do sleep 0.05; done')
    stopped = orphan(tmp_path, "stopped", left.state, "exec sleep 100")
    os.kill(stopped, signal.SIGSTOP)
    hidden = orphan(tmp_path, "hidden", left.state, f"env -i sh -c 'echo $$ > {tmp_path}/below; exec sleep 100' & wait")
    until(lambda: (tmp_path / "below").exists() and (tmp_path / "below").read_text(), "the process below")
    others = orphan(tmp_path, "others", f"{left.state}0", "exec sleep 100")
    own = subprocess.Popen(["sleep", "100"], env={**os.environ, "AGENTD_STATE": left.state})
    try:
        asyncio.run(left.end_processes())
        below = int((tmp_path / "below").read_text())
        assert [pid for pid in (polite, stubborn, stopped, hidden, below) if lives(pid)] == []
        assert asked.read_text() == "asked\n"
        assert lives(others)
        assert lives(own.pid)  # below this process, which a job of the daemon before may have started
    finally:
        own.kill()
        own.wait()
        os.kill(others, signal.SIGKILL)


def test_names_of_notes_are_never_those_of_others(left: Leftover) -> None:
    assert len({left.new_note() for _ in range(100)}) == 100


def test_word_of_a_run_that_cannot_be_left_stops_nothing_and_is_told(
    left: Leftover, capfd: pytest.CaptureFixture[str]
) -> None:
    left.set_aside("a.1")
    assert "a.1" in left._note.read_text()
    left._note.unlink()
    left._note.mkdir()
    left.set_aside("a.2")
    told = "".join(capfd.readouterr())
    assert "a.2 has not begun, which could not be noted" in told
    assert "a.1" not in told


def test_a_disk_that_is_full_costs_the_output_of_ends_and_not_the_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.pwrite

    def within_the_room(file: int, data: bytes, offset: int) -> int:
        if offset >= ROOM:
            raise OSError(28, "No space left on device")
        return write(file, data[: ROOM - offset], offset)

    monkeypatch.setattr(os, "pwrite", within_the_room)
    note = Note(str(tmp_path / "note"))
    assert (tmp_path / "note").stat().st_size == ROOM
    note.write([{"ev": "ended", "id": f"a.{number}", "result": "success", "tail": "x" * 4096} for number in range(200)])
    lines = (tmp_path / "note").read_text().splitlines()
    assert len(lines) == 200
    assert lines[199] == '{"ev": "ended", "id": "a.199", "result": "success", "tail": ""}'


def test_ends_that_cannot_be_kept_at_all_are_told_in_a_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Note(str(tmp_path / "none" / "note")).write([{"ev": "ended", "id": "a.1", "result": "success", "tail": ""}])
    said = capfd.readouterr().err
    assert said.startswith("agentd: the ends of 1 runs could not be kept in ")
    assert said.endswith("; these runs will count as interrupted\n")
