"""The learning itself, by scikit-learn, which takes a second or two to be loaded: rows go in, a model comes out."""

import os
import warnings
from collections.abc import Iterable
from itertools import islice
from typing import Any, NamedTuple

from msgspec.structs import replace

# The matrices are small: more threads cost more than they save, and the machine has other things to do.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
import numpy as np
import sklearn
from sklearn.neural_network import MLPRegressor

from agentd.core.learning import weights
from agentd.core.learning.features import NAMES
from agentd.core.learning.learner import LEAST_RATIO, MOST_RATIO, Row
from agentd.core.learning.model import FEWEST_ROWS, MOST_ROWS
from agentd.core.learning.rate import LEAST_RATE, MOST_RATE
from agentd.core.learning.weights import Model, Nothing, Origin, Score, rounded

HELD_OUT = 5
"""One row of so many, the newest, judges the model and is not learnt from."""
_UNITS = 32
_ROUNDS = 60
_PACE, _PACE_ON = 2e-3, 1e-3
"""The learning rates: from nothing, and on from a model."""
_PATIENCE, _PATIENCE_ON = 8, 4
"""The rounds without gain after which learning ends, likewise: with eight, stores of no kind led to another network."""
_MOST_WEIGHT = 3.0  # a row after a long span would otherwise be drawn all the time
_MOST_TARGET = 8.0
_CONSTANT = 1e-3  # the standard deviation below which an input tells nothing
_PRECISE = 1e-12
Array = Any  # numpy's own types differ from version to version


class _Examples(NamedTuple):
    """Rows as arrays: a line of inputs each, the counted rate, the span, and whether a change was found."""

    inputs: Array
    rates: Array
    spans: Array
    useful: Array

    def some(self, which: Any) -> "_Examples":
        """Returns those of the rows."""
        return _Examples(*(column[which] for column in self))

    def and_(self, others: "_Examples") -> "_Examples":
        """Returns these rows and the others."""
        return _Examples(*(np.concatenate(pair) for pair in zip(self, others, strict=True)))


def examples(rows: Iterable[Row]) -> _Examples:
    """Returns the arrays of rows, which are let go as they are read: there may be a million."""
    inputs, rest, left = [np.empty((0, len(NAMES)), np.float32)], [np.empty((0, 3))], iter(rows)
    while some := list(islice(left, 4096)):
        inputs.append(np.array([row.features for row in some], dtype=np.float32))
        rest.append(np.array([(row.rate, row.span, row.useful) for row in some], dtype=np.float64))
    rates, spans, useful = np.concatenate(rest).T
    return _Examples(np.concatenate(inputs), rates, spans, useful > 0)


