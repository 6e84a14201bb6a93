"""agentd is killed with -9 again and again while real jobs run: nothing doubled, nothing lost, no orphan."""

import os
import random
import signal
import sqlite3
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

from tests.bus.harness import Agentd, children_of, processes_with
from tests.examples import examples

KILLS = examples(50)
JOBS = 20
# Each run notes its beginning and, as its last act, its end. From there on SIGTERM cannot keep it from success.
SCRIPT = """#!/bin/sh
echo "begin $AGENTD_RUN_ID $AGENTD_DUE $$" >> "$NOTES"
sleep "0.$(( ${AGENTD_RUN_ID##*.} % 8 + 1 ))"
trap '' TERM
echo "end $AGENTD_RUN_ID" >> "$NOTES"
"""


def test_fifty_kills_double_nothing_lose_nothing_and_leave_no_orphan(agentd: Agentd) -> None:
    notes, script = agentd.folder / "notes", agentd.folder / "job.sh"
    script.write_text(SCRIPT)
    jobs = "".join(
        f"  job{number}: {{run: [sh, {script}], when: {{every: 1s}}, environment: {{NOTES: {notes}}}}}\n"
        for number in range(JOBS)
    )
    chance = random.Random(2)
    agentd.start(f"history: {{runs: 1000000}}\njobs:\n{jobs}")
    for _ in range(KILLS):
        # Random moments are the point; the clock is the machine's, because the kernel does the killing.
        time.sleep(chance.uniform(0, 0.9))
        agentd.kill()
        agentd.start()
    marker = f"NOTES={notes}"
    assert agentd.stop() == 0
    assert processes_with(marker) == []

    lines = [line.split() for line in notes.read_text().splitlines()]
    begun = [(line[1], line[2]) for line in lines if line[0] == "begin"]
    ended = {line[1] for line in lines if line[0] == "end"}
    dues = Counter((run_id.rpartition(".")[0], due) for run_id, due in begun)
    assert [key for key, count in dues.items() if count > 1] == []

    with closing(sqlite3.connect(agentd.state / "agentd.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = database.execute("SELECT job || '.' || seq, result, state FROM runs").fetchall()
    results = {run_id: result for run_id, result, _ in rows}
    assert {state for *_, state in rows} <= {"ended", "queued"}
    assert {run_id for run_id, _ in begun} - results.keys() == set()
    assert {run_id: results[run_id] for run_id in ended if results[run_id] != "success"} == {}
    cut_off = {run_id for run_id, _ in begun} - ended
    assert {results[run_id] for run_id in cut_off} <= {"interrupted"}
    assert cut_off, "no kill met a run under way: the test shows nothing"
    assert len(ended) > JOBS


def test_a_run_dies_with_its_daemon_even_when_it_hides_in_another_session(agentd: Agentd) -> None:
    marker = f"HIDDEN={agentd.folder}"
    command = 'setsid -f sleep 300; trap "" TERM; sleep 300'
    agentd.start(f"jobs:\n  hider: {{run: '{command}', environment: {{HIDDEN: {agentd.folder}}}}}\n")
    agentd.call("Jobs.RunJob", "sa{sv}", "hider", {})
    agentd.until(lambda: len(processes_with(marker)) >= 3, "the job and what it hides")
    assert agentd.process is not None
    supervisors = children_of(agentd.process.pid)
    agentd.kill()
    agentd.until(lambda: not processes_with(marker), "every process of the job to end", 10)
    agentd.until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in supervisors), "the end to be noted")
    gone = time.time_ns() // 1000  # the job ignores SIGTERM: its supervisor saw it end two seconds after the daemon
    agentd.start()
    (run,) = agentd.runs()
    assert run["started"] <= run["ended"] <= gone, "not when it was found"
    assert (run["result"], run["reason"]) == ("interrupted", "agentd ended while the run was under way")


def test_a_bus_that_is_lost_while_agentd_ends_is_told(agentd: Agentd) -> None:
    agentd.start("stop_timeout: 20s\njobs: {long: {run: sleep 60}}\n")
    agentd.call("Jobs.RunJob", "sa{sv}", "long", {})
    assert agentd.process is not None
    agentd.process.terminate()
    agentd.until(lambda: "stopping: waiting" in agentd.log.read_text(), "agentd to wait for the run")
    below = processes_with(f"XDG_RUNTIME_DIR={agentd.folder}")
    (bus,) = [pid for pid in below if Path(f"/proc/{pid}/comm").read_text() == "dbus-daemon\n"]
    os.kill(bus, signal.SIGKILL)
    assert agentd.process.wait(60) == 1
    assert "error: agentd ends: the private bus ended" in agentd.log.read_text()
