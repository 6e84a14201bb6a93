"""Switches of CPU schedulers while agentd is killed, the power profile changes, or two processors take turns."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.vm.agentd import answers, call, configure
from tests.vm.emulated import Emulated
from tests.vm.machine import Machine
from tests.vm.sched_ext import scheduler, wait_for
from tests.vm.scheduling import LONGEST, SETTINGS, running, shown, switch, wants

PAIR = ("scx_simple", "scx_cpu0")
"""Two that get along with control groups that come and go, as scx_flatcg does not (unexpected !NULL cgv_node stash)."""
UNSTORED = "the wish is being stored"
MOMENTS = {
    UNSTORED: "[ /var/lib/agentd/agentd.db-wal -nt /run/asked ]",
    "the old one leaves": "[ $state != enabled ]",
    "none is on": "[ $state = disabled ] && [ ! -d $old ] && [ ! -d $new ]",
    "the new one starts": "[ $state != enabled ] && [ -d $new ]",
    "the new one is on probation": "[ $state = enabled ] && [ $ops = $wanted ]",
}
"""The moments of a switch, as shell text that is true then."""
DEADLY = """
kernel=/sys/kernel/sched_ext units=/sys/fs/cgroup/system.slice
old=$units/agentd-scx@$1.service new=$units/agentd-scx@$2.service wanted=${{2#scx_}}
systemctl reset-failed agentd
exec {{idle}}<> <(:)
agentd=$(systemctl show -P MainPID agentd)
touch /run/asked
busctl --timeout={longest:g} call org.agentd1 /org/agentd1 org.agentd1.Scheduler Switch 'sa{{sv}}a{{sv}}' \
    "$2" 0 1 keep b true >/dev/null 2>&1 &
until
    read state <$kernel/state
    read ops <$kernel/root/ops || ops=none
    {moment}
do read -rt 0.005 -u "$idle" || :; done 2>/dev/null
kill -KILL "$agentd"
"""
"""The text for bash that asks agentd for a switch from $1 to $2, and kills agentd at a moment of that. The shell rests
between two looks: one that did not took half of the processor, and a switch took nearly twice as long."""
PROFILES = """
import asyncio
from dbus_next.aio import MessageBus
from dbus_next.constants import BusType
from dbus_next.service import ServiceInterface, dbus_property

class Profiles(ServiceInterface):
    active = "balanced"

    @dbus_property()
    def ActiveProfile(self) -> "s":
        return self.active

    @ActiveProfile.setter
    def ActiveProfile(self, profile: "s"):
        self.active = profile
        self.emit_properties_changed({"ActiveProfile": profile})

async def main():
    bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
    bus.export("/net/hadess/PowerProfiles", Profiles("net.hadess.PowerProfiles"))
    await bus.request_name("net.hadess.PowerProfiles")
    await bus.wait_for_disconnect()

asyncio.run(main())
"""
"""What agentd sees of power-profiles-daemon, which the image does not have."""
PERMITTED = """
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <policy user="root"><allow own="net.hadess.PowerProfiles"/></policy>
  <policy context="default"><allow send_destination="net.hadess.PowerProfiles"/></policy>
</busconfig>
"""
FOLLOWING = "follow: {power-profile: {performance: scx_cpu0, balanced: none}}, probation"


@pytest.fixture(scope="module")
def machine(scx_agentd: Machine) -> Machine:
    return scx_agentd


def settled(machine: Machine) -> dict[str, Any]:
    """What agentd says once it has what is wanted, and waits for nothing."""

    def at_rest() -> dict[str, Any] | None:
        told: dict[str, Any] = call(machine, "Scheduler", "GetStatus")
        return told if told["current"] == told["wanted"] and not told["waits"] else None

    found = machine.wait_until(at_rest, LONGEST, "agentd to have the scheduler that is wanted")
    assert found is not None
    return found


@pytest.mark.parametrize("moment", MOMENTS)
def test_agentd_killed_at_any_moment_of_a_switch_ends_on_what_was_wanted(machine: Machine, moment: str) -> None:
    if shown(machine)["current"] not in PAIR:
        switch(machine, PAIR[0])
    old = shown(machine)["current"]
    (new,) = {*PAIR} - {old}
    deadly = DEADLY.format(moment=MOMENTS[moment], longest=LONGEST)
    machine.run("bash", "-euc", deadly, "bash", old, new, timeout=LONGEST)
    answers(machine, LONGEST)
    told, now = settled(machine), scheduler(machine)
    # A wish that did not reach the disk is one that nobody heard.
    assert told["current"] in ({old, new} if moment == UNSTORED else {new})
    assert told["wanted_by"] == "person root"
    assert (told["state"], told["ops"], told["loaded_by"]) == (now.state, now.ops, "agentd")
    assert told["current"] == f"scx_{now.ops}"
    assert running(machine) == ([f"agentd-scx@{told['current']}.service"], [f"/usr/bin/{told['current']}"])


@pytest.fixture
def profiles(machine: Machine) -> Iterator[None]:
    """A service of power profiles, which agentd follows."""
    call(machine, "Scheduler", "Restore")
    machine.write("/etc/dbus-1/system.d/profiles.conf", PERMITTED)
    machine.write("/usr/local/lib/profiles.py", PROFILES)
    machine.run("busctl", "call", "org.freedesktop.DBus", "/", "org.freedesktop.DBus", "ReloadConfig")
    machine.run("systemd-run", "--quiet", "--unit=profiles", "python3", "/usr/local/lib/profiles.py")
    machine.wait_until("busctl --quiet status net.hadess.PowerProfiles >/dev/null", 60, "the profiles' service")
    configure(machine, SETTINGS.replace("probation", FOLLOWING))
    wait_for(machine, "disabled", timeout=LONGEST)
    yield
    machine.run("systemctl", "stop", "profiles")
    configure(machine, SETTINGS)


def test_a_power_profile_that_changes_during_a_lease_counts_once_that_is_over(machine: Machine, profiles: None) -> None:
    machine.sh("systemd-run --quiet --unit=lease agentctl sched run simple -- sleep 1000", timeout=LONGEST)
    wait_for(machine, "enabled", "simple", timeout=LONGEST)
    service = ("net.hadess.PowerProfiles", "/net/hadess/PowerProfiles", "net.hadess.PowerProfiles")
    machine.run("busctl", "set-property", *service, "ActiveProfile", "s", "performance")

    def of_profile() -> dict[str, Any] | None:
        return next((one for one in wants(machine) if one["holder"] == "power profile performance"), None)

    waits = machine.wait_until(of_profile, 60, "agentd to hear of the profile")
    assert waits is not None
    assert (waits["name"], waits["wins"]) == ("scx_cpu0", False)
    assert "the wish of lease :" in waits["why"]
    assert scheduler(machine).ops == "simple"
    machine.run("systemctl", "stop", "lease")
    wait_for(machine, "enabled", "cpu0", timeout=LONGEST)
    told = settled(machine)
    assert (told["current"], told["wanted_by"]) == ("scx_cpu0", "follow power profile performance")
    machine.run("busctl", "set-property", *service, "ActiveProfile", "s", "balanced")
    wait_for(machine, "disabled", timeout=LONGEST)
    machine.wait_until(lambda: running(machine) == ([], []), LONGEST, "nothing of it to run")


def test_one_that_needs_two_processors_runs_where_there_are_two(scx_disk: Path) -> None:
    machine = Emulated("sched_ext", kept=scx_disk, cold=True, processors=2)
    try:
        machine.start()
        answers(machine, LONGEST)
        assert switch(machine, "scx_central")["ops"] == scheduler(machine).ops == "central"
        machine.sh("for i in $(seq 20); do /bin/true; done")
        assert shown(machine)["current"] == "scx_central"
        switch(machine, "none")
        assert scheduler(machine).state == "disabled"
        assert running(machine) == ([], [])
    finally:
        machine.close()
