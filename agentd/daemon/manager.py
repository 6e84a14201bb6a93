"""org.agentd1.Manager as a part: agentd's own state, its configuration and its decisions."""

from pathlib import Path
from typing import Any

from msgspec import structs

from agentd import __version__
from agentd import log as logging
from agentd.bus.arguments import limit_of, only, record
from agentd.core.part import Decided
from agentd.daemon.daemon import Daemon
from agentd.part import Part

log = logging.get()

_DECISION = {"at": "t", "part": "s", "kind": "s", "about": "s", "run_id": "s", "reason": "s"}


def part(daemon: Daemon) -> Part:
    """Returns the part that answers for the daemon itself."""
    configuring = daemon.configuring

    async def list_decisions(filter: dict[str, Any]) -> list[dict[str, Any]]:
        only(filter, part=str, about=str, run_id=str, limit=int)
        found = await daemon.decisions(**{**filter, "limit": limit_of(filter)})
        return [record(structs.asdict(decision), _DECISION) for decision in found]

    return Part(
        name="manager",
        vital=True,
        does={Decided: _tell},
        contract=Path(__file__).with_name("org.agentd1.Manager.xml"),
        methods={"Reload": configuring.reload, "ListDecisions": list_decisions},
        properties={
            "Version": lambda: __version__,
            "Mode": lambda: daemon.mode,
            "State": lambda: daemon.state,
            "StartedUSec": lambda: daemon.started_at,
            "ConfigurationFiles": lambda: list(configuring.loaded.files),
            "ConfigurationLoadedUSec": lambda: configuring.loaded_at,
            "ConfigurationError": lambda: configuring.error,
            "TimeZone": lambda: configuring.loaded.config.timezone,
            "Warnings": lambda: daemon.warnings,
            "StateDirectory": lambda: str(daemon.folder),
        },
    )


def _tell(effect: Decided) -> None:
    """Tells the log of a decision that is stored."""
    about = f"{effect.about}: " if effect.about else ""
    fields = {"part": effect.part, "job": effect.about, "run_id": effect.run_id}
    log.info(f"{about}{effect.kind}: {effect.reason}", id="decision", **fields)
