"""What D-Bus callers see of reboots: the handlers of the interface Reboot and the records that they return."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from msgspec import structs

from agentd.bus.arguments import only, record
from agentd.bus.server import Caller, Handler
from agentd.core.part import Refused
from agentd.core.quantities import DAY, WEEK
from agentd.core.reboots import guards
from agentd.core.reboots.model import Blocker, Facts, Reboot
from agentd.core.reboots.reboots import Reboots

KINDS = ("reboot", "soft-reboot", "kexec")
_MOST = 10_000
_STANDALONE = "agentd runs standalone here and does not reboot the machine"
_REBOOT = {
    **dict.fromkeys(("cause", "reason", "kind", "occurrence", "state", "note", "health"), "s"),
    **dict.fromkeys(("id", "requested", "begin", "until", "at", "issued", "up", "downtime"), "t"),
    "automatic": "b",
    "attempts": "u",
}
_BLOCKER = {**dict.fromkeys(("kind", "who", "why"), "s"), "since": "t"}
_STATUS = {
    **dict.fromkeys(("state", "ledger", "can", "fleet"), "s"),
    **dict.fromkeys(("required", "slot"), "b"),
    **dict.fromkeys(("booted", "next_begin", "next_end", "next_at", "min_uptime"), "t"),
    **dict.fromkeys(("last_day", "last_week", "per_day", "per_week"), "u"),
    **dict.fromkeys(("breakers", "kinds"), "as"),
    **{f"pending_{key}": kind for key, kind in _REBOOT.items()},
}
_HOLDER = {**dict.fromkeys(("id", "host", "state"), "s"), "since": "t", "mine": "b"}


class Reader(Protocol):
    """The questions that callers ask of the store."""

    def reboots(self, *, state: str = "", cause: str = "", limit: int = 50) -> list[Reboot]: ...


class Host(Protocol):
    """What the handlers need of the daemon; `reboots` is None where it does not reboot the machine."""

    reboots: Reboots | None

    @property
    def store(self) -> Reader: ...
    def now(self) -> int: ...
    def ready(self) -> None: ...
    def settle(self) -> Awaitable[None]: ...
    def ask(self, question: Callable[..., Any], /, **wanted: Any) -> Awaitable[Any]: ...


class Peers(Protocol):
    """What they need of the machine."""

    def look(self) -> Awaitable[tuple[Facts, str]]:
        """What the machine is like, and what logind says to a reboot."""

    def user_of(self, caller: Caller) -> Awaitable[str]:
        """The user who calls, as they logged in."""

    def holders(self) -> Awaitable[list[Any]]:
        """Who holds the fleet's slots. Raises Refused Unsupported, PeerFailed."""


def reboot_record(reboot: Reboot) -> dict[str, Any]:
    """A reboot as ListReboots describes it."""
    values = structs.asdict(reboot)
    return record({**{key: values[key] for key in _REBOOT if key in values}, "downtime": reboot.downtime}, _REBOOT)


