"""The members of org.agentd1.Reboot: the handlers and the records that callers get."""

from collections.abc import Callable
from typing import Any

from msgspec import structs

from agentd.bus.arguments import Records, only, record
from agentd.bus.contract import Handler
from agentd.bus.server import Caller
from agentd.core.part import Refused
from agentd.core.quantities import DAY, SECOND, WEEK, format_duration
from agentd.core.reboots import guards, wishes
from agentd.core.reboots.model import PART, Reboot
from agentd.core.reboots.policy import KINDS_OF_REBOOT
from agentd.core.reboots.reboots import Reboots
from agentd.core.reboots.wishes import ByHand
from agentd.part import Host
from agentd.peers.logind import user_name
from agentd.reboots import machine
from agentd.reboots.look import Looks
from agentd.reboots.people import People
from agentd.reboots.records import STATUS, blocker_records, listed, properties, reboot_record
from agentd.reboots.slots import Slots

_HOLDER = {**dict.fromkeys(("id", "host", "state"), "s"), "since": "t", "mine": "b"}


class Api:
    """The members of the interface. Members that only read answer from a look that may be some seconds old."""

    def __init__(self, host: Host, reboots: Reboots, looks: Looks, people: People, slots: Slots) -> None:
        self._host = host
        self._reboots = reboots
        self._looks = looks
        self._people = people
        self._slots = slots

    def methods(self) -> dict[str, Handler]:
        """Returns the handlers by their members' names."""
        handlers = (
            self.GetStatus, self.RequestReboot, self.RebootNow, self.Examine, self.CancelReboot, self.Clear,
            self.ListReboots, self.ListHolders, self.ReleaseHolder,
        )  # fmt: skip
        return {handler.__name__: handler for handler in handlers}

    def properties(self) -> dict[str, Callable[[], Any]]:
        """Returns the getters by their properties' names."""
        return properties(self._reboots)

    async def GetStatus(self) -> dict[str, Any]:
        look, reboots, now = await self._looks.recent(), self._reboots, self._host.now()
        policy, coming = reboots.policy, reboots.coming(now)
        values: dict[str, Any] = {
            "state": reboots.state,
            "required": reboots.job_requires if policy.asks_job else look.facts.required,
            "required_by": f"the job {policy.asks_job}" if policy.asks_job else policy.required_file,
            "booted": reboots.boot.at,
            "next_begin": coming.opens if coming else 0,
            "next_end": coming.end if coming else 0,
            "next_at": coming.begin if coming else 0,
            "scheduled": look.scheduled[0],
            "scheduled_at": look.scheduled[1],
            "scheduled_by": _scheduler() if look.scheduled[0] else "",
            "last_window": _last_window(reboots.book.last_window),
            "last_day": guards.issued_within(reboots.ledger, DAY, now),
            "last_week": guards.issued_within(reboots.ledger, WEEK, now),
            "ahead": len(guards.dated_ahead(reboots.ledger, now)),
            "per_day": policy.limits.per_day,
            "per_week": policy.limits.per_week,
            "min_uptime": policy.limits.min_uptime,
            "beside": [f"{wish.id} ({wish.cause}): {wish.reason}" for wish in reboots.beside],
            "breakers": [f"{cause}: {why}" for cause, why in reboots.ledger.breakers.items()],
            "ledger": reboots.ledger.lost,
            "can": look.can,
            "kinds": list(KINDS_OF_REBOOT),
            "fleet": "" if policy.fleet is None else (policy.fleet.fleetlock or ", ".join(policy.fleet.etcd)),
            "slot": reboots.slot,
            "slot_asked": reboots.asked_for_slot,
        }
        status = record(values, STATUS)
        if reboots.pending is not None:
            status |= {f"pending_{key}": value for key, value in reboot_record(reboots.pending).items()}
        return status

    async def RequestReboot(self, reason: str, options: dict[str, Any], caller: Caller) -> int:
        only(options, cause=str, kind=str, within=int)
        cause = options["cause"] if "cause" in options else await self._people.program(caller)
        within = options.get("within", 0)
        self._host.ready()
        try:
            reboot = wishes.request(self._reboots, reason, cause, _kind(options), within, self._host.now())
        finally:  # a breaker that opened is stored too
            await self._host.settle()
        return reboot.id

    async def RebootNow(self, options: dict[str, Any], caller: Caller) -> dict[str, Any]:
        wish = _wish(options, await self._people.user(caller))
        look = await self._looks.anew()
        self._host.hear(PART, lambda: self._reboots.observed(look.facts, self._host.now()))
        await self._host.settle()  # the look may have led to something
        self._host.ready()
        reboot = wishes.by_hand(self._reboots, wish, self._host.now())
        await self._host.settle()
        return reboot_record(reboot)

    async def Examine(self, options: dict[str, Any], caller: Caller) -> list[dict[str, Any]]:
        wish = _wish(options, await self._people.known_user(caller))
        look = await self._looks.recent()
        return blocker_records(wishes.examine(self._reboots, wish, look.facts, self._host.now()))

    async def CancelReboot(self, caller: Caller) -> dict[str, Any]:
        who = await self._people.user(caller)
        reboot = wishes.cancel(self._reboots, f"taken back by {who or 'somebody'}", self._host.now())
        await self._host.settle()
        return reboot_record(reboot)

    async def Clear(self) -> list[str]:
        cleared = self._reboots.clear(self._host.now())
        await self._host.settle()
        return cleared

    async def ListReboots(self, filter: dict[str, Any]) -> Records[Reboot]:
        return await listed(self._host, filter)

    async def ListHolders(self) -> list[dict[str, Any]]:
        return [record(structs.asdict(holder), _HOLDER) for holder in await self._slots.holders()]

    async def ReleaseHolder(self, holder: str, caller: Caller) -> str:
        if not holder or not holder.isprintable():
            raise Refused("InvalidArgument", "expected the id of a machine, or the name of its host (agentctl fleet)")
        return await self._slots.evict(holder, await self._people.user(caller))


def _scheduler() -> str:
    """Returns the name of the user who scheduled a shutdown; "" where nobody knows."""
    uid = machine.scheduler()
    return "" if uid is None else user_name(uid)


def _last_window(reboot: Reboot | None) -> str:
    """Returns what became of the last window in words: "2026-11-26 03:00: deferred: alice is logged in on tty1"."""
    if reboot is None:
        return ""
    down = f"down for {format_duration(reboot.downtime // SECOND * SECOND)}" if reboot.downtime else ""
    return ": ".join(filter(None, (reboot.occurrence, reboot.state, reboot.note or down)))


def _wish(options: dict[str, Any], owner: str) -> ByHand:
    """Returns what the options of a reboot by hand say. Raises Refused InvalidArgument."""
    only(options, reason=str, at=int, force_users=bool, kind=str, within=int)
    return ByHand(**{**options, "kind": _kind(options), "owner": owner})


def _kind(options: dict[str, Any]) -> Any:
    kind = options.get("kind")
    if kind is not None and kind not in KINDS_OF_REBOOT:
        raise Refused("InvalidArgument", f'"{kind}" is not one of {", ".join(KINDS_OF_REBOOT)}')
    return kind
