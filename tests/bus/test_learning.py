"""Learning, as people meet it: a real agentd whose jobs watch what changes at rates of their own, in seconds."""

import contextlib
import json
import os
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest

from agentd.core.learning.features import NAMES
from agentd.learning.networks import FIRST
from tests.bus.harness import Agentd, CallError

CONFIG = """
timezone: UTC
learning: {mode: on, cycle: 1s, aim: 30s, cpu_budget: 100%, training: no}
jobs:
  fast:
    run: 'echo "$(date) $(( $(date +%s) / 2 ))"'
    when: &when {adaptive: {start: 3s, min: 1s, max: 1min}}
    useful: output
  middle: {run: 'echo $(( $(date +%s) / 20 ))', when: *when, useful: output}
  slow: {run: 'echo "the same, pid $$, took 3 ms"', when: *when, useful: output}
"""
WATCHES = """
timezone: UTC
learning: {mode: on, cycle: 1s, aim: 30s, training: no}
jobs:
  file: {run: 'cp new watched', when: &when {adaptive: {start: 1h}}, useful: {file: FOLDER/watched}}
  codes: {run: 'exit $(cat code)', when: *when, useful: {exit-code: [10, 11]}}
  code: {run: 'exit $(cat code)', when: *when, useful: exit-code}
  reports: {run: 'cat says; if grep -q yes says; then AGENTCTL progress --changed; fi', when: *when, useful: reported}
  plain: {run: 'true', when: *when}
  hourly: {run: 'true', when: {every: 1h}}
"""


def values(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, (_, value) in record.items()}


def explained(agentd: Agentd, job: str) -> dict[str, Any]:
    return values(agentd.call("Learning.Explain", "s", job)[0])


def intervals(agentd: Agentd) -> dict[str, float]:
    found = map(values, agentd.call("Learning.ListLearners", "a{sv}", {}))
    return {one["name"]: one["interval"] / 1e6 for one in found}


def ordered(agentd: Agentd) -> bool:
    found = intervals(agentd)
    return found["fast"] * 1.4 <= found["middle"] and found["middle"] * 1.4 <= found["slow"]


def test_jobs_end_ordered_by_how_often_what_they_watch_changes_and_a_restart_keeps_that(agentd: Agentd) -> None:
    agentd.start(CONFIG)
    assert set(intervals(agentd).values()) == {3.0}
    agentd.until(lambda: ordered(agentd), "the jobs to be ordered", 120)
    before = {job: explained(agentd, job) for job in ("fast", "middle", "slow")}
    given = intervals(agentd)
    # An increase is there at once: the next run is sooner.
    slow = values(agentd.call("Jobs.GetJob", "s", "slow"))
    change = values(agentd.call("Jobs.Increase", "s", "slow"))
    assert change["new"] <= change["old"] / 1.25
    # Where the shorter interval is over already, a run begins now, and the one after it is next.
    now = values(agentd.call("Jobs.GetJob", "s", "slow"))
    assert change["next"] < slow["next"] or now["starting"] or now["running"] or now["last_due"] > slow["last_due"]
    decisions = [values(one) for one in agentd.call("Manager.ListDecisions", "a{sv}", {"part": ("s", "learning")})]
    assert {one["kind"] for one in decisions} == {"interval"}
    assert all("expects a change each" in one["reason"] for one in decisions)
    assert agentd.stop() == 0
    agentd.start()
    after = {job: explained(agentd, job) for job in ("fast", "middle", "slow")}
    for job in ("fast", "middle"):
        assert after[job]["runs"] >= before[job]["runs"]
        assert intervals(agentd)[job] <= given[job] * 2
    assert after["slow"]["preference"] == 1
    change = values(agentd.call("Learning.SetPreference", "si", "slow", 0))
    assert change["new"] >= change["old"] * 1.25


def run(agentd: Agentd, job: str) -> None:
    run_id = agentd.call("Jobs.RunJob", "sa{sv}", job, {})
    agentd.until(
        lambda: [one for one in agentd.runs(run_id=("s", run_id)) if one["state"] == "ended"], f"{run_id} to end"
    )


def test_each_way_to_be_of_use_is_told_from_none(agentd: Agentd) -> None:
    folder = agentd.folder
    agentctl = f"PYTHONPATH={Path(__file__).parents[2]} {sys.executable} -m agentctl"
    for name, text in (("new", "one"), ("code", "0"), ("says", "no")):
        (folder / name).write_text(text)
    agentd.start(WATCHES.replace("FOLDER", str(folder)).replace("AGENTCTL", agentctl))
    jobs = ("file", "codes", "code", "reports")

    def seen(job: str, runs: int) -> bool:
        return bool(explained(agentd, job).get("runs", 0) == runs)

    for job in jobs:
        run(agentd, job)
        run(agentd, job)
    # The first run of a job that compares has nothing to compare with.
    agentd.until(lambda: all(seen(job, 2 if job in ("codes", "reports") else 1) for job in jobs), "runs to be judged")
    assert [explained(agentd, job).get("changed", 0) for job in jobs] == [0, 0, 0, 0]
    (folder / "new").write_text("two")
    (folder / "code").write_text("10")
    (folder / "says").write_text("yes")
    for job in jobs:
        run(agentd, job)
    agentd.until(lambda: all(explained(agentd, job).get("changed") for job in jobs), "each change to be seen")
    assert [explained(agentd, job)["failures"] for job in jobs] == [0, 0, 0, 0]


