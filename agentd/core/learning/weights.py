"""The file of a model: the weights of the network as JSON, what it was made from, and a hash over all that."""

import hashlib
import re
from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Struct
from msgspec.structs import asdict, fields, replace

from agentd.core.learning.features import NAMES
from agentd.core.learning.mlp import Mlp

VERSION = 1
"""The version of the file's schema."""
LONGEST = 256 << 10
"""The most bytes of a file."""
MOST_UNITS = 256
"""The most units of the hidden layer."""
LARGEST = 1e4
"""The largest weight, mean or scale, by magnitude: features are at most 8."""
LEAST_SCALE = 1e-4
DIGITS = 6
"""The significant digits that numbers have in the file."""
_LATEST = 1 << 40  # seconds since 1970: far in the future, and no number too large for whoever shows it
_VERSION_OF_LIBRARY = re.compile(r"[0-9A-Za-z.+]{1,40}")


class Unusable(ValueError):
    """A file that holds no model that can be used; the text is a sentence."""


class Nothing(Exception):
    """The absence of a better model; the text is a sentence that says why."""


class Origin(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rows that a model was made from: their number and that of jobs, and the instants of the first and the last
    row, in seconds since 1970; `synthetic`: from histories drawn at random, of which the instants are 0."""

    rows: int
    jobs: int
    since: int
    until: int
    synthetic: bool


class Score(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The measure of how rows that a model had not seen were foretold, by it and by the counted rate: mean log loss,
    in nats a row, of which less is better."""

    rows: int
    model: float
    counted: float


class Model(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model as its file has it. Mlp says what the numbers are; `made` is in seconds since 1970."""

    version: int
    features: list[str]
    units: int
    mean: list[float]
    scale: list[float]
    hidden: list[list[float]]
    bias: list[float]
    output: list[float]
    rest: float
    origin: Origin
    score: Score
    sklearn: str
    made: int
    hash: str = ""


class _Versioned(Struct):
    """The first look at a file: the rest of it is understood only by whoever knows its version."""

    version: int


_NAMES = sum(len(fields(kind)) for kind in (Model, Origin, Score))


def network(model: Model) -> Mlp:
    """Returns the network of a model."""
    return Mlp(model.mean, model.scale, model.hidden, model.bias, model.output, model.rest)


def sealed(model: Model) -> Model:
    """Returns a model with the hash of what it says."""
    return replace(model, hash=_hash(model))


def written(model: Model) -> bytes:
    """Returns the contents of the file of a model, with the hash of what it says."""
    return msgspec.json.encode(sealed(model)) + b"\n"


def rounded(value: float) -> float:
    """Returns a number with as many digits as the file keeps. The hash is of such numbers."""
    return float(f"{value:.{DIGITS}g}")


def parse(data: bytes, what: str) -> Model:
    """Returns the model in the contents of a file; `what` names the file in errors. Raises Unusable, and nothing else,
    where there is no model in it that is whole and of these features."""
    if len(data) > LONGEST:
        raise Unusable(f"{what} has {len(data)} bytes: expected the model of agentd, at most {LONGEST} bytes")
    try:
        version = msgspec.json.decode(data, type=_Versioned).version
        _check_version(version, what)
        model = msgspec.json.decode(data, type=Model)
    except Unusable:
        raise
    # Errors of msgspec were no ValueErrors in 0.19, UnicodeDecodeError is one; too deep nesting is a RecursionError.
    except (msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError) as error:
        raise Unusable(f"{what} is not a model of agentd, or only a part of one: {error}") from None
    for fault in _faults(model, data):
        raise Unusable(f"{what}: {fault}")
    return model


def _check_version(version: int, what: str) -> None:
    if version > VERSION:
        raise Unusable(f"{what} is of a newer agentd: expected version {VERSION} of the file, found a later one")
    if version < VERSION:
        raise Unusable(f"{what} is of an older agentd: expected version {VERSION} of the file, found an earlier one")


def _faults(model: Model, data: bytes) -> Iterator[str]:
    """Yields what is wrong with a model. Each fault is only looked for where those before it are absent."""
    if fault := _other_features(model.features):
        yield fault
    yield from _shapes(model)
    yield from _magnitudes(model)
    if not _VERSION_OF_LIBRARY.fullmatch(model.sklearn):
        yield "expected in sklearn the version of scikit-learn that made the model, such as 1.4.2"
    # Of a name that is there twice a parser takes either; no text of a model has a colon in it.
    if data.count(b":") != _NAMES:
        yield "expected each name once, found one twice"
    if model.hash != _hash(model):
        yield "the hash is not that of the contents: expected a file that is as agentd wrote it"


def _other_features(found: Sequence[str]) -> str:
    """Returns in words how features differ from those that agentd has now, or ""."""
    for number, name in enumerate(NAMES):
        if number >= len(found) or found[number] != name:
            other = repr(found[number][:40]) if number < len(found) else "none"
            return f"the model is of other features: expected {name!r} as number {number + 1}, found {other}"
    if len(found) > len(NAMES):
        return f"the model is of other features: expected {len(NAMES)}, found {len(found)}"
    return ""


def _shapes(model: Model) -> Iterator[str]:
    """Yields which lists are not as long as they should be."""
    if not 1 <= model.units <= MOST_UNITS:
        yield f"expected in units a number from 1 to {MOST_UNITS}"
    inputs = len(NAMES)
    lists: list[tuple[str, Sequence[object], int]] = [
        ("mean", model.mean, inputs),
        ("scale", model.scale, inputs),
        ("hidden", model.hidden, model.units),
        *(("each row of hidden", row, inputs) for row in model.hidden),
        ("bias", model.bias, model.units),
        ("output", model.output, model.units),
    ]
    for name, found, expected in lists:
        if len(found) != expected:
            yield f"expected in {name} a list of {expected}, found {len(found)}"


def _magnitudes(model: Model) -> Iterator[str]:
    """Yields which numbers are beyond what a network can be made of; not a number is beyond as well."""
    for name, values in (
        ("mean", model.mean),
        *(("hidden", row) for row in model.hidden),
        ("bias", model.bias),
        ("output", model.output),
        ("rest", [model.rest]),
    ):
        if not all(-LARGEST <= value <= LARGEST for value in values):
            yield f"expected in {name} numbers from {-LARGEST:.0f} to {LARGEST:.0f}"
    if not all(LEAST_SCALE <= value <= LARGEST for value in model.scale):
        yield f"expected in scale numbers from {LEAST_SCALE} to {LARGEST:.0f}"
    if not all(0 <= value <= LARGEST for value in (model.score.model, model.score.counted)):
        yield f"expected in score a log loss from 0 to {LARGEST:.0f}"
    origin = model.origin
    counts = (model.made, model.score.rows, origin.rows, origin.jobs, origin.since, origin.until)
    if not all(0 <= count <= _LATEST for count in counts):
        yield "expected in made, rows, jobs, since and until numbers of rows and jobs, and seconds since 1970"


def _hash(model: Model) -> str:
    """Returns the hash of what a model says. Who can write the file can write the hash: only damage is found by it.

    Python's own text of the values is what is hashed: msgspec may write a number in another way one day. light.py keeps
    OpenSSL out of the daemon where hashlib is imported.
    """
    said = asdict(replace(model, hash=""))
    text = repr([(name, asdict(value) if isinstance(value, Struct) else value) for name, value in said.items()])
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()
