"""What the package brings to a machine: interfaces, units, manual pages, completion, what the README says."""

import json
import re
from pathlib import Path

import pytest

from agentd.bus.contract import joined
from tests.contracts import CONTRACTS
from tests.vm.agentd import agentctl, configure
from tests.vm.machine import Machine

ROOT = Path(__file__).parents[2]


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
