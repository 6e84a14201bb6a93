"""What is read of how a unit ended, and of which run it was started for."""

import sys
from pathlib import Path

import pytest

from agentd.core.jobs.model import Outcome, Run
from agentd.jobs import spool


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "NOTES", tmp_path / "runs")
    monkeypatch.setattr(spool, "ENDED", tmp_path)


def ended(*lines: str) -> spool.End | None:
    (spool.ENDED / "job").write_text("".join(f"{line}\n" for line in lines))
    return spool.read_end("job")


def outcome(result: str, code: str, status: str, verdict: str = "", *, by_systemd: bool | None = False) -> Outcome:
    end = ended("abc", result, code, status, "12", "4096", "Thu 1970-01-01 00:00:05.000007 UTC", "end")
    assert end is not None
    found = end.outcome(verdict, by_systemd=by_systemd, began=True)
    assert (found.cpu_usec, found.peak_memory, found.invocation) == (12, 4096, "abc")
    assert found.ended == 5_000_007
    return found


@pytest.mark.parametrize(
    ("systemd", "expected"),
    [
        (("success", "exited", "0"), "success"),
        (("success", "exited", "3"), "success"),  # SuccessExitStatus=3
        (("exit-code", "exited", "3"), "exit-code"),
        (("exit-code", "exited", "203"), "start-failed"),
        (("exit-code", "exited", "217"), "exit-code"),  # the program's own
        (("signal", "killed", "KILL"), "signal"),
        (("success", "killed", "TERM"), "signal"),
        (("core-dump", "dumped", "SEGV"), "core-dump"),
        (("timeout", "killed", "TERM"), "timeout"),
        (("timeout", "exited", "0"), "timeout"),
        (("oom-kill", "killed", "KILL"), "oom-kill"),
        (("resources", "", ""), "start-failed"),
        (("", "", ""), "start-failed"),
    ],
)
def test_systemd_and_agentd_tell_the_same_results_apart(systemd: tuple[str, str, str], expected: str) -> None:
    assert outcome(*systemd).result == expected


def test_the_exit_code_and_the_signal_are_told() -> None:
    assert outcome("exit-code", "exited", "3").exit_code == 3
    assert outcome("signal", "killed", "KILL").signal == "SIGKILL"
    assert outcome("signal", "killed", "RTMIN+8").signal == "SIGRTMIN+8"
    assert outcome("signal", "killed", "42").signal == "SIGRTMIN+8"


def test_an_end_that_is_damaged_is_read_without_an_error() -> None:
    assert outcome("exit-code", "exited", "²").result == "start-failed"
    end = ended("abc", "success", "exited", "0", "²", "x", "n/a 2026-99-99 x", "end")
    assert end is not None
    assert (end.cpu_usec, end.peak_memory) == (0, 0)
    assert end.at == (spool.ENDED / "job").stat().st_mtime_ns // 1000


def test_a_stop_that_agentd_asked_for_has_its_result() -> None:
    assert outcome("success", "killed", "TERM", "stopped").result == "stopped"
    assert outcome("timeout", "killed", "KILL", "stopped").result == "stopped"
    assert outcome("success", "exited", "0", "stopped").result == "stopped"


def test_a_stop_by_somebody_else_is_no_failure() -> None:
    found = outcome("success", "killed", "TERM", by_systemd=True)
    assert (found.result, found.reason) == ("stopped", "stopped through systemd")


@pytest.mark.parametrize(
    "end", [("exit-code", "exited", "143"), ("timeout", "killed", "KILL"), ("success", "exited", "0")]
)
def test_however_a_job_takes_somebodys_stop_it_was_stopped(end: tuple[str, str, str]) -> None:
    assert outcome(*end, by_systemd=True).result == "stopped"


def test_a_clean_end_by_a_signal_that_nobody_saw_is_a_stop() -> None:
    assert outcome("success", "killed", "TERM", by_systemd=None).result == "stopped"
    assert outcome("exit-code", "exited", "143", by_systemd=None).result == "exit-code"


def test_systemds_own_codes_before_the_beginning_are_failed_starts() -> None:
    end = ended("abc", "exit-code", "exited", "217", "", "", "end")
    assert end is not None
    assert end.outcome("", by_systemd=False, began=False).result == "start-failed"


def test_an_end_that_a_unit_from_before_an_upgrade_noted_is_read() -> None:
    end = ended("abc", "exit-code", "exited", "7", "12", "4096", "end")
    assert end is not None
    assert (end.status, end.cpu_usec, end.peak_memory, end.at > 0) == ("7", 12, 4096, True)


@pytest.mark.parametrize(
    ("code", "status", "told"),
    [
        (1, 7, ("exited", "7")),
        (2, 9, ("killed", "KILL")),
        (3, 11, ("dumped", "SEGV")),
        (2, 42, ("killed", "RTMIN+8")),
        (0, 0, ("", "")),
    ],
)
def test_what_systemd_knows_of_a_unit_reads_like_its_note(code: int, status: int, told: tuple[str, str]) -> None:
    unknown = (1 << 64) - 1
    end = spool.end_of({
        "InvocationID": "abc",
        "Result": "signal",
        "ExecMainCode": code,
        "ExecMainStatus": status,
        "CPUUsageNSec": unknown,
        "MemoryPeak": unknown,
        "StateChangeTimestamp": 5,
    })  # fmt: skip
    assert end == spool.End("abc", "signal", *told, 0, 0, 5)
    assert spool.end_of({}) is None


@pytest.mark.parametrize(
    "lines",
    [(), ("abc",), ("abc", "success", "exited", "0", "1", "2"), ("abc", "success", "exited", "0", "1", "2", "Wed")],
)
def test_a_note_that_is_still_being_written_is_no_end(lines: tuple[str, ...]) -> None:
    assert ended(*lines) is None


def test_what_is_missing_of_an_end_counts_as_nothing() -> None:
    end = ended("abc", "success", "exited", "0", "", "", "end")
    assert end is not None
    assert (end.cpu_usec, end.peak_memory) == (0, 0)


def test_the_run_of_a_unit_is_noted_for_the_job_and_for_the_next_agentd() -> None:
    assert spool.read_notes() == []
    run = Run(seq=7, job="backup", due=1_000_000, cause="schedule")
    spool.write_note("backup@2", run, "-")
    assert (spool.NOTES / "backup@2").read_text() == "backup.7 1970-01-01T00:00:01.000000+00:00 1 -\n"
    assert (spool.NOTES / "backup@2").stat().st_mode & 0o777 == 0o644
    assert spool.read_notes() == [spool.Note("backup@2", "backup.7", "-")]
    spool.forget_note("backup@2")
    assert spool.read_notes() == []


def test_no_name_of_a_unit_is_interned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's table of interned names, which a Path adds to, grows with each new name, also where none is left."""
    spool.NOTES.mkdir()
    (spool.ENDED / "job").write_text("abc\nsuccess\nexited\n0\n12\n4096\n\nend\n")
    interned: list[str] = []

    def intern(text: str) -> str:
        interned.append(text)
        return text

    monkeypatch.setattr(sys, "intern", intern)
    spool.write_note("job", Run(seq=1, job="job", due=1, cause="schedule", state="running"), "-")
    assert spool.read_end("job") is not None
    spool.forget_note("job")
    assert interned == []
    assert not [*spool.NOTES.iterdir()]
