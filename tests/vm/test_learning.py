"""A training on a real machine: a unit of its own under its limits, and what comes out of it whatever happens there.

AGENTD_TRAININGS sets after how many trainings the memory of the daemon is measured (20).
"""

import os
import re
from typing import Any

import pytest

from tests.vm.agentd import call, configure, found, note
from tests.vm.machine import Machine

UNIT = "agentd-train.service"
UNIT_FOLDER = f"/run/systemd/system/{UNIT}.d"
DROP_IN = f"{UNIT_FOLDER}/test.conf"
NOT_EMULATED = "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX2 FMA3"
NETWORKS = "/var/lib/agentd/networks"
TRAININGS = int(os.environ.get("AGENTD_TRAININGS", "20"))
ROWS = """
import json, math, random, sqlite3
from agentd.core.learning.features import NAMES
random.seed(1)
rows = []
for number in range(2_000):
    features = [round(random.uniform(-2, 2), 4) for _ in NAMES]
    rate, span = 1 / 3600, 900.0
    useful = random.random() < 1 - math.exp(-rate * span * math.exp(features[12]))
    rows.append((1_790_000_000_000_000 + number, f"job{number % 7}", rate, span, useful, 0.5, json.dumps(features)))
db = sqlite3.connect("/var/lib/agentd/agentd.db")
db.executemany(
    "INSERT INTO outcomes (at, job, rate, span, useful, cpu, features) VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
db.commit()
"""
"""Runs whose use follows from a feature that the counted rate does not have."""
TRESPASS = """
tried() { if sh -c "$2" 2>/dev/null; then echo "could $1"; fi; }
{
    tried 'read the state' 'cat /var/lib/agentd/agentd.db'
    tried 'write the state' ': >/var/lib/agentd/agentd.db'
    tried 'write to /etc' ': >/etc/agentd/x'
    tried 'write to /run' ': >/run/agentd/x'
    tried 'see an interface' 'ip -o link | grep -v " lo:"'
    tried 'ask the bus' 'busctl --timeout=5 call org.agentd1 /org/agentd1 org.agentd1.Reboot GetStatus'
    echo 'all was tried'
} >/var/lib/agentd/networks/told
"""


@pytest.fixture(scope="module")
def trainer(machine: Machine) -> Machine:
    """A machine whose agentd has 2,000 rows to learn from: under emulation each takes thirty times as long."""
    configure(machine, "timezone: UTC\nlearning: {mode: on, training: no}\njobs: {x: {run: 'true'}}\n")
    machine.run("systemctl", "stop", "agentd", timeout=60)
    machine.write("/root/rows.py", ROWS)
    machine.run("python3", "/root/rows.py", timeout=120)
    # numpy's code for these processors dies under emulation, of a fault of the emulator's.
    machine.write(f"{UNIT_FOLDER}/emulated.conf", f"[Service]\nEnvironment='NPY_DISABLE_CPU_FEATURES={NOT_EMULATED}'\n")
    machine.run("systemctl", "daemon-reload", timeout=90)
    machine.run("systemctl", "start", "agentd", timeout=120)
    return machine


def instead(machine: Machine, script: str) -> None:
    """Has a script run where the training would."""
    machine.write("/usr/local/bin/train", f"#!/bin/sh\n{script}\n", 0o755)
    machine.write(DROP_IN, "[Service]\nExecStart=\nExecStart=/usr/local/bin/train\n")
    machine.run("systemctl", "daemon-reload", timeout=90)


def network(machine: Machine) -> int:
    found = call(machine, "Learning", "ListNetworks")
    return next((int(one["number"]) for one in found if one["in_force"]), -1)


def told(machine: Machine) -> str:
    decisions = call(machine, "Manager", "ListDecisions", "a{sv}", "1", "part", "s", "learning")
    return next(str(one["reason"]) for one in decisions if one["kind"] == "model")


def over(machine: Machine) -> bool:
    return found(machine, "Learning", "Training") is False


def train(machine: Machine, timeout: float = 300) -> None:
    call(machine, "Learning", "Train")
    machine.wait_until(lambda: over(machine), timeout, "the training to end")


