"""The rate of changes of what a job watches, and the interval that such a rate deserves.

Time costs something while a change is there and unseen; a run costs processor time. Rates are in changes a second,
intervals in seconds, a price in square seconds: the age (in seconds, over seconds) that is worth as much as one run.
"""

from math import cbrt, exp, expm1, log, sqrt

LEAST_RATE, MOST_RATE = 1e-9, 10.0
"""Changes a second between which rates are kept: one in 30 years, and more than any interval of a second can tell."""
_HOUR = 3600.0
_SMALL = 1e-2  # below it differences of numbers near 1 lose digits, and the first terms of a series are exact to 1e-9
_MOST_TURNS = 10.0  # changes an interval, beyond which nothing is told from more
_PRECISE = 1e-12
_TURNED = 1e-9  # the step after which the root is known to more digits than that; rounding leaves steps of 1e-10


def price_of(aim: float) -> float:
    """Returns the price of one second of processor time, in square seconds, with which a job that takes one second and
    watches what changes once an hour runs each `aim` seconds."""
    return _bend(aim / _HOUR) * _HOUR * _HOUR


def best(rate: float, price: float) -> float:
    """Returns the interval, in seconds, at which runs and age together cost least.

    With x = rate * interval, the age of the oldest unseen change costs per time, in Poisson changes,
    interval / 2 - 1 / rate + (1 - exp(-x)) / (rate * x) (Cho and Garcia-Molina, "Synchronizing a database to improve
    freshness", SIGMOD 2000, section 4), and a run price / interval; the sum is least where
    x * x / 2 + (x + 1) * exp(-x) - 1 = price * rate * rate. The interval shrinks as the rate grows.
    """
    return _turn(price * rate * rate) / rate


def deserved(interval: float, price: float) -> float:
    """Returns the rate of changes, a second, for which an interval in seconds is the best one; where the interval is
    shorter than any rate deserves, ten changes an interval."""
    wanted, x = price / (interval * interval), _MOST_TURNS
    if wanted < _bend(x) / (x * x):
        # From below: _bend(x) / (x * x), at most x / 3, is concave, and Newton's method never passes the root.
        x = 3 * wanted
        for _ in range(100):
            step = (wanted - _bend(x) / (x * x)) / _slope(x)
            x += step
            if step <= _PRECISE * x:
                break
    return x / interval


def changes(rate: float, span: float) -> float:
    """Returns how many changes are expected in a span of which is known that there was at least one."""
    return _ratio(rate * span)


def log_likelihood(rate: float, span: float, *, useful: bool) -> float:
    """Returns the logarithm of the probability that a rate gave to what a run found after a span of seconds."""
    x = max(rate * span, _PRECISE)
    return log(-expm1(-x)) if useful else -x


def bounded(rate: float) -> float:
    """Returns a rate within LEAST_RATE and MOST_RATE."""
    return LEAST_RATE if rate < LEAST_RATE else min(rate, MOST_RATE)


def _ratio(x: float) -> float:
    """Returns x / (1 - exp(-x)), which is 1 at 0."""
    return 1 + x / 2 if x < _PRECISE else x / -expm1(-x)


def _bend(x: float) -> float:
    """Returns x * x / 2 + (x + 1) * exp(-x) - 1, which is x ** 3 / 3 near 0."""
    return (
        x * x * x * (1 / 3 - x / 8 + x * x / 30 - x * x * x / 144) if x < _SMALL else x * x / 2 + (x + 1) * exp(-x) - 1
    )


def _slope(x: float) -> float:
    """Returns the slope of _bend(x) / (x * x)."""
    return (
        1 / 3 - x / 4 + x * x / 10 - x * x * x / 36 if x < _SMALL else (-x * x * expm1(-x) - 2 * _bend(x)) / (x * x * x)
    )


def _turn(wanted: float) -> float:
    """Returns the x whose _bend is `wanted`, by Newton's method: from below, for _bend(x) is at most x * x / 2."""
    x = max(cbrt(3 * wanted), sqrt(2 * wanted))
    for _ in range(50):
        slope = x * -expm1(-x)
        step = (_bend(x) - wanted) / slope if slope else 0.0
        x -= step
        if abs(step) <= _TURNED * x:
            break
    return x


AIM = price_of(600.0)
"""The price of a second of processor time by default: a job that takes one second and watches what changes once an hour
runs each 10 minutes."""
