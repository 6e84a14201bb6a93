"""The quiet hours, by the clocks of people."""

from datetime import timedelta
from zoneinfo import ZoneInfo

from agentd.core.events import RANK, Priority
from agentd.core.notices.settings import Quiet
from agentd.core.times import local_instant, midnight, moment


def quiet_until(quiet: Quiet, zone: ZoneInfo, now: int) -> int:
    """Returns the end of the quiet hours that an instant lies in; 0 where it lies in none.

    They begin and end when the clocks show so: a night in which the clocks change has an hour more or less. Of a time
    that comes twice the first counts, one that does not come is when the clocks jump.
    """
    today = moment(now, zone).date()
    longer = quiet.to + (0 if quiet.to > quiet.from_ else 24 * 3600)
    for day in (today, today - timedelta(days=1)):
        begin, end = (
            local_instant(midnight(day) + timedelta(seconds=second), zone) for second in (quiet.from_, longer)
        )
        if begin <= now < end:
            return end
    return 0


def audible_at(quiet: Quiet | None, zone: ZoneInfo, priority: Priority, at: int) -> int:
    """Returns from when on, `at` at the earliest, people may be told something of a priority."""
    if quiet is None or RANK[priority] >= RANK[quiet.breaks]:
        return at
    return quiet_until(quiet, zone, at) or at
