"""Cuts the power at random moments, and leaves the machine off for a while."""

import json
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.vm.agentd import NOTES, answers, configure, history
from tests.vm.machine import Machine


def cut_power(machine: Machine, numbers: range) -> None:
    """Cuts the power once for each number; at every third the machine is off for 22 minutes.

    Nothing is doubled, nothing damaged, and missed runs follow their policy.
    """
    machine.run("rm", "-rf", NOTES)
    machine.run("mkdir", "-m", "777", NOTES)
    noting = f"echo $AGENTD_RUN_ID $AGENTD_DUE >> {NOTES}/begun; sync {NOTES}/begun"
    jobs: dict[str, Any] = {
        name: {"run": noting, "when": {"cron": "*/5 * * * *"}, "missed": name, "timezone": "UTC", "overlap": "queue"}
        for name in ("skip", "once", "all")
    }
    jobs["busy"] = {"run": f"{noting}; sleep 1", "when": {"every": "3s"}}
    configure(machine, json.dumps({"jobs": jobs}))
    chance = random.Random(numbers.start)
    for number in numbers:
        machine.run("sleep", f"{chance.uniform(0, 4):.2f}")
        cut = machine.clock()
        machine.power_cut()
        away = timedelta(minutes=0 if number % 3 else 22)
        machine.start(away=away)
        answers(machine, 60)
        up = machine.clock()
        check_store(machine)
        if away:
            check_policies(machine, cut, up)
    begun = [line.split() for line in machine.read(f"{NOTES}/begun").splitlines()]
    doubled = Counter((run.rpartition(".")[0], due) for run, due in begun)
    assert [key for key, count in doubled.items() if count > 1] == []
    assert {run["result"] for run in history(machine, *jobs)} <= {"success", "interrupted", "", "cancelled"}
    assert len(begun) > 10


SOUND = """
import sqlite3
database = sqlite3.connect("file:/var/lib/agentd/agentd.db?mode=ro", uri=True)
print(*database.execute("PRAGMA integrity_check").fetchone())
doubled = "SELECT count(*) - count(DISTINCT job || due || attempt) FROM runs WHERE cause IN ('schedule', 'missed')"
print(*database.execute(doubled).fetchone())
"""


def check_store(machine: Machine) -> None:
    assert machine.run("python3", "-c", SOUND).out == "ok\n0\n"
    assert "damaged" not in machine.run("ls", "/var/lib/agentd").out


def check_policies(machine: Machine, cut: datetime, up: datetime) -> None:
    """Of the due times while the machine was off: all, the newest, or none that is more than a minute old."""
    first = cut.replace(minute=cut.minute // 5 * 5, second=0, microsecond=0) + timedelta(minutes=5)
    missed = [first + timedelta(minutes=5 * step) for step in range(10) if first + timedelta(minutes=5 * step) < up]
    boot = up - timedelta(seconds=60)
    missed = [due for due in missed if due < boot]
    assert missed, "no due time was missed: the check shows nothing"

    def found(job: str) -> list[datetime]:
        dues = (datetime.fromisoformat(run["due"]).astimezone(UTC) for run in history(machine, job))
        return [due for due in dues if cut < due < boot]

    machine.wait_until(lambda: found("all") == missed, 90, f"runs for {missed}, there are {found('all')}")
    # What came due within the minute before agentd looked was on time, and is then the newest.
    if up - timedelta(minutes=5) < missed[-1] < up - timedelta(minutes=3):
        machine.wait_until(lambda: found("once") == missed[-1:], 60, f"a run for {missed[-1]}")
        assert found("skip") == []
    assert len(found("once")) <= 1
    assert len(found("skip")) <= 1
