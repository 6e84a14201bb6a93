"""The systemd generator: the units that the jobs and the rules of the configuration ask for.

systemd runs its script (units/agentd-generator) as root and early in the boot. The script writes the units that this
module names, and keeps those of before where this module cannot be loaded or the configuration has errors.
"""

from agentd.config import files
from agentd.core.config import Config
from agentd.core.jobs import unitfile as jobs
from agentd.core.rules import unitfile as rules

PATTERNS = (jobs.unit("*"), rules.unit("*"))
"""The names that generated units have."""


def units() -> dict[str, str]:
    """Returns the units' texts by their names; none without a configuration. Raises Problems, OSError."""
    return units_of(files.load().config) if files.sources(None) else {}


def units_of(config: Config) -> dict[str, str]:
    """Returns the texts of the units that a configuration asks for, by their names."""
    return {**dict(jobs.units(config.jobs)), **dict(rules.units(config.may_restart))}
