"""The running daemon as its callers meet it: real processes, a real bus."""

import os
import pwd
import resource
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from agentd.bus.contract import joined
from agentd.private import address_file
from tests.bus.harness import ROOT, Agentd, CallError, children_of, processes_with
from tests.contracts import CONTRACTS

CONFIG = """
timezone: UTC
jobs:
  hello: {run: 'echo "hello from $AGENTD_RUN_ID"; echo oops >&2'}
  fail: {run: [sh, -c, "exit 3"]}
  slow: {run: sleep 100, stop_timeout: 2s}
  stubborn: {run: "trap '' TERM; echo ready; while :; do sleep 0.1; done", stop_timeout: 1s}
  late: {run: sleep 100, timeout: 1s}
  missing: {run: [/nonexistent/program]}
  large: {run: [python3, -c, "x = b'x' * (64 << 20)"]}
  crash: {run: [sh, -c, "kill -SEGV $$"]}
  hourly: {run: [/bin/true], when: {every: 1hour}}
  feed: {run: [/bin/true], when: {adaptive: {start: 5min, min: 2min, max: 6h}}}
  nightly: {run: [/bin/true], when: {at: "00:00"}}
"""


def finished(agentd: Agentd, run_id: str) -> dict[str, Any]:
    """The run once it has ended."""
    runs: list[dict[str, Any]] = []

    def over() -> bool:
        runs[:] = agentd.runs(run_id=("s", run_id), tail=("b", True))
        return bool(runs[0]["state"] == "ended")

    agentd.until(over, f"{run_id} to end")
    return runs[0]


def run(agentd: Agentd, job: str) -> dict[str, Any]:
    return finished(agentd, agentd.call("Jobs.RunJob", "sa{sv}", job, {}))


def test_introspection_is_the_contract_and_its_parents_lead_to_it(agentd: Agentd) -> None:
    agentd.start(CONFIG)
    shown = agentd.introspect()
    assert shown == joined(CONTRACTS)
    document = ET.fromstring(shown)
    assert [ET.canonicalize(ET.tostring(interface), strip_text=True) for interface in document] == [
        ET.canonicalize(ET.tostring(interface), strip_text=True)
        for file in CONTRACTS
        for interface in ET.parse(file).getroot()
    ]
    assert {interface.get("name") for interface in document} == {
        "org.agentd1.Manager",
        "org.agentd1.Jobs",
        "org.agentd1.Reboot",
        "org.agentd1.Rules",
        "org.agentd1.Learning",
        "org.agentd1.Notices",
        "org.agentd1.Scheduler",
    }


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        ("hello", {"result": "success", "exit_code": 0, "signal": ""}),
        ("fail", {"result": "exit-code", "exit_code": 3}),
        ("late", {"result": "timeout", "signal": "SIGTERM"}),
        ("missing", {"result": "start-failed", "reason": "cannot run /nonexistent/program: No such file or directory"}),
    ],
)
def test_how_a_run_ended_is_told_apart(agentd: Agentd, job: str, expected: dict[str, Any]) -> None:
    agentd.start(CONFIG)
    record = run(agentd, job)
    assert {key: record[key] for key in expected} == expected
    assert ("exit_code" in record) == ("exit_code" in expected)
    assert record["due"] <= record["started"] <= record["ended"]


def test_a_run_ended_by_a_signal_names_it(agentd: Agentd) -> None:
    agentd.start(CONFIG)
    record = run(agentd, "crash")
    assert record["result"] in {"signal", "core-dump"}
    assert record["signal"] == "SIGSEGV"


def test_output_is_kept_and_its_last_lines_are_in_the_history(agentd: Agentd) -> None:
    agentd.start(CONFIG)
    record = run(agentd, "hello")
    text = f"hello from {record['run_id']}\noops\n"
    data, offset, over = agentd.call("Jobs.ReadOutput", "st", record["run_id"], 0)
    assert (bytes(data).decode(), offset, over) == (text, len(text), True)
    assert record["tail"] == text
    assert record["cpu_usec"] > 0


