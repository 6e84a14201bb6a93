"""The machine really reboots: at night, when asked, and not while something is in the way."""

import contextlib
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from tests.vm.agentd import DROP_IN, agentctl, answer, answers, call, configure, ended, found
from tests.vm.guest import MachineError
from tests.vm.machine import Machine

FREE = {"min_uptime": "0", "per_day": 2, "per_week": 100}
ENOUGH = "/run/enough"
MEMORY = "tmpfs /var/lib/agentd tmpfs uid=agentd,gid=agentd,mode=700 0 0"
LOCK = """
import fcntl, time
file = open("/var/lib/dpkg/lock-frontend", "w")
fcntl.lockf(file, fcntl.LOCK_EX)
print("locked", flush=True)
time.sleep(3600)
"""


def with_policy(machine: Machine, policy: dict[str, Any], **jobs: Any) -> None:
    configure(machine, json.dumps({"jobs": jobs, "reboot": policy, "timezone": "UTC"}))


def state(machine: Machine) -> str:
    return str(call(machine, "Reboot", "GetStatus")["state"])


def reboots(machine: Machine) -> list[dict[str, Any]]:
    """The ledger, oldest first."""
    return list(reversed(answer(machine, "reboot", "history")))


def request(machine: Machine, cause: str, **how: Any) -> Any:
    words = ("org.agentd1.Reboot", "RequestReboot", "sa{sv}", f"because of {cause}", "1", "cause", "s", cause)
    return machine.run("busctl", "call", "org.agentd1", "/org/agentd1", *words, **how)


def booted_again(machine: Machine, boot_id: str) -> None:
    machine.wait_reboot(boot_id, 600)  # also on a machine that has other things to do
    answers(machine, 120)


@pytest.fixture(scope="module")
def patient(machine: Machine) -> Iterator[Machine]:
    """A machine whose logind waits long enough for a machine that is emulated."""
    machine.run("mkdir", "-p", "/etc/systemd/logind.conf.d")
    machine.write("/etc/systemd/logind.conf.d/test.conf", "[Login]\nInhibitDelayMaxSec=60\n")
    machine.run("systemctl", "restart", "systemd-logind")
    yield machine
    machine.logout()


def test_a_nightly_reboot_happens_once_and_gives_what_runs_its_time(patient: Machine) -> None:
    machine = patient
    at = machine.clock() + timedelta(minutes=2)
    nightly = {"at": f"{at:%H:%M}", "window": "6h"}
    policy = {"nightly": nightly, "grace": "1min", "warnings": ["1min"], "limits": FREE}
    with_policy(machine, policy, long={"run": f"until [ -e {ENOUGH} ]; do sleep 1; done"}, quick={"run": "true"})
    agentctl(machine, "run", "long")
    boot = machine.boot_id
    machine.wait_until(lambda: state(machine) == "draining", 240, "the machine to drain")
    refused = agentctl(machine, "run", "quick", check=False)
    assert refused.code == 1
    assert "about to reboot" in refused.err
    machine.write(ENOUGH, "")
    booted_again(machine, boot)
    (first,) = reboots(machine)
    assert (first["state"], first["cause"]) == ("verified", "nightly")
    assert first["downtime_s"] > 0
    assert ended(machine, "long")[0]["result"] == "success"  # it was given its time
    assert "asking logind" in machine.journal("-b", "-1", "-u", "agentd")
    # The window is still open: it was dealt with.
    assert state(machine) == "idle"


def held_by(machine: Machine) -> set[str]:
    return {blocker["kind"] for blocker in found(machine, "Reboot", "Blockers")}


