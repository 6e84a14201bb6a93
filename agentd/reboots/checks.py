"""The checks of the self-test that are about reboots, and about what polkit lets agentd and others do."""

import asyncio
import contextlib
import xml.etree.ElementTree as ET
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING
from urllib import parse

from agentd.bus.connection import NAME, PATH, Bus, CallFailed
from agentd.bus.contract import FREE
from agentd.core.part import Refused
from agentd.core.reboots.policy import FleetPolicy
from agentd.part import Check, CheckFailed, CheckSkipped
from agentd.peers import polkit

if TYPE_CHECKING:
    from agentd.reboots.look import Looks
    from agentd.reboots.slots import Slots

_REMEDIES = {
    "logind": "see whether logind runs: systemctl status systemd-logind",
    "rights of agentd": "see which rules name agentd, and whether polkit runs: "
    "grep -rl agentd /etc/polkit-1 /usr/share/polkit-1; systemctl status polkit",
    "rights of callers": f"see which actions polkit knows, the package has the file of them: pkaction | grep {NAME}",
    "fleet": "see what the keeper of slots says: agentctl fleet",
}
"""The checks by their names: what to do where one fails."""
_LIMIT = 35.0  # seconds; polkit and the keeper of slots have 25 and 30 to answer, and a sentence when they do not
GRANTED = (
    "org.freedesktop.systemd1.reload-daemon",
    "org.freedesktop.login1.reboot",
    "org.freedesktop.login1.reboot-multiple-sessions",
    "org.freedesktop.login1.set-wall-message",
    "org.freedesktop.login1.inhibit-delay-shutdown",
)
"""The actions that the rules of the package give to agentd, beside those on the units of its own."""
WITHHELD = (
    # Without the name of a unit this asks whether agentd may do something to every unit. Only root and whoever owns the
    # action may tell polkit a name, so nobody but systemd can ask about one unit.
    "org.freedesktop.systemd1.manage-units",
    "org.freedesktop.systemd1.manage-unit-files",
    "org.freedesktop.systemd1.set-environment",
    "org.freedesktop.login1.power-off",
    "org.freedesktop.login1.reboot-ignore-inhibit",
)
"""The actions that nobody gives to agentd: with each of them it could do what root has not written down."""
Look = Callable[[], Awaitable[str]]
_STANDALONE = "agentd runs standalone here: no logind, no polkit and no fleet has a say in what it does"
_PORTS = {"https": 443}
_INTROSPECTABLE = (NAME, PATH, "org.freedesktop.DBus.Introspectable")
_ACTION = f"{NAME}.PolkitAction"


def checks(bus: Bus, looks: "Looks", slots: "Slots", fleet: Callable[[], FleetPolicy | None]) -> list[Check]:
    """Returns the checks of reboots; `fleet` returns what is configured of the fleet."""
    found: dict[str, Look] = {
        "logind": partial(logind, looks),
        "rights of agentd": partial(rights, bus),
        "rights of callers": partial(verbs, bus),
        "fleet": partial(reachable, slots, fleet),
    }
    return [Check(name=name, look=found[name], remedy=_REMEDIES[name], limit=_LIMIT) for name in _REMEDIES]


def skipped() -> list[Check]:
    """Returns the checks where agentd does not reboot the machine: each is skipped."""

    async def skip() -> str:
        raise CheckSkipped(_STANDALONE)

    return [Check(name=name, look=skip, remedy=remedy, limit=_LIMIT) for name, remedy in _REMEDIES.items()]


async def logind(looks: "Looks") -> str:
    """Asks logind whether agentd may reboot the machine. Raises CheckFailed."""
    facts = (await looks.anew()).facts
    if wrong := [blocker.why for blocker in facts.blockers if blocker.kind == "logind"]:
        raise CheckFailed("; ".join(wrong))
    held = [blocker.why for blocker in facts.blockers if blocker.kind == "inhibitor"]
    return f"logind answers, and for now {'; '.join(held)}" if held else "logind lets agentd reboot this machine"


