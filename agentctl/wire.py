"""Values of D-Bus as bytes and back, by their signature. A variant is read as its value alone, without the type.

The library that agentctl listens with takes ten times as long to read 10,000 jobs, and 30 ms to be imported.
"""

from collections.abc import Iterator
from functools import cache
from struct import Struct, error
from typing import Any

_NUMBERS = {"y": "B", "b": "?3x", "n": "h", "q": "H", "i": "i", "u": "I", "h": "I", "x": "q", "t": "Q", "d": "d"}
_EIGHT = "xtd({"  # what begins at a multiple of eight bytes
_LONGEST_ARRAY = 1 << 26  # bytes, as the specification has it
_BEGINS: dict[str, dict[bytes, tuple[str, int, Any, int]]] = {"<": {}, ">": {}}
"""Begins of entries of records, by their bytes, for each order of them: see _Reader._entry."""

_MANY = 32  # records of a list, of which it is worth finding out what they have in common
_SAMPLES = 8  # of them that are looked at, at least
_NOTHING: tuple[bytes, dict[str, Any]] = (b"", {})
_Common = dict[str, tuple[bytes, dict[str, Any]]]
"""Entries that follow upon each other in records, as bytes and as values, by the key before them: "" for none."""


class Unreadable(ValueError):
    """A message, or a value in it, that is not as the specification of D-Bus has it."""


def read(signature: str, data: bytes, at: int, order: str) -> tuple[Any, ...]:
    """Returns the values at a place of a message, where alignment counts from; `order` is that of its bytes: "<", ">".

    Raises Unreadable.
    """
    reader = _Reader(data, at, order)
    try:
        return tuple(reader.value(kind) for kind in _split(signature))
    except (ValueError, LookupError, error, RecursionError):
        raise Unreadable("a value is not as its type says") from None


def last(data: bytes, at: int, order: str) -> tuple[int, dict[str, Any]]:
    """Returns how many records an aa{sv} at a place of a message has, and the last, found without reading the others;
    none is empty. Raises Unreadable."""
    reader = _Reader(data, at, order)
    try:
        places = reader.places()
        return len(places), _Reader(data, places[-1], order).value("a{sv}") if places else {}
    except (ValueError, LookupError, error, RecursionError):
        raise Unreadable("a list of records is not as its type says") from None


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
    """Returns where the single type that begins at a place ends. Raises LookupError."""
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
def _layout(kind: str, order: str) -> Struct:
    """Returns how a number, or a boolean, stands there; it begins at a multiple of its size."""
    return Struct(order + (_NUMBERS[kind] if (kind, order) != ("b", ">") else "3x?"))


