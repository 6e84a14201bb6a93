"""Processes of agentd are killed in each order: no end is lost, nothing starts twice, nothing that was not begun is
burnt. The jobs themselves write down what happened.
"""

import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.bus.harness import ROOT, Agentd, CallError, children_of, processes_with


def supervisor_of(agentd: Agentd) -> int:
    """The supervisor of a daemon that has one."""
    assert agentd.process is not None
    (pid,) = children_of(agentd.process.pid)
    return pid


def results(agentd: Agentd) -> dict[str, str]:
    return {run["run_id"]: run.get("result") or run["state"] for run in agentd.runs()}


def written(file: Path) -> list[list[str]]:
    return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


def started_after_kills(agentd: Agentd, *pids: int) -> None:
    """Kills processes at once, waits for the daemon's end, and starts it again."""
    assert agentd.process is not None
    agentd.disconnect()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    agentd.process.wait(20)
    agentd.process = None
    agentd.start()


def test_a_supervisor_killed_while_runs_wait_ends_the_daemon_at_once_and_burns_none_of_them(agentd: Agentd) -> None:
    notes = agentd.folder / "notes"
    go = agentd.folder / "go"
    command = f"echo begin $AGENTD_RUN_ID >> {notes}; until test -e {go}; do sleep 0.05; done"
    # Stopping may take as long as two minutes: the end of this test would say so.
    settings = "when: {every: 1s}, overlap: queue, stop_timeout: 2min"
    agentd.start(f"stop_timeout: 2min\njobs:\n  q: {{run: '{command}', {settings}}}\n")
    agentd.until(lambda: agentd.job("q")["queued"] >= 2, "runs that wait")
    before = [run for run in agentd.runs() if run["state"] == "queued"]
    supervisor = supervisor_of(agentd)
    begun = time.monotonic()
    os.kill(supervisor, signal.SIGKILL)
    agentd.disconnect()
    assert agentd.process is not None
    assert agentd.process.wait(60) == 1
    assert time.monotonic() - begun < 60
    agentd.process = None
    go.touch()
    agentd.start()
    waiting = {run["run_id"] for run in before}
    agentd.until(
        lambda: all(results(agentd)[one] not in {"queued", "starting", "running"} for one in waiting),
        "those that waited",
    )
    ran = [line[1] for line in written(notes)]
    assert waiting <= set(ran)
    assert {results(agentd)[one] for one in waiting} == {"success"}
    assert [one for one, count in Counter(ran).items() if count > 1] == []


def test_two_kills_in_a_row_lose_no_end(agentd: Agentd) -> None:
    agentd.start("jobs:\n  a: {run: sleep 0.6}\n")
    run_id = agentd.call("Jobs.RunJob", "sa{sv}", "a", {})
    agentd.until(lambda: agentd.runs()[0]["started"], "the run")
    assert agentd.process is not None
    supervisor = supervisor_of(agentd)
    agentd.process.send_signal(signal.SIGSTOP)
    # Whoever reaped the run has reported its end to a daemon that cannot read.
    agentd.until(lambda: len(children_of(supervisor)) == 1, "the run to end")
    agentd.kill()
    # A bus that never answers: whoever waits for it has taken nothing up yet.
    silent = agentd.folder / "silent"
    silent.mkdir()
    (silent / "dbus-daemon").write_text("#!/bin/sh\nexec sleep 100\n")
    (silent / "dbus-daemon").chmod(0o755)
    environment = {**agentd.environment, "PATH": f"{silent}:{os.environ['PATH']}"}
    folders = ["--config", str(agentd.config), "--state-dir", str(agentd.state)]
    command = [sys.executable, "-m", *agentd.program, *folders]
    for _ in range(2):
        with subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
            agentd.until(lambda pid=process.pid: any(map(children_of, children_of(pid))), "its bus")  # type: ignore[misc]
            process.kill()
    agentd.start()
    assert results(agentd) == {run_id: "success"}
    assert agentd.runs()[0]["exit_code"] == 0