def shown(machine: Machine, *properties: str) -> dict[str, Any]:
    lines = machine.run("systemctl", "show", UNIT, "-p", ",".join(properties)).out.splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_a_training_makes_a_network_under_the_limits_of_its_unit(trainer: Machine) -> None:
    assert network(trainer) == 0
    train(trainer)
    assert network(trainer) == 1, told(trainer)
    assert told(trainer).startswith("network 1 is in force: "), told(trainer)
    unit = shown(trainer, "Result", "MemoryMax", "Nice", "User", "PrivateNetwork")
    assert (unit["Result"], unit["Nice"], unit["User"], unit["PrivateNetwork"]) == ("success", "19", "agentd", "yes")
    assert int(unit["MemoryMax"]) == 512 << 20
    said = trainer.run("journalctl", "-b", "-u", UNIT, "-o", "cat", "--no-pager").out
    peak = re.search(r"Consumed (.*) CPU time, ([\d.]+)M memory peak", said)
    assert peak is not None, said
    assert 50 < float(peak[2]) < 400
    note("training, 2,000 rows: memory MiB", float(peak[2]))
    assert trainer.sh(f"ls {NETWORKS}").split() == ["000001.json"]


def test_what_is_no_network_is_refused_and_the_old_one_stays(trainer: Machine) -> None:
    before = network(trainer)
    instead(trainer, f'echo \'{{"version": 1, "features": [\' > {NETWORKS}/new.json')
    train(trainer)
    assert network(trainer) == before
    assert told(trainer).startswith("the result of the training was refused: ")
    assert "new.json" in told(trainer)
    assert "new.json" not in trainer.sh(f"ls {NETWORKS}")


def test_a_training_that_is_killed_leaves_the_old_network(trainer: Machine) -> None:
    before = network(trainer)
    instead(trainer, f"echo half > {NETWORKS}/.new.tmp; exec sleep 300")
    call(trainer, "Learning", "Train")
    trainer.wait_until(lambda: shown(trainer, "ActiveState")["ActiveState"] == "activating", 60, "the training")
    trainer.run("systemctl", "kill", "-s", "KILL", UNIT)
    trainer.wait_until(lambda: over(trainer), 60, "the training to end")
    assert network(trainer) == before
    assert told(trainer) == f"the training failed: {UNIT} is failed; see: journalctl -u {UNIT}"


def test_a_training_reaches_nothing_but_its_folder(trainer: Machine) -> None:
    instead(trainer, TRESPASS)
    train(trainer)
    assert told(trainer) == "all was tried"


def test_nobody_else_may_have_a_network_trained(trainer: Machine) -> None:
    words = ("call", "org.agentd1", "/org/agentd1", "org.agentd1.Learning")
    for method in ("Train", "Rollback"):
        asked = trainer.run("busctl", "--allow-interactive-authorization=no", *words, method, user="user", check=False)
        assert asked.code
        assert "org.agentd1.manage-jobs" in asked.err
    asked = trainer.run("systemctl", "--no-ask-password", "start", UNIT, user="user", check=False)
    assert asked.code


def test_the_daemon_does_not_grow_with_trainings(trainer: Machine) -> None:
    trainer.run("cp", f"{NETWORKS}/{network(trainer):06}.json", "/usr/local/share/network.json")
    trainer.run("chmod", "644", "/usr/local/share/network.json")
    instead(trainer, f"cp /usr/local/share/network.json {NETWORKS}/new.json; echo a copy > {NETWORKS}/told")
    train(trainer)
    before = resident(trainer)
    for _ in range(TRAININGS):
        train(trainer)
    grown = resident(trainer) - before
    note(f"growth of the daemon over {TRAININGS} trainings, KiB", grown)
    assert grown <= 1024, f"{grown} KiB more after {TRAININGS} trainings"
    assert network(trainer) >= TRAININGS


def resident(machine: Machine) -> int:
    """The resident memory of the daemon, in KiB."""
    return int(machine.sh("grep VmRSS /proc/$(systemctl show -P MainPID agentd)/status").split()[1])
