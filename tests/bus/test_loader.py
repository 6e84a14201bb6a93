"""org.scx.Loader, as scxctl and others call it: a real agentd on a machine that is made of files."""

from collections.abc import Callable
from typing import Any

import pytest
from jeepney import DBusAddress, HeaderFields, MatchRule, MessageType, Properties, message_bus, new_method_call
from jeepney.io.blocking import DBusConnection, Proxy, open_dbus_connection

from tests.bus.harness import Agentd, CallError
from tests.bus.scheduling import KERNEL, show
from tests.bus.test_schedulers import current, status, switch
from tests.bus.test_schedulers import world as world  # noqa: PLC0414 - the fixture

NAME = "org.scx.Loader"
OBJECT = DBusAddress("/org/scx/Loader", NAME, NAME)
SERVED = """
timezone: UTC
scheduler: {serve_scx_loader: true, default: {scx_rusty: server}}
"""
UNSERVED = SERVED.replace("true", "false").replace("{scx_rusty: server}", "none")


def connection(world: Agentd) -> DBusConnection:
    return open_dbus_connection(bus=world.address)


def answer(reply: Any) -> Any:
    if reply.header.message_type is MessageType.error:
        raise CallError(reply.header.fields[HeaderFields.error_name], reply.body[0])
    return reply.body[0] if reply.body else None


def scxctl(world: Agentd, member: str, signature: str = "", *body: Any) -> None:
    """Calls a method as scxctl does, which leaves the bus at once."""
    with connection(world) as bus:
        assert (
            answer(bus.send_and_get_reply(new_method_call(OBJECT, member, signature or None, body), timeout=20)) is None
        )


def properties(world: Agentd) -> dict[str, Any]:
    with connection(world) as bus:
        found = answer(bus.send_and_get_reply(Properties(OBJECT).get_all(), timeout=20))
    return {name: value for name, (_, value) in found.items()}


def running(world: Agentd) -> tuple[str, int, list[str]]:
    found = properties(world)
    return found["CurrentScheduler"], found["SchedulerMode"], found["CurrentSchedulerArgs"]


def owner(world: Agentd) -> str:
    (found,) = Proxy(message_bus, world.bus).NameHasOwner(NAME)
    return str(Proxy(message_bus, world.bus).GetNameOwner(NAME)[0]) if found else ""


def served(world: Agentd, config: str = SERVED) -> Agentd:
    world.start(config)
    world.until(lambda: owner(world), "the name to be taken")
    return world


def reload(world: Agentd, config: str) -> None:
    world.config.write_text(config)
    world.call("Manager.Reload")


def warnings(world: Agentd) -> list[str]:
    return [str(text) for text in world.property("Manager.Warnings") if NAME in text]


