"""The package on a machine that boots: what is there after installation, after a reboot, and for whom."""

import json
import re
from pathlib import Path

import pytest

from agentd.bus.contract import joined
from tests.contracts import CONTRACTS
from tests.vm.agentd import agentctl, configure, note
from tests.vm.machine import Machine

ROOT = Path(__file__).parents[2]


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


def test_introspection_shows_the_contract(machine: Machine) -> None:
    call = ("org.agentd1", "/org/agentd1", "org.freedesktop.DBus.Introspectable", "Introspect")
    shown = json.loads(machine.run("busctl", "--json=short", "call", *call, user="user").out)["data"][0]
    assert shown == joined(CONTRACTS)
    listed = machine.run("busctl", "introspect", "org.agentd1", "/org/agentd1", user="user").out
    assert ".RunJob" in listed
    for file in CONTRACTS:
        assert machine.read(f"/usr/share/dbus-1/interfaces/{file.name}") == file.read_text()
    interfaces = machine.run("sh", "-c", "ls /usr/share/dbus-1/interfaces | grep agentd").out
    assert interfaces.split() == sorted(file.name for file in CONTRACTS)


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
    note("RSS of the daemon without jobs, MiB", round(int(status["VmRSS"].split()[0]) / 1024, 1))
    assert (
        machine.run(
            "sh", "-c", f"ls -l /proc/{pid}/fd | grep -c socket: >/dev/null; ss -tulpn | grep -c {pid}, || :"
        ).out
        == "0\n"
    )


def test_the_units_are_sound_and_the_manual_pages_render(machine: Machine) -> None:
    ended = [f"/usr/lib/systemd/system/agentd-ended-{how}@.service" for how in ("well", "badly")]
    units = ["agentd.service", "agentd-jobs.slice", "agentd-job@.keep.service", *ended]
    verified = machine.run("systemd-analyze", "verify", "--man=yes", *units, check=False, timeout=120)
    assert (verified.code, verified.out + verified.err) == (0, "")
    for page in ("agentd.8", "agentctl.1", "agentd.yaml.5", "org.agentd1.5"):
        name, _, section = page.rpartition(".")
        shown = machine.run(
            "man", "--pager=cat", "--warnings", section, name, environment={"MANWIDTH": "80"}, timeout=90
        )
        assert (shown.err, len(shown.out) > 1000) == ("", True), page


def test_the_units_of_jobs_are_sound(machine: Machine) -> None:
    configure(
        machine, "jobs:\n  sound: {run: [/bin/true], description: All is well, limits: {memory: 50M, tasks: 9}}\n"
    )
    verified = machine.run(
        "systemd-analyze", "verify", "/run/systemd/generator/agentd-job@sound.service", check=False, timeout=120
    )
    assert (verified.code, verified.out + verified.err) == (0, "")


def test_completion_completes_the_names_of_jobs(machine: Machine) -> None:
    configure(machine, "jobs: {backup-home: {run: x}, backup-mail: {run: x}, other: {run: x}}\n")
    script = """
        . /usr/share/bash-completion/bash_completion
        _comp_load agentctl 2>/dev/null || __load_completion agentctl
        COMP_WORDS=(agentctl run backup) COMP_CWORD=2 COMP_LINE="agentctl run backup" COMP_POINT=19
        $(complete -p agentctl | sed 's/.*-F \\([^ ]*\\).*/\\1/') agentctl backup run
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    said = machine.run("bash", "-c", script, user="user", timeout=60).out.split()
    assert said == ["backup-home", "backup-mail"]


def test_the_readmes_commands_do_what_it_says(machine: Machine) -> None:
    readme = (ROOT / "README.md").read_text()
    commands = "\n".join(re.findall(r"```shell\n(.*?)```", readme, re.DOTALL)).splitlines()
    assert len(commands) > 8
    said = ""
    for command in commands:
        if not command.startswith(("make deb", "apt install", "#")) and command:
            said += machine.run("bash", "-ec", command, timeout=120).out
    for shown in ("hello.1: success", "ExecStart=:/usr/lib/agentd/start-job", "hello[", "hello.1 succeeded"):
        assert shown in said
    machine.run("rm", "/etc/agentd/conf.d/hello.yaml")


def test_the_checks_of_the_package_itself_pass(machine: Machine) -> None:
    script = (Path(__file__).parents[2] / "debian/tests/smoke").read_text()
    machine.write("/var/tmp/smoke", script, 0o755)
    assert machine.run("/var/tmp/smoke", timeout=240).out.endswith("all is well\n")


@pytest.mark.parametrize("word", ["AGENTD_JOB", "MESSAGE_ID"])
def test_the_journal_finds_a_jobs_decisions(machine: Machine, word: str) -> None:
    configure(machine, "jobs: {told: {run: 'echo from the job'}}\n")
    agentctl(machine, "run", "told", "--wait", timeout=90)
    match = "AGENTD_JOB=told" if word == "AGENTD_JOB" else "MESSAGE_ID=da0bf60b7c814fd799244de2ee42fccc"
    machine.wait_until(
        f"journalctl --sync; journalctl -q -o cat {match} | grep -q 'told.*succeeded'", 30, "the decision"
    )
    assert "from the job" not in machine.journal("-o", "cat", match)
    assert "from the job" in machine.journal("-o", "cat", "-u", "agentd-job@told")
    assert "from the job" not in machine.journal("-o", "cat", "-u", "agentd")
