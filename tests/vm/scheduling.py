"""What the tests ask of agentd about schedulers in a machine: switch, and tell what it shows."""

import re
from typing import Any

from tests.vm.agentd import call, call_for_all
from tests.vm.machine import Machine

SETTINGS = "timezone: UTC\nscheduler: {probation: 5s}\njobs: {x: {run: 'true'}}\n"
KEPT = ("1", "keep", "b", "true")
LONGEST = 200.0  # seconds for a switch under emulation
PINS = "/sys/fs/bpf/agentd"


def switch(machine: Machine, name: str, *flags: str) -> dict[str, Any]:
    """Switches as a person would; returns what agentd answers."""
    if name == "none":
        call(machine, "Scheduler", "Stop", "a{sv}", *KEPT, timeout=LONGEST)
        return {}
    given = (str(len(flags) // 3), *flags)
    told: dict[str, Any] = call(machine, "Scheduler", "Switch", "sa{sv}a{sv}", name, *given, *KEPT, timeout=LONGEST)
    return told


def shown(machine: Machine) -> dict[str, Any]:
    """What agentd shows by its properties."""
    words = ("--json=short", "get-property", "org.agentd1", "/org/agentd1", "org.agentd1.Scheduler")
    told = machine.run("busctl", *words, "State", "Current", "Ops", "LoadedBy").out
    return dict(zip(("state", "current", "ops", "loaded_by"), re.findall(r'"data":"([^"]*)"', told), strict=True))


def newest(machine: Machine) -> dict[str, Any]:
    """The newest tenure of the history."""
    (found,) = call(machine, "Scheduler", "ListTenures", "a{sv}", "1", "limit", "u", "1")
    assert isinstance(found, dict)
    return found


def wants(machine: Machine) -> list[dict[str, Any]]:
    """What agentd says of all wishes."""
    _, found, _ = call_for_all(machine, "Scheduler", "GetStatus")
    assert isinstance(found, list)
    return found


def quarantined(machine: Machine) -> list[str]:
    """The schedulers that are left alone for a while."""
    _, _, quarantines = call_for_all(machine, "Scheduler", "GetStatus")
    return [one["name"] for one in quarantines]


def running(machine: Machine) -> tuple[list[str], list[str]]:
    """The units of schedulers that are not at rest, and the programs of schedulers that run."""
    states = "--state=active,activating,deactivating,reloading"
    units = machine.run("systemctl", "list-units", "agentd-scx@*", states, "--no-legend", "--plain").out
    # The kernel's own threads have no program.
    programs = machine.sh("readlink /proc/[0-9]*/exe | grep /scx_ || true")
    return [line.split()[0] for line in units.splitlines()], programs.split()
