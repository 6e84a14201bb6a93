"""The records of org.agentd1.Reboot that callers get in every mode."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import structs

from agentd.bus.arguments import Records, limit_of, only, record
from agentd.core.reboots.model import Blocker, Reboot
from agentd.part import Host
from agentd.reboots.tables import list_reboots

if TYPE_CHECKING:
    from agentd.core.reboots.reboots import Reboots

CONTRACT = Path(__file__).with_name("org.agentd1.Reboot.xml")
_REBOOT = {
    **dict.fromkeys(("cause", "reason", "kind", "occurrence", "state", "note", "health"), "s"),
    **dict.fromkeys(("id", "requested", "begin", "until", "at", "issued", "up", "downtime"), "t"),
    "automatic": "b",
    "attempts": "u",
}
_BLOCKER = {**dict.fromkeys(("kind", "who", "why"), "s"), "since": "t"}
STATUS = {
    **dict.fromkeys(
        ("state", "ledger", "can", "fleet", "last_window", "required_by", "scheduled", "scheduled_by"), "s"
    ),
    **dict.fromkeys(("required", "slot", "slot_asked"), "b"),
    **dict.fromkeys(("booted", "next_begin", "next_end", "next_at", "min_uptime", "scheduled_at"), "t"),
    **dict.fromkeys(("last_day", "last_week", "ahead", "per_day", "per_week"), "u"),
    **dict.fromkeys(("beside", "breakers", "kinds"), "as"),
    **{f"pending_{key}": kind for key, kind in _REBOOT.items()},
}


def reboot_record(reboot: Reboot) -> dict[str, Any]:
    """Returns a reboot as ListReboots describes it."""
    values = structs.asdict(reboot)
    return record({**{key: values[key] for key in _REBOOT if key in values}, "downtime": reboot.downtime}, _REBOOT)


def blocker_records(blockers: Sequence[Blocker]) -> list[dict[str, Any]]:
    """Returns blockers as Examine and the property describe them."""
    return [record({key: getattr(blocker, key) for key in _BLOCKER}, _BLOCKER) for blocker in blockers]


def properties(reboots: "Reboots") -> dict[str, Callable[[], Any]]:
    """Returns the getters by their properties' names: of each change is told, whether somebody asks anything or not."""
    return {"State": lambda: reboots.state, "Blockers": lambda: blocker_records(reboots.blockers)}


async def listed(host: Host, wanted: dict[str, Any]) -> Records[Reboot]:
    """Returns the reboots that somebody wants to know of. Raises Refused."""
    only(wanted, limit=int, state=str, cause=str, before=int)
    found = await host.ask(list_reboots, **{**wanted, "limit": limit_of(wanted)})
    return Records(reboot_record, found)
