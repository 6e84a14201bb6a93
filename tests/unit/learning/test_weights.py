"""The file of a model: what is whole is read, and anything else is refused with a sentence."""

import json
from math import inf, nan
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from agentd.core.learning import weights
from agentd.core.learning.features import NAMES
from agentd.core.learning.weights import Model, Origin, Score, Unusable, parse, written
from tests.examples import examples

FIRST = Path(weights.__file__).parents[2] / "learning" / "first-model.json"


def made(units: int = 3, seed: int = 0) -> Model:
    """A model with weights drawn at random."""
    random = Random(seed)

    def some(count: int) -> list[float]:
        return [weights.rounded(random.gauss(0, 1)) for _ in range(count)]

    return weights.sealed(
        Model(
            version=weights.VERSION,
            features=list(NAMES),
            units=units,
            mean=some(len(NAMES)),
            scale=[abs(one) + 0.1 for one in some(len(NAMES))],
            hidden=[some(len(NAMES)) for _ in range(units)],
            bias=some(units),
            output=some(units),
            rest=1.0,
            origin=Origin(rows=5000, jobs=3, since=1_700_000_000, until=1_701_000_000, synthetic=False),
            score=Score(rows=1000, model=0.4, counted=0.5),
            sklearn="1.4.2",
            made=1_701_000_000,
        )
    )


MODEL = made()
DATA = written(MODEL)


def refusal(data: bytes) -> str:
    """The sentence with which a file is refused."""
    with pytest.raises(Unusable) as refused:
        parse(data, "model.json")
    assert str(refused.value).startswith("model.json")
    return str(refused.value)


def changed(**values: Any) -> bytes:
    """The file of a model in which values are other ones, with a hash that fits."""
    return written(replace(MODEL, **values))


def test_a_model_that_was_written_is_read() -> None:
    assert parse(DATA, "model.json") == MODEL
    assert parse(json.dumps(json.loads(DATA), indent=1).encode(), "model.json") == MODEL


def test_the_first_model_is_of_the_present_features() -> None:
    first = parse(FIRST.read_bytes(), FIRST.name)
    assert first.origin.synthetic
    assert first.score.model < first.score.counted
    assert FIRST.stat().st_size < 40_000
    weights.network(first).predict([0.0] * len(NAMES))


