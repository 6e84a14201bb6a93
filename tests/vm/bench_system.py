"""Measures agentd in system mode beside systemd itself, in the same machine: `make bench-vm`.

No test: nothing here decides what may land. The machine has a kernel of its own kind, so that ratios mean more than
what they are of.
"""

import json
import statistics
from datetime import timedelta

from tests.vm.agentd import configure, history, note
from tests.vm.machine import Machine

COUNT = 40
ROUNDS = 3
# Copies of the jobs' own units: systemd does for each what it does for a job, and notes its end. Nobody asks polkit.
COPY = """
cd /run/systemd/generator
for unit in agentd-job@many*.service; do
    sed s/many/peer/g "$unit" >"/run/systemd/system/$(echo "$unit" | sed s/many/peer/)"
done
systemctl daemon-reload
"""
START = """
date +%s.%N
systemctl start $(cd /run/systemd/system && ls -d agentd-job@peer*.service)
"""
TIMED = """
begin=$(date +%s%N); n=0
while [ $n -lt 5 ]; do "$@" >/dev/null; n=$((n + 1)); done
echo $((($(date +%s%N) - begin) / 5000))
"""


def test_starts_and_status_beside_systemctl(machine: Machine) -> None:
    """Keeps the figures, which make prints at the end; each round has agentd and systemctl in turn."""
    rates = [(_by_agentd(machine), _by_systemctl(machine)) for _ in range(ROUNDS)]
    asked = [tuple(_timed(machine, *words) for words in COMMANDS) for _ in range(ROUNDS)]
    pid = machine.run("systemctl", "show", "-P", "MainPID", "agentd").out.strip()
    resident = int(machine.run("ps", "-o", "rss=", "-p", pid).out) / 1024
    for name, pairs, goal in (("job starts a second", rates, 0.9), ("agentctl status, us", asked, None)):
        ours, theirs = (round(statistics.median(values), 2) for values in zip(*pairs, strict=True))
        ratio = round(statistics.median(one / other for one, other in pairs), 2)
        note(f"{name}, beside systemctl", {"agentd": ours, "systemctl": theirs, "ratio": ratio, "goal": goal})
    note("memory of the daemon, MiB", round(resident, 1))


COMMANDS = (("agentctl", "status"), ("systemctl", "status", "agentd"))


def _by_agentd(machine: Machine) -> float:
    """How many jobs that are due at one instant agentd starts a second."""
    soon = (machine.clock() + timedelta(seconds=30)).replace(microsecond=0)
    many = {f"many{number}": {"run": ["/bin/true"], "when": {"at": f"{soon:%H:%M:%S}"}} for number in range(COUNT)}
    configure(machine, json.dumps({"timezone": "UTC", "jobs": many}))

    def over() -> bool:
        states = [run["state"] for run in history(machine, *many) if run["due"] >= soon.isoformat()]
        return states == ["ended"] * COUNT

    machine.wait_until(over, 300, f"{COUNT} runs to end")
    return COUNT / (_last(machine, "many") - soon.timestamp())


def _by_systemctl(machine: Machine) -> float:
    """How many units like those of the jobs one systemctl starts a second."""
    machine.sh(COPY, timeout=120)
    begin = float(machine.sh(START, timeout=300))
    return COUNT / (_last(machine, "peer") - begin)


def _last(machine: Machine, name: str) -> float:
    """When systemd said of the last of these units that it was started."""
    said = machine.journal("-o", "short-unix", "-u", f"agentd-job@{name}*.service", "-g", "^Started")
    return max(float(line.split()[0]) for line in said.splitlines())


def _timed(machine: Machine, *words: str) -> float:
    """Microseconds that a command takes in the machine."""
    return float(machine.run("sh", "-euc", TIMED, "timed", *words, timeout=300).out)