def told(world: Agentd, act: Callable[[], object], until: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The properties that are told as changed, by their last values, from the act on until that is true of them."""
    found: dict[str, Any] = {}
    rule = MatchRule(type="signal", path=OBJECT.object_path, member="PropertiesChanged")
    with connection(world) as bus:
        Proxy(message_bus, bus).AddMatch(rule)
        with bus.filter(rule) as heard:
            act()
            while not until(found):
                interface, values, invalidated = bus.recv_until_filtered(heard, timeout=20).body
                assert (interface, invalidated) == (NAME, [])
                found |= {name: value for name, (_, value) in values.items()}
    return found


def test_a_start_by_scxctl_stays_when_scxctl_has_left_the_bus(world: Agentd) -> None:
    served(world, SERVED.replace("{scx_rusty: server}", "none"))
    assert running(world) == ("unknown", 0, [])
    scxctl(world, "StartScheduler", "su", "scx_bpfland", 2)
    assert running(world) == ("scx_bpfland", 2, [])
    (want,) = [one for one in status(world)["wants"] if one["wins"]]
    assert (want["source"], want["name"], want["mode"], want["reason"]) == (
        *("person", "scx_bpfland", "powersave"),
        "by org.scx.Loader",
    )
    world.kill()
    served(world)
    world.until(lambda: running(world)[0] == "scx_bpfland", "the choice to be taken up")


def test_calls_do_as_scx_loader_does(world: Agentd) -> None:
    served(world)
    world.until(lambda: running(world) == ("scx_rusty", 4, []), "the default")
    found = properties(world)
    assert (found["DefaultScheduler"], found["DefaultMode"]) == ("scx_rusty", 4)
    assert found["SupportedSchedulers"] == ["scx_bpfland", "scx_rusty"]
    with pytest.raises(CallError, match="scx_rusty runs already") as refused:
        scxctl(world, "StartScheduler", "su", "scx_bpfland", 0)
    assert refused.value.name == "org.agentd1.Error.Busy"
    scxctl(world, "SwitchScheduler", "su", "scx_bpfland", 3)
    assert running(world) == ("scx_bpfland", 3, [])
    scxctl(world, "RestartScheduler")
    assert running(world) == ("scx_bpfland", 3, [])
    scxctl(world, "StopScheduler")
    assert running(world) == ("unknown", 0, [])
    with pytest.raises(CallError, match="no scheduler of agentd's is on"):
        scxctl(world, "RestartScheduler")
    scxctl(world, "RestoreDefault")
    assert running(world) == ("scx_rusty", 4, [])


def test_arguments_become_flags_of_the_catalogue_and_are_shown_in_their_long_form(world: Agentd) -> None:
    served(world)
    scxctl(
        world,
        "SwitchSchedulerWithArgs",
        "sas",
        "scx_bpfland",
        ["--primary-domain", "all", "--slice-us=5000", "--no-wake-sync"],
    )
    arguments = ["--slice-us=5000", "--no-wake-sync", "--primary-domain=all"]
    assert running(world) == ("scx_bpfland", 0, arguments)
    scxctl(world, "StopScheduler")
    scxctl(world, "StartSchedulerWithArgs", "sas", "scx_bpfland", arguments)
    assert running(world) == ("scx_bpfland", 0, arguments)
    scxctl(world, "SwitchSchedulerWithArgs", "sas", "scx_simple", ["-f"])
    assert running(world) == ("scx_simple", 0, ["-f"])
    scxctl(world, "SwitchSchedulerWithArgs", "sas", "scx_rusty", [])
    assert running(world) == ("scx_rusty", 0, [])


@pytest.mark.parametrize(
    ("member", "signature", "body", "sentence"),
    [
        ("StartScheduler", "su", ("scx_bpflnad", 0), 'there is no scheduler "scx_bpflnad".*did you mean scx_bpfland'),
        ("StartScheduler", "su", ("/bin/sh", 0), 'there is no scheduler "/bin/sh"'),
        ("SwitchScheduler", "su", ("scx_bpfland", 5), r"there is no mode 5; expected one of 0 \(auto\), 1 \(gaming\)"),
        (
            *("StartSchedulerWithArgs", "sas", ("scx_bpfland", ["--kconfig", "/dev/zero"])),
            'scx_bpfland: "--kconfig" is none of its flags',
        ),
        (
            *("SwitchSchedulerWithArgs", "sas", ("scx_bpfland", ["--slice-us", "1"])),
            "scx_bpfland: slice-us: expected a whole number from 10",
        ),
        (
            *("SwitchSchedulerWithArgs", "sas", ("scx_bpfland", ["--slice-us=20", "--slice-min-us=30"])),
            "slice-min-us 30 is more than slice-us 20",
        ),
        ("SwitchScheduler", "ss", ("scx_bpfland", "auto"), r"SwitchScheduler takes \(su\)"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_sentence_and_nothing_starts(
    world: Agentd, member: str, signature: str, body: tuple[Any, ...], sentence: str
) -> None:
    served(world, SERVED.replace("{scx_rusty: server}", "none"))
    with pytest.raises(CallError, match=sentence) as refused:
        scxctl(world, member, signature, *body)
    assert refused.value.name.startswith("org.agentd1.Error.")
    assert current(world) == "none"
    assert [one["source"] for one in status(world)["wants"]] == ["default"]


def test_changes_are_told_whoever_makes_them(world: Agentd) -> None:
    served(world, SERVED.replace("{scx_rusty: server}", "none"))
    found = told(
        world,
        lambda: switch(world, "bpfland", mode="gaming", keep=True),
        lambda found: found.get("CurrentScheduler") == "scx_bpfland",
    )
    assert (found["CurrentScheduler"], found["SchedulerMode"]) == ("scx_bpfland", 1)
    assert "DefaultScheduler" not in found
    found = told(
        world,
        lambda: show(world.folder / "root", "disabled"),
        lambda found: found.get("CurrentScheduler") == "unknown",
    )
    assert found["SchedulerMode"] == 0
    found = told(world, lambda: reload(world, SERVED), lambda found: "DefaultScheduler" in found)
    assert (found["DefaultScheduler"], found["DefaultMode"]) == ("scx_rusty", 4)


def test_a_scheduler_that_somebody_else_loaded_is_shown_by_its_name(world: Agentd) -> None:
    served(world, SERVED.replace("{scx_rusty: server}", "none"))
    for ops, name in (("lavd_1.1.4_x86_64", "scx_lavd"), ("mine_7", "mine_7")):
        show(world.folder / "root", "enabled", ops, another=True)
        world.until(lambda name=name: running(world) == (name, 0, []), "the kernel's word")  # type: ignore[misc]
    with pytest.raises(CallError, match="mine_7 was loaded by somebody else"):
        scxctl(world, "SwitchScheduler", "su", "scx_bpfland", 0)
    assert (world.folder / "root" / KERNEL / "root/ops").read_text() == "mine_7\n"


def test_the_name_is_left_alone_without_the_setting_and_follows_a_reload(world: Agentd) -> None:
    world.start(UNSERVED)
    assert current(world) == "none"
    assert owner(world) == ""
    reload(world, SERVED)
    world.until(lambda: owner(world), "the name to be taken")
    world.until(lambda: running(world)[0] == "scx_rusty", "the default")
    first = owner(world)
    reload(world, SERVED + "jobs: {one: {run: 'true'}}\n")
    assert owner(world) == first
    reload(world, UNSERVED)
    world.until(lambda: not owner(world), "the name to be left")
    with pytest.raises(CallError):
        scxctl(world, "StopScheduler")
    reload(world, SERVED)
    world.until(lambda: owner(world), "the name to be taken again")
    assert world.stop() == 0
    assert "defect" not in world.log.read_text()


def test_a_name_that_another_has_is_told_and_taken_when_that_one_leaves(world: Agentd) -> None:
    world.start(UNSERVED)
    other = connection(world)
    Proxy(message_bus, other).RequestName(NAME, 0)
    first = owner(world)
    reload(world, SERVED)
    world.until(lambda: warnings(world), "the warning")
    (warning,) = warnings(world)
    assert "systemctl disable --now scx_loader" in warning
    assert "scheduler.serve_scx_loader to false" in warning
    assert owner(world) == first
    other.close()
    world.until(lambda: not warnings(world), "the warning to be over")
    assert owner(world) not in {first, ""}
    world.until(lambda: running(world)[0] == "scx_rusty", "the default")


def test_agentds_own_object_and_that_one_are_on_connections_of_their_own(world: Agentd) -> None:
    served(world)
    (own,) = Proxy(message_bus, world.bus).GetNameOwner("org.agentd1")
    assert own != owner(world)
    elsewhere = DBusAddress("/org/scx/Loader", "org.agentd1", NAME)
    with connection(world) as bus, pytest.raises(CallError, match="there is no object /org/scx/Loader"):
        answer(bus.send_and_get_reply(new_method_call(elsewhere, "StopScheduler"), timeout=20))