def test_the_peak_of_a_run_is_its_own(agentd: Agentd) -> None:
    agentd.start(CONFIG)
    assert run(agentd, "large")["peak_memory"] > 60 << 20
    assert run(agentd, "hello")["peak_memory"] == 0, "less than its supervisor has: not known"
    assert agentd.ctl("history", "hello").stdout.splitlines()[-1].split()[-1] == "-"


def test_a_silent_run_leaves_no_file(agentd: Agentd) -> None:
    agentd.start(CONFIG)
    record = run(agentd, "hourly")
    assert output(agentd, record) == ""
    assert list((agentd.state / "output").iterdir()) == []


def test_output_is_capped_but_its_end_is_not_lost(agentd: Agentd) -> None:
    agentd.start("history: {output: 10k}\njobs:\n  much: {run: 'seq 100000; echo the end'}\n")
    record = run(agentd, "much")
    data, _, over = agentd.call("Jobs.ReadOutput", "st", record["run_id"], 0)
    assert over
    assert len(data) < 11_000
    assert bytes(data).decode().startswith("1\n2\n3\n")
    assert "keeps no more of this output" in bytes(data).decode()
    run_id = record["run_id"]
    kept, _, last = agentd.ctl("log", run_id).stdout.partition("[the last lines of this output:]\n")
    assert kept.encode() == bytes(data)
    assert last == record["tail"]
    assert record["tail"].endswith("100000\nthe end\n")


def test_stop_ends_the_whole_process_group(agentd: Agentd) -> None:
    agentd.start(CONFIG)
    run_id = agentd.call("Jobs.RunJob", "sa{sv}", "slow", {})
    agentd.until(lambda: processes_with(f"AGENTD_RUN_ID={run_id}"), "the run's process")
    assert agentd.call("Jobs.StopJob", "s", "slow") == [run_id]
    record = finished(agentd, run_id)
    assert (record["result"], record["signal"]) == ("stopped", "SIGTERM")


def test_a_run_that_does_not_heed_sigterm_is_killed_after_its_stop_timeout(agentd: Agentd) -> None:
    agentd.start(CONFIG)
    run_id = agentd.call("Jobs.RunJob", "sa{sv}", "stubborn", {})
    agentd.until(lambda: bytes(agentd.call("Jobs.ReadOutput", "st", run_id, 0)[0]) == b"ready\n", "its trap")
    agentd.call("Jobs.StopJob", "s", run_id)
    record = finished(agentd, run_id)
    assert (record["result"], record["signal"]) == ("stopped", "SIGKILL")


