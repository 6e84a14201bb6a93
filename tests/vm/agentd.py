"""What the tests ask of the agentd in a machine: configure it, look at its runs, wait for what it does."""

import json
from pathlib import Path
from typing import Any

from tests.vm.machine import Machine, Result

NOTES = "/var/tmp/notes"
"""A folder in the machine where jobs of all users note what they do."""
FIGURES = Path(__file__).parents[2] / "dist" / "figures.jsonl"
DROP_IN = "/etc/agentd/conf.d/test.yaml"


def configure(machine: Machine, text: str) -> None:
    """Makes this the configuration of the jobs, and starts agentd where it does not run."""
    # Written and renamed, so that watching agentd never reads half a file.
    machine.write(f"{DROP_IN}.new", text)
    machine.sh(f"mv {DROP_IN}.new {DROP_IN}; sync")
    if machine.run("systemctl", "is-active", "agentd", check=False).code:
        machine.run("systemctl", "enable", "--now", "agentd", timeout=120)
    agentctl(machine, "reload", timeout=120)


def agentctl(machine: Machine, *words: str, **how: Any) -> Result:
    return machine.run("agentctl", *words, **how)


def answer(machine: Machine, *words: str) -> Any:
    """What agentctl prints with --json."""
    return json.loads(agentctl(machine, *words, "--json").out)


def history(machine: Machine, *jobs: str) -> list[dict[str, Any]]:
    """All runs of these jobs, oldest first."""
    runs = answer(machine, "history", "-n", "10000")
    return [run for run in reversed(runs) if not jobs or run["job"] in jobs]


def ended(machine: Machine, job: str, count: int = 1, timeout: float = 90) -> list[dict[str, Any]]:
    """The runs of a job, once so many have ended."""

    def enough() -> list[dict[str, Any]]:
        runs = [run for run in history(machine, job) if run["state"] == "ended"]
        return runs if len(runs) >= count else []

    return machine.wait_until(enough, timeout, f"{count} runs of {job} to end")


def run(machine: Machine, job: str, timeout: float = 90) -> dict[str, Any]:
    """Runs a job by hand and returns how that ended."""
    agentctl(machine, "run", job, "--wait", check=False, timeout=timeout)
    return history(machine, job)[-1]


def note(name: str, value: object) -> None:
    """Keeps a figure for whoever reads the results."""
    with FIGURES.open("a") as file:
        file.write(json.dumps({name: value}) + "\n")


def restarts(machine: Machine) -> int:
    """How often systemd started agentd anew by itself."""
    return int(machine.run("systemctl", "show", "-P", "NRestarts", "agentd").out)