async def rights(bus: Bus) -> str:
    """Asks polkit whether agentd may do what it must, and nothing that it must not. Nothing is tried.

    Raises CheckFailed, CheckSkipped.
    """
    own, user = await _own(bus)
    if user == 0:
        raise CheckSkipped("agentd runs as root here, whom polkit lets do everything")
    missing = [action for action in GRANTED if not await _may(bus, own, action)]
    surplus = [action for action in WITHHELD if await _may(bus, own, action)]
    if missing or surplus:
        lacks = f"polkit does not give agentd {', '.join(missing)}" if missing else ""
        has = f"polkit gives agentd {', '.join(surplus)}, which it must not have" if surplus else ""
        raise CheckFailed("; ".join(filter(None, (lacks, has))))
    return f"polkit gives agentd the {len(GRANTED)} rights that it needs, and none of {len(WITHHELD)} others"


async def verbs(bus: Bus) -> str:
    """Asks polkit for every action that the contract of agentd names: where polkit does not know one, nobody but root
    may call what needs it. Raises CheckFailed."""
    own, _ = await _own(bus)
    try:
        (text,) = await bus.call(_INTROSPECTABLE, "Introspect")
    except CallFailed as error:
        raise CheckFailed(f"agentd does not tell its own contract: {error}") from None
    notes = ET.fromstring(text).iter("annotation")  # noqa: S314 - our own text
    actions = sorted({note.attrib["value"] for note in notes if note.attrib["name"] == _ACTION} - {FREE})
    unknown = []
    for action in actions:
        try:
            await polkit.ask(bus, own, action)
        except CallFailed as error:
            _must_be_there(error)
            unknown.append(f"{action} ({error})")
    if unknown:
        raise CheckFailed(f"polkit cannot tell who may do {', '.join(unknown)}, so only root may")
    return f"polkit knows the {len(actions)} actions of agentd"


async def reachable(slots: "Slots", fleet: Callable[[], FleetPolicy | None]) -> str:
    """Asks the keeper of the fleet's slots something that changes nothing; FleetLock has no such question, so that its
    server is only connected to. Raises CheckFailed, CheckSkipped."""
    policy = fleet()
    if policy is None:
        raise CheckSkipped("no fleet is configured (reboot.fleet in agentd.yaml(5))")
    if slots.fleet is None:
        raise CheckFailed("the fleet that is configured cannot be used, so no reboot gets a slot; the log says why")
    if policy.fleetlock:
        await _connect(policy.fleetlock)
        return f"{policy.fleetlock} takes connections; whether it grants slots, only a reboot finds out"
    try:
        holders = await slots.holders()
    except Refused as refused:
        raise CheckFailed(str(refused)) from None
    return f"etcd answers: {len(holders)} of the fleet's slots are held"


async def _connect(url: str) -> None:
    """Connects to the server at a URL and leaves again. Raises CheckFailed."""
    parts = parse.urlsplit(url)
    try:
        _, writer = await asyncio.open_connection(parts.hostname, parts.port or _PORTS.get(parts.scheme, 80))
    except OSError as error:
        raise CheckFailed(f"the FleetLock server at {url} cannot be reached: {error.strerror or error}") from None
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _own(bus: Bus) -> tuple[str, int]:
    """Returns agentd's unique name on the bus, and the user that agentd is to the bus. Raises CheckFailed."""
    try:
        own = str(await bus.call_bus("GetNameOwner", "s", NAME))
        return own, int(await bus.call_bus("GetConnectionUnixUser", "s", own))
    except CallFailed as error:
        raise CheckFailed(f"the bus does not say who is {NAME}: {error}") from None


async def _may(bus: Bus, own: str, action: str) -> bool:
    """Returns whether polkit gives agentd an action now; nobody has one that polkit does not know. Raises CheckFailed
    where polkit does not answer."""
    try:
        allowed, _ = await polkit.ask(bus, own, action)
    except CallFailed as error:
        _must_be_there(error)
        return False
    return allowed


def _must_be_there(error: CallFailed) -> None:
    """Raises CheckFailed where polkit did not answer at all."""
    if error.away or error.name.endswith(".Timeout"):
        raise CheckFailed(f"polkit does not answer, so only root may do anything: {error}") from None
