"""Prints how a checkout of agentd decodes the configurations of tests/compat, in words of no version.

Run as `python decoded.py CHECKOUT`, in a process of its own: it imports that checkout's agentd.
"""

import importlib
import json
import subprocess
import sys
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

HERE = Path(__file__).parent
CONFIGURATIONS = ("configuration", "configuration/fleetlock.yaml")
INSTANT = 1_790_000_000_000_000  # 2026-09-21, before the windows of the configuration have their exceptions


def main() -> int:
    checkout = Path(sys.argv[1]).resolve()
    sys.path[0] = str(checkout)
    import msgspec

    files = _first("agentd.config.files", "agentd.config")
    windows = _first("agentd.core.reboots.windows", "agentd.core.windows")

    def plain(value: Any) -> Any:
        """Structs by their fields; a trigger with what every version's trigger can tell of itself."""
        if isinstance(value, msgspec.Struct):
            found = {name: plain(getattr(value, name)) for name in value.__struct_fields__}
            trigger: Any = value
            return {**found, "key": trigger.key, "phrase": trigger.phrase()} if hasattr(value, "key") else found
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, list | tuple) else value

    def shown(name: str) -> dict[str, Any]:
        config = files.load(HERE / name).config
        found: dict[str, Any] = plain(config)
        for job in found["jobs"].values():  # later versions leave to the core what zone a job without one is in
            job["timezone"] = job["timezone"] or config.timezone
            job["notify"] = (
                job["notify"] or []
            )  # later versions know a job that says nothing from one that wants nothing
        policy = config.reboot
        every = policy.windows.values() if isinstance(policy.windows, dict) else policy.windows
        coming = windows.occurrences(policy, ZoneInfo(config.timezone), "host", INSTANT)
        found["reboot"]["windows"] = {
            "phrases": sorted(window.phrase() for window in every),
            "coming": [[one.opens, one.begin, one.end] for one in islice(coming, 40)],
        }
        return found

    command = [sys.executable, "-m", "agentd", "--check", str(HERE / "configuration"), "--json"]
    check = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True)
    report = {"check": json.loads(check.stdout), "decoded": {name: shown(name) for name in CONFIGURATIONS}}
    print(json.dumps(report, indent=1).replace(str(HERE), "HERE"))
    return 0


def _first(*names: str) -> Any:
    """The first module of those that this checkout has."""
    for name in names:
        try:
            if find_spec(name) is not None:
                return importlib.import_module(name)
        except ModuleNotFoundError:
            continue
    raise SystemExit(f"this agentd has none of {', '.join(names)}")


if __name__ == "__main__":
    sys.exit(main())