def test_what_cannot_learn_says_what_to_set(agentd: Agentd, tmp_path: Path) -> None:
    agentd.start(WATCHES.replace("FOLDER", str(tmp_path)))
    run(agentd, "plain")
    assert explained(agentd, "plain")["unknown"] == (
        "nothing says when a run is of use: set useful of plain, such as useful: output"
    )
    with pytest.raises(CallError, match="hourly is not adaptive, it runs every 1h; give it when:"):
        explained(agentd, "hourly")
    with pytest.raises(CallError, match=r'there is no job "plane" \(did you mean plain\?\)'):
        explained(agentd, "plane")
    with pytest.raises(CallError, match="a preference lies between -4 and 4, not 9"):
        agentd.call("Learning.SetPreference", "si", "plain", 9)
    note = values(agentd.call("Learning.SetPreference", "si", "plain", 2))["note"]
    assert note == "plain has the preference +2 and runs every 26min 40s (was 1h)"


def test_a_damaged_network_is_told_and_what_counts_goes_on(agentd: Agentd) -> None:
    agentd.start(WATCHES.replace("FOLDER", "/nowhere"))
    assert agentd.property("Learning.Network") == 0
    assert agentd.stop() == 0
    folder = agentd.state / "networks"
    folder.mkdir(exist_ok=True)
    (folder / "000001.json").write_text('{"version": 1')
    agentd.start()
    (listed, first) = map(values, agentd.call("Learning.ListNetworks"))
    assert (listed["number"], listed["in_force"]) == (1, False)
    assert "000001.json" in listed["wrong"]
    assert (first["number"], first["in_force"], first["synthetic"]) == (0, True, True)
    with pytest.raises(CallError, match="there is no network before the one in force"):
        agentd.call("Learning.Rollback")
    assert agentd.property("Manager.Warnings") == []


# A training, standalone, in place of which another program runs


def with_runs(agentd: Agentd) -> None:
    """Has agentd know of 600 runs, of which it has looked at none."""
    agentd.start(WATCHES.replace("FOLDER", "/nowhere"))
    assert agentd.stop() == 0
    features = json.dumps([0.5] * len(NAMES))
    with contextlib.closing(sqlite3.connect(agentd.state / "agentd.db")) as db, db:
        db.executemany(
            "INSERT INTO outcomes (at, job, rate, span, useful, cpu, features) VALUES (?, 'x', 1e-3, 300.0, 1, 0.5, ?)",
            [(1_790_000_000_000_000 + number, features) for number in range(600)],
        )


def instead(agentd: Agentd, script: str) -> None:
    """Has a script run for each training; $result is the file for a network."""
    programs = agentd.folder / "programs"
    programs.mkdir(exist_ok=True)
    nice = programs / "nice"
    nice.write_text(f'#!/bin/sh\nwhile [ "$1" != --result ]; do shift; done; result=$2\n{script}\n')
    nice.chmod(0o755)
    if not agentd.environment["PATH"].startswith(str(programs)):
        agentd.environment["PATH"] = f"{programs}:{agentd.environment['PATH']}"


def test_a_training_that_ends_in_garbage_or_is_killed_leaves_the_network(agentd: Agentd) -> None:
    with_runs(agentd)
    instead(agentd, 'cp "$(dirname "$0")/network" "$result"')
    (agentd.folder / "programs/network").write_bytes(FIRST.read_bytes())
    agentd.start()
    assert agentd.ctl("model", "train").returncode == 0
    assert agentd.property("Learning.Network") == 1
    instead(agentd, """echo '{"version": 1, "features": [' >"$result" """)
    ended = agentd.ctl("model", "train")
    assert ended.returncode == 1
    assert "agentctl: the result of the training was refused: " in ended.stderr
    pid = agentd.folder / "pid"
    instead(agentd, f"echo $$ >{pid}.new; mv {pid}.new {pid}; exec sleep 300")
    agentd.call("Learning.Train")
    with pytest.raises(CallError, match="a training is under way already"):
        agentd.call("Learning.Train")
    agentd.until(pid.exists, "the training to begin")
    os.kill(int(pid.read_text()), signal.SIGKILL)
    agentd.until(lambda: not agentd.property("Learning.Training"), "the training to end")
    assert (agentd.property("Learning.Trained"), agentd.property("Learning.Network")) == ("failed", 1)
    decisions = [values(one) for one in agentd.call("Manager.ListDecisions", "a{sv}", {"part": ("s", "learning")})]
    assert decisions[0]["reason"] == "the training failed: the process ended with -9"
    assert [file.name for file in (agentd.state / "networks").iterdir()] == ["000001.json"]
    assert agentd.stop() == 0
    (agentd.state / "networks/000001.json").write_bytes(FIRST.read_bytes()[:5000])
    agentd.start()
    assert agentd.property("Learning.Network") == 0
    (warning,) = agentd.property("Manager.Warnings")
    assert warning.startswith("network 1 cannot be used: ")


def test_without_enough_runs_no_training_begins(agentd: Agentd) -> None:
    agentd.start(WATCHES.replace("FOLDER", "/nowhere"))
    ended = agentd.ctl("model", "train")
    assert ended.returncode == 1
    assert "a network learns from at least 500 runs: there are 0 runs whose use is known" in ended.stderr
