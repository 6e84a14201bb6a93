"""The systemd generator: turns the jobs of the configuration into units when systemd reads its own.

Run as root, early, and never to be relied on by the boot: whatever is wrong, it says so and writes what it can.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from agentd import config
from agentd.core import unitfile
from agentd.nodes import Problems

KEPT = Path("/run/agentd-units")
"""The units of the last configuration that agentd accepted: root's copy (see the unit agentd-job@.keep.service)."""


def main(arguments: Sequence[str]) -> int:
    """Writes the units into the first of the three folders that systemd gives (systemd.generator(7))."""
    folder = Path(arguments[1])
    try:
        if not config.sources(None):
            return 0
        units = dict(unitfile.units(config.load().config))
    except (Problems, OSError) as error:
        # Everybody may make systemd reload while a file has errors; the jobs that agentd runs must not vanish by that.
        units = {file.name: file.read_text() for file in KEPT.glob("agentd-job@*.service")}
        kept = f"the {len(units)} units of the last good one stay" if units else "no units are written"
        print(f"agentd-generator: the configuration has errors, {kept}:\n{error}", file=sys.stderr)
    for name, text in units.items():
        (folder / name).write_text(text)
    return 0