class _Reader:
    """Values, one after the other. Each method raises ValueError, LookupError, struct.error or RecursionError where
    the bytes are none of that type."""

    def __init__(self, data: bytes, at: int, order: str) -> None:
        self._data, self._at, self._order = data, at, order

    def value(self, kind: str) -> Any:
        """Reads a value of a single type."""
        if kind in _NUMBERS:
            layout = _layout(kind, self._order)
            at = self._at + (-self._at & layout.size - 1)
            self._at = at + layout.size
            return layout.unpack_from(self._data, at)[0]
        if kind in {"s", "o", "g"}:
            size = self.value("y" if kind == "g" else "u")
            at, self._at = self._at, self._at + size + 1
            if self._data[at + size]:  # the NUL behind it; there is none where the text is longer than what came
                raise Unreadable("a text does not end where its length says")
            return self._data[at : at + size].decode()
        if kind == "v":
            (single,) = _split(self.value("g"))
            return self.value(single)
        if kind[0] == "a":
            return self._array(kind[1:])
        if kind[0] == "(" and len(kind) > 2:
            self._at += -self._at & 7
            return tuple(self.value(single) for single in _split(kind[1:-1]))
        raise Unreadable(f'"{kind}" is not the type of a value')

    def places(self) -> list[int]:
        """Reads no more of an aa{sv} than where each record begins."""
        size = self.value("u")
        return self._places(self._at + size)

    def _places(self, end: int) -> list[int]:
        """Reads no more of the records up to an end than where each begins."""
        data, at, length = self._data, self._at, _layout("u", self._order).unpack_from
        places = []
        while at < end:
            at += -at & 3
            places.append(at)
            (size,) = length(data, at)
            at += 4 + (-(at + 4) & 7) + size
        self._at = at
        return places

    def _array(self, kind: str) -> Any:
        size = self.value("u")
        self._at += -self._at & 7 if kind[0] in _EIGHT else 0
        end = self._at + size
        if size > _LONGEST_ARRAY or end > len(self._data):
            raise Unreadable("an array is longer than its message")
        if kind == "{sv}":
            found: Any = self._entries(end, {})
        elif kind == "a{sv}":
            found = self._records(end)
        elif kind == "s":
            found = self._texts(end)
        elif kind[0] == "{":
            single = f"({kind[1:-1]})"
            found = dict(self._elements(single, end))
        elif kind == "y":
            found, self._at = self._data[self._at : end], end
        else:
            found = list(self._elements(kind, end)) if size else []
        if self._at != end:
            raise Unreadable("an array does not end where its length says")
        return found

    def _elements(self, kind: str, end: int) -> Iterator[Any]:
        while self._at < end:
            yield self.value(kind)

    def _texts(self, end: int) -> list[str]:
        """Reads an array of texts."""
        data, at, length = self._data, self._at, _layout("u", self._order).unpack_from
        found = []
        while at < end:
            at += -at & 3
            (size,) = length(data, at)
            behind = at + 4 + size
            if data[behind]:
                raise Unreadable("a text does not end where its length says")
            found.append(data[at + 4 : behind].decode())
            at = behind + 1
        self._at = at
        return found

    def _records(self, end: int) -> list[dict[str, Any]]:
        """Reads the records of an aa{sv} up to its end. What many have in common they share, lists as well."""
        places = self._places(end)
        common = self._common(places[:: len(places) // _SAMPLES]) if len(places) >= _MANY else {}
        return [self._record(place, common) for place in places]

    def _record(self, place: int, common: _Common) -> dict[str, Any]:
        """Reads the a{sv} at a place."""
        end = self._begin(place)
        found = self._entries(end, common)
        if self._at != end:
            raise Unreadable("a record does not end where its length says")
        return found

    def _begin(self, place: int) -> int:
        """Reads how long the a{sv} at a place is; returns where it ends."""
        self._at = place
        size = self.value("u")
        self._at += -self._at & 7
        end: int = self._at + size
        return end

    def _common(self, places: list[int]) -> _Common:
        """Returns which entries are the same in all records at some places, by the key before them."""
        samples = [list(self._raw(place)) for place in places]
        everywhere = set.intersection(*({raw for raw, _, _ in entries} for entries in samples))
        common: _Common = {}
        before, together, values = "", b"", {}
        for raw, key, value in samples[0]:
            if raw in everywhere:
                together += bytes(-len(together) & 7) + raw
                values[key] = value
                common[before] = together, values
            else:
                before, together, values = key, b"", {}
        return common

    def _raw(self, place: int) -> Iterator[tuple[bytes, str, Any]]:
        """Yields of each entry of the a{sv} at a place the bytes, the key and the value."""
        end = self._begin(place)
        while self._at < end:
            self._at += -self._at & 7
            at = self._at
            key, value = self.value("s"), self.value("v")
            yield self._data[at : self._at], key, value

    def _entries(self, end: int, common: _Common) -> dict[str, Any]:
        """Reads the entries of an a{sv}, most of what agentd sends.

        The begin of an entry, from the length of its key to the type of its value, is the same bytes in each record,
        and looked up as they are; texts and numbers are read in place. Entries that many records have in common are
        known by their bytes, as many of them at once as follow upon each other. The first takes 0.4 of the time that
        reading keys, types and values one by one does, both 0.2 of it: 0.08 s of processor time for 10,000 jobs.
        """
        data, at, order = self._data, self._at, self._order
        begins, length = _BEGINS[order], _layout("u", order).unpack_from
        low = 0 if order == "<" else 3  # the byte of a key's length, where that is below 256
        found: dict[str, Any] = {}
        name = ""
        while at < end:
            at += -at & 7
            together, values = common.get(name, _NOTHING)
            if together and data.startswith(together, at):
                found.update(values)
                at += len(together)
                name = ""
                continue
            type_at = at + data[at + low] + 5
            known = begins.get(data[at : type_at + data[type_at] + 2])
            if known is None:
                self._at = at
                known = self._entry()
            name, ahead, value, size = known
            at += ahead
            if size:
                (found[name],) = value(data, at)
                at += size
            elif value == "s":
                (size,) = length(data, at)
                behind = at + 4 + size
                if data[behind]:
                    raise Unreadable("a text does not end where its length says")
                found[name] = data[at + 4 : behind].decode()
                at = behind + 1
            else:
                self._at = at
                found[name] = self.value(value)
                at = self._at
        self._at = at
        return found

    def _entry(self) -> tuple[str, int, Any, int]:
        """Reads the begin of an entry of a record, and keeps what it says: the key, how far ahead the value stands, and
        its type; for a number what reads it, and its size instead."""
        at = self._at
        name, kind = self.value("s"), self.value("g")
        (kind,) = _split(kind)
        layout = _layout(kind, self._order) if kind in _NUMBERS else None
        behind = self._at
        ahead = behind + (-behind & (layout.size if layout else 4 if kind == "s" else 1) - 1) - at
        known = (name, ahead, layout.unpack_from, layout.size) if layout else (name, ahead, kind, 0)
        if len(name.encode()) < 256:
            _BEGINS[self._order][self._data[at:behind]] = known
        return known


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
        layout = _layout(kind, "<")
        out += bytes(-len(out) % layout.size) + layout.pack(value)
