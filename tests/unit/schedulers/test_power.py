"""Where the power comes from, and which profile is active."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agentd.bus.connection import CallFailed
from agentd.peers.profiles import Profiles
from agentd.schedulers.power import Power, read

NONE = Power("unknown", "this machine tells of no power supplies")
UNCLEAR = Power("unknown", "the power supplies do not tell which of them feeds the machine")
MAINS, OFF = {"type": "Mains", "online": "1"}, {"type": "Mains", "online": "0"}
USB = {"type": "USB", "online": "1"}


def battery(status: str, **more: str) -> dict[str, str]:
    return {"type": "Battery", "status": status, **more}


@pytest.mark.parametrize(
    ("supplies", "power"),
    [
        ([], NONE),
        ([MAINS], Power("ac")),
        ([MAINS, battery("Charging")], Power("ac")),
        ([MAINS, battery("Discharging")], Power("ac")),
        ([OFF, battery("Discharging")], Power("battery")),
        ([OFF, battery("Full")], Power("battery")),
        ([battery("Discharging")], Power("battery")),
        ([battery("Full")], UNCLEAR),
        ([OFF], UNCLEAR),
        ([USB, battery("Charging")], Power("ac")),
        ([{"type": "USB", "online": "2"}], Power("ac")),
        ([USB, battery("Discharging")], Power("battery")),  # the machine feeds what hangs on it
        ([battery("Discharging", scope="Device")], NONE),  # a mouse
        ([MAINS, battery("Discharging", scope="Device")], Power("ac")),
        ([{"type": "UPS", "online": "1"}], NONE),
        ([{}], NONE),
    ],
)
def test_the_source_of_power_follows_from_the_supplies(
    tmp_path: Path, supplies: list[dict[str, str]], power: Power
) -> None:
    for number, files in enumerate(supplies):
        folder = tmp_path / f"sys/class/power_supply/S{number}"
        folder.mkdir(parents=True)
        for name, text in files.items():
            (folder / name).write_text(f"{text}\n")
    assert read(tmp_path) == power


def test_supplies_that_cannot_be_listed_are_told(tmp_path: Path) -> None:
    (tmp_path / "sys/class").mkdir(parents=True)
    (tmp_path / "sys/class/power_supply").write_text("")
    assert read(tmp_path) == Power("unknown", "/sys/class/power_supply cannot be read: Not a directory")


NEW, OLD = "org.freedesktop.UPower.PowerProfiles", "net.hadess.PowerProfiles"


class Bus:
    """A bus on which some own names, and tell a profile each."""

    def __init__(self, **owners: str) -> None:
        self.owners = {name: owners.get(key, "") for key, name in (("new", NEW), ("old", OLD))}
        self.profiles: dict[str, Any] = {}
        self.asked: list[Any] = []
        self.followers: dict[str, Any] = {}
        self.listeners: dict[str, Any] = {}

    async def follow(self, name: str, on_owner: Any) -> Any:
        self.followers[name] = on_owner
        return lambda: self.followers.pop(name)

    async def watch(self, remote: Any, member: str, listener: Any) -> Any:
        self.listeners[remote[0]] = listener
        return lambda: self.listeners.pop(remote[0])

    def owner(self, name: str) -> str:
        return self.owners[name]

    async def get(self, remote: Any, name: str, *, patience: float) -> Any:
        self.asked.append((*remote, name))
        await asyncio.sleep(0)
        answer = self.profiles[remote[0]]
        if isinstance(answer, Exception):
            raise answer
        return answer


def following(bus: Any) -> tuple[Profiles, list[str]]:
    told: list[str] = []
    return Profiles(bus, told.append, lambda where, error: told.append(f"{where}: {error!r}")), told


def test_a_daemon_that_does_not_run_is_not_asked_and_so_not_started() -> None:
    async def whole() -> None:
        bus: Any = Bus()
        profiles, told = following(bus)
        await profiles.start()
        assert (profiles.active, told, bus.asked) == ("", [], [])

    asyncio.run(whole())


@pytest.mark.parametrize(("key", "name", "path"), [("new", NEW, NEW), ("old", OLD, OLD)])
def test_a_daemon_is_asked_by_its_unique_name_under_whichever_name_it_has(key: str, name: str, path: str) -> None:
    async def whole() -> None:
        bus: Any = Bus(**{key: ":1.7"})
        bus.profiles[":1.7"] = "balanced"
        profiles, told = following(bus)
        await profiles.start()
        assert (profiles.active, told) == ("balanced", ["balanced"])
        assert bus.asked == [(":1.7", "/" + path.replace(".", "/"), name, "ActiveProfile")]

    asyncio.run(whole())


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_profile_that_changes_a_daemon_that_leaves_and_one_that_comes_are_told() -> None:
    async def whole() -> None:
        bus: Any = Bus(new=":1.7", old=":1.7")
        bus.profiles[":1.7"] = "balanced"
        profiles, told = following(bus)
        await profiles.start()
        bus.profiles[":1.7"] = "performance"
        bus.listeners[NEW]([NEW, {"ActiveProfile": "performance"}, []])
        bus.listeners[OLD]([OLD, {"ActiveProfile": "performance"}, []])
        bus.listeners[NEW]([NEW, {"ActiveProfileHolds": []}, []])
        await settle()
        assert told == ["balanced", "performance"]
        bus.owners = dict.fromkeys(bus.owners, "")
        bus.followers[NEW]("")
        await settle()
        assert (profiles.active, told[-1]) == ("", "")
        bus.owners[OLD], bus.profiles[":1.9"] = ":1.9", "power-saver"
        bus.followers[OLD](":1.9")
        await settle()
        assert told[-1] == "power-saver"
        profiles.close()
        assert (bus.followers, bus.listeners) == ({}, {})

    asyncio.run(whole())


def test_a_daemon_that_does_not_answer_tells_no_profile() -> None:
    async def whole() -> None:
        bus: Any = Bus(new=":1.7")
        bus.profiles[":1.7"] = CallFailed("org.freedesktop.DBus.Error.NoReply", "gone")
        profiles, told = following(bus)
        await profiles.start()
        assert (profiles.active, told) == ("", [])

    asyncio.run(whole())


def test_an_answer_that_a_newer_question_overtook_does_not_count() -> None:
    async def whole() -> None:
        bus: Any = Bus(new=":1.7")
        late, soon = asyncio.Event(), asyncio.Event()
        answers = iter([(late, "balanced"), (soon, "performance")])

        async def get(*_: Any, **__: Any) -> str:
            gate, profile = next(answers)
            await gate.wait()
            return profile

        bus.get = get
        profiles, told = following(bus)
        first = asyncio.create_task(profiles._look())
        second = asyncio.create_task(profiles._look())
        await settle()
        soon.set()
        await second
        late.set()
        await first
        assert told == ["performance"]

    asyncio.run(whole())
