"""The machine that the other tests of this folder run in does what they rely on."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.vm.conftest import NewMachine, make, possible
from tests.vm.guest import MachineError
from tests.vm.machine import KEPT, Machine


@pytest.fixture(scope="module", params=["native", "trixie"])
def either_machine(request: pytest.FixtureRequest, new_machine: NewMachine) -> Iterator[Machine]:
    """A booted machine of each kind that tests may be given, without agentd."""
    machine = new_machine(request.param)
    yield machine
    machine.close()


def test_runs_commands(either_machine: Machine) -> None:
    result = either_machine.run(
        "sh", "-c", 'cat; echo "$WORD" >&2; exit 3', input="in", environment={"WORD": "w"}, check=False
    )
    assert (result.code, result.out, result.err) == (3, "in", "w\n")
    assert either_machine.run("id", "-un").out == "root\n"
    assert either_machine.run("sh", "-c", "id -un; pwd; echo $HOME", user="user").out == "user\n/\n/home/user\n"
    assert either_machine.run("id", "-gn", user="nobody").out == "nogroup\n"
    with pytest.raises(MachineError, match=r"false ended with 1"):
        either_machine.run("false")
    with pytest.raises(MachineError, match=r"took more than 1 s"):
        either_machine.run("sleep", "100", timeout=1)


def test_carries_files(either_machine: Machine) -> None:
    content = bytes(range(256)) * 4000
    either_machine.write("/tmp/folder/of/file", content, mode=0o640)
    assert either_machine.read_bytes("/tmp/folder/of/file") == content
    assert either_machine.run("stat", "-c", "%a", "/tmp/folder/of/file").out == "640\n"


def test_trixie_has_no_sched_ext(bare_machine: Machine) -> None:
    assert bare_machine.run("test", "-e", "/sys/kernel/sched_ext", check=False).code == 1


def test_sessions_are_active_and_local(bare_machine: Machine) -> None:
    show = ("sh", "-c", 'loginctl show-session "$XDG_SESSION_ID" -p Name -p Active -p Remote -p Seat')
    for user in ("admin", "user"):
        shown = bare_machine.run(*show, user=user, session="active").out.split()
        assert sorted(shown) == ["Active=yes", f"Name={user}", "Remote=no", "Seat=seat0"]
    assert "Active=no" in bare_machine.run(*show, user="admin", session="background").out
    # polkit sees it the same way: who sits at the machine may shut it down, who does not is asked for a password.
    check = ("sh", "-c", "pkcheck --action-id org.freedesktop.login1.reboot --process $$")
    assert bare_machine.run(*check, user="user", session="active", check=False).code == 0
    assert bare_machine.run(*check, user="user", check=False).code != 0
    bare_machine.logout()
    assert bare_machine.run("loginctl", "list-sessions", "--no-legend").out == ""


def test_either_of_two_who_sit_at_a_native_machine_is_in_front(new_machine: NewMachine) -> None:
    machine = new_machine("native")
    show = ("sh", "-c", 'loginctl show-session "$XDG_SESSION_ID" -p Name -p Active -p Remote -p Seat')
    for user in ("admin", "user", "admin"):
        shown = machine.run(*show, user=user, session="active").out.split()
        assert sorted(shown) == ["Active=yes", f"Name={user}", "Remote=no", "Seat=seat0"]
    check = ("sh", "-c", "pkcheck --action-id org.freedesktop.login1.reboot --process $$")
    assert machine.run(*check, user="user", session="active", check=False).code == 0
    assert machine.run(*check, user="user", check=False).code != 0
    machine.logout()
    assert machine.run("loginctl", "list-sessions", "--no-legend").out == ""
    machine.close()


def test_conversations_type_passwords(bare_machine: Machine) -> None:
    ask = ("sudo", "id", "-un")
    assert bare_machine.converse(*ask, dialogue=[("assword", "secret")], user="admin").out.endswith("root\r\n")
    with pytest.raises(MachineError, match="the conversation broke off"):
        bare_machine.converse("cat", dialogue=[("never", "")], timeout=1)


def test_goes_back_to_a_snapshot(bare_machine: Machine) -> None:
    bare_machine.snapshot("clean")
    boot = bare_machine.boot_id
    bare_machine.write("/etc/left-behind", "")
    bare_machine.restore("clean")
    assert bare_machine.run("test", "-e", "/etc/left-behind", check=False).code == 1
    assert bare_machine.boot_id == boot


def test_clock_and_disk_outlive_boots(either_machine: Machine) -> None:
    boot = either_machine.boot_id
    either_machine.set_clock("2027-03-28T00:59:00")
    assert either_machine.clock() < datetime(2027, 3, 28, 0, 59, 20, tzinfo=UTC)
    either_machine.reboot()
    assert either_machine.boot_id != boot
    # What the journal was told of this boot is on the disk only some minutes later, where nobody asks for it earlier.
    either_machine.sh("echo kept >/root/kept; sync /root/kept; journalctl --sync; echo lost >/root/lost")
    either_machine.power_cut()
    assert not either_machine.running
    either_machine.start()
    assert either_machine.read("/root/kept") == "kept\n"
    assert datetime(2027, 3, 28, 0, 59, tzinfo=UTC) < either_machine.clock() < datetime(2027, 3, 28, 2, tzinfo=UTC)
    assert len(either_machine.journal("--list-boots").splitlines()) >= 3


def test_a_native_machine_that_switched_itself_off_did_not_reboot(new_machine: NewMachine) -> None:
    machine = new_machine("native")
    boot = machine.boot_id
    soon = ("--on-active=1s", "--timer-property=AccuracySec=1ms")
    machine.run("systemd-run", "--quiet", *soon, "systemctl", "poweroff")
    with pytest.raises(MachineError, match="the machine did not reboot, it went down: guest-shutdown"):
        machine.wait_reboot(boot)
    machine.close()


def test_a_kept_disk_and_its_snapshots_are_gone_on_from(new_machine: NewMachine, tmp_path: Path) -> None:
    first = new_machine("native")
    first.snapshot("clean")
    first.write("/etc/left-behind", "")
    first.keep(tmp_path / "kept.disk")
    assert not first.running
    second = make(possible("native"), tmp_path / "kept.disk").start()
    try:
        assert second.read("/etc/left-behind") == ""
        second.restore("clean")
        assert second.run("test", "-e", "/etc/left-behind", check=False).code == 1
        second.restore(KEPT)
        assert second.read("/etc/left-behind") == ""
    finally:
        second.close()


def test_the_other_kernel_has_sched_ext(new_machine: NewMachine) -> None:
    machine = new_machine("sched_ext")
    assert machine.read("/sys/kernel/sched_ext/state") == "disabled\n"
    machine.close()
