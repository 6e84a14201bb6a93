"""Schedulers of one's own between agentd, systemd, polkit and the user that compiles and tries, as a machine has them.

The machine has neither a compiler nor libbpf: a script stands in for the former, which makes an object without a
scheduler, and without the latter nothing is loaded. How one is loaded and tried, the unit tests tell.
"""

import base64
import hashlib
import json
from typing import Any

import pytest

from tests.unit.schedulers.custom_fakes import FIFO, OBJECT
from tests.vm.agentd import agentctl, call, configure
from tests.vm.machine import Machine
from tests.vm.sched_ext import scheduler

CLANG = f"""#!/bin/sh
[ "$1" = --version ] && {{ echo "Debian clang version 19.1.7"; exit; }}
echo {base64.b64encode(OBJECT).decode()} | base64 -d >fifo.bpf.o
"""
ALLOWED = "/etc/agentd/custom-schedulers"
LONGEST = 240.0  # seconds for a verification under emulation
NO_LIBBPF = "install libbpf1, 1.4 or newer"


@pytest.fixture(scope="module")
def machine(scx_machine: Machine) -> Machine:
    configure(scx_machine, "timezone: UTC\njobs: {x: {run: 'true'}}\n")
    scx_machine.write("/root/fifo.bpf.c", FIFO)
    return scx_machine


def verified(machine: Machine) -> dict[str, Any]:
    """The steps of a verification that does not go well, by their names."""
    done = agentctl(machine, "sched", "verify", "fifo", "/root/fifo.bpf.c", "--json", check=False, timeout=LONGEST)
    assert done.code == 1, done.err
    report = json.loads(done.out)
    assert not report["ok"]
    assert machine.run("ls", "-A", "/run/agentd/verify").out == ""
    assert scheduler(machine).state == "disabled"
    return {step["name"]: step for step in report["steps"]}


def test_without_a_compiler_it_is_told_what_to_install(machine: Machine) -> None:
    steps = verified(machine)
    assert "install clang and libbpf-dev" in steps["compile"]["sentence"]
    assert steps["load"]["state"] == "skipped"
    assert machine.run("systemctl", "show", "-P", "User", "agentd-verify@fifo").out.strip() == "agentd-verify"


def test_what_compiles_is_loaded_only_where_root_allows_it(machine: Machine) -> None:
    machine.write("/usr/bin/clang-19", CLANG, mode=0o755)
    machine.run("mkdir", "-p", "/usr/include/bpf")
    steps = verified(machine)
    assert [steps[name]["state"] for name in ("source", "compile", "object", "load")] == ["ok", "ok", "ok", "failed"]
    assert f"touch {ALLOWED}" in steps["load"]["sentence"]
    machine.run("touch", ALLOWED)
    assert NO_LIBBPF in verified(machine)["load"]["sentence"]
    assert call(machine, "Scheduler", "ListCustom") == []


def test_one_that_is_kept_is_handed_to_its_unit_whose_last_words_are_told(machine: Machine) -> None:
    machine.run("touch", ALLOWED)
    folder = "/var/lib/agentd/custom/fifo"
    metadata = {
        "name": "fifo",
        "source": hashlib.sha256(FIFO.encode()).hexdigest(),
        "object": hashlib.sha256(OBJECT).hexdigest(),
        "kernel": machine.run("uname", "-r").out.strip(),
        "compiler": "clang version 19.1.7",
        "verified": 1,
    }
    machine.write(f"{folder}/source.bpf.c", FIFO)
    machine.write(f"{folder}/object.bpf.o", OBJECT)
    machine.write(f"{folder}/metadata.json", json.dumps(metadata))
    machine.run("chown", "-R", "agentd:agentd", "/var/lib/agentd/custom")
    (own,) = call(machine, "Scheduler", "ListCustom")
    assert (own["name"], own["usable"]) == ("custom:fifo", True)
    started = agentctl(machine, "sched", "start", "custom:fifo", check=False, timeout=LONGEST)
    assert started.code == 1
    assert NO_LIBBPF in started.err
    assert NO_LIBBPF in machine.journal("-u", "agentd-scx@custom:fifo")
    call(machine, "Scheduler", "RemoveCustom", "s", "fifo")
    assert machine.run("ls", "-A", "/var/lib/agentd/custom").out == ""
