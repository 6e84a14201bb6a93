"""What waits, as people meet it: a full disk, no free place, a job that was disabled; real processes, a real disk."""

import resource
import subprocess
import sys
from typing import Any

from tests.bus.harness import ROOT, Agentd

CONFIG = """
timezone: UTC
concurrency: 2
jobs:
  tick: {run: 'true', when: {every: 1s}, missed: skip}
  slow: {run: sleep 100, stop_timeout: 2s}
  hello: {run: echo hello}
  again: {run: exit 3, retries: {count: 2, backoff: 1h, max: 1h}}
"""


def fill_disk(agentd: Agentd) -> tuple[int, int]:
    """Lets no file of the daemon grow: to SQLite that is a full disk. Returns what undoes it."""
    assert agentd.process is not None
    free = resource.prlimit(agentd.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(agentd.process.pid, resource.RLIMIT_FSIZE, (0, free[1]))
    return free


def free_disk(agentd: Agentd, free: tuple[int, int]) -> None:
    assert agentd.process is not None
    resource.prlimit(agentd.process.pid, resource.RLIMIT_FSIZE, free)
    agentd.until(lambda: not agentd.property("Manager.Warnings"), "the state to be stored again", 60)


def skips(agentd: Agentd) -> list[str]:
    records = agentd.call("Jobs.ListDecisions", "a{sv}", {"job": ("s", "tick"), "limit": ("u", 1000)})
    return [record["reason"][1] for record in records if record["kind"][1] == "skip"]


def test_a_disk_that_was_full_is_told_as_what_it_was_and_status_and_history_agree(agentd: Agentd) -> None:
    agentd.start(CONFIG)
    agentd.until(lambda: agentd.runs(job=("s", "tick")), "the first run")
    free = fill_disk(agentd)
    agentd.until(lambda: agentd.property("Manager.Warnings"), "the disk to be found full")
    agentd.until(lambda: agentd.job("tick")["state"] != "running", "what ran to end")

    def shown() -> tuple[Any, Any]:
        newest = agentd.runs(job=("s", "tick"))[0]
        state = agentd.job("tick")["state"]
        return state, (newest["state"], "nothing starts: the state cannot be stored" in newest.get("waits", ""))

    assert shown() in {("starting", ("starting", True)), ("idle", ("ended", False))}
    before = len(skips(agentd))
    agentd.until(lambda: agentd.property("Manager.Warnings"), "it is told")
    free_disk(agentd, free)
    agentd.until(lambda: agentd.job("tick").get("last_result") == "success", "the job to go on")
    told = skips(agentd)
    fresh = told[: len(told) - before]
    assert not any("under way" in reason for reason in fresh), fresh
    assert len([reason for reason in fresh if "nothing could be stored from" in reason]) <= 1


def test_run_wait_says_what_it_waits_for_and_what_comes_after_a_failure(agentd: Agentd) -> None:
    agentd.start(CONFIG.replace("when: {every: 1s}, ", "").replace("concurrency: 2", "concurrency: 1"))
    slow = agentd.call("Jobs.RunJob", "sa{sv}", "slow", {})
    command = [sys.executable, "-m", "agentctl", "run", "hello", "--wait"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=agentd.environment, cwd=ROOT
    ) as waiting:
        assert waiting.stdout is not None
        assert waiting.stderr is not None
        run_id = waiting.stdout.readline().strip()
        assert waiting.stderr.readline() == f"{run_id} waits: no place is free: 1 of 1 are taken (concurrency)\n"
        agentd.call("Jobs.StopJob", "s", slow)
        assert waiting.wait(60) == 0
        assert waiting.stdout.read().startswith(f"{run_id}: success")


def test_run_wait_waits_for_the_last_attempt(agentd: Agentd) -> None:
    second = "second: {run: 'test $AGENTD_ATTEMPT = 2', retries: {count: 2, backoff: 200ms}}\n"
    never = "never: {run: exit 3, retries: {count: 1, backoff: 200ms}}\n"
    agentd.start(f"{CONFIG}  {second}  {never}")
    done = agentd.ctl("run", "second", "--wait")
    (last, first) = agentd.runs(job=("s", "second"))
    assert (done.returncode, last["attempt"]) == (0, 2)
    assert done.stdout.startswith(f"{first['run_id']}\n{last['run_id']}: success")
    assert "attempt 1 ended with exit-code; retry 1 of 2 in 200ms" in done.stderr
    assert agentd.ctl("run", "never", "--wait").returncode == 6
    assert [run["attempt"] for run in agentd.runs(job=("s", "never"))] == [2, 1]


def test_run_wait_is_over_when_the_attempt_to_come_is_taken_back(agentd: Agentd) -> None:
    agentd.start(CONFIG)
    command = [sys.executable, "-m", "agentctl", "run", "again", "--wait"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=agentd.environment, cwd=ROOT
    ) as waiting:
        assert waiting.stderr is not None
        assert "exit-code 3" in waiting.stderr.readline()
        assert "attempt 1 ended with exit-code; retry 1 of 2 in 1h" in waiting.stderr.readline()
        agentd.call("Jobs.StopJob", "s", "again")
        assert waiting.wait(60) == 6


def test_a_disabled_job_is_not_tried_again_also_after_a_restart(agentd: Agentd) -> None:
    agentd.start(CONFIG)
    agentd.ctl("run", "again")
    agentd.until(lambda: agentd.job("again")["state"] == "retrying", "the first attempt to fail")
    (retry, _) = agentd.runs(job=("s", "again"))
    answer = agentd.ctl("disable", "again")
    assert answer.stdout == f"again is disabled; taken back: {retry['run_id']}\n"
    agentd.kill()
    agentd.start()
    taken = agentd.runs(run_id=("s", retry["run_id"]))[0]
    assert (taken["result"], taken["reason"]) == ("cancelled", "disabled by hand")
    assert agentd.job("again")["state"] == "disabled"
