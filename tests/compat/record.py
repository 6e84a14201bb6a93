"""Records what a version of agentd writes, decodes and answers: `python tests/compat/record.py CHECKOUT [FOLDER]`.

FOLDER (tests/compat/recorded) is made anew, in some four minutes. What is there was recorded from agentd 0.1.0, commit
460009b, and stays the measure: record it again only from that commit. Everything runs in /tmp/agentd-0.1.0, so that
no path of the machine that recorded is in it; the user's name is root's.
"""

import json
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from tests.bus import harness  # noqa: E402 - this checkout is found only now
from tests.bus.machine import Machine, refusal  # noqa: E402
from tests.compat import sessions, state, steps  # noqa: E402
from tests.compat.playing import CONFIGURATION, POLICY, doings, of_machine, standalone  # noqa: E402

PLACE = Path("/tmp/agentd-0.1.0")
SOON = "grace: 0s, limits: {min_uptime: 0s, per_day: 100, per_week: 100}"
MINUTE, HOUR = 60_000_000, 3_600_000_000
SCHEDULED = ("once", "all", "none", "within")


def main() -> int:
    checkout = Path(sys.argv[1]).resolve()
    target = Path(sys.argv[2]) if len(sys.argv) > 2 else HERE / "recorded"
    harness.ROOT = checkout
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    decode = [sys.executable, str(HERE / "decoded.py"), str(checkout)]
    (target / "configuration.json").write_text(
        subprocess.run(decode, check=True, capture_output=True, text=True).stdout
    )
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir()
    boot = record_state(target)
    revision = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=checkout, check=True, capture_output=True, text=True
    )
    at = time.time_ns() // 1000
    (target / "about.json").write_text(_json({"revision": revision.stdout.strip(), "recorded_at": at, "boot": boot}))
    with standalone(_fresh(PLACE), target) as (agentd, client):
        recorded = sessions.record(client, steps.of_jobs(at), doings(agentd))
    (target / "session_jobs.json").write_text(_lines(recorded))
    with of_machine(_fresh(PLACE), target) as (machine, client):
        recorded = sessions.record(client, steps.of_reboots(at), doings(machine))
    (target / "session_reboots.json").write_text(_lines(recorded))
    shutil.rmtree(PLACE)
    return 0


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder)
    folder.mkdir()
    return folder


def _json(value: Any) -> str:
    return json.dumps(value, indent=1) + "\n"


def _lines(recorded: list[Any]) -> str:
    """JSON with a step a line."""
    return "[\n" + ",\n".join(json.dumps(step, separators=(",", ":")) for step in recorded) + "\n]\n"


# The state


def record_state(target: Path) -> int:
    """Has an agentd live through it all; returns the number of its last boot."""
    machine = Machine(PLACE)
    machine.times["check"] = 0.2
    try:
        run_all_kinds(machine)
        miss_due_times(machine)
        change_at_run_time(machine)
        reboot_all_ways(machine)
        leave(machine)
        state.dump(machine.state, target / "state")
    finally:
        machine.disconnect()
        if machine.process is not None:
            machine.kill()
        machine.close()
    return machine.boots


def up(machine: Machine, policy: str = SOON, *, due: tuple[str, ...] = ()) -> None:
    """Starts agentd with those jobs on that follow the clock and are off otherwise."""
    lines = [
        line.replace("enabled: false", "enabled: true") if line.strip().startswith(due) else line
        for line in CONFIGURATION.splitlines()
    ]
    machine.config.write_text("\n".join([*lines, f"reboot: {{{policy}}}", ""]))
    machine.up()


def run(machine: Machine, job: str) -> str:
    run_id = str(machine.call("Jobs.RunJob", "sa{sv}", job, {}))
    machine.until(lambda: machine.runs(run_id=("s", run_id))[0]["state"] == "ended", f"{run_id} to end")
    return run_id


def run_all_kinds(machine: Machine) -> None:
    """Runs with every result that a standalone agentd can see."""
    up(machine, due=("tick:",))
    machine.until(lambda: len(machine.runs(job=("s", "tick"))) >= 2, "the clock")
    machine.stop()
    up(machine)
    for job in ("ok", "speaks", "fails", "dies", "slow", "again", "absent", "ok", "feed", "set"):
        run(machine, job)
    machine.until(lambda: machine.runs(job=("s", "again"))[0]["attempt"] == 3, "the retries")
    machine.until(lambda: machine.runs(job=("s", "again"))[0]["state"] == "ended", "the last retry")
    machine.call("Jobs.RunJob", "sa{sv}", "held", {})
    held = machine.runs(job=("s", "held"))[0]["run_id"]
    machine.call("Jobs.ReportProgress", "ss", held, "half of it")
    for _ in range(2):
        machine.call("Jobs.RunJob", "sa{sv}", "waits", {})
    machine.call("Jobs.StopJob", "s", "waits")  # one stopped, one cancelled
    machine.until(lambda: len(machine.property("Jobs.Running")) == 1, "it to be stopped")
    machine.stop()  # interrupted


