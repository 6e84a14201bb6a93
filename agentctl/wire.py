"""Values of D-Bus as bytes and back, by their signature. A variant is read as its value alone, without the type.

The library that agentctl listens with takes 0.56 s of processor time to read 10,000 jobs, and 30 ms to be imported.
"""

from collections.abc import Callable
from functools import cache
from struct import Struct, error
from typing import Any

Read = Callable[[bytes, int], tuple[Any, int]]
"""Reads a value at a place of a message, where alignment counts from; returns it, and the place behind it."""
_NUMBERS = {"y": "B", "n": "h", "q": "H", "i": "i", "u": "I", "h": "I", "x": "q", "t": "Q", "d": "d"}
_EIGHT = "xtd({"  # what begins at a multiple of eight bytes
_LONGEST_ARRAY = 1 << 26  # bytes, as the specification has it


class Unreadable(ValueError):
    """A message, or a value in it, that is not as the specification of D-Bus has it."""


def read(signature: str, data: bytes, at: int, order: str) -> tuple[Any, ...]:
    """Returns the values of a message's body, which begins at a place; `order` is that of its bytes: "<" or ">".

    Raises Unreadable.
    """
    try:
        values = []
        for kind in _split(signature):
            value, at = _reader(kind, order)(data, at)
            values.append(value)
    except (ValueError, LookupError, error, RecursionError):
        raise Unreadable("a value is not as its type says") from None
    return tuple(values)


@cache
def _split(signature: str) -> tuple[str, ...]:
    """Returns the single types of a signature. Raises ValueError, LookupError."""
    kinds, at = [], 0
    while at < len(signature):
        end = _end(signature, at)
        kinds.append(signature[at:end])
        at = end
    return tuple(kinds)


def _end(signature: str, at: int) -> int:
    """Returns where the single type that begins at a place ends. Raises ValueError, LookupError."""
    if signature[at] == "a":
        return _end(signature, at + 1)
    if signature[at] not in "({":
        return at + 1
    close = ")" if signature[at] == "(" else "}"
    at += 1
    while signature[at] != close:
        at = _end(signature, at)
    return at + 1


@cache
def _reader(kind: str, order: str) -> Read:
    """Returns what reads values of a single type. Raises ValueError, LookupError."""
    if kind in _NUMBERS:
        return _number(kind, order)
    if kind == "b":
        whole = _reader("u", order)
        return lambda data, at: ((found := whole(data, at))[0] != 0, found[1])
    if kind in "so":
        return _text("u", order)
    if kind == "g":
        return _text("y", order)
    if kind == "v":
        return _variant(order)
    if kind == "a{sv}":
        return _record(order)
    if kind[0] == "a":
        return _array(kind[1:], order)
    if kind[0] == "(" and len(kind) > 2:
        return _struct(_split(kind[1:-1]), order)
    raise Unreadable(f'"{kind}" is not the type of a value')


def _number(kind: str, order: str) -> Read:
    layout = Struct(order + _NUMBERS[kind])
    unpack, size = layout.unpack_from, layout.size

    def number(data: bytes, at: int) -> tuple[Any, int]:
        at += -at & (size - 1)
        return unpack(data, at)[0], at + size

    return number


def _text(length: str, order: str) -> Read:
    count = _reader(length, order)

    def text(data: bytes, at: int) -> tuple[str, int]:
        size, at = count(data, at)
        if data[at + size]:  # the NUL behind it; there is none where the text is longer than what came
            raise Unreadable("a text does not end where its length says")
        return data[at : at + size].decode(), at + size + 1

    return text


def _variant(order: str) -> Read:
    signature = _reader("g", order)

    def variant(data: bytes, at: int) -> tuple[Any, int]:
        kind, at = signature(data, at)
        (single,) = _split(kind)
        return _reader(single, order)(data, at)

    return variant


