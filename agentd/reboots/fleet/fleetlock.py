"""Slots that a FleetLock server keeps."""

from pathlib import Path

from agentd.core.part import Refused
from agentd.core.reboots.policy import FleetPolicy
from agentd.peers.http import Peer, Unavailable
from agentd.reboots.fleet.lock import OWN, Holder


class FleetLock:
    """A server that speaks FleetLock. Both questions may be repeated: the answer stays the same."""

    def __init__(self, settings: FleetPolicy, own_id: str, credentials: Path | None) -> None:
        self._peer = Peer("the FleetLock server", settings.fleetlock, credentials, 64 << 10)
        self._own_id, self._group = own_id, settings.group

    def acquire(self, reason: str) -> None:  # noqa: ARG002 - the protocol has no place for a reason
        self._ask("/v1/pre-reboot", self._own_id)

    def release(self) -> None:
        self._ask("/v1/steady-state", self._own_id)

    def holders(self) -> list[Holder]:
        raise Unavailable(f"{self._peer} cannot tell who holds its slots: the protocol has no question for it")

    def evict(self, holder: str) -> str:
        """Says for another machine that it is up. The server takes that for an id that holds nothing as well."""
        if holder == self._own_id:
            raise Refused("InvalidArgument", OWN)
        self._ask("/v1/steady-state", holder)
        return holder

    def _ask(self, path: str, holder: str) -> None:
        body = {"client_params": {"id": holder, "group": self._group}}
        status, text = self._peer.post(path, body, {"fleet-lock-protocol": "true"})
        # A wrong web server, or a proxy's login page, says 200 as well.
        if text.lstrip().startswith(b"<"):
            raise Unavailable(f"{self._peer} answers with a web page (status {status}); is it a FleetLock server?")
        if status != 200:
            raise self._peer.refusal(status, text)
