"""The contest of models for a job: each foretells every run, and the one that earned it decides.

A model is scored before it sees what the run found, by the logarithm of the probability that it gave to that (log loss
is proper: no model gains by saying anything but what it believes). Scores fade over three days of the job's runs.
"""

from collections.abc import Sequence
from math import exp

from agentd.core.learning.memory import DAY
from agentd.core.learning.rate import log_likelihood

CONFIGURED, AIMD, COUNTED, MLP = MODELS = ("configured", "aimd", "gamma-poisson", "mlp")
"""The models, from the simplest on. Without a score the counted rate decides."""
TITLES = {
    CONFIGURED: "the configured interval",
    AIMD: "additive increase, multiplicative decrease",
    COUNTED: "the counted rate of changes",
    MLP: "the network",
}
"""The models, as people read them."""
EARNED = 2.0
"""The log-likelihood, in nats, by which the network must have foretold better than the counted rate: odds of seven to
one."""
LOST = 4.0
"""The log-likelihood by which the counted rate must have foretold worse than a simpler model to give way to it."""
DWELL = 5
"""The number of runs between two changes of the model that decides, but for one that falls back."""
_SPAN = 3 * DAY


def score(scores: Sequence[float], rates: Sequence[float], span: float, *, useful: bool) -> list[float]:
    """Returns the scores of the models after a run that came a span of seconds after the one before, for which each had
    foretold a rate (0: had foretold nothing, which counts as what the counted rate did)."""
    fade, counted = exp(-span / _SPAN), rates[MODELS.index(COUNTED)]
    return [
        old * fade + log_likelihood(rate or counted, span, useful=useful)
        for old, rate in zip(scores, rates, strict=True)
    ]


def gained(foretold: Sequence[float], span: float, *, useful: bool) -> float:
    """Returns the log-likelihood, in nats, by which the network foretold a run better than the counted rate did, by the
    rates of the models in their order; 0 where the network had foretold nothing."""
    rates = dict(zip(MODELS, foretold, strict=False))
    if span <= 0 or not rates.get(MLP):
        return 0.0
    return log_likelihood(rates[MLP], span, useful=useful) - log_likelihood(rates[COUNTED], span, useful=useful)


def choose(now: str, scores: Sequence[float], runs: int) -> tuple[str, str]:
    """Returns the model that decides from here on, and why. `now` is the one that did, `runs` the number of runs since
    it does."""
    by = dict(zip(MODELS, scores, strict=True))
    gain = by[MLP] - by[COUNTED]
    simple = max((CONFIGURED, AIMD), key=lambda name: by[name])
    loss = by[simple] - by[COUNTED]
    if now == MLP and gain >= 0:
        return MLP, f"the network foretells runs better than the counted rate, by {gain:.1f} nats"
    if now in (CONFIGURED, AIMD) and by[now] > by[COUNTED]:
        return now, f"{TITLES[now]} foretells runs better than the counted rate, by {by[now] - by[COUNTED]:.1f} nats"
    if now != COUNTED:  # at once: whoever falls back does not dwell
        return COUNTED, f"{TITLES[now]} has not foretold runs better than the counted rate lately"
    if runs >= DWELL and gain >= EARNED:
        return MLP, f"the network foretells runs better than the counted rate, by {gain:.1f} nats"
    if runs >= DWELL and loss >= LOST:
        return simple, f"{TITLES[simple]} foretells runs better than the counted rate, by {loss:.1f} nats"
    return COUNTED, "the counted rate decides until another model has foretold runs better"