def test_a_network_is_that_of_the_numbers() -> None:
    inputs = [Random(1).gauss(0, 1) for _ in NAMES]
    one = weights.network(replace(MODEL, output=[0.0] * 3, rest=0.25))
    assert one.predict(inputs) == 0.25
    assert weights.network(MODEL).predict(MODEL.mean) == pytest.approx(
        weights.network(replace(MODEL, mean=[0.0] * len(NAMES))).predict([0.0] * len(NAMES))
    )


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "is not a model of agentd, or only a part of one"),
        (b"\x80\x04\x95", "is not a model of agentd, or only a part of one"),
        (b"[]", "is not a model of agentd, or only a part of one"),
        (b"{}", "is not a model of agentd, or only a part of one"),
        (DATA[: len(DATA) // 2], "is not a model of agentd, or only a part of one"),
        (DATA + b"{}", "is not a model of agentd, or only a part of one"),
        (DATA[:-1] + b" " * weights.LONGEST, "has 26"),
        (b'{"version":2}', "is of a newer agentd: expected version 1"),
        (b'{"version":99999999999999999999}', "is of a newer agentd: expected version 1"),
        (b'{"version":0}', "is of an older agentd: expected version 1"),
        (b'{"version":true}', "`bool`"),
        (b'{"version":1.0}', "`float`"),
        (b'{"version":' + b"9" * 5000 + b"}", "out of range"),
        (b'{"a":' + b"[" * 100_000, "is not a model of agentd, or only a part of one"),
        (b'{"version":1,"features":' + b'{"a":' * 30_000, "is not a model of agentd, or only a part of one"),
        (DATA.replace(b'"rest":1.0', b'"rest":NaN'), "is not a model of agentd, or only a part of one"),
        (DATA.replace(b'"rest":1.0', b'"rest":1e999'), "out of range"),
        (DATA.replace(b'"rest":1.0', b'"rest":true'), "`bool`"),
        (DATA.replace(b'"rest":1.0', b'"rest":"1"'), "`str`"),
        (DATA.replace(b'"rest":1.0', b'"rest":1' + b"0" * 400), "out of range"),
        (DATA.replace(b'"rest":1.0', b'"rest":1.0,"rest":1.0'), "found one twice"),
        (DATA.replace(b'"rest":1.0', b'"rest":1.0,"more":1.0'), "unknown field `more`"),
        (DATA.replace(b'"rest":1.0', b'"rest":1.1'), "the hash is not that of the contents"),
        (DATA.replace(MODEL.hash.encode(), MODEL.hash[::-1].encode()), "the hash is not that of the contents"),
    ],
)
def test_garbage_is_refused_with_a_sentence(data: bytes, told: str) -> None:
    assert told in refusal(data)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (changed(features=NAMES[:-1]), f"expected 'log_cost' as number {len(NAMES)}, found none"),
        (changed(features=[*NAMES, "more"]), f"expected {len(NAMES)}, found {len(NAMES) + 1}"),
        (changed(features=[NAMES[1], NAMES[0], *NAMES[2:]]), "expected 'log_rate' as number 1, found 'log_rate_2h'"),
        (changed(units=4), "expected in hidden a list of 4, found 3"),
        (changed(units=0, hidden=[], bias=[], output=[]), "expected in units a number from 1 to 256"),
        (changed(mean=MODEL.mean[1:]), "expected in mean a list of"),
        (changed(scale=[*MODEL.scale, 1.0]), "expected in scale a list of"),
        (changed(hidden=[MODEL.hidden[0], MODEL.hidden[1][1:], MODEL.hidden[2]]), "expected in each row of hidden"),
        (changed(bias=[0.0] * 4), "expected in bias a list of 3, found 4"),
        (changed(output=[]), "expected in output a list of 3, found 0"),
        (changed(scale=[0.0, *MODEL.scale[1:]]), "expected in scale numbers from 0.0001"),
        (changed(scale=[-1.0, *MODEL.scale[1:]]), "expected in scale numbers from 0.0001"),
        (changed(hidden=[MODEL.hidden[0], MODEL.hidden[1], [1e9] * len(NAMES)]), "expected in hidden numbers from"),
        (changed(rest=1e300), "expected in rest numbers from -10000 to 10000"),
        (changed(score=replace(MODEL.score, model=-1.0)), "expected in score a log loss from 0"),
        (changed(made=-1), "expected in made, rows"),
        (changed(origin=replace(MODEL.origin, rows=1 << 60)), "expected in made, rows"),
        (changed(sklearn="1:2"), "expected in sklearn the version"),
        (changed(rest=nan), "`null`"),
        (changed(rest=inf), "`null`"),
    ],
)
def test_a_model_of_another_kind_is_refused_though_the_hash_fits(data: bytes, told: str) -> None:
    assert told in refusal(data)


PLACES = st.integers(0, len(DATA) - 1)
PIECES = st.one_of(
    st.binary(max_size=4), st.sampled_from([b"[" * 2000, b"9" * 500, b"NaN", b"true", b"-0", b'"', b","])
)


@settings(max_examples=examples(400))
@given(PLACES, st.integers(0, 6), PIECES)
def test_a_damaged_file_is_the_same_model_or_refused(at: int, gone: int, put: bytes) -> None:
    try:
        found = parse(DATA[:at] + put + DATA[at + gone :], "model.json")
    except Unusable:
        return
    assert found == MODEL


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(msgspec.to_builtins(MODEL))), JSON)
def test_any_value_in_place_of_another_is_refused_or_of_the_same_model(name: str, value: Any) -> None:
    content = {**json.loads(DATA), name: value}
    try:
        found = parse(json.dumps(content).encode(), "model.json")
    except Unusable:
        return
    assert found == MODEL
