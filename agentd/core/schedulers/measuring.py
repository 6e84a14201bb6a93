"""The plan of a session of the monitor: how often it reads, for how long, and which control groups it looks at."""

from collections.abc import Sequence
from math import floor

from msgspec import Struct

from agentd.core.part import Refused
from agentd.core.quantities import DAY, MINUTE, SECOND, format_duration

SHORTEST = SECOND
"""The shortest interval, in microseconds."""
_LONGEST = MINUTE
_LONGEST_SPAN = DAY
_MOST_GROUPS = 16


class Plan(Struct, frozen=True, kw_only=True):
    """A session that reads every `interval` for a `span`, both in microseconds. Without `groups` it looks at the slices
    and scopes at the top of the control groups. With `keep` it goes on after its client has left the bus."""

    interval: int = SECOND
    span: int = 10 * MINUTE
    groups: tuple[str, ...] = ()
    keep: bool = False

    def due_after(self, due: float, now: float, end: float) -> float:
        """Returns when the next reading is due after the one of `due`, all in seconds: a whole number of intervals
        later, so that lateness does not add up, and at the latest at the `end`. Missed readings are passed over."""
        interval = self.interval / SECOND
        missed = max(0, floor((now - due) / interval))
        return min(due + (missed + 1) * interval, end)


def planned(
    interval: int = SECOND, span: int = 10 * MINUTE, groups: Sequence[object] = (), *, keep: bool = False
) -> Plan:
    """Returns a plan. Raises Refused InvalidArgument."""
    if not SHORTEST <= interval <= _LONGEST:
        ends = f"{format_duration(SHORTEST)} and {format_duration(_LONGEST)}"
        raise Refused("InvalidArgument", f"expected an interval between {ends}, not {_told(interval)}")
    if not interval <= span <= _LONGEST_SPAN:
        least, most = format_duration(interval), format_duration(_LONGEST_SPAN)
        why = f"expected a session of at least its interval ({least}) and at most {most}, not {_told(span)}"
        raise Refused("InvalidArgument", why)
    if len(groups) > _MOST_GROUPS:
        raise Refused("InvalidArgument", f"expected at most {_MOST_GROUPS} control groups, not {len(groups)}")
    names = dict.fromkeys(group.strip("/") if isinstance(group, str) else "" for group in groups)
    if any(step in {"", ".", ".."} for name in names for step in name.split("/")):
        why = "expected the path of a control group below the top, such as system.slice/ssh.service"
        raise Refused("InvalidArgument", why)
    return Plan(interval=interval, span=span, groups=tuple(names), keep=keep)


def _told(usec: int) -> str:
    return format_duration(usec) if usec >= 1000 else f"{usec} microseconds"
