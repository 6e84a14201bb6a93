"""Time zones, instants on the wall clock, and jitter."""

import hashlib
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from agentd.core.quantities import DAY

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def local_instant(wall: datetime, zone: ZoneInfo) -> int:
    """The instant of a local wall clock time: the first of two, and the jump itself where a gap swallows it."""
    first = wall.replace(tzinfo=zone, fold=0)
    instant = _usec(first)
    if first.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == wall:
        return instant
    # In a gap fold=0 uses the offset before the jump and fold=1 the one after: the jump lies between.
    jump = _first_change(_usec(wall.replace(tzinfo=zone, fold=1)), instant, zone)
    return instant if jump is None else jump


def _first_change(begin: int, end: int, zone: ZoneInfo) -> int | None:
    """The first instant in (begin, end] with another offset than begin; no two changes lie within a day."""
    offset = _offset(begin, zone)
    while begin < end:
        high = min(begin + DAY, end)
        if _offset(high, zone) != offset:
            while high - begin > 1:
                middle = (begin + high) // 2
                begin, high = (middle, high) if _offset(middle, zone) == offset else (begin, middle)
            return high
        begin = high
    return None


@lru_cache(maxsize=512)
def timezone(name: str) -> ZoneInfo:
    """The time zone of that name. Raises ValueError."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f'"{name}" is not a time zone (try Europe/Berlin or UTC)') from None


def _offset(instant: int, zone: ZoneInfo) -> timedelta:
    return (_EPOCH + timedelta(microseconds=instant)).astimezone(zone).utcoffset() or timedelta()


def _usec(moment: datetime) -> int:
    return (moment.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)


def jitter_offset(host: str, job: str, jitter: int) -> int:
    """A delay in [0, jitter) that stays the same for a host and job and differs between hosts."""
    if not jitter:
        return 0
    digest = hashlib.blake2b(f"{host}/{job}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % jitter
