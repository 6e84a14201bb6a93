"""The features from which the model foretells how far the rate of changes will be from what was counted."""

from math import cos, log, pi, sin, sqrt

from agentd.core.learning.memory import DAY, HOUR, SPANS, Memory, by_hand, rates

_SHRINK = 2 * HOUR  # seconds seen that an hour of the day must have before its profile counts
_AHEAD = (-1, 0, 1, 2, 3)
_LOG_HOUR = log(1 / HOUR)
NAMES = (
    "log_rate",
    *(f"log_rate_{int(span / HOUR)}h" for span in SPANS),
    "age_times_rate",
    "interval_times_rate",
    "gap_variation",
    "gap_phase",
    "gap_known",
    *(f"hour{ahead:+d}" if ahead else "hour" for ahead in _AHEAD),
    "weekday",
    "time_of_day_sin",
    "time_of_day_cos",
    "time_of_week_sin",
    "time_of_week_cos",
    "last_useful",
    "useful_2h",
    "useful_1d",
    "average_interval",
    "manual_runs",
    "preference",
    "failure_streak",
    "log_cost",
)
"""The names of the features, in their order."""
PREFERENCE, MANUAL = NAMES.index("preference"), NAMES.index("manual_runs")


def features(memory: Memory, rate: float, at: float, interval: float, preference: float, local: float) -> list[float]:
    """Returns the features of a job at an instant, in the order of NAMES, each between -8 and 8.

    `rate` is the counted one, memory.mean_rate(); `interval` the one in force, in seconds; `local` the instant by the
    wall clock, as if that were UTC.
    """
    age = max(0.0, at - (memory.changed or at))  # a clock may be set back while agentd is away
    spread = max(0.0, memory.gap_square - memory.gap * memory.gap)
    average = sum(memory.intervals) / len(memory.intervals) if memory.intervals else interval
    hour, day, week = local % DAY / HOUR, local % DAY / DAY * 2 * pi, (local / DAY + 3) % 7 / 7 * 2 * pi
    found = [
        log(rate) - _LOG_HOUR,
        *(log(one / rate) for one in rates(memory)),
        sqrt(age * rate),
        sqrt(interval * rate),
        sqrt(spread) / memory.gap if memory.gap else 1.0,
        min(age / memory.gap, 4.0) if memory.gap else 0.0,
        min(memory.gaps, 20) / 20,
        *(_profile(memory.hours, memory.hours_seen, int(hour + ahead) % 24) for ahead in _AHEAD),
        _profile(memory.days, memory.days_seen, int(local // DAY + 3) % 7),
        sin(day),
        cos(day),
        sin(week),
        cos(week),
        float(memory.useful),
        *(part / whole if whole else 0.5 for part, whole in zip(memory.found, memory.looked, strict=True)),
        log(average * rate),
        log(1 + by_hand(memory, at)),
        preference / 4,
        log(1 + memory.failures),
        log(max(memory.cost, 1e-3)),
    ]
    return [value if -8.0 <= value <= 8.0 else max(-8.0, min(value, 8.0)) for value in found]


def _profile(values: list[float], seen: list[float], number: int) -> float:
    """Returns the logarithm of how many changes there were at such times for one expected, with few seen nearly 0."""
    return log((values[number] + _SHRINK) / (seen[number] + _SHRINK))
