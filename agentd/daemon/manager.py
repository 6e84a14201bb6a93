"""org.agentd1.Manager as a part: agentd's own state, its configuration and its decisions."""

from pathlib import Path
from typing import Any

from msgspec import structs

from agentd import __version__
from agentd import log as logging
from agentd.bus.arguments import Records, limit_of, only
from agentd.bus.server import Caller
from agentd.core.part import Decided, by_whom
from agentd.daemon import checks
from agentd.daemon.daemon import Daemon
from agentd.daemon.reading import numbered_decisions
from agentd.part import Part

log = logging.get()

_DECISION = {"seq": "t", "at": "t", "part": "s", "kind": "s", "about": "s", "run_id": "s", "reason": "s"}


def part(daemon: Daemon) -> Part:
    """Returns the part that answers for the daemon itself."""
    configuring = daemon.configuring

    async def list_decisions(filter: dict[str, Any]) -> Records[tuple[int, Decided]]:
        only(filter, part=str, about=str, run_id=str, before=int, limit=int)
        found = await daemon.ask(numbered_decisions, **{**filter, "limit": limit_of(filter)})
        return Records(_decision_record, found, _DECISION)

    async def reload(caller: Caller) -> list[str]:
        changes: list[str] = await configuring.reload()
        daemon.decide("reload", f"{'; '.join(changes) or 'nothing changed'}{by_whom(caller.who)}", caller.who)
        await daemon.settle()
        return changes

    return Part(
        name="manager",
        vital=True,
        does={Decided: _tell},
        contract=Path(__file__).with_name("org.agentd1.Manager.xml"),
        methods={"Reload": reload, "ListDecisions": list_decisions},
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
        checks=lambda: checks.checks(daemon),
    )


def _decision_record(numbered: tuple[int, Decided]) -> dict[str, Any]:
    number, decision = numbered
    values = {name: value for name, value in structs.asdict(decision).items() if name in _DECISION}
    return {"seq": number, **values}


def _tell(effect: Decided) -> None:
    """Tells the log of a decision that is stored."""
    about = f"{effect.about}: " if effect.about else ""
    fields = {"part": effect.part, "job": effect.about, "run_id": effect.run_id}
    if effect.by:
        fields["by"] = effect.by
    log.info(f"{about}{effect.kind}: {effect.reason}", id="decision", **fields)