def _struct(kinds: tuple[str, ...], order: str) -> Read:
    members = [_reader(kind, order) for kind in kinds]

    def struct(data: bytes, at: int) -> tuple[Any, int]:
        at += -at & 7
        values = []
        for member in members:
            value, at = member(data, at)
            values.append(value)
        return tuple(values), at

    return struct


def _elements(kind: str, order: str) -> Read:
    """Returns what reads the length of an array of a type: it gives the first element's place, and the array's end."""
    count, mask = _reader("u", order), 7 if kind[0] in _EIGHT else 0

    def elements(data: bytes, at: int) -> tuple[Any, int]:
        size, at = count(data, at)
        at += -at & mask
        if size > _LONGEST_ARRAY or at + size > len(data):
            raise Unreadable("an array is longer than its message")
        return at, at + size

    return elements


def _array(kind: str, order: str) -> Read:
    elements = _elements(kind, order)
    if kind == "y":
        return lambda data, at: (data[(found := elements(data, at))[0] : found[1]], found[1])
    pairs = kind[0] == "{"
    element = _struct(_split(kind[1:-1]), order) if pairs else _reader(kind, order)

    def array(data: bytes, at: int) -> tuple[Any, int]:
        at, end = elements(data, at)
        values = []
        while at < end:
            value, at = element(data, at)
            values.append(value)
        if at != end:
            raise Unreadable("an array does not end where its length says")
        return dict(values) if pairs else values, end

    return array


def _record(order: str) -> Read:
    """Returns what reads an a{sv}, most of what agentd sends.

    The begin of an entry, from the length of its key to the type of its value, is the same bytes in each record, and
    looked up as they are: 10,000 jobs are read in 0.7 of the time that taking the key and the type apart needs.
    """
    elements, key, signature = _elements("{", order), _reader("s", order), _reader("g", order)
    begins: dict[bytes, tuple[str, int, Read]] = {}
    low = 0 if order == "<" else 3  # the byte of a key's length, where that is below 256

    def record(data: bytes, at: int) -> tuple[Any, int]:
        at, end = elements(data, at)
        found: dict[str, Any] = {}
        while at < end:
            at += -at & 7
            type_at = at + data[at + low] + 5
            begin = data[at : type_at + data[type_at] + 2]
            known = begins.get(begin)
            if known is None:
                name, behind = key(data, at)
                kind, behind = signature(data, behind)
                (single,) = _split(kind)
                known = name, behind - at, _reader(single, order)
                if behind - at == len(begin):
                    begins[begin] = known
            name, size, value = known
            found[name], at = value(data, at + size)
        if at != end:
            raise Unreadable("a record does not end where its length says")
        return found, end

    return record


def packed(signature: str, values: tuple[Any, ...]) -> bytes:
    """Returns values as the body of a message in little endian. A value of the type "v" is a pair: its type, and it.

    Raises UnicodeEncodeError for a text that is no UTF-8.
    """
    out = bytearray()
    for kind, value in zip(_split(signature), values, strict=True):
        _pack(out, kind, value)
    return bytes(out)


def _pack(out: bytearray, kind: str, value: Any) -> None:
    if kind in "sog":
        text = value.encode()
        _pack(out, "y" if kind == "g" else "u", len(text))
        out += text + b"\0"
    elif kind == "b":
        _pack(out, "u", int(value))
    elif kind == "v":
        single, inside = value
        _pack(out, "g", single)
        _pack(out, single, inside)
    elif kind[0] == "a":
        _pack(out, "u", 0)
        length = len(out)
        out += bytes(-length & 7) if kind[1] in _EIGHT else b""
        begin = len(out)
        for one in value.items() if kind[1] == "{" else value:
            _pack(out, kind[1:], one)
        out[length - 4 : length] = (len(out) - begin).to_bytes(4, "little")
    elif kind[0] in "({":
        out += bytes(-len(out) & 7)
        for single, inside in zip(_split(kind[1:-1]), value, strict=True):
            _pack(out, single, inside)
    else:
        layout = Struct("<" + _NUMBERS[kind])
        out += bytes(-len(out) % layout.size) + layout.pack(value)
