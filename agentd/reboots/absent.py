"""Reboots, plugged in where agentd does not reboot the machine: the rest of the part, 0.5 MiB, is not loaded then."""

from typing import Any

from msgspec.structs import replace

from agentd.bus.arguments import Records, record
from agentd.bus.contract import Handler
from agentd.core.config import Config
from agentd.core.reboots.model import PART, Reboot
from agentd.core.reboots.policy import RebootPolicy
from agentd.part import Host, Part, absent
from agentd.reboots import checks
from agentd.reboots.records import CONTRACT, STATUS, listed
from agentd.reboots.tables import RebootTables

_STANDALONE = "agentd runs standalone here and does not reboot the machine"
_NO_EFFECT = "reboot has no effect: standalone mode does not reboot the machine"


async def plug(host: Host, config: Config) -> Part:
    """Returns the part where agentd does not reboot the machine: it tells what was stored, refuses all else, and warns
    of a policy in the configuration. Raises sqlite3.Error."""
    await host.take_up(RebootTables())
    policy = config.reboot

    def configure(config: Config, _now: int) -> None:
        nonlocal policy
        policy = config.reboot

    async def list_all(wanted: dict[str, Any]) -> Records[Reboot]:
        return await listed(host, wanted)

    answers: dict[str, Handler] = {"GetStatus": lambda: record({"state": "disabled"}, STATUS), "ListReboots": list_all}
    part = absent(PART, CONTRACT, _STANDALONE, answers, State="disabled", Blockers=[])
    return replace(
        part,
        configure=configure,
        warnings=lambda: [_NO_EFFECT] if policy != RebootPolicy() else [],
        checks=lambda: checks.skipped(),  # noqa: PLW0108 - loaded only then
    )