def test_daemon_and_supervisor_killed_together_leave_nothing_that_runs_beside_the_next(agentd: Agentd) -> None:
    notes = agentd.folder / "notes"
    marker = f"NOTES={notes}"
    script = agentd.folder / "job.sh"
    # Whatever of a job runs holds its lock: a second one beside it would say so.
    script.write_text(
        f"exec 9>> {agentd.folder}/lock-$AGENTD_JOB\n"
        "flock -n 9 || echo double $AGENTD_JOB >> $NOTES\n"
        "setsid -f sleep 60\n"
        "exec sleep 60\n"
    )
    settings = f"run: [sh, {script}], when: {{every: 1s}}, environment: {{NOTES: {notes}}}"
    jobs = "".join(f"  j{number}: {{{settings}}}\n" for number in range(5))
    agentd.start(f"jobs:\n{jobs}")
    agentd.until(lambda: len(processes_with(marker)) >= 10, "five jobs, each with a process in another session")
    assert agentd.process is not None
    supervisor = supervisor_of(agentd)
    (bus,) = [pid for pid in children_of(supervisor) if b"dbus-daemon" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    before = processes_with(marker)
    started_after_kills(agentd, supervisor, agentd.process.pid)
    assert set(before) & set(processes_with(marker)) == set()
    agentd.until(lambda: len(processes_with(marker)) >= 10, "the jobs of the next daemon")
    assert written(notes) == []
    assert not any(b"dbus-daemon" in line for line in [command_line(bus)])
    first = [run["result"] for run in agentd.runs() if run["state"] == "ended"]
    assert set(first) == {"interrupted"}


def command_line(pid: int) -> bytes:
    """What a process was started as; b"" of one that ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_of_two_supervisors_the_death_of_one_interrupts_its_runs_alone(agentd: Agentd) -> None:
    notes = agentd.folder / "notes"
    script = agentd.folder / "job.sh"
    script.write_text(
        f"until test -e {agentd.folder}/go; do sleep 0.05; done\n"
        f"sleep 1; trap '' TERM; echo end $AGENTD_RUN_ID >> {notes}\n"
    )
    jobs = "".join(f"  j{number}: {{run: [sh, {script}]}}\n" for number in range(40))
    agentd.start(f"jobs:\n{jobs}")
    for number in range(40):
        agentd.call("Jobs.RunJob", "sa{sv}", f"j{number}", {})
    assert agentd.process is not None
    daemon = agentd.process
    agentd.until(lambda: len(children_of(daemon.pid)) == 2, "a second supervisor")
    agentd.until(lambda: all(run["started"] for run in agentd.runs()), "forty runs")
    one, other = sorted(children_of(daemon.pid), key=lambda pid: len(children_of(pid)))
    spared = {run_of(pid) for pid in children_of(other)} - {""}
    lost = {run_of(pid) for pid in children_of(one)} - {""}
    assert len(spared | lost) == 40
    if any(b"dbus-daemon" in command_line(pid) for pid in children_of(one)):
        one, spared, lost = other, lost, spared  # the bus goes on as well
    (agentd.folder / "go").touch()
    started_after_kills(agentd, one)
    ended = {line[1] for line in written(notes)}
    assert spared <= ended
    found = results(agentd)
    assert {found[run_id] for run_id in ended} == {"success"}
    assert {found[run_id] for run_id in lost - ended} == {"interrupted"}
    assert lost - ended


def run_of(pid: int) -> str:
    """The run that a process says it is of; "" for another, or for one that ended."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    return next((entry[14:].decode() for entry in environment if entry.startswith(b"AGENTD_RUN_ID=")), "")


def leave_no_descriptor(pid: int) -> tuple[int, int]:
    """Lets a process open nothing more; returns its limits of before."""
    used = {int(file.name) for file in Path(f"/proc/{pid}/fd").iterdir()}
    lowest = next(number for number in range(10_000) if number not in used)
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest, hard))
    return soft, hard


def test_without_descriptors_what_is_not_loaded_answers_nothing_and_answers_after(agentd: Agentd) -> None:
    agentd.start("jobs:\n  a: {run: [true]}\n")
    assert agentd.process is not None
    limits = leave_no_descriptor(agentd.process.pid)
    for _ in range(2):
        with pytest.raises(CallError, match="ListRules needs a file, and agentd can open no more"):
            agentd.call("Rules.ListRules", "a{sv}", {})
    resource.prlimit(agentd.process.pid, resource.RLIMIT_NOFILE, limits)
    assert agentd.call("Rules.ListRules", "a{sv}", {}) == []
    assert "defect" not in agentd.log.read_text()


