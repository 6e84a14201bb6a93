"""The package on a machine with Debian's own kernel: what is there after installation, after a reboot, and for whom."""

import pytest

from tests.vm.agentd import agentctl, note
from tests.vm.machine import Machine


@pytest.fixture(scope="module")
def machine(unarmed_machine: Machine) -> Machine:
    return unarmed_machine


def test_the_package_arms_nothing(machine: Machine) -> None:
    assert machine.run("systemctl", "is-enabled", "agentd", check=False).out == "disabled\n"
    assert machine.run("systemctl", "is-active", "agentd", check=False).out == "inactive\n"
    refused = agentctl(machine, "status", check=False, user="user")
    assert (refused.code, refused.err[:31]) == (3, "agentctl: agentd is not running")


def test_the_package_pulls_nothing_that_only_some_use(machine: Machine) -> None:
    shown = machine.run("dpkg-query", "-W", "-f", "${Recommends}\n${Depends}", "agentd").out
    recommends, depends = shown.splitlines()
    assert recommends == "dbus-daemon"
    for package in ("apprise", "python3-sklearn", "clang", "bpftool"):
        assert package not in depends


def test_it_runs_by_itself_after_a_reboot_and_an_ordinary_user_sees_its_status(machine: Machine) -> None:
    machine.run("systemctl", "enable", "agentd")
    machine.reboot()
    machine.wait_until("systemctl is-active --quiet agentd", 60, "agentd to run after the boot")
    resident = machine.sh("grep VmRSS /proc/$(systemctl show -P MainPID agentd)/status").split()[1]
    note("RSS of the daemon without jobs of which nobody asked anything, MiB", round(int(resident) / 1024, 1))
    told = agentctl(machine, "status", user="user").out
    assert told.startswith("agentd 0.1.0 (system), running since ")
    since_boot = machine.run("systemctl", "show", "-P", "ActiveEnterTimestampMonotonic", "agentd").out
    started = machine.run("systemctl", "show", "-P", "InactiveExitTimestampMonotonic", "agentd").out
    note("from boot to READY, s (emulated)", int(since_boot) / 1e6)
    note("from start to READY, s (emulated)", (int(since_boot) - int(started)) / 1e6)


def test_on_debians_own_kernel_schedulers_are_out_of_the_question_and_all_else_works(machine: Machine) -> None:
    done = agentctl(machine, "sched", "check", check=False, user="user")
    assert (done.code, "has no sched_ext (CONFIG_SCHED_CLASS_EXT)" in done.out) == (1, True)
    done = agentctl(machine, "sched", "start", "bpfland", check=False)
    assert (done.code, done.err) == (1, "agentctl: scx_bpfland cannot be had: this kernel has no sched_ext\n")


def test_the_daemon_has_no_privileges_and_little_to_attack(machine: Machine) -> None:
    pid = machine.run("systemctl", "show", "-P", "MainPID", "agentd").out.strip()
    status = dict(line.split(":\t", 1) for line in machine.read(f"/proc/{pid}/status").splitlines() if ":\t" in line)
    assert machine.run("stat", "-c", "%U %G", f"/proc/{pid}").out == "agentd agentd\n"
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name], 16) == 0, name
    assert status["NoNewPrivs"] == "1"
    machine.run("systemd-analyze", "security", "--no-pager", "--threshold=15", "agentd.service")
    exposure = machine.run("systemd-analyze", "security", "--no-pager", "agentd.service").out.splitlines()[-1]
    note("exposure", exposure.split(":")[1].split()[0])
    note("RSS of the daemon asked for schedulers, MiB", round(int(status["VmRSS"].split()[0]) / 1024, 1))
    assert (
        machine.run(
            "sh", "-c", f"ls -l /proc/{pid}/fd | grep -c socket: >/dev/null; ss -tulpn | grep -c {pid}, || :"
        ).out
        == "0\n"
    )