@pytest.mark.parametrize(
    ("member", "signature", "body", "name", "text"),
    [
        ("Jobs.GetJob", "s", ["helo"], "NoSuchJob", 'there is no job "helo" (did you mean hello?)'),
        ("Jobs.RunJob", "sa{sv}", ["nothing", {}], "NoSuchJob", 'there is no job "nothing"'),
        ("Jobs.RunJob", "sa{sv}", ["hello", {"x": ("s", "y")}], "InvalidArgument", '"x" is not an option here'),
        ("Jobs.StopJob", "s", ["hello.99"], "NoSuchRun", "the run hello.99 is not under way"),
        ("Jobs.ReadOutput", "st", ["../../etc/passwd", 0], "NoSuchRun", None),
        ("Jobs.ReadOutput", "st", ["hello.1' OR '1", 0], "NoSuchRun", None),
        ("Jobs.ReportProgress", "ss", ["hello.1", "x"], "NoSuchRun", "the run hello.1 is not under way"),
        ("Jobs.Report", "ssa{sv}", ["hello.1", "x", {}], "NoSuchRun", "the run hello.1 is not under way"),
        (
            *("Jobs.Report", "ssa{sv}", ["hello.1", "x", {"tool": ("s", " \u202e\x1b")}], "InvalidArgument"),
            "the name of the tool is empty: expected one such as web-search",
        ),
        ("Jobs.Increase", "s", ["nightly"], "Unsupported", None),
        ("Jobs.SetInterval", "st", ["feed", 1_000_000], "InvalidArgument", None),
        ("Jobs.NextTimes", "stu", ["", 0, 0], "InvalidArgument", "count must lie between 1 and 1000, not 0"),
        ("Jobs.ListRuns", "a{sv}", [{"limit": ("s", "many")}], "InvalidArgument", None),
        ("Jobs.ListRuns", "a{sv}", [{"colour": ("s", "red")}], "InvalidArgument", None),
        ("Jobs.RunJob", "s", ["hello"], "InvalidArgument", "RunJob takes (sa{sv}), it was called with (s)"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_sentence(
    agentd: Agentd, member: str, signature: str, body: list[Any], name: str, text: str | None
) -> None:
    agentd.start(CONFIG)
    with pytest.raises(CallError) as caught:
        agentd.call(member, signature, *body)
    assert caught.value.name == f"org.agentd1.Error.{name}"
    assert "Traceback" not in str(caught.value)
    if text is not None:
        assert str(caught.value) == text


def test_progress_is_shown_live_and_kept(agentd: Agentd) -> None:
    agentd.start(
        "jobs:\n  steps: {run: 'python3 -m agentctl progress \"1 of  2 done\"; until [ -e go ]; do sleep 0.05; done', "
        f"environment: {{PYTHONPATH: {ROOT}}}, notify: [progress]}}\n".replace("python3", sys.executable)
    )
    run_id = agentd.call("Jobs.RunJob", "sa{sv}", "steps", {})
    agentd.until(lambda: agentd.job("steps")["progress"] == "1 of 2 done", "the progress")
    (agentd.folder / "go").touch()
    assert finished(agentd, run_id)["progress"] == "1 of 2 done"


def test_the_tool_that_a_run_uses_is_shown_cleaned_and_bounded(agentd: Agentd) -> None:
    agentd.start("jobs: {agent: {run: sleep 100, notify: [tool]}}\n")
    run_id = agentd.call("Jobs.RunJob", "sa{sv}", "agent", {})
    agentd.until(lambda: agentd.job("agent")["running"], "the run to begin")
    name = " web\n\u202e\x1b search" + "x" * 100
    agentd.call("Jobs.Report", "ssa{sv}", run_id, "looking  for\nnews", {"tool": ("s", name)})
    (shown,) = agentd.ctl_json("status")["jobs"]
    assert shown["progress"] == "web search" + "x" * 50 + ": looking for news"
    assert agentd.runs()[0]["progress"] == shown["progress"]
    assert f"running: {shown['progress']}" in agentd.ctl("status").stdout
    agentd.call("Jobs.ReportProgress", "ss", run_id, "half")
    assert agentd.job("agent")["progress"] == "half"


def test_interval_steps_are_bounded_remembered_and_undone(agentd: Agentd) -> None:
    agentd.start(CONFIG)
    change = {key: value for key, (_, value) in agentd.call("Jobs.Increase", "s", "feed").items()}
    assert (change["old"], change["new"], change["adaptive"]) == (300_000_000, 200_000_000, True)
    agentd.kill()
    agentd.start()
    job = agentd.job("feed")
    assert (job["interval"], job["preference"], job["overridden"]) == (200_000_000, 1, ["interval"])
    agentd.call("Jobs.Increase", "s", "feed")
    agentd.call("Jobs.Increase", "s", "feed")
    with pytest.raises(CallError, match="already runs every 2min, the shortest it may"):
        agentd.call("Jobs.Increase", "s", "feed")
    assert not agentd.job("feed")["fixed"], "a preference is no interval that stays"
    agentd.call("Jobs.SetInterval", "st", "feed", 240_000_000)
    assert agentd.job("feed")["fixed"]
    agentd.call("Jobs.Reset", "s", "feed")
    assert (agentd.job("feed")["interval"], agentd.job("feed")["fixed"]) == (300_000_000, False)


def test_a_disabled_job_is_not_due_until_it_is_enabled(agentd: Agentd) -> None:
    agentd.start(CONFIG)
    agentd.call("Jobs.SetEnabled", "sb", "hourly", False)
    assert (agentd.job("hourly")["state"], agentd.job("hourly")["next"]) == ("disabled", 0)
    agentd.call("Jobs.SetEnabled", "sb", "hourly", True)
    assert agentd.job("hourly")["next"] > 0


def reload_by_call(agentd: Agentd) -> None:
    agentd.call("Manager.Reload")


def reload_by_hangup(agentd: Agentd) -> None:
    assert agentd.process is not None
    agentd.process.send_signal(signal.SIGHUP)


def test_signals_that_mean_nothing_end_nothing_and_say_what_was_meant(agentd: Agentd) -> None:
    agentd.start(CONFIG)
    assert agentd.process is not None
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        agentd.process.send_signal(number)
    agentd.until(lambda: agentd.log.read_text().count(" means nothing to agentd") == 2, "the lines")
    assert agentd.property("Manager.State") == "running"


def reload_by_itself(agentd: Agentd) -> None:
    """Nothing to do: the file was changed."""


@pytest.mark.parametrize("reload", [reload_by_call, reload_by_hangup, reload_by_itself])
def test_a_changed_configuration_is_taken_all_or_nothing(agentd: Agentd, reload: Any) -> None:
    watch = f"watch: {'true' if reload is reload_by_itself else 'false'}\n"
    agentd.start(watch + CONFIG)
    agentd.config.write_text(watch + CONFIG + "  new: {run: [/bin/true], when: {every: 5x}}\n")
    if reload is reload_by_call:
        with pytest.raises(CallError, match="is not a duration"):
            reload(agentd)
    else:
        reload(agentd)
    agentd.until(lambda: agentd.property("Manager.ConfigurationError"), "the error")
    line = 1 + (watch + CONFIG).count("\n")
    sentence = f'{agentd.config}:{line}:41: jobs.new.when.every: "5x" is not a duration (try 5min, 2h, 1d)'
    assert agentd.property("Manager.ConfigurationError") == sentence
    assert sentence in agentd.log.read_text()
    assert "new" not in [job["name"][1] for job in agentd.call("Jobs.ListJobs", "a{sv}", {})]
    assert agentd.job("hourly")["interval"] == 3_600_000_000

    changed = CONFIG.replace("every: 1hour", "every: 3hours").replace("  feed:", "  food:")
    agentd.config.write_text(watch + changed)
    reload(agentd)
    agentd.until(lambda: agentd.job("hourly")["interval"] == 3 * 3_600_000_000, "the new configuration")
    assert agentd.property("Manager.ConfigurationError") == ""
    assert agentd.job("food")["adaptive"] is True


def test_what_runs_goes_on_through_a_reload(agentd: Agentd) -> None:
    agentd.start(CONFIG)
    run_id = agentd.call("Jobs.RunJob", "sa{sv}", "slow", {})
    agentd.config.write_text("jobs: {}\n")
    agentd.call("Manager.Reload")
    assert [r["run_id"][1] for r in agentd.property("Jobs.Running")] == [run_id]
    agentd.call("Jobs.StopJob", "s", run_id)
    assert finished(agentd, run_id)["result"] == "stopped"


def test_sigterm_lets_runs_end_and_stops_those_that_take_too_long(agentd: Agentd) -> None:
    agentd.start("stop_timeout: 2s\njobs:\n  brief: {run: sleep 0.5}\n  long: {run: sleep 100}\n")
    agentd.call("Jobs.RunJob", "sa{sv}", "brief", {})
    agentd.call("Jobs.RunJob", "sa{sv}", "long", {})
    assert agentd.stop() == 0
    agentd.start()
    assert {(r["job"], r["result"], r.get("reason")) for r in agentd.runs()} == {
        ("brief", "success", ""),
        ("long", "interrupted", ""),
    }


def test_a_second_ctrl_c_stops_the_runs_at_once(agentd: Agentd) -> None:
    agentd.start("stop_timeout: 100s\njobs:\n  long: {run: sleep 100}\n")
    agentd.call("Jobs.RunJob", "sa{sv}", "long", {})
    assert agentd.process is not None
    agentd.process.send_signal(signal.SIGINT)
    agentd.until(lambda: agentd.property("Manager.State") == "draining", "the drain")
    with pytest.raises(CallError, match="nothing new starts"):
        agentd.call("Jobs.RunJob", "sa{sv}", "long", {})
    assert agentd.stop(signal.SIGINT) == 0


def test_a_damaged_database_is_set_aside_and_told(agentd: Agentd) -> None:
    agentd.start(CONFIG)
    run(agentd, "hello")
    assert agentd.stop() == 0
    database = agentd.state / "agentd.db"
    database.write_bytes(b"this is no database" * 1000)
    agentd.start()
    (warning,) = agentd.property("Manager.Warnings")
    assert "set aside as" in warning
    assert [file.name for file in agentd.state.glob("agentd.db.damaged-*")] != []
    assert run(agentd, "hello")["result"] == "success"


def test_a_database_of_a_newer_version_is_not_touched_but_set_aside(agentd: Agentd) -> None:
    agentd.start(CONFIG)
    agentd.stop()
    with closing(sqlite3.connect(agentd.state / "agentd.db")) as database:
        database.execute("PRAGMA user_version = 99")
        database.commit()
    agentd.start()
    assert "newer agentd (version 99" in agentd.property("Manager.Warnings")[0]


def test_a_full_disk_starts_nothing_stops_nothing_and_is_told(agentd: Agentd) -> None:
    agentd.start(CONFIG)
    slow = agentd.call("Jobs.RunJob", "sa{sv}", "slow", {})
    assert agentd.process is not None
    free = resource.prlimit(agentd.process.pid, resource.RLIMIT_FSIZE)
    # Files of the daemon may not grow any more: to SQLite that is a full disk.
    resource.prlimit(agentd.process.pid, resource.RLIMIT_FSIZE, (0, free[1]))
    with pytest.raises(CallError, match="carried out once it can be stored"):
        agentd.call("Jobs.Increase", "s", "feed")
    with pytest.raises(CallError) as caught:
        agentd.call("Jobs.RunJob", "sa{sv}", "hello", {})
    assert caught.value.name == "org.agentd1.Error.StoreUnavailable"
    assert "cannot be stored" in agentd.property("Manager.Warnings")[0]
    assert [r["run_id"][1] for r in agentd.property("Jobs.Running") if r["job"][1] == "slow"] == [slow]
    assert agentd.call("Jobs.StopJob", "s", "slow") == [slow]
    agentd.until(lambda: agentd.job("slow")["state"] == "idle", "the run to be stopped all the same")
    resource.prlimit(agentd.process.pid, resource.RLIMIT_FSIZE, free)
    agentd.until(lambda: not agentd.property("Manager.Warnings"), "the state to be stored again", 40)
    assert agentd.job("feed")["interval"] == 200_000_000
    assert run(agentd, "hello")["result"] == "success"


def test_a_disk_that_stays_full_does_not_keep_agentd_from_stopping(agentd: Agentd) -> None:
    agentd.start(CONFIG)
    assert agentd.process is not None
    resource.prlimit(agentd.process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    with pytest.raises(CallError, match="cannot be stored"):
        agentd.call("Jobs.RunJob", "sa{sv}", "hello", {})
    assert agentd.stop() == 0


def test_two_daemons_do_not_share_a_state_directory(agentd: Agentd) -> None:
    agentd.start(CONFIG)
    assert agentd.process is not None
    first = agentd.process
    text = f"agentd: not started: another agentd (process {first.pid}) uses the state directory {agentd.state}"
    command = [sys.executable, "-m", "agentd", "--standalone", "--config", str(agentd.config)]
    done = subprocess.run(
        [*command, "--state-dir", str(agentd.state)],
        capture_output=True, text=True, env=agentd.environment, cwd=ROOT, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, f"{text}; choose another with --state-dir\n")


def test_two_daemons_of_one_user_are_found_by_their_state_directories(agentd: Agentd) -> None:
    agentd.start("timezone: UTC\njobs:\n  first: {run: [/bin/true]}\n")
    config, state = agentd.folder / "other.yaml", agentd.folder / "other"
    config.write_text("timezone: UTC\njobs:\n  second: {run: [/bin/true]}\n")
    command = [sys.executable, "-m", "agentd", "--standalone", "--config", str(config), "--state-dir", str(state)]
    with subprocess.Popen(command, env=agentd.environment, cwd=ROOT, stderr=subprocess.DEVNULL) as other:
        try:
            agentd.until(
                lambda: agentd.ctl("status", "--state-dir", str(state)).returncode == 0, "the second to answer"
            )
            for where, job in ((agentd.state, "first"), (state, "second")):
                assert [job["name"] for job in agentd.ctl_json("status", "--state-dir", str(where))["jobs"]] == [job]
            told = agentd.ctl("status")
            assert (told.returncode, f"--state-dir {state} or --state-dir {agentd.state}" in told.stderr) == (2, True)
        finally:
            other.terminate()
    assert [job["name"] for job in agentd.ctl_json("status")["jobs"]] == ["first"]


def test_a_start_that_fails_once_the_bus_is_up_says_so_in_one_sentence(agentd: Agentd) -> None:
    agentd.config.write_text(CONFIG)
    agentd.state.mkdir(mode=0o700)
    published = agentd.folder / "run/agentd" / address_file(agentd.state)
    published.mkdir(parents=True)  # where agentd tells of the bus, last of all
    command = [sys.executable, "-m", "agentd", "--standalone", "--config", str(agentd.config)]
    done = subprocess.run(
        [*command, "--state-dir", str(agentd.state), "--log-level", "error"],
        capture_output=True, text=True, env=agentd.environment, cwd=ROOT, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert done.stderr.startswith("agentd: not started: ")


def test_the_death_of_the_supervisor_ends_the_daemon_with_a_sentence(agentd: Agentd) -> None:
    marker = f"HERE={agentd.folder}"
    agentd.start(f"jobs:\n  slow: {{run: 'sleep 100 & sleep 100', environment: {{HERE: {agentd.folder}}}}}\n")
    agentd.call("Jobs.RunJob", "sa{sv}", "slow", {})
    agentd.until(lambda: len(processes_with(marker)) == 3, "the run")
    assert agentd.process is not None
    pids = children_of(agentd.process.pid)
    (supervisor,) = pids
    os.kill(supervisor, signal.SIGKILL)
    assert agentd.process.wait(20) == 1
    # Killed they are, and gone once the kernel gave each its turn.
    agentd.until(lambda: processes_with(marker) == [], "the processes of the run to be gone")
    assert processes_with(f"XDG_RUNTIME_DIR={agentd.folder}") == []
    assert "agentd ends: the supervisor of the jobs ended unexpectedly" in agentd.log.read_text()


def output(agentd: Agentd, record: dict[str, Any]) -> str:
    return bytes(agentd.call("Jobs.ReadOutput", "st", record["run_id"], 0)[0]).decode()


def test_a_job_finds_the_world_as_it_expects_it(agentd: Agentd) -> None:
    # Ignored signals, open files and limits of ours must not reach it.
    script = agentd.folder / "look.sh"
    script.write_text(
        'echo "$AGENTD_JOB|$AGENTD_RUN_ID|$AGENTD_ATTEMPT|$COLOUR|$PWD|$(cat | wc -c)"\n'
        'echo "$AGENTD_DUE"; ulimit -Sn; grep SigIgn /proc/$$/status; ls /proc/$$/fd\n'
    )
    agentd.start(f"jobs:\n  look: {{run: [sh, {script}], environment: {{COLOUR: 'blue $HOME %d'}}}}\n")
    record = run(agentd, "look")
    first, due, files, ignored, *descriptors = output(agentd, record).splitlines()
    assert first == f"look|{record['run_id']}|1|blue $HOME %d|{agentd.folder}|0"
    assert due.endswith("+00:00")
    assert int(files) == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert (
        int(ignored.split()[1], 16) & (1 << signal.SIGINT - 1 | 1 << signal.SIGTERM - 1 | 1 << signal.SIGPIPE - 1) == 0
    )
    assert set(descriptors) <= {"0", "1", "2", "10"}  # 10: the shell's own hold of its script


def test_another_user_is_taken_on_by_root_and_refused_to_others(agentd: Agentd) -> None:
    agentd.start("jobs:\n  who: {run: 'id -un; echo $HOME', user: nobody, working_directory: /}\n")
    record = run(agentd, "who")
    if os.getuid() == 0:
        assert output(agentd, record) == "nobody\n/nonexistent\n"
    else:
        assert (record["result"], record["reason"]) == (
            "start-failed",
            "cannot change to user nobody: Operation not permitted",
        )


@pytest.mark.parametrize(
    ("job", "reason"),
    [
        (
            "{run: [true], working_directory: /not/there}",
            "cannot change to the folder /not/there: No such file or directory",
        ),
        ("{run: [no-such-program]}", "cannot run no-such-program: there is no such program in PATH"),
        ("{run: [/etc/passwd]}", "cannot run /etc/passwd: Permission denied"),
    ],
)
def test_what_cannot_be_started_says_why(agentd: Agentd, job: str, reason: str) -> None:
    agentd.start(f"jobs:\n  bad: {job}\n")
    record = run(agentd, "bad")
    assert (record["result"], record["reason"]) == ("start-failed", reason)


def test_what_a_run_leaves_in_its_group_ends_with_it(agentd: Agentd) -> None:
    marker = f"LEFT={agentd.folder}"
    agentd.start(f"jobs:\n  leaver: {{run: 'sleep 100 & echo gone', environment: {{LEFT: {agentd.folder}}}}}\n")
    assert run(agentd, "leaver")["result"] == "success"
    assert processes_with(marker) == []


def test_a_job_after_another_starts_when_that_one_succeeded(agentd: Agentd) -> None:
    agentd.start("jobs:\n  first: {run: [true]}\n  second: {run: [true], when: {after: first}}\n")
    first = run(agentd, "first")
    agentd.until(lambda: agentd.job("second").get("last_result") == "success", "the second job")
    (second,) = agentd.runs(job=("s", "second"))
    assert (second["cause"], second["reason"]) == ("after", f"after {first['run_id']}")


def test_due_times_are_met_one_by_one_and_shown_in_the_history(agentd: Agentd) -> None:
    agentd.start("jobs:\n  tick: {run: [true], when: {every: 1s}}\n")
    agentd.until(lambda: len(agentd.runs(result=("s", "success"))) >= 4, "four runs")
    dues = [record["due"] for record in reversed(agentd.runs())]
    assert {later - due for due, later in pairwise(dues)} == {1_000_000}


def test_decisions_of_all_parts_are_listed_by_part_subject_and_run(agentd: Agentd) -> None:
    agentd.start(CONFIG)
    run_id = agentd.call("Jobs.RunJob", "sa{sv}", "slow", {})
    agentd.call("Jobs.StopJob", "s", "slow")
    agentd.call("Jobs.Increase", "s", "feed")

    def decisions(**wanted: tuple[str, Any]) -> list[dict[str, Any]]:
        found = agentd.call("Manager.ListDecisions", "a{sv}", wanted)
        return [{key: value for key, (_, value) in record.items()} for record in found]

    everything = decisions()
    assert [decision["at"] for decision in everything] == sorted((d["at"] for d in everything), reverse=True)
    stop, start = decisions(about=("s", "slow"), run_id=("s", run_id))
    me = pwd.getpwuid(os.getuid()).pw_name
    assert (start["kind"], start["run_id"], start["reason"]) == ("start", run_id, f"asked to run by {me}")
    assert (stop["part"], stop["kind"], stop["about"], stop["run_id"]) == ("jobs", "stop", "slow", run_id)
    assert stop["reason"] == f"asked to stop by {me}"
    assert decisions(about=("s", "feed"))[0]["reason"].endswith(f" (by {me})")
    agentd.call("Manager.Reload")
    (reload,) = decisions(part=("s", "manager"))
    assert (reload["kind"], reload["reason"]) == ("reload", f"nothing changed (by {me})")
    assert f"{me} asked for StopJob slow" in agentd.log.read_text()
    assert {decision["about"] for decision in decisions(part=("s", "jobs"))} >= {"slow", "feed"}
    assert decisions(part=("s", "reboots")) == []
    assert len(decisions(limit=("u", 1))) == 1
    with pytest.raises(CallError, match='"job" is not an option here; it may have about, before, limit, part, run_id'):
        decisions(job=("s", "slow"))
