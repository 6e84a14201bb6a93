"""What the tests ask of the agentd in a machine: configure it, look at its runs, wait for what it does."""

import json
from datetime import UTC, datetime, timedelta
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
    call(machine, "Manager", "Reload", timeout=120)


def call(machine: Machine, interface: str, method: str, *arguments: str, timeout: float = 60) -> Any:
    """What a method of agentd answers, the first value of it."""
    return next(iter(call_for_all(machine, interface, method, *arguments, timeout=timeout)), None)


def call_for_all(machine: Machine, interface: str, method: str, *arguments: str, timeout: float = 60) -> list[Any]:
    """All values that a method of agentd answers. Each start of a Python such as agentctl's costs the machine
    seconds."""
    words = ("org.agentd1", "/org/agentd1", f"org.agentd1.{interface}", method, *arguments)
    patience = f"--timeout={timeout:g}"
    told = machine.run("busctl", "--json=short", patience, "call", *words, timeout=timeout + 10).out
    return [plain(value) for value in json.loads(told)["data"]] if told.strip() else []


def found(machine: Machine, interface: str, name: str) -> Any:
    """The value of a property of agentd's."""
    words = ("org.agentd1", "/org/agentd1", f"org.agentd1.{interface}", name)
    return plain(json.loads(machine.run("busctl", "--json=short", "get-property", *words).out))


def plain(value: Any) -> Any:
    """A value of busctl's JSON without the types of its variants."""
    if isinstance(value, dict):
        return plain(value["data"]) if set(value) == {"type", "data"} else {key: plain(value[key]) for key in value}
    return [plain(item) for item in value] if isinstance(value, list) else value


def answers(machine: Machine, timeout: float) -> None:
    """Waits until agentd answers."""
    ask = "busctl --quiet call org.agentd1 /org/agentd1 org.agentd1.Reboot GetStatus >/dev/null 2>&1"
    machine.wait_until(ask, timeout, "agentd to answer")


def agentctl(machine: Machine, *words: str, **how: Any) -> Result:
    return machine.run("agentctl", *words, **how)


def answer(machine: Machine, *words: str) -> Any:
    """What agentctl prints with --json."""
    return json.loads(agentctl(machine, *words, "--json").out)


def history(machine: Machine, *jobs: str) -> list[dict[str, Any]]:
    """All runs of these jobs, oldest first, with the instants as ISO 8601 and none for what the contract leaves out."""
    runs = call(machine, "Jobs", "ListRuns", "a{sv}", "1", "limit", "u", "1000")
    none = {**dict.fromkeys(("started", "ended", "exit_code")), "signal": "", "reason": ""}
    return [
        {**none, **run, **{key: instant(run[key]) for key in ("due", "started", "ended") if run.get(key)}}
        for run in reversed(runs)
        if not jobs or run["job"] in jobs
    ]


def instant(microseconds: int) -> str:
    return (datetime.fromtimestamp(0, UTC) + timedelta(microseconds=microseconds)).isoformat()


def ended(machine: Machine, job: str, count: int = 1, timeout: float = 90) -> list[dict[str, Any]]:
    """The runs of a job, once so many have ended."""

    def enough() -> list[dict[str, Any]]:
        runs = [run for run in history(machine, job) if run["state"] == "ended"]
        return runs if len(runs) >= count else []

    return machine.wait_until(enough, timeout, f"{count} runs of {job} to end")


def run(machine: Machine, job: str, timeout: float = 90) -> dict[str, Any]:
    """Runs a job by hand and returns how that ended."""
    run_id = call(machine, "Jobs", "RunJob", "sa{sv}", job, "0")

    def over() -> list[dict[str, Any]]:
        return [run for run in history(machine, job) if run["run_id"] == run_id and run["state"] == "ended"]

    (ended,) = machine.wait_until(over, timeout, f"{run_id} to end")
    return ended


def note(name: str, value: object) -> None:
    """Keeps a figure for whoever reads the results."""
    FIGURES.parent.mkdir(exist_ok=True)  # where the package is not built here, but named
    with FIGURES.open("a") as file:
        file.write(json.dumps({name: value}) + "\n")


def restarts(machine: Machine) -> int:
    """How often systemd started agentd anew by itself."""
    return int(machine.run("systemctl", "show", "-P", "NRestarts", "agentd").out)
