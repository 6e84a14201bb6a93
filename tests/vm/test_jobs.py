"""Jobs as units of a real systemd."""

import json
from datetime import datetime, timedelta

from tests.vm.agentd import agentctl, configure, history, note, run
from tests.vm.machine import Machine

AWKWARD = [
    "a $HOME b",
    "${X}",
    "$$",
    "100%",
    "%h",
    'q"x',
    "it's",
    "",
    "two\nlines",
    "tab\there",
    "back\\slash",
    ";",
    "ü",
    "#",
]
PRINT = "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ)]))"


def test_a_job_runs_as_a_unit_with_exactly_what_it_says(machine: Machine) -> None:
    environment = {"LEVEL": 'f u$X "l" 100% \\n', "LINES": "a\nb\tc"}
    job = {
        "run": ["python3", "-c", PRINT, *AWKWARD],
        "user": "daemon",
        "group": "mail",
        "working_directory": "/var/lib",
        "environment": environment,
        "limits": {"memory": "300M", "cpu_weight": "77", "tasks": "33"},
        "timeout": "2min",
        "systemd": {"PrivateTmp": "yes", "BindReadOnlyPaths": ["/usr/share", "/usr/lib"]},
    }
    configure(machine, json.dumps({"jobs": {"awkward": job}}))
    ended = run(machine, "awkward")
    assert (ended["result"], ended["exit_code"]) == ("success", 0)
    arguments, found = json.loads(agentctl(machine, "log", "awkward").out)
    assert arguments == AWKWARD
    assert {name: found[name] for name in environment} == environment
    assert (found["AGENTD_JOB"], found["AGENTD_RUN_ID"], found["USER"]) == ("awkward", ended["run_id"], "daemon")
    wanted = {
        "User": "daemon",
        "Group": "mail",
        "WorkingDirectory": "/var/lib",
        "MemoryMax": str(300 << 20),
        "CPUWeight": "77",
        "TasksMax": "33",
        "Slice": "agentd-jobs.slice",
        "RuntimeMaxUSec": "2min",
        "PrivateTmp": "yes",
        "BindReadOnlyPaths": "/usr/share:/usr/share:rbind /usr/lib:/usr/lib:rbind",
    }
    names = [word for name in wanted for word in ("-p", name)]
    shown = machine.run("systemctl", "show", *names, "agentd-job@awkward").out
    assert dict(line.split("=", 1) for line in shown.splitlines()) == wanted
    assert ended["cpu_usec"] > 0
    assert 1 << 20 < ended["peak_memory"] < 300 << 20


def test_ends_are_told_apart(machine: Machine) -> None:
    configure(
        machine,
        """
jobs:
  eater: {run: [python3, -c, "a = [bytearray(1 << 20) for _ in range(400)]"], limits: {memory: 50M}}
  slow: {run: [sleep, "100"], timeout: 1s}
  stubborn: {run: "trap '' TERM; while :; do sleep 1; done", timeout: 1s, stop_timeout: 1s}
  code: {run: exit 7}
  killed: {run: kill -KILL $$}
  term: {run: kill -TERM $$}
  crash: {run: kill -SEGV $$, systemd: {LimitCORE: "0"}}
  nothing: {run: [/nonexistent/program]}
  nobody: {run: [/bin/true], user: nosuchuser}
""",
    )
    found = {}
    for job in ("eater", "slow", "stubborn", "code", "killed", "term", "crash", "nothing", "nobody"):
        ended = run(machine, job)
        found[job] = (ended["result"], ended["exit_code"], ended["signal"])
    assert found == {
        "eater": ("oom-kill", None, "SIGKILL"),
        "slow": ("timeout", None, "SIGTERM"),
        "stubborn": ("timeout", None, "SIGKILL"),
        "code": ("exit-code", 7, ""),
        "killed": ("signal", None, "SIGKILL"),
        "term": ("signal", None, "SIGTERM"),
        "crash": ("signal", None, "SIGSEGV"),
        "nothing": ("start-failed", 203, ""),
        "nobody": ("start-failed", 217, ""),
    }


def test_a_failed_unit_goes_with_the_next_success_of_its_job(machine: Machine) -> None:
    configure(machine, "jobs: {flaky: {run: test -e /var/tmp/well}}\n")
    machine.sh("rm -f /var/tmp/well")
    failed = ("systemctl", "--failed", "--plain", "--no-legend")
    assert run(machine, "flaky")["result"] == "exit-code"
    assert "agentd-job@flaky.service" in machine.run(*failed).out
    assert machine.run("systemctl", "is-system-running", check=False).out == "degraded\n"
    machine.sh("touch /var/tmp/well")
    assert run(machine, "flaky")["result"] == "success"
    assert "agentd-job@flaky.service" not in machine.run(*failed).out