def test_without_descriptors_nothing_only_seems_to_live(agentd: Agentd) -> None:
    marker = f"HERE={agentd.folder}"
    agentd.start(
        f"stop_timeout: 2min\njobs:\n  slow: {{run: sleep 100, environment: {{HERE: {agentd.folder}}}}}\n"
        "  tick: {run: [true], when: {every: 1s}}\n"
    )
    agentd.call("Jobs.RunJob", "sa{sv}", "slow", {})
    agentd.until(lambda: processes_with(marker), "the run")
    assert agentd.process is not None
    supervisor = supervisor_of(agentd)
    for pid in (agentd.process.pid, supervisor):
        leave_no_descriptor(pid)
    agentd.until(
        lambda: any("Too many open files" in run["reason"] for run in agentd.runs(job=("s", "tick"))),
        "a start that failed for want of descriptors",
    )
    assert processes_with(marker)
    os.kill(supervisor, signal.SIGKILL)
    agentd.disconnect()
    assert agentd.process.wait(60) == 1
    assert "agentd ends: the supervisor of the jobs ended unexpectedly" in agentd.log.read_text()
    assert processes_with(marker) == []
    assert processes_with(f"XDG_RUNTIME_DIR={agentd.folder}") == []
    agentd.process = None
    agentd.start()
    assert agentd.runs(job=("s", "slow"))[0]["result"] == "interrupted"


def test_a_stopped_supervisor_is_told_and_costs_no_end(agentd: Agentd) -> None:
    agentd.start("jobs:\n  a: {run: [true]}\n")
    supervisor = supervisor_of(agentd)
    os.kill(supervisor, signal.SIGSTOP)
    text = f"the supervisor of the jobs is stopped: it starts nothing and sees no end until kill -CONT {supervisor}"
    agentd.until(lambda: text in agentd.property("Manager.Warnings"), "the warning")
    run_id = agentd.call("Jobs.RunJob", "sa{sv}", "a", {})
    os.kill(supervisor, signal.SIGCONT)
    agentd.until(lambda: results(agentd)[run_id] == "success", "the run")
    assert agentd.property("Manager.Warnings") == []


# Ends that are seen when they happen


def test_forty_short_runs_every_second_skip_no_due_time(agentd: Agentd) -> None:
    jobs = "".join(f"  j{number}: {{run: [sleep, '0.02'], when: {{every: 1s}}}}\n" for number in range(40))
    agentd.start(f"jobs:\n{jobs}  follower: {{run: [true], when: {{after: j7}}}}\n")
    agentd.until(lambda: len(agentd.runs(job=("s", "j0"))) >= 9, "nine rounds", 60)
    runs = agentd.runs()
    skips = [
        one for one in agentd.call("Jobs.ListDecisions", "a{sv}", {"limit": ("u", 10_000)}) if one["kind"][1] == "skip"
    ]
    ends = sorted(run["ended"] for run in runs if run["job"] == "j7" and run["state"] == "ended")
    follows = sorted(run["due"] for run in runs if run["job"] == "follower")
    # A run may last longer than a second where the machine has other things to do; that it was over is what counts.
    assert [one for one in skips if was_over(one, runs)] == []
    late = [due - end for end, due in zip(ends, follows, strict=False)]
    assert sorted(late)[len(late) // 2] < 500_000
    dues = [run["due"] for run in reversed(runs) if run["job"] == "j0"]
    assert {later - due for due, later in pairwise(dues)} <= {1_000_000, 2_000_000}


def was_over(skip: dict[str, Any], runs: list[dict[str, Any]]) -> bool:
    """Whether no run of the job was under way a moment before its due time was skipped."""
    at, job = skip["at"][1], skip["job"][1]
    return not any(run["job"] == job and run["started"] <= at and (run["ended"] or at) >= at - 200_000 for run in runs)