def change_at_run_time(machine: Machine) -> None:
    """Every change that is made at run time, and a retry that waits for months."""
    up(machine)
    run(machine, "later")
    run(machine, "fails")
    for member, job in (("Increase", "feed"), ("Increase", "feed"), ("Decrease", "feed")):
        machine.call(f"Jobs.{member}", "s", job)
    machine.call("Jobs.SetInterval", "st", "set", 13 * 168 * HOUR)
    machine.call("Jobs.SetEnabled", "sb", "off", False)
    for job in ("steady", "ok"):
        machine.call("Jobs.Reset", "s", job)
    machine.stop()


def miss_due_times(machine: Machine) -> None:
    """Due times that passed while agentd was off, by every policy for them."""
    names = tuple(f"{name}:" for name in SCHEDULED)
    up(machine, due=names)
    machine.stop()
    with closing(sqlite3.connect(machine.state / state.DATABASE)) as database:
        state.move(database, -5 * MINUTE)
        database.commit()
    up(machine, due=names)
    machine.until(lambda: len(machine.runs(job=("s", "all"))) >= 5, "what was missed")
    machine.until(lambda: not machine.property("Jobs.Running"), "it to end")
    machine.stop()
    with closing(sqlite3.connect(machine.state / state.DATABASE)) as database:
        state.move(database, -27 * 168 * HOUR)
        database.commit()
    up(machine)
    machine.until(lambda: machine.runs(job=("s", "steady")), "what was missed")
    machine.until(lambda: not machine.property("Jobs.Running"), "it to end")
    assert machine.job("skips")["last_skip"], "a due time was to be skipped"
    machine.stop()


def reboot_all_ways(machine: Machine) -> None:
    """The ledger with every end that a reboot can have, and a breaker."""
    up(machine, f"{SOON}, hooks: {{after: fails}}")
    machine.now(reason=("s", "new firmware"))
    machine.until_state("issued")
    machine.boot()
    machine.until(lambda: machine.reboots()[0]["health"] not in ("", "pending"), "the hook")
    machine.now(at=("t", _in(HOUR)), kind=("s", "kexec"))
    machine.cancel()
    machine.kill()
    up(machine, SOON.replace("grace: 0s", "grace: 1s"))
    key = machine.logind.block()
    machine.request("the disk is worn", within=("t", 1_500_000))
    machine.until(lambda: machine.reboots()[0]["state"] == "deferred", "its time to be over")
    machine.request("the disk is worn", cause=("s", "rule disk"))
    machine.boot()  # superseded
    machine.logind.unblock(key)
    machine.kill()
    opened = datetime.now(UTC) - timedelta(minutes=1)
    up(machine, f"{SOON}, nightly: {{at: '{opened:%H:%M}', window: 3h}}")
    machine.until_state("issued")
    machine.boot()
    machine.until(lambda: machine.reboots()[0]["health"] == "well", "the machine to be looked at")
    machine.kill()
    up(machine)
    machine.request("the memory is full", cause=("s", "rule leak"))
    machine.until_state("issued")
    machine.boot()
    machine.until(lambda: machine.reboots()[0]["health"] == "well", "the machine to be looked at")
    name, _ = refusal(lambda: machine.request("the memory is full", cause=("s", "rule leak")))
    assert name == "Breaker"
    machine.kill()


def leave(machine: Machine) -> None:
    """A slot that may be held, a reboot and runs that are pending, and the end of agentd by kill -9."""
    up(machine, POLICY)
    machine.now(at=("t", _in(HOUR // 2)))
    machine.until(lambda: machine.blockers() == ["fleet"], "the slot to be asked for")
    machine.cancel()
    machine.now(at=("t", _in(30 * HOUR)), reason=("s", "new disks"))
    for _ in range(3):
        machine.call("Jobs.RunJob", "sa{sv}", "waits", {})
    machine.until(lambda: len(machine.property("Jobs.Running")) == 1, "it to run")
    time.sleep(0.5)  # a run that is decided may not have begun; where agentd is killed then, it waits again
    machine.kill()
    text = f"XDG_RUNTIME_DIR={PLACE}/"
    machine.until(lambda: not harness.processes_with(text), "the jobs to end")


def _in(usec: int) -> int:
    return time.time_ns() // 1000 + usec


if __name__ == "__main__":
    sys.exit(main())
