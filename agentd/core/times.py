"""Time zones, instants on the wall clock, and jitter. An instant is in microseconds since 1970."""

import hashlib
import struct
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from agentd.core.quantities import DAY

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_USEC = timedelta(microseconds=1)


def moment(instant: int, zone: tzinfo = UTC) -> datetime:
    """Returns the instant as the clocks of the zone show it."""
    return (EPOCH + instant * _USEC).astimezone(zone)


def instant_of(moment: datetime) -> int:
    """Returns the instant of a moment that knows its zone."""
    return (moment.astimezone(UTC) - EPOCH) // _USEC


def midnight(day: date) -> datetime:
    """Returns the first moment of a date on a wall clock: without a zone, as local_instant and CronSim take it."""
    return datetime.combine(day, time())


def local_instant(wall: datetime, zone: ZoneInfo) -> int:
    """Returns the instant of a local wall clock time: the first of two; the jump where a gap swallows the time."""
    first = wall.replace(tzinfo=zone, fold=0)
    instant = instant_of(first)
    if first.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == wall:
        return instant
    # In a gap fold=0 uses the offset before the jump and fold=1 the one after: the jump lies between.
    jump = first_change(instant_of(wall.replace(tzinfo=zone, fold=1)), instant, zone)
    return instant if jump is None else jump


def first_change(begin: int, end: int, zone: ZoneInfo) -> int | None:
    """Returns the first instant in (begin, end] with another offset than begin; None: there is none.

    No zone has two changes within a day.
    """
    offset = offset_at(begin, zone)
    while begin < end:
        high = min(begin + DAY, end)
        if offset_at(high, zone) != offset:
            while high - begin > 1:
                middle = (begin + high) // 2
                begin, high = (middle, high) if offset_at(middle, zone) == offset else (begin, middle)
            return high
        begin = high
    return None


def offset_at(instant: int, zone: ZoneInfo) -> timedelta:
    """Returns by how much the clocks of the zone are ahead of UTC at an instant."""
    return moment(instant, zone).utcoffset() or timedelta()


@lru_cache(maxsize=512)
def timezone(name: str) -> ZoneInfo:
    """Returns the time zone of that name. Raises ValueError with a sentence."""
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError, EOFError, struct.error):  # the last ones where the zone's file is damaged
        raise ValueError(f'"{name}" is not a time zone (try Europe/Berlin or UTC)') from None


def jitter_offset(host: str, name: str, jitter: int) -> int:
    """Returns a delay in [0, jitter), in the unit of `jitter`, that stays the same for a host and a job (or "reboot")
    and differs between hosts."""
    if not jitter:
        return 0
    digest = hashlib.blake2b(f"{host}/{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % jitter
