"""The machine's clock is set, set back, and goes through daylight saving time: the same runs as in the simulation."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.unit.jobs import simulation
from tests.vm.agentd import answer, configure, history
from tests.vm.machine import Machine

WHEN: dict[str, tuple[dict[str, Any], str]] = {
    "at-night": ({"at": "02:30"}, "Europe/Berlin"),
    "at-three": ({"at": "03:00"}, "Europe/Berlin"),
    "cron-night": ({"cron": "30 2 * * *"}, "Europe/Berlin"),
    "quarters": ({"cron": "*/15 * * * *"}, "Europe/Berlin"),
    "hourly": ({"cron": "0 * * * *"}, "Australia/Lord_Howe"),
    "hours": ({"cron": "30 */2 * * *"}, "America/New_York"),
    "evening": ({"at": {"time": "21:30", "days": "mon-fri"}}, "America/New_York"),
}
# Where the clock is set to, and how long it then goes on. Some seconds before something is due.
BEGIN = "2027-03-28T00:29:30"
STEPS = [
    (BEGIN, 36),
    ("2027-03-28T00:59:55", 14),  # Berlin: 02:00 becomes 03:00, half past two does not exist
    ("2027-03-27T22:59:55", 11),  # two hours back: what ran does not run again
    ("2027-03-28T01:14:55", 14),
    ("2027-03-29T01:29:55", 11),  # a day ahead: no storm
    ("2027-03-28T01:29:55", 11),  # and back
    ("1970-01-02T00:59:55", 11),
    ("2027-10-31T00:29:55", 14),  # Berlin: half past two for the first time
    ("2027-10-31T01:29:55", 14),  # and for the second
    ("2027-10-31T01:59:55", 14),
]


@pytest.fixture
def clock_back(machine: Machine) -> Iterator[None]:
    """Leaves the machine with the right time."""
    yield
    machine.set_clock(datetime.now(UTC))


def test_clock_steps_and_the_ends_of_daylight_saving_time_are_as_simulated(machine: Machine, clock_back: None) -> None:
    machine.set_clock(BEGIN)
    jobs = {
        name: {"run": ["/bin/true"], "when": when, "timezone": zone, "overlap": "queue"}
        for name, (when, zone) in WHEN.items()
    }
    configure(machine, json.dumps({"jobs": jobs}))
    began = machine.clock()
    known = len(clock_steps(machine))
    wait_for(machine, datetime.fromisoformat(BEGIN).replace(tzinfo=UTC), STEPS[0][1])
    for to, seconds in STEPS[1:]:
        machine.set_clock(to)
        wait_for(machine, datetime.fromisoformat(to).replace(tzinfo=UTC), seconds)
    machine.wait_until(lambda: all(run["state"] == "ended" for run in history(machine, *WHEN)), 60, "the runs to end")
    ended = machine.clock()
    steps = clock_steps(machine)[known:]
    assert len(steps) >= len(STEPS) - 1

    simulated = simulation.Machine(
        [simulation.job(name, when, zone) for name, (when, zone) in WHEN.items()], simulation.instant(began)
    )
    for at, delta in steps:
        simulated.pass_time(at - delta - simulated.now)
        simulated.set_clock(delta)
    simulated.pass_time(simulation.instant(ended) - simulated.now)
    expected = {name: [shown(due) for due in simulated.dues(name)] for name in WHEN}
    found = {name: [shown(due_of(run)) for run in history(machine, name)] for name in WHEN}
    assert found == expected
    assert sum(map(len, expected.values())) >= 12, "hardly anything was due: the test shows little"


def wait_for(machine: Machine, since: datetime, seconds: int) -> None:
    """Waits until the machine's clock has gone on by so much."""
    machine.wait_until(lambda: machine.clock() >= since + timedelta(seconds=seconds), 120, "the time to pass")


def clock_steps(machine: Machine) -> list[tuple[int, int]]:
    """When agentd saw the clock being set (by the new clock), and by how many microseconds, in order."""
    found = []
    for decision in reversed(answer(machine, "history", "--decisions", "-n", "1000")):
        if decision["kind"] == "clock":
            by = re.search(r"set by ([-+0-9.e]+) s", decision["reason"])
            assert by is not None
            at = simulation.instant(datetime.fromisoformat(decision["at"]))
            found.append((at, round(float(by[1]) * 1_000_000)))
    return found


def due_of(run: dict[str, Any]) -> int:
    return simulation.instant(datetime.fromisoformat(run["due"]))


def shown(due: int) -> str:
    return (simulation.EPOCH + timedelta(microseconds=due)).isoformat()
