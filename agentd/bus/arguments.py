"""Arguments of callers, checked and bounded, and values made fit for D-Bus."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from agentd.bus.connection import variant
from agentd.core.part import Refused

_MOST = 10_000
PAGE = 1000
"""The most records of one answer."""
_REPEATED = 100
_LARGEST = 1 << 62
_Thing = TypeVar("_Thing")


class Records(Generic[_Thing]):
    """A list of records, each made of a thing only when it is its turn to be written. Where `types` are given, `make`
    returns plain values, which are written as record() would have them, at a third of what that takes."""

    def __init__(
        self,
        make: Callable[[_Thing], Mapping[str, Any]],
        things: Sequence[_Thing],
        types: Mapping[str, str] | None = None,
    ) -> None:
        self._make = make
        self._things = things
        self.types = types

    def __len__(self) -> int:
        return len(self._things)

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return map(self._make, self._things)


def only(given: Mapping[str, Any], **known: type) -> None:
    """Checks options or a filter: raises Refused InvalidArgument for a key that is not known, a value of another type
    and a number beyond 2^62. A filter that is ignored would mislead."""
    for key, value in given.items():
        if key not in known:
            options = f"; it may have {', '.join(sorted(known))}" if known else ""
            raise Refused("InvalidArgument", f'"{key}" is not an option here{options}')
        if not isinstance(value, known[key]) or (known[key] is int and isinstance(value, bool)):
            raise Refused("InvalidArgument", f'the option "{key}" must be of type {known[key].__name__}')
        if isinstance(value, int) and abs(value) > _LARGEST:
            raise Refused("InvalidArgument", f'the option "{key}" is out of range')


def limit_of(given: Mapping[str, Any]) -> int:
    """Returns how many records an answer to a filter has: 50 or as many as it asks for, at most a page of 1,000.

    Raises Refused InvalidArgument where it asks for less than 1 or more than 10,000. Whoever wants more than a page
    asks for the next one.
    """
    limit: int = given.get("limit", 50)
    if not 1 <= limit <= _MOST:
        raise Refused("InvalidArgument", f"limit must lie between 1 and {_MOST}, not {limit}")
    return min(limit, PAGE)


def bounded(value: Any, longest: int) -> None:
    """Raises Refused InvalidArgument where a text among the arguments, at whatever depth, is longer than that."""
    for text in _texts(value):
        if len(text) > longest:
            shown = text[:_REPEATED]
            raise Refused("InvalidArgument", f'"{shown}…" has {len(text)} characters; at most {longest} are allowed')


def shortened(sentence: str, said: Any) -> str:
    """Returns a sentence in which each text of a caller's, `said`, is repeated with 100 characters at most."""
    for text in _texts(said) if len(sentence) > _REPEATED else ():
        if len(text) > _REPEATED:
            sentence = sentence.replace(text, f"{text[:_REPEATED]}…")
    return sentence


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(key)
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def record(values: Mapping[str, Any], types: Mapping[str, str]) -> dict[str, Any]:
    """Returns an a{sv} of the values that are not None, with the D-Bus type that `types` names for each key."""
    return {key: variant(types[key], clean(value)) for key, value in values.items() if value is not None}


def clean(value: Any) -> Any:
    """Returns text as D-Bus can carry it, without NUL and lone surrogates; lists of it too."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode(errors="replace").decode()
    return [clean(item) for item in value] if isinstance(value, list | tuple) else value
