"""The interval of a job: bounded steps on a job's interval, and triggers with another interval."""

from math import ceil, floor

from msgspec.structs import replace

from agentd.core.jobs.triggers import Every, Trigger
from agentd.core.part import Refused
from agentd.core.quantities import SECOND, format_duration

STEP = 1.5
"""The factor of one increase or decrease: large enough to notice, small enough to take back."""
MOST_PREFERENCE = 4
"""The most steps by which a person prefers a job more often, or less often, than it would be."""


def preferred(old: int, direction: int) -> int:
    """Returns the preference after one more step, within its bounds."""
    return max(-MOST_PREFERENCE, min(old + direction, MOST_PREFERENCE))


def with_interval(trigger: Trigger, interval: int | None) -> Trigger:
    """Returns the trigger at another interval within its bounds; None: as it is configured.

    A trigger without an interval, such as a calendar, becomes `every`.
    """
    if interval is None:
        return trigger
    low, high = trigger.bounds
    interval = max(low, min(interval, high))
    return replace(trigger, period=interval) if isinstance(trigger, Every) else Every(interval)


def leaned(trigger: Trigger, steps: int) -> int | None:
    """Returns the trigger's interval by so many steps shorter (longer, where negative) within its bounds, in whole
    seconds from 10 s on, else in tenths; None where the trigger has no interval."""
    if trigger.interval is None:
        return None
    low, high = trigger.bounds
    unit = SECOND if (wanted := trigger.interval / STEP**steps) >= 10 * SECOND else SECOND // 10
    return max(low, min(round(wanted / unit) * unit, high))


def step(job: str, trigger: Trigger, direction: int) -> int:
    """Returns the interval one step shorter (direction 1: more often) or longer (-1), within the trigger's bounds.

    The interval never moves the other way nor further than STEP. Raises Refused where there is no interval or no room.
    """
    current = trigger.interval
    if current is None:
        raise Refused(
            "Unsupported",
            f"{job} has no interval to change, it runs {trigger.phrase()}; give it one with: "
            f"agentctl set {job} --every 2h",
        )
    low, high = trigger.bounds
    wanted = ceil(current / STEP) if direction > 0 else floor(current * STEP)
    if wanted >= 10 * SECOND:  # whole seconds, rounded towards the interval of now
        wanted = (ceil(wanted / SECOND) if direction > 0 else floor(wanted / SECOND)) * SECOND
    new = max(low, wanted) if direction > 0 else min(high, wanted)
    if (new - current) * direction >= 0 or not low <= new <= high:
        end = "shortest" if direction > 0 else "longest"
        raise Refused("Unsupported", f"{job} already runs every {format_duration(current)}, the {end} it may")
    return new
