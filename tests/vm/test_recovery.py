"""What survives: agentd killed, upgraded, its peers restarted."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from tests.vm.agentd import NOTES, agentctl, answers, configure, history, restarts
from tests.vm.machine import Machine

TEN = [f"ten{number}" for number in range(10)]
HOLD = "/run/hold"


def start_ten(machine: Machine) -> None:
    """Ten jobs that run until they are let go and note their end, each with an exit code of its own."""
    machine.run("rm", "-rf", NOTES)
    machine.run("mkdir", "-m", "777", NOTES)
    # Whoever waits for a lock costs nothing, and waits as long as a slow machine needs.
    machine.run("systemd-run", "--quiet", "--unit=hold", "flock", "--exclusive", HOLD, "sleep", "infinity")
    machine.wait_until(f"[ -e {HOLD} ] && ! flock --nonblock {HOLD} true", 60, "the jobs to be held")
    jobs = {
        name: {"run": f"flock --shared {HOLD} true; echo $AGENTD_RUN_ID >> {NOTES}/{name}; exit {number}"}
        for number, name in enumerate(TEN)
    }
    configure(machine, json.dumps({"jobs": jobs}))
    for name in TEN:
        machine.run("busctl", "call", "org.agentd1", "/org/agentd1", "org.agentd1.Jobs", "RunJob", "sa{sv}", name, "0")
    machine.wait_until(lambda: len(alive(machine)) == 10, 60, "ten jobs to run")


def let_go(machine: Machine) -> None:
    assert len(alive(machine)) == 10
    machine.run("systemctl", "stop", "hold")


def alive(machine: Machine) -> list[str]:
    listed = machine.run("systemctl", "list-units", "--plain", "--no-legend", "--state=active", "agentd-job@ten*").out
    return [line.split()[0] for line in listed.splitlines()]


def check_ten(machine: Machine, before: int) -> None:
    """All ten ended as they should, once, and are recorded once."""
    machine.wait_until(f"[ $(ls {NOTES} | wc -l) = 10 ]", 180, "ten jobs to finish")
    machine.wait_until("systemctl is-active --quiet agentd", 60, "agentd to run")

    def recorded() -> list[dict[str, Any]]:
        runs = [run for run in history(machine, *TEN) if run["state"] == "ended"]
        return runs if len(runs) >= before + 10 else []

    runs = machine.wait_until(recorded, 60, "ten results")[before:]
    assert Counter(run["job"] for run in runs) == Counter(TEN)
    assert {run["job"]: run["exit_code"] for run in runs} == {name: number for number, name in enumerate(TEN)}
    assert {run["job"]: run["result"] for run in runs} == {
        name: "exit-code" if number else "success" for number, name in enumerate(TEN)
    }
    for run in runs:
        assert machine.read(f"{NOTES}/{run['job']}") == f"{run['run_id']}\n"


def test_ten_jobs_outlive_a_killed_agentd(machine: Machine) -> None:
    start_ten(machine)
    before = restarts(machine)
    machine.run("systemctl", "kill", "--signal=KILL", "agentd")
    machine.wait_until(lambda: restarts(machine) > before, 60, "systemd to start agentd again")
    let_go(machine)
    check_ten(machine, 0)


def test_ends_that_agentd_did_not_see_are_found(machine: Machine) -> None:
    start_ten(machine)
    machine.run("systemctl", "mask", "--runtime", "--now", "agentd")
    let_go(machine)
    machine.wait_until(lambda: not alive(machine), 120, "the jobs to end without agentd")
    machine.run("systemctl", "unmask", "--runtime", "agentd")
    machine.run("systemctl", "start", "agentd", timeout=120)
    check_ten(machine, 10)


def test_ten_jobs_outlive_an_upgrade(machine: Machine, deb: Path) -> None:
    start_ten(machine)
    pid = machine.run("systemctl", "show", "-P", "MainPID", "agentd").out
    machine.install(deb, reinstall=True)
    assert machine.run("systemctl", "show", "-P", "MainPID", "agentd").out != pid, "the upgrade did not restart it"
    let_go(machine)
    check_ten(machine, 20)


def test_peers_that_restart_under_load_lose_nothing(machine: Machine) -> None:
    machine.run("rm", "-rf", NOTES)
    machine.run("mkdir", "-m", "777", NOTES)
    jobs = {
        f"load{number}": {
            "run": f"echo $AGENTD_RUN_ID $AGENTD_DUE >> {NOTES}/begun; sleep 2; echo $AGENTD_RUN_ID >> {NOTES}/done",
            "when": {"every": f"{8 + number}s"},
            "missed": "all",
            "overlap": "queue",
        }
        for number in range(3)
    }
    configure(machine, json.dumps({"jobs": jobs}))
    machine.wait_until(f"[ -s {NOTES}/done ]", 60, "the first run")
    for peer in ("polkit", "systemd-logind", "dbus", "dbus"):
        machine.run("systemctl", "restart", peer, timeout=120)
        before = count_done(machine)
        machine.wait_until(lambda before=before: count_done(machine) >= before + 2, 90, f"jobs to run after {peer}")  # type: ignore[misc]
    for _ in range(2):
        machine.run("systemctl", "daemon-reexec", timeout=120)
        machine.run("sleep", "5")
    # And while agentd starts: it asks systemd for things when PID 1 is away. From outside, a start is too short to see.
    starting = 'until [ "$(systemctl show -P ActiveState agentd)" = activating ]; do :; done'
    machine.sh(f"systemctl restart --no-block agentd; {starting}; systemctl daemon-reexec", timeout=120)
    machine.run("systemctl", "daemon-reexec", timeout=120)
    answers(machine, 60)
    assert restarts(machine) == 0, "its start failed"
    agentctl(machine, "disable", "load0")
    agentctl(machine, "disable", "load1")
    agentctl(machine, "disable", "load2")

    def settled() -> bool:
        return all(run["state"] == "ended" for run in history(machine, *jobs))

    machine.wait_until(settled, 90, "all runs to end")
    begun = [line.split() for line in machine.read(f"{NOTES}/begun").splitlines()]
    done = Counter(machine.read(f"{NOTES}/done").split())
    assert [
        due for due, count in Counter((run.rpartition(".")[0], due) for run, due in begun).items() if count > 1
    ] == []
    assert [run for run, count in done.items() if count > 1] == []
    results = {run["run_id"]: run["result"] for run in history(machine, *jobs)}
    assert {run: results.get(run) for run in done if results.get(run) != "success"} == {}
    # What still waited when the jobs were disabled was taken back, and never began.
    assert {result for run, result in results.items() if run in dict(begun)} == {"success"}
    assert set(results.values()) <= {"success", "cancelled"}


def count_done(machine: Machine) -> int:
    return len(machine.read(f"{NOTES}/done").splitlines())