def train(
    rows: Iterable[Row],
    *,
    origin: Origin,
    made: int,
    seed: int = 0,
    most: int = MOST_ROWS,
    first: Model | None = None,
    more: Iterable[Row] = (),
) -> Model:
    """Returns a model of rows, which are in their order of time, with its score by the newest of them.

    Of the others at most `most` are learnt from, and as many of `more`, which judge nothing. Learning goes on from the
    model `first`. Raises Nothing where there are too few, ValueError where scikit-learn finds no weights.
    """
    own = examples(rows)
    count = len(own.rates)
    if count < FEWEST_ROWS:
        raise Nothing(f"there are {count} rows to learn from: expected at least {FEWEST_ROWS}")
    held = own.some(slice(count - count // HELD_OUT, None))
    random = np.random.RandomState(seed)  # whose numbers are the same with every version of numpy
    learnt = _drawn(own.some(slice(count - count // HELD_OUT)), random, most)
    if len((others := examples(more)).rates):
        learnt = learnt.and_(_drawn(others, random, len(learnt.rates)))
    model = _fitted(learnt, seed, first)
    score = Score(rows=len(held.rates), model=_loss(held, model), counted=_loss(held))
    return weights.sealed(replace(model, origin=replace(origin, rows=count), score=score, made=made))


def loss(model: Model | None, rows: Iterable[Row]) -> float:
    """Returns the mean log loss, in nats, with which the newest of rows, that train() holds out, were foretold by a
    model, or by the counted rate."""
    own = examples(rows)
    held = len(own.rates) - len(own.rates) // HELD_OUT
    return _loss(own.some(slice(held, None)), model)


def _loss(rows: _Examples, model: Model | None = None) -> float:
    """Returns the mean log loss, in nats, with which rows were foretold; rate.log_likelihood, of arrays."""
    expected = rows.rates * rows.spans
    if model is not None:
        inputs = (rows.inputs.astype(np.float64) - model.mean) / model.scale
        outputs = np.tanh(inputs @ np.array(model.hidden).T + model.bias) @ np.array(model.output) + model.rest
        expected = np.clip(rows.rates * outputs.clip(LEAST_RATIO, MOST_RATIO), LEAST_RATE, MOST_RATE) * rows.spans
    expected = np.maximum(expected, _PRECISE)
    return rounded(float(-np.where(rows.useful, np.log(-np.expm1(-expected)), -expected).mean()))


def _drawn(rows: _Examples, random: Any, most: int) -> _Examples:
    """Returns at most so many of the rows. Of plenty those are likelier that tell more: scikit-learn before 1.7 weights
    no rows. Of few none is drawn twice: early stopping would judge by rows that were learnt from, and stop late."""
    count = len(rows.rates)
    chances = np.minimum(rows.rates * rows.spans, _MOST_WEIGHT) if count >= 2 * most else np.ones(count)
    return rows.some(random.choice(count, min(count, most), replace=False, p=chances / chances.sum()))


def _fitted(rows: _Examples, seed: int, first: Model | None) -> Model:
    """Returns the model that rows lead to, on from the model `first`; its origin and score are yet to be filled in."""
    expected = np.maximum(rows.rates * rows.spans, _PRECISE)
    targets = np.where(rows.useful, 1 / -np.expm1(-expected), 0.0).clip(0, _MOST_TARGET)
    mean, scale = rows.inputs.mean(axis=0, dtype=np.float64), rows.inputs.std(axis=0, dtype=np.float64)
    constant = scale < _CONSTANT
    scale[constant] = 1.0
    if first is not None:
        mean, scale = np.array(first.mean), np.array(first.scale)
    inputs = (rows.inputs - mean) / scale
    if first is None:
        inputs[:, constant] = 0.0
    network = _network(inputs, targets, seed, first)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the rounds were not enough to converge: more gain nothing
        network.fit(inputs, targets)
    hidden, output = network.coefs_
    bias, rest = network.intercepts_
    if first is None:  # of what was always the same nothing was learnt: the weights of the beginning must not count
        hidden[constant] = 0.0
    return Model(
        version=weights.VERSION,
        features=list(NAMES),
        units=len(bias),
        mean=_rounded(mean),
        scale=_rounded(scale),
        hidden=[_rounded(unit) for unit in hidden.T],
        bias=_rounded(bias),
        output=_rounded(output[:, 0]),
        rest=rounded(float(rest[0])),
        origin=Origin(rows=0, jobs=0, since=0, until=0, synthetic=False),
        score=Score(rows=0, model=0.0, counted=0.0),
        sklearn=str(sklearn.__version__),
        made=0,
    )


def _network(inputs: Array, targets: Array, seed: int, first: Model | None) -> Any:
    """Returns a network that is yet to learn; of a model `first` the network has the weights."""
    network = MLPRegressor(  # by keyword: from 1.7 on the first argument is another
        hidden_layer_sizes=(_UNITS if first is None else first.units,),
        activation="tanh",
        alpha=1e-3,
        max_iter=_ROUNDS,
        random_state=seed,
        learning_rate_init=_PACE if first is None else _PACE_ON,
        batch_size=256,
        early_stopping=True,
        n_iter_no_change=_PATIENCE if first is None else _PATIENCE_ON,
        tol=1e-5,
        warm_start=first is not None,
    )
    if first is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            some = slice(FEWEST_ROWS)  # only so that there are weights
            network.set_params(max_iter=1).fit(inputs[some], targets[some])
        network.set_params(max_iter=_ROUNDS)
        network.coefs_ = [np.array(first.hidden).T.copy(), np.array(first.output)[:, np.newaxis]]
        network.intercepts_ = [np.array(first.bias), np.array([first.rest])]
        network.best_validation_score_ = -np.inf  # of the weights that were replaced
    return network


def _rounded(values: Array) -> list[float]:
    return [rounded(float(value)) for value in values]
