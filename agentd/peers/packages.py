"""The packages that the Debian package only suggests, and whose absence shows before they are needed."""

from collections.abc import Collection
from importlib.util import find_spec


def missing_for(channels: Collection[str]) -> str:
    """Returns why nothing gets through to any of the channels of notices, as a sentence, or "". Pings need none."""
    if not channels or find_spec("apprise") is not None:
        return ""
    return "nothing gets through to any channel: apprise is not installed (apt install apprise)"
