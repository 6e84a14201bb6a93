"""In a real machine: its time zone, a start with errors in the configuration, and what strangers leave for agentd."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from tests.vm.agentd import DROP_IN, agentctl, answer, configure, found, restarts, run
from tests.vm.machine import Machine

CONFIG = """
jobs:
  noon: {run: [/bin/true], when: {at: "12:00"}}
reboot:
  nightly: {enabled: true, at: "03:00", window: 1h}
"""
LISTENER = """
import socket
listening = socket.socket(socket.AF_UNIX)
listening.bind("/home/user/evil.sock")
listening.listen()
while True:
    caller, _ = listening.accept()
    open("/home/user/heard", "wb").write(b"somebody: " + caller.recv(100))
    caller.close()
"""


def daemon(machine: Machine) -> dict[str, Any]:
    told: dict[str, Any] = answer(machine, "status")["daemon"]
    return told


def test_jobs_and_windows_follow_the_zone_of_the_machine(machine: Machine) -> None:
    configure(machine, CONFIG)
    for change, name in (
        ("timedatectl set-timezone Asia/Tokyo", "Asia/Tokyo"),
        ("cp --remove-destination /usr/share/zoneinfo/America/New_York /etc/localtime", "America/New_York"),
        ("timedatectl set-timezone Etc/UTC", "Etc/UTC"),
    ):
        machine.sh(change)
        machine.wait_until(lambda name=name: found(machine, "Manager", "TimeZone") == name, 60, f"the zone {name}")  # type: ignore[misc]
        machine.wait_until(f"journalctl -u agentd | grep -q 'time zone is now {name} (was '", 30, "that to be told")
        told = answer(machine, "status")
        (noon,) = told["jobs"]
        due = datetime.fromisoformat(noon["next"]).astimezone(ZoneInfo(name))
        window = datetime.fromisoformat(answer(machine, "reboot", "status")["next_begin"]).astimezone(ZoneInfo(name))
        assert (noon["timezone"], told["daemon"]["timezone"], due.hour, window.hour) == (name, name, 12, 3)
        assert told["daemon"]["warnings"] == []
    machine.sh("printf 'TZif2 of nobody' > /etc/zone.new; mv /etc/zone.new /etc/localtime; rm -f /etc/timezone")
    machine.wait_until(lambda: found(machine, "Manager", "Warnings"), 60, "the warning")
    (warning,) = daemon(machine)["warnings"]
    assert "/etc/localtime is a file that is like no zone of the database; UTC is used: write" in warning
    assert f"warning: {warning}" in agentctl(machine, "check").out
    # Another than before: timedated may still be there, and takes what it set for what is set.
    machine.sh("timedatectl set-timezone Europe/Berlin")
    machine.wait_until(lambda: not found(machine, "Manager", "Warnings"), 60, "the warning to go")
    machine.sh("timedatectl set-timezone Etc/UTC")


def test_a_crash_with_errors_in_the_files_leaves_jobs_and_their_units_as_they_were(machine: Machine) -> None:
    configure(machine, CONFIG)
    before = restarts(machine)
    machine.write(DROP_IN, "jobs: {noon: {run: [/bin/true], when: {at: never}}}\n")
    machine.wait_until(lambda: found(machine, "Manager", "ConfigurationError"), 60, "the error")
    machine.sh("systemctl kill --signal=KILL agentd")
    machine.wait_until(lambda: restarts(machine) > before, 60, "systemd to start agentd again")
    machine.wait_until("systemctl is-active --quiet agentd", 120, "agentd to run")
    assert DROP_IN in daemon(machine)["configuration_error"]
    assert run(machine, "noon")["result"] == "success"
    # As after a boot: nothing is left in /run, and systemd makes the units anew before agentd is there.
    machine.sh("systemctl stop agentd; rm -rf /run/systemd/generator/agentd-job@*; systemctl daemon-reload")
    machine.sh("systemctl start agentd", timeout=120)
    assert DROP_IN in daemon(machine)["configuration_error"]
    assert run(machine, "noon")["result"] == "success"
    assert machine.sh("stat -c '%U %a' /var/lib/agentd/configuration.kept /var/lib/agentd-units") == (
        "agentd 600\nroot 755\n"
    )
    configure(machine, CONFIG)
    assert daemon(machine)["configuration_error"] == ""


def test_standalone_takes_no_folder_that_a_stranger_made(machine: Machine) -> None:
    machine.sh("mkdir -m 1777 /var/tmp/all; echo 'jobs: {}' > /var/tmp/all/my.yaml; mkdir -m 700 /var/tmp/all/run")
    machine.sh("echo 'my precious keys' > /home/user/precious; chown user: /home/user/precious /var/tmp/all/run")
    machine.sh("mkdir -m 777 /var/tmp/all/state", user="nobody")
    machine.sh("ln -s /home/user/precious /var/tmp/all/state/lock", user="nobody")
    command = ("/usr/sbin/agentd", "--standalone", "--config", "/var/tmp/all/my.yaml", "--state-dir")
    where = {"XDG_RUNTIME_DIR": "/var/tmp/all/run", "HOME": "/home/user"}
    done = machine.run(*command, "/var/tmp/all/state", user="user", environment=where, check=False)
    assert (done.code, "/var/tmp/all/state belongs to somebody else" in done.err) == (1, True), done
    assert machine.read("/home/user/precious") == "my precious keys\n"


def test_root_believes_no_address_behind_a_link_of_a_user(machine: Machine) -> None:
    machine.write("/home/user/listener.py", LISTENER)
    machine.sh("systemd-run --quiet --unit=listener --uid=user python3 /home/user/listener.py")
    machine.wait_until("[ -S /home/user/evil.sock ]", 60, "the listener")
    machine.write("/var/tmp/of-root", "unix:path=/home/user/evil.sock\n")
    machine.sh("mkdir -p /home/user/run/agentd; ln -s /var/tmp/of-root /home/user/run/agentd/address", user="user")
    told = agentctl(machine, "status", environment={"XDG_RUNTIME_DIR": "/home/user/run"}).out
    assert "(system)" in told.splitlines()[0]
    assert machine.sh("systemctl stop listener; cat /home/user/heard || true") == ""
