"""Slots that etcd keeps, in airlock's own key."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from agentd.core.part import Refused
from agentd.core.quantities import SECOND, format_duration
from agentd.core.reboots.policy import FleetPolicy
from agentd.peers.http import CONFUSING, Peer, Unavailable, clip, credential
from agentd.reboots.fleet.lock import OWN, Holder, State

PASSWORD = "agentd.fleet-password"  # noqa: S105 - the name of the credential
TRIES = 7  # how often a change is tried while others change the same key
Pause = Callable[[float], None]
_Answer = TypeVar("_Answer")


class _Entry(Struct):
    key: bytes = b""  # msgspec reads and writes bytes as base64, as the gateway does
    value: bytes = b""
    version: int = 0


class _Range(Struct):
    header: dict[str, Any]
    kvs: list[_Entry] = []


class _RangeAnswer(Struct):
    response_range: _Range


class _Found(Struct):
    header: dict[str, Any]
    responses: tuple[_RangeAnswer, _RangeAnswer, _RangeAnswer]


class _Done(Struct):
    header: dict[str, Any]
    succeeded: bool = False  # left out when false


class _Lease(Struct):
    ID: Annotated[int, Meta(ge=1)]


class _Token(Struct):
    token: Annotated[str, Meta(pattern=r"^[!-~]+$")]


class _Semaphore(Struct):
    """The value of airlock's key."""

    total_slots: Annotated[int, Meta(ge=0)]
    holders: list[str]


class _Record(Struct):
    """The facts of a holder beyond its id."""

    host: str = ""
    since: int = 0
    reason: str = ""


class _Seen(Struct):
    """A group at one revision; `fields` is airlock's JSON, with keys that nobody here knows."""

    version: int
    fields: dict[str, Any]
    semaphore: _Semaphore
    records: dict[str, _Record]
    alive: set[str]


