"""The systemd generator: the units that the jobs of the configuration ask for.

systemd runs its script (units/agentd-generator) as root and early in the boot. The script writes the units that this
module names, and keeps those of before where this module cannot be loaded or the configuration has errors.
"""

from agentd.config import files
from agentd.core.jobs import unitfile


def units() -> dict[str, str]:
    """Returns the units' texts by their names; none without a configuration. Raises Problems, OSError."""
    return dict(unitfile.units(files.load().config.jobs)) if files.sources(None) else {}
