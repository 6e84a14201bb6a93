"""The systemd generator: the units that the jobs of the configuration ask for.

Run as root, early, and never to be relied on by the boot. Its script (units/agentd-generator) writes what this says,
and does without where this cannot be had or the configuration has errors.
"""

from agentd.config import files
from agentd.core.jobs import unitfile


def units() -> dict[str, str]:
    """The units' texts by their names. Raises Problems, OSError."""
    return dict(unitfile.units(files.load().config)) if files.sources(None) else {}