def test_a_stop_is_told_whoever_asked_for_it(machine: Machine) -> None:
    configure(machine, "jobs: {long: {run: [sleep, '1000']}}\n")
    for stop in (("agentctl", "stop", "long"), ("systemctl", "stop", "agentd-job@long")):
        agentctl(machine, "run", "long")
        machine.wait_until("systemctl is-active --quiet agentd-job@long", 30, "the job to run")
        machine.run(*stop)
        machine.wait_until(lambda: history(machine, "long")[-1]["state"] == "ended", 30, "the run to end")
        assert history(machine, "long")[-1]["result"] == "stopped"


def test_runs_at_once_have_units_of_their_own(machine: Machine) -> None:
    configure(machine, "jobs: {twice: {run: [sleep, '1000'], concurrency: 2, overlap: queue}}\n")
    for _ in range(3):
        agentctl(machine, "run", "twice")
    both = "systemctl is-active --quiet agentd-job@twice && systemctl is-active --quiet agentd-job@twice@2"
    machine.wait_until(both, 60, "both units to run")
    states = ["running", "running", "queued"]
    machine.wait_until(lambda: [run["state"] for run in history(machine, "twice")] == states, 60, "both to be seen")
    agentctl(machine, "stop", "twice")
    machine.wait_until(lambda: {run["state"] for run in history(machine, "twice")} == {"ended"}, 60, "all to end")


def test_a_job_tells_its_progress_and_nobody_elses(machine: Machine) -> None:
    configure(
        machine,
        """
jobs:
  teller: {run: "agentctl progress 3 of 7; sleep 1000", user: daemon}
  liar: {run: "AGENTD_RUN_ID=$(cat /run/agentd/runs/teller | cut -d' ' -f1) agentctl progress lies", user: daemon}
""",
    )
    agentctl(machine, "run", "teller")

    def progress() -> str:
        return str(history(machine, "teller")[-1]["progress"])

    machine.wait_until(lambda: progress() == "3 of 7", 60, "the progress")
    lie = run(machine, "liar")
    assert (lie["result"], lie["exit_code"]) == ("exit-code", 4)
    assert progress() == "3 of 7"
    agentctl(machine, "stop", "teller")


def test_a_bad_edit_leaves_the_old_jobs_and_tells_the_place(machine: Machine) -> None:
    configure(machine, "jobs: {good: {run: 'echo good', when: {every: 1h}}}\n")
    bad = "jobs:\n  good: {run: 'echo good', when: {every: 1h}}\n  other:\n    run: x\n    timeout: 5x\n"
    place = '/etc/agentd/conf.d/test.yaml:5:14: jobs.other.timeout: "5x" is not a duration (try 5min, 2h, 1d)'
    machine.write("/etc/agentd/conf.d/test.yaml", bad)
    machine.run("systemctl", "reload", "agentd", timeout=90)
    machine.wait_until("systemctl status --no-pager -l agentd | grep -q 'is not a duration'", 30, "the status to tell")
    assert place in machine.run("systemctl", "show", "-P", "StatusText", "agentd").out
    assert place in machine.journal("-u", "agentd", "-n", "20")
    refused = agentctl(machine, "reload", check=False, timeout=90)
    assert (refused.code, refused.err) == (2, f"agentctl: {place}\n")
    assert [job["name"] for job in json.loads(agentctl(machine, "status", "--json").out)["jobs"]] == ["good"]
    # Anything may make systemd read its units anew meanwhile.
    machine.run("systemctl", "daemon-reload", timeout=90)
    assert run(machine, "good")["result"] == "success"
    configure(machine, "jobs: {good: {run: 'echo good'}}\n")
    assert "errors" not in machine.run("systemctl", "show", "-P", "StatusText", "agentd").out


def test_many_starts_at_once_all_happen(machine: Machine) -> None:
    configure(machine, "jobs: {}\n")
    soon = (machine.clock() + timedelta(seconds=25)).replace(microsecond=0)
    many = {f"many{number}": {"run": ["/bin/true"], "when": {"at": f"{soon:%H:%M:%S}"}} for number in range(40)}
    configure(machine, json.dumps({"timezone": "UTC", "jobs": many}))
    assert machine.clock() < soon, "the machine is too slow for this test"

    def over() -> bool:
        return len([run for run in history(machine, *many) if run["state"] == "ended"]) == 40

    machine.wait_until(over, 300, "forty runs to end")  # an emulated machine may start one in three seconds
    runs = history(machine, *many)
    assert {run["result"] for run in runs} == {"success"}
    late = sorted((datetime.fromisoformat(run["started"]) - soon).total_seconds() for run in runs)
    assert late[0] >= 0
    note("starts per second through systemd, in a machine", round(40 / late[-1], 1))
    pid = machine.run("systemctl", "show", "-P", "MainPID", "agentd").out.strip()
    note("RSS of the daemon after 40 jobs, KiB", machine.run("ps", "-o", "rss=", "-p", pid).out.strip())
