"""Histories of changes of several kinds, drawn at random: from them the first model learns, and with others it is
measured. Instants are in seconds from the beginning of a history, sorted."""

from collections.abc import Callable
from math import exp, log, pi, sin
from random import Random

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
Draw = Callable[[Random, float], list[float]]


def poisson(random: Random, length: float) -> list[float]:
    """Returns changes that come without memory, at a mean gap of 15 minutes to 12 hours."""
    return _thinned(random, length, 1 / _between(random, 15 * MINUTE, 12 * HOUR), lambda _: 1.0)


def periodic(random: Random, length: float) -> list[float]:
    """Returns changes with a period of 20 minutes to 12 hours, each late or early by up to a tenth of it or so."""
    period = _between(random, 20 * MINUTE, 12 * HOUR)
    spread = period * random.choice((0.0, 0.02, 0.05, 0.1))
    phase = random.uniform(0, period)
    found = (phase + period * number + random.gauss(0, spread) for number in range(int(length / period) + 1))
    return sorted(at for at in found if 0 < at < length)


def bursty(random: Random, length: float) -> list[float]:
    """Returns bursts of some ten changes a few minutes apart, with quiet hours between."""
    quiet, close, size = (
        _between(random, 3 * HOUR, 2 * DAY),
        _between(random, MINUTE, 15 * MINUTE),
        random.randint(4, 20),
    )
    found, at = [], random.expovariate(1 / quiet)
    while at < length:
        burst = at
        for _ in range(1 + int(random.expovariate(1 / size))):
            found.append(burst)
            burst += random.expovariate(1 / close)
        at = burst + random.expovariate(1 / quiet)
    return [at for at in found if at < length]


def diurnal(random: Random, length: float) -> list[float]:
    """Returns changes that come by day: with office hours on five or seven days, or in a smooth wave."""
    rate = 1 / _between(random, 10 * MINUTE, 2 * HOUR)
    begin, hours, days = random.uniform(0, 24), random.uniform(6, 14), random.choice((5, 7))
    night = random.uniform(0.0, 0.1)
    if random.random() < 0.5:

        def level(at: float) -> float:
            open_now = (at / HOUR - begin) % 24 < hours and (at // DAY + 3) % 7 < days
            return 1.0 if open_now else night
    else:

        def level(at: float) -> float:
            return max(night, (1 + sin((at / HOUR - begin) / 24 * 2 * pi)) / 2)

    return _thinned(random, length, rate, level)


def regimes(random: Random, length: float) -> list[float]:
    """Returns changes whose rate becomes another every few days."""
    stay = _between(random, DAY, 6 * DAY)
    found: list[float] = []
    at = 0.0
    while at < length:
        end = min(length, at + random.expovariate(1 / stay))
        found += [at + one for one in _thinned(random, end - at, 1 / _between(random, 5 * MINUTE, DAY), lambda _: 1.0)]
        at = end
    return found


KINDS: dict[str, Draw] = {
    "poisson": poisson,
    "periodic": periodic,
    "bursty": bursty,
    "diurnal": diurnal,
    "regimes": regimes,
}
"""The kinds of histories."""


def _between(random: Random, low: float, high: float) -> float:
    """Returns a number that is as likely between 1 and 2 as between 10 and 20."""
    return low * exp(log(high / low) * random.random())


def _thinned(random: Random, length: float, rate: float, level: Callable[[float], float]) -> list[float]:
    """Returns the instants of a Poisson process whose rate is `rate` times a level between 0 and 1."""
    found, at = [], -log(1 - random.random()) / rate
    while at < length:
        if random.random() < level(at):
            found.append(at)
        at += -log(1 - random.random()) / rate
    return found