def test_what_is_in_the_way_is_named_and_the_reboot_follows_when_it_has_gone(patient: Machine) -> None:
    machine = patient
    policy = {"grace": "5s", "warnings": [], "limits": FREE}
    with_policy(machine, policy, vital={"run": "sleep 3600", "critical": True})
    inhibit = ("systemd-inhibit", "--what=shutdown", "--who=holder", "--why=it must stay up", "--mode=block")
    machine.run("systemd-run", "--unit=holder", *inhibit, "sleep", "infinity")
    machine.run("systemd-run", "--unit=packages", "python3", "-c", LOCK)
    machine.login("user")
    agentctl(machine, "run", "vital")
    request(machine, "rule-all")
    everything = {"inhibitor", "session", "job", "package-manager"}
    machine.wait_until(lambda: held_by(machine) == everything, 90, "everything in the way to be named")
    shown = agentctl(machine, "reboot", "status").out
    for who in ("holder", "it must stay up", "user is logged in", "vital", "/var/lib/dpkg/lock-frontend"):
        assert who in shown
    by_hand = agentctl(machine, "reboot-now", "--force-users", check=False)
    assert by_hand.code != 0
    assert "holder" in by_hand.err
    boot = machine.boot_id
    for kind, away in (
        ("job", lambda: agentctl(machine, "stop", "vital")),
        ("package-manager", lambda: machine.run("systemctl", "stop", "packages")),
        ("session", machine.logout),
    ):
        away()
        everything.remove(kind)
        machine.wait_until(lambda: held_by(machine) == everything, 60, f"{kind} to be gone")
    assert machine.boot_id == boot
    machine.run("systemctl", "stop", "holder", check=False)
    booted_again(machine, boot)
    assert reboots(machine)[-1]["state"] == "verified"
    # A cause that comes again after the reboot that it led to, and the cap of a day.
    again = request(machine, "rule-all", check=False)
    assert again.code != 0
    assert "did not help" in again.err
    request(machine, "rule-other")
    machine.wait_until(lambda: held_by(machine) == {"limit"}, 60, "the daily limit to hold it")
    agentctl(machine, "reboot", "cancel")
    assert "rule-all" in agentctl(machine, "reboot", "clear").out


COLLIDE = """
import fcntl, os, time
wanted = os.stat("/var/lib/dpkg/lock-frontend").st_ino
while True:
    file = open("/dev/shm/mine", "w")
    number = os.fstat(file.fileno()).st_ino
    if number == wanted:
        break
    assert number < wanted, f"{number} is beyond {wanted} already"
    os.unlink("/dev/shm/mine")
    # Each file takes a number; whoever looks at each takes three times as long. Others may take some meanwhile.
    for _ in range((wanted - number) // 2):
        os.mknod("/dev/shm/mine")
        os.unlink("/dev/shm/mine")
fcntl.lockf(file, fcntl.LOCK_EX)
print("locked", flush=True)
time.sleep(3600)
"""


def examined(machine: Machine) -> str:
    machine.run("sleep", "6")  # an answer may be five seconds old
    return agentctl(machine, "reboot-now", "--dry-run", check=False).out


def test_nobody_holds_a_reboot_by_the_number_of_dpkgs_lock_and_root_does(patient: Machine) -> None:
    machine = patient
    with_policy(machine, {"grace": "0", "limits": FREE})
    assert "nothing is in the way" in examined(machine)
    locked = "journalctl -u {unit} -o cat | grep -q locked"
    machine.write("/tmp/collide.py", COLLIDE)
    machine.run("systemd-run", "--unit=evil", "--uid=nobody", "python3", "/tmp/collide.py")
    machine.wait_until(locked.format(unit="evil"), 300, "nobody to have a lock with the number of dpkg's")
    number = machine.sh("stat -c %i /var/lib/dpkg/lock-frontend").strip()
    assert f":{number} " in machine.read("/proc/locks")
    assert "nothing is in the way" in examined(machine)
    machine.run("systemd-run", "--unit=packages2", "python3", "-c", LOCK)
    machine.wait_until(locked.format(unit="packages2"), 60, "root to have dpkg's lock")
    assert "/var/lib/dpkg/lock-frontend" in examined(machine)
    machine.run("systemctl", "stop", "packages2", "evil")
    assert "nothing is in the way" in examined(machine)