class RebootApi:
    """The members of org.agentd1.Reboot."""

    def __init__(self, host: Host, peers: Peers | None) -> None:
        self._host = host
        self._machine = peers

    def methods(self) -> dict[str, Handler]:
        """The handlers by the names that bus.Server wants."""
        handlers = (
            self.GetStatus, self.RequestReboot, self.RebootNow, self.Examine, self.CancelReboot, self.Clear,
            self.ListReboots, self.ListHolders,
        )  # fmt: skip
        return {f"Reboot.{handler.__name__}": handler for handler in handlers}

    def properties(self) -> dict[str, Callable[[], Any]]:
        """The getters by the names that bus.Server wants."""
        return {"Reboot.State": self._state, "Reboot.Blockers": self._blockers}

    def _state(self) -> str:
        return "disabled" if self._host.reboots is None else self._host.reboots.state

    def _blockers(self) -> list[dict[str, Any]]:
        return [] if self._host.reboots is None else _blocker_records(self._host.reboots.blockers)

    @property
    def _reboots(self) -> Reboots:
        if self._host.reboots is None:
            raise Refused("Unsupported", _STANDALONE)
        return self._host.reboots

    @property
    def _peers(self) -> Peers:
        if self._machine is None:
            raise Refused("Unsupported", _STANDALONE)
        return self._machine

    async def GetStatus(self) -> dict[str, Any]:
        if self._host.reboots is None:
            return record({"state": "disabled"}, _STATUS)
        facts, can = await self._peers.look()
        reboots, policy, now = self._reboots, self._reboots.policy, self._host.now()
        coming = reboots.coming(now)
        values: dict[str, Any] = {
            "state": reboots.state,
            "required": facts.required,
            "booted": reboots.boot.at,
            "next_begin": coming.opens if coming else 0,
            "next_end": coming.end if coming else 0,
            "next_at": coming.begin if coming else 0,
            "last_day": guards.issued_within(reboots.ledger, DAY, now),
            "last_week": guards.issued_within(reboots.ledger, WEEK, now),
            "per_day": policy.limits.per_day,
            "per_week": policy.limits.per_week,
            "min_uptime": policy.limits.min_uptime,
            "breakers": [f"{cause}: {why}" for cause, why in reboots.ledger.breakers.items()],
            "ledger": reboots.ledger.lost,
            "can": can,
            "kinds": list(KINDS),
            "fleet": "" if policy.fleet is None else (policy.fleet.fleetlock or ", ".join(policy.fleet.etcd)),
            "slot": reboots.slot,
        }
        status = record(values, _STATUS)
        if reboots.pending is not None:
            status |= {f"pending_{key}": value for key, value in reboot_record(reboots.pending).items()}
        return status

    async def RequestReboot(self, reason: str, options: dict[str, Any]) -> int:
        only(options, cause=str, kind=str, within=int)
        self._host.ready()
        cause, within = options.get("cause", "request"), options.get("within", 0)
        try:
            reboot = self._reboots.request(reason, cause, _kind(options), within, self._host.now())
        finally:  # a breaker that opened is stored too
            await self._host.settle()
        return reboot.id

    async def RebootNow(self, options: dict[str, Any], caller: Caller) -> dict[str, Any]:
        wish = await self._wish(options, caller)
        self._host.ready()
        reboot = self._reboots.by_hand(**wish, now=self._host.now())
        await self._host.settle()
        return reboot_record(reboot)

    async def Examine(self, options: dict[str, Any], caller: Caller) -> list[dict[str, Any]]:
        wish = await self._wish(options, caller)
        reboot = self._reboots.examined(**wish, now=self._host.now())
        return _blocker_records(self._reboots.in_the_way(reboot, self._host.now()))

    async def _wish(self, options: dict[str, Any], caller: Caller) -> dict[str, Any]:
        """The options of a reboot by hand, after a look at what is in its way."""
        only(options, reason=str, at=int, force_users=bool, kind=str, within=int)
        reboots, owner = self._reboots, await self._peers.user_of(caller)
        facts, _ = await self._peers.look()
        reboots.observed(facts, self._host.now())
        await self._host.settle()  # the look may have led to something
        return {
            "reason": options.get("reason", ""),
            "kind": _kind(options),
            "at": options.get("at", 0),
            "within": options.get("within", 0),
            "force_users": options.get("force_users", False),
            "owner": owner,
        }

    async def CancelReboot(self, caller: Caller) -> dict[str, Any]:
        who = await self._peers.user_of(caller)
        reboot = self._reboots.cancel(f"taken back by {who or 'somebody'}", self._host.now())
        await self._host.settle()
        return reboot_record(reboot)

    async def Clear(self) -> list[str]:
        cleared = self._reboots.clear(self._host.now())
        await self._host.settle()
        return cleared

    async def ListReboots(self, filter: dict[str, Any]) -> list[dict[str, Any]]:
        only(filter, limit=int, state=str, cause=str)
        limit = filter.get("limit", 50)
        if not 1 <= limit <= _MOST:
            raise Refused("InvalidArgument", f"limit must lie between 1 and {_MOST}, not {limit}")
        found = await self._host.ask(self._host.store.reboots, **{**filter, "limit": limit})
        return [reboot_record(reboot) for reboot in found]

    async def ListHolders(self) -> list[dict[str, Any]]:
        return [record(structs.asdict(holder), _HOLDER) for holder in await self._peers.holders()]


def _blocker_records(blockers: list[Blocker]) -> list[dict[str, Any]]:
    return [record(structs.asdict(blocker), _BLOCKER) for blocker in blockers]


def _kind(options: dict[str, Any]) -> Any:
    kind = options.get("kind")
    if kind is not None and kind not in KINDS:
        raise Refused("InvalidArgument", f'"{kind}" is not one of {", ".join(KINDS)}')
    return kind
