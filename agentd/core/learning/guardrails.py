"""Guard rails: whatever a model says, an interval stays within them."""

from collections.abc import Mapping

from agentd.core.jobs.interval import MOST_PREFERENCE

FACTOR = 2.0
"""The factor by which an interval changes at most at a time."""
NOTICED = 0.1
"""The relative change below which an interval stays what it is."""
BACK_OFF = 4
"""The failures in a row up to which each doubles an interval."""
JITTER = 0.05
"""The relative difference of an interval from machine to machine, at most, so that a fleet does not act as one."""
HELD_RUNS, HELD = 6, 3600.0
"""For so many runs, and so many seconds, an interval does not go against what a person wanted."""
_BY_HAND = 0.5


def lean(preference: int, by_hand: float) -> float:
    """Returns the steps by which a person wants a job more often: the preference, and half a step for each run that was
    asked for lately, one step at most."""
    return max(-MOST_PREFERENCE, min(preference, MOST_PREFERENCE)) + min(1.0, _BY_HAND * by_hand)


def within(wanted: float, before: float, shortest: float, longest: float, failures: int) -> tuple[float, str]:
    """Returns the interval in seconds that takes the place of `before`, and the bound that acted, or ""."""
    bound = ""
    interval = wanted
    if failures:
        interval, bound = wanted * 2.0 ** min(failures, BACK_OFF), "failures"
    if interval < shortest:
        interval, bound = shortest, "min"
    elif interval > longest:
        interval, bound = longest, "max"
    if (near := step(interval, before)) != interval:
        interval, bound = near, "step"
    return min(max(interval, shortest), longest), bound


def held(interval: float, before: float, wish: int) -> bool:
    """Tells whether an interval would go against what a person just wanted: 1 more often, -1 less often, 0 nothing."""
    return (interval - before) * wish > 0


def afforded(wanted: float, bound: str, before: float, factor: float, longest: float, wish: int) -> tuple[float, str]:
    """Returns the interval in seconds that a job gets where the budget has intervals longer by a factor, and the bound
    that acted; `bound` is that of what is wanted.

    The budget does not go against what a person just wanted either, and no other job pays for that.
    """
    interval = stretched(wanted, factor, longest)
    if interval > wanted:
        bound = "budget"
    if (near := step(interval, before)) != interval:
        interval, bound = near, "step"
    return (before, "wish") if held(interval, before, wish) else (interval, bound)


def noticed(interval: float, before: float) -> bool:
    """Tells whether an interval differs enough from the one before to take its place."""
    return abs(interval - before) > NOTICED * before


def stretch(
    intervals: Mapping[str, float], costs: Mapping[str, float], most: Mapping[str, float], budget: float
) -> float:
    """Returns the factor by which intervals, in seconds by job, become longer so that all jobs together take no more
    than `budget` processors, as far as none is stretched above its `most` (see stretched)."""
    # As in stretched(), which is too slow for the fifty factors that are tried each time.
    jobs = [(costs[name], one, max(one, most[name])) for name, one in intervals.items()]

    def spent(factor: float) -> float:
        return sum([cost / (long if (long := one * factor) < limit else limit) for cost, one, limit in jobs])

    if not intervals or spent(1.0) <= budget:
        return 1.0
    low, high = 1.0, 2.0
    while spent(high) > budget and high < 1e9:
        low, high = high, high * 2
    for _ in range(50):
        middle = (low + high) / 2
        if spent(middle) > budget:
            low = middle
        else:
            high = middle
    return high


def stretched(interval: float, factor: float, most: float) -> float:
    """Returns an interval longer by a factor, but not above `most` where it was below."""
    return min(interval * factor, max(interval, most))


def step(interval: float, before: float) -> float:
    """Returns an interval no further from the one before than FACTOR."""
    return min(max(interval, before / FACTOR), before * FACTOR)


def spread(number: float) -> float:
    """Returns the factor of a machine's and job's intervals, by a number of theirs between 0 and 1."""
    return 1 + JITTER * (2 * number - 1)