def test_a_machine_that_forgets_does_not_reboot_again_and_again(patient: Machine) -> None:
    machine = patient
    opened = machine.clock() - timedelta(minutes=2)
    nightly = {"at": f"{opened:%H:%M}", "window": "6h"}
    limits = {"min_uptime": "1min", "per_day": 1000, "per_week": 1000}
    policy = {"nightly": nightly, "grace": "0", "warnings": [], "limits": limits}
    machine.run("systemctl", "stop", "agentd")  # it would reboot the machine at once
    machine.write(DROP_IN, json.dumps({"reboot": policy, "timezone": "UTC"}))
    fstab = machine.read("/etc/fstab")
    machine.write("/etc/fstab", f"{fstab.rstrip()}\n{MEMORY}\n")
    try:
        machine.reboot(600)
        answers(machine, 120)
        boot = machine.boot_id
        assert machine.sh("stat -f -c %T /var/lib/agentd").strip() == "tmpfs"
        assert "lies in memory (tmpfs on /var/lib/agentd)" in agentctl(machine, "status").out
        assert reboots(machine) == []
        machine.run("sleep", "100", timeout=300)  # longer than min_uptime; the window is open all the time
        assert (machine.boot_id, state(machine), reboots(machine)) == (boot, "idle", [])
        again = request(machine, "rule-leak")
        assert again.code == 0
        machine.wait_until(lambda: held_by(machine) == {"uptime"}, 60, "the time between two boots to hold it")
        assert "kept by the time between two boots" in agentctl(machine, "reboot", "status").out
        agentctl(machine, "reboot", "cancel")
    finally:
        machine.write("/etc/fstab", fstab)
        machine.reboot(600)
    answers(machine, 120)


def test_a_status_is_told_and_nobody_is_rebooted_away_while_logind_hangs(patient: Machine) -> None:
    machine = patient
    with_policy(machine, {"grace": "0", "limits": {**FREE, "per_day": 100}})
    machine.login("user")
    boot = machine.boot_id
    request(machine, "rule-hang")
    machine.wait_until(lambda: held_by(machine) == {"session"}, 60, "the session to be seen")
    machine.sh("kill -STOP $(pidof systemd-logind)")
    try:
        machine.wait_until(lambda: held_by(machine) == {"logind"}, 90, "logind to be missed")
        machine.run("sleep", "20")
        assert (machine.boot_id, state(machine)) == (boot, "waiting")
    finally:
        machine.sh("kill -CONT $(pidof systemd-logind)")
    machine.wait_until(lambda: held_by(machine) == {"session"}, 90, "the session to be seen again")
    agentctl(machine, "reboot", "cancel")
    machine.logout()


def test_a_foreign_shutdown_drains_a_cancelled_one_resumes_and_a_power_cut_is_found(patient: Machine) -> None:
    machine = patient
    policy = {"grace": "0", "limits": {**FREE, "per_day": 100}, "wait_for": {"jobs": "30min"}}
    with_policy(machine, policy, long={"run": "sleep 3600"}, quick={"run": "true"})
    agentctl(machine, "run", "long")
    machine.run("systemctl", "reboot", "--no-block")
    machine.wait_until(lambda: "going down" in agentctl(machine, "run", "quick", check=False).err, 30, "a refusal")
    machine.run("shutdown", "-c")
    machine.wait_until(lambda: agentctl(machine, "run", "quick", check=False).code == 0, 30, "work to go on")

    request(machine, "rule-cut")
    machine.wait_until(lambda: state(machine) == "draining", 60, "the machine to drain")
    machine.power_cut()
    machine.start()
    answers(machine, 120)
    assert reboots(machine)[-1]["state"] == "superseded"
    assert state(machine) == "idle"


def test_a_soft_reboot_keeps_the_kernel_and_counts_as_a_boot(patient: Machine) -> None:
    machine = patient
    with_policy(machine, {"grace": "0", "limits": FREE, "wait_for": {"jobs": "0"}}, cut={"run": "sleep 3600"})
    agentctl(machine, "run", "cut")
    machine.outlive_soft_reboot()
    boot, before = machine.boot_id, len(reboots(machine))
    agentctl(machine, "reboot-now", "--kind", "soft-reboot", "--reason", "a new user space")

    def verified() -> bool:
        with contextlib.suppress(MachineError, AssertionError):  # it does not answer while it goes down and comes up
            return [reboot["state"] for reboot in reboots(machine)[before:]] == ["verified"]
        return False

    machine.wait_until(verified, 240, "the soft reboot to be verified")
    assert machine.boot_id == boot
    last = reboots(machine)[-1]
    assert (last["kind"], last["cause"]) == ("soft-reboot", "manual")
    assert last["downtime_s"] > 0
    (run,) = ended(machine, "cut")
    assert run["result"] == "interrupted"