class Etcd:
    """etcd's JSON gateway. The slots are airlock's key; two keys beside it tell what a holder is doing.

    A user needs to read and write com.coreos.airlock/groups/GROUP/, /agentd/holders/GROUP/ and /agentd/alive/GROUP/.
    The key below alive/ ends with a lease, so that a machine that does not come back shows as overdue. The slot of such
    a machine stays taken: the others must not go on just then. `downtime` is in seconds; `pause` waits for some.
    """

    def __init__(
        self, settings: FleetPolicy, own_id: str, host: str, credentials: Path | None, downtime: int, pause: Pause
    ) -> None:
        self._settings = settings
        self._id = own_id
        self._host = host
        self._credentials = credentials
        self._lifetime = max(1, 2 * downtime)
        self._pause = pause
        self._peers = [Peer("etcd", url, credentials, 1 << 20) for url in settings.etcd]  # the last that answered first
        self._secrets: dict[str, str] = {}  # token and password
        self._key = f"com.coreos.airlock/groups/{settings.group}/v1/semaphore".encode()
        self._records = f"/agentd/holders/{settings.group}/".encode()
        self._alive = f"/agentd/alive/{settings.group}/".encode()

    def acquire(self, reason: str) -> None:
        lease = None
        for _ in self._tries():
            seen = self._look()
            held = self._id in seen.semaphore.holders
            if not held and len(seen.semaphore.holders) >= seen.semaphore.total_slots:
                raise self._full(seen)
            # If this try fails, the lease runs out by itself.
            lease = lease or self._call("/v3/lease/grant", {"TTL": self._lifetime}, _Lease)
            before = seen.records.get(self._id)
            since = before.since if held and before else time.time_ns() // 1000
            record = msgspec.json.encode(_Record(clip(self._host), since, clip(reason)))
            own = self._id.encode()
            if self._change(
                seen,
                {*seen.semaphore.holders, self._id},
                {"request_put": {"key": self._records + own, "value": record}},
                {"request_put": {"key": self._alive + own, "value": b"", "lease": lease.ID}},
            ):
                return

    def release(self) -> None:
        for _ in self._tries():
            seen = self._look()
            if not (self._id in seen.semaphore.holders or self._id in seen.records or self._id in seen.alive):
                return
            if self._free(seen, self._id):
                return

    def evict(self, holder: str) -> str:
        for _ in self._tries():
            seen = self._look()
            found = [one for one in self._listed(seen) if holder in {one.id, one.host}]
            if len(found) != 1:
                which = "several machines hold slots under" if found else "no machine holds a slot under"
                raise Refused("NoSuchHolder", f"{which} the name or id {clip(holder)} (agentctl fleet lists them)")
            one = found[0]
            if one.mine:
                raise Refused("InvalidArgument", OWN)
            if one.state == "rebooting":
                late = f"it is overdue at the latest {format_duration(self._lifetime * SECOND)} after it took the slot"
                raise Refused("Busy", f"{clip(one.host or one.id)} reboots just now; {late}, and can be evicted then")
            if self._free(seen, one.id):
                return one.id
        raise AssertionError("unreachable: _tries() ends with Unavailable")

    def _free(self, seen: _Seen, holder: str) -> bool:
        keys = (prefix + holder.encode() for prefix in (self._records, self._alive))
        deletions = ({"request_delete_range": {"key": key}} for key in keys)
        return self._change(seen, {*seen.semaphore.holders} - {holder}, *deletions)

    def holders(self) -> list[Holder]:
        return self._listed(self._look())

    def _listed(self, seen: _Seen) -> list[Holder]:
        found = []
        for name in sorted(seen.semaphore.holders):
            record = seen.records.get(name)
            host, since = (clip(record.host), record.since) if record else ("", 0)
            state: State = "unknown" if record is None else "rebooting" if name in seen.alive else "overdue"
            found.append(Holder(name, host, since, state, name == self._id))
        return found

    def _full(self, seen: _Seen) -> Unavailable:
        held = self._listed(seen)
        names = [clip(one.host or one.id) + " (overdue)" * (one.state == "overdue") for one in held[:5]]
        more = f" and {len(held) - 5} more" if len(held) > 5 else ""
        slots = f"all {seen.semaphore.total_slots} slots of the group {self._settings.group}"
        return Unavailable(f"{self._peers[0]}: {slots} are held, by {', '.join(names) or 'nobody'}{more}")

    def _tries(self) -> Iterator[None]:
        for step in range(TRIES):
            if step:  # machines that met once must not meet again
                self._pause(0.025 * 2**step * (0.5 + os.urandom(1)[0] / 256))
            yield
        raise Unavailable(f"{self._peers[0]}: others changed the group {self._settings.group} at every try")

    def _look(self) -> _Seen:
        """Returns all keys of the group at one revision."""
        ranges = ({"key": self._key}, _below(self._records), {**_below(self._alive), "keys_only": True})
        found = self._call("/v3/kv/txn", {"success": [{"request_range": wanted} for wanted in ranges]}, _Found)
        slots, records, alive = (answer.response_range.kvs for answer in found.responses)
        fields: Any = {"total_slots": self._settings.slots, "holders": []}
        try:
            if slots:
                fields = msgspec.json.decode(slots[0].value)
            semaphore = msgspec.convert(fields, _Semaphore)
        except CONFUSING:
            raise Unavailable(f"{self._peers[0]}: the value of {self._key.decode()} is damaged") from None
        return _Seen(
            version=slots[0].version if slots else 0,
            fields=fields,
            semaphore=semaphore,
            records={_name(entry, self._records): _record(entry.value) for entry in records},
            alive={_name(entry, self._alive) for entry in alive},
        )

    def _change(self, seen: _Seen, holders: Iterable[str], *others: dict[str, Any]) -> bool:
        """Writes all changes, or none where the slots are no longer as they were seen; tells which."""
        fields = {**seen.fields, "holders": sorted(holders)}
        changes = [*others]
        if fields != seen.fields:
            changes.append({"request_put": {"key": self._key, "value": msgspec.json.encode(fields)}})
        same = {"key": self._key, "target": "VERSION", "result": "EQUAL", "version": str(seen.version)}
        return self._call("/v3/kv/txn", {"compare": [same], "success": changes}, _Done).succeeded

    def _call(self, path: str, body: object, kind: type[_Answer]) -> _Answer:
        """Returns the answer of the first peer that gives one. A question may be carried out twice: each change is
        compared."""
        failures = []
        peers = self._peers
        for turn, peer in enumerate(peers):
            try:
                answer = self._ask(peer, path, body, kind)
            except Unavailable as failure:
                failures.append(str(failure))
            else:
                self._peers = peers[turn:] + peers[:turn]
                return answer
        raise Unavailable("; ".join(failures))

    def _ask(self, peer: Peer, path: str, body: object, kind: type[_Answer]) -> _Answer:
        status, text = peer.post(path, body, self._authorization(peer))
        if self._settings.user and status in {400, 401}:  # tokens end; 400 is for one from before a change of rights
            self._secrets = {}
            status, text = peer.post(path, body, self._authorization(peer))
        if status != 200:
            raise peer.refusal(status, text, self._secrets)
        return peer.decode(text, kind)

    def _authorization(self, peer: Peer) -> dict[str, str]:
        if not self._settings.user:
            return {}
        return {"Authorization": self._secrets.get("token") or self._log_in(peer)}

    def _log_in(self, peer: Peer) -> str:
        try:
            file = credential(self._credentials, PASSWORD)
            password = file.read_text().removesuffix("\n") if file else ""
        except (OSError, UnicodeDecodeError):
            password = ""
        if not password:
            raise Unavailable(f"{peer} was not asked: the credential {PASSWORD} is missing or not readable")
        user = self._settings.user
        status, text = peer.post("/v3/auth/authenticate", {"name": user, "password": password}, {})
        if status != 200:
            raise Unavailable(f"{peer} refuses the user {user} with its password (status {status})")
        token = peer.decode(text, _Token).token
        self._secrets = {"token": token, "password": password}
        return token


def _below(prefix: bytes) -> dict[str, Any]:
    """Returns etcd's range of all keys that begin with a prefix."""
    return {"key": prefix, "range_end": prefix[:-1] + bytes([prefix[-1] + 1])}


def _name(entry: _Entry, prefix: bytes) -> str:
    return entry.key.removeprefix(prefix).decode(errors="replace")


def _record(value: bytes) -> _Record:
    """Returns what a holder's key says; nothing depends on that, so a damaged one says nothing."""
    try:
        return msgspec.json.decode(value, type=_Record)
    except CONFUSING:
        return _Record()
