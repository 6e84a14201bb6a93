"""Answers as bytes: packed once, and long ones in slices, between which the loop has its turn.

dbus_next looks at each value twice before it writes it, and 1,000 records hold the loop for 100 ms with it.
"""

import asyncio
import struct
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from dbus_next.signature import SignatureTree

from agentd.bus.arguments import Records, clean
from agentd.bus.reading import ERROR, RETURN
from agentd.core.part import Refused

_SLICE = 25  # elements of an array: about a millisecond for records
LONGEST_ANSWER = (8 << 20) - (64 << 10)
"""Bytes of an answer at most: the system bus ends a connection that sends more than 32 MiB, the private bus one that
sends more than 8."""
_VERSION = 1
_NUMBERS = {
    "y": ("<B", 1),
    "b": ("<I", 4),
    "n": ("<h", 2),
    "q": ("<H", 2),
    "i": ("<i", 4),
    "u": ("<I", 4),
    "h": ("<I", 4),
    "x": ("<q", 8),
    "t": ("<Q", 8),
    "d": ("<d", 8),
}
_PACK = {token: (struct.Struct(layout).pack, size) for token, (layout, size) in _NUMBERS.items()}
_EIGHT = frozenset("xtd({")  # what begins at a multiple of eight bytes
_LENGTH = struct.Struct("<I")
_START = struct.Struct("<BBBBIII")


async def answer(serial: int, call: int, to: str, signature: str, values: list[Any], turn: asyncio.Lock) -> bytes:
    """Returns the answer to the call with the serial `call` of the connection `to`. One long answer is packed at a
    time: the next waits for its `turn`.

    Raises Refused LimitsExceeded for more than LONGEST_ANSWER, and TypeError, ValueError, AttributeError or
    struct.error where a value does not fit its type.
    """
    packer = _Packer()
    types = SignatureTree._get(signature).types  # noqa: SLF001 - the contract's, which are kept once
    for type_, value in zip(types, values, strict=True):
        if isinstance(value, Records | list) and len(value) > _SLICE:
            async with turn:
                await packer.slices(type_, value)
        else:
            packer.value(type_, value)
    packer.check()
    return _with_header(RETURN, serial, call, to, "", signature, packer.out)


def error(serial: int, call: int, to: str, name: str, sentence: str) -> bytes:
    """Returns an error as the answer to a call: `name` is the whole name of a D-Bus error."""
    packer = _Packer()
    packer.text(sentence)
    return _with_header(ERROR, serial, call, to, name, "s", packer.out)


def _with_header(kind: int, serial: int, call: int, to: str, name: str, signature: str, body: bytearray) -> bytes:
    packer = _Packer()
    out = packer.out
    out += _START.pack(ord("l"), kind, 1, _VERSION, len(body), serial, 0)  # 1: no answer is expected
    if name:
        packer.field(4, b"s", name)
    out += bytes(-len(out) & 7) + b"\x05\x01u\0" + _LENGTH.pack(call)
    packer.field(6, b"s", to)
    if signature:
        out += bytes(-len(out) & 7) + b"\x08\x01g\0"
        packer.signature(signature)
    out[12:16] = _LENGTH.pack(len(out) - 16)
    out += bytes(-len(out) & 7)
    return bytes(out + body)


class _Packer:
    """Values, one after the other, in little endian."""

    def __init__(self) -> None:
        self.out = bytearray()

    def check(self) -> None:
        """Raises Refused LimitsExceeded where there is more than an answer may have."""
        if len(self.out) > LONGEST_ANSWER:
            most = LONGEST_ANSWER / (1 << 20)
            text = f"the answer has more than {most:.1f} MiB, more than may be sent; give a lower limit, or a name"
            raise Refused("LimitsExceeded", text)

    def value(self, type_: Any, value: Any) -> None:
        """Packs a value of a type of dbus_next's."""
        kind = type_.token
        if kind in "so":
            self.text(value)
        elif kind in _PACK:
            pack, size = _PACK[kind]
            out = self.out
            out += bytes(-len(out) & (size - 1))
            out += pack(value)
        elif kind == "v":
            self.signature(value.signature)
            self.value(value.type, value.value)
        elif kind == "a":
            self._array(type_.children[0], value)
        elif kind == "g":
            self.signature(value)
        else:
            self._struct(type_.children, value)

    def text(self, value: str) -> None:
        data = value.encode()
        if b"\0" in data:
            raise ValueError("a text has a NUL, for which the bus would end the connection")
        out = self.out
        out += bytes(-len(out) & 3)
        out += _LENGTH.pack(len(data)) + data + b"\0"

    def signature(self, value: str) -> None:
        data = value.encode()
        self.out += bytes((len(data),)) + data + b"\0"

    def field(self, code: int, type_: bytes, value: str) -> None:
        """Packs a field of the header that is a text."""
        self.out += bytes(-len(self.out) & 7) + bytes((code, 1)) + type_ + b"\0"
        self.text(value)

    def _begin(self, child: Any) -> tuple[int, int]:
        """Begins an array; returns where its length stands, and where its first element does."""
        out = self.out
        out += bytes(-len(out) & 3)
        length = len(out)
        out += b"\0\0\0\0"
        if child.token in _EIGHT:
            out += bytes(-len(out) & 7)
        return length, len(out)

    def _end(self, length: int, start: int) -> None:
        self.out[length : length + 4] = _LENGTH.pack(len(self.out) - start)

    def _array(self, child: Any, value: Any) -> None:
        length, start = self._begin(child)
        kind = child.token
        if kind == "{":
            key_type, value_type = child.children
            for key, item in value.items():
                self.out += bytes(-len(self.out) & 7)
                self.value(key_type, key)
                self.value(value_type, item)
        elif kind == "y":
            self.out += memoryview(value)
        else:
            record = self._records(child, value)
            for item in _listed(value):
                record(item)
        self._end(length, start)

    def _records(self, child: Any, values: Any) -> Callable[[Any], None]:
        """Returns what packs an element of an array."""
        types = values.types if isinstance(values, Records) else None
        if types is None:
            return partial(self.value, child)
        entries = {key: _entry(key, signature) for key, signature in types.items()}
        return partial(self._record, child, entries)

    def _record(self, type_: Any, entries: Mapping[str, "_Entry"], values: Mapping[str, Any]) -> None:
        """Packs plain values as an a{sv}, but for those that are None."""
        length, start = self._begin(type_.children[0])
        out = self.out
        for key, value in values.items():
            if value is not None:
                out += _PADDING[len(out) & 7]
                out += entries[key](value)
        self._end(length, start)

    async def slices(self, type_: Any, values: Records[Any] | list[Any]) -> None:
        """Packs a long array in slices."""
        (child,) = type_.children
        length, start = self._begin(child)
        record = self._records(child, values)
        for number, value in enumerate(values, 1):
            record(value)
            if number % _SLICE == 0:
                self.check()
                await asyncio.sleep(0)
        self._end(length, start)

    def _struct(self, types: list[Any], values: Any) -> None:
        self.out += bytes(-len(self.out) & 7)
        for type_, value in zip(types, _listed(values), strict=True):
            self.value(type_, value)


_Entry = Callable[[Any], bytes | bytearray]
_PADDING = tuple(bytes(-length & 7) for length in range(8))


def _entry(key: str, signature: str) -> _Entry:
    """Returns what packs a value as the entry of an a{sv} with that key and type. An entry begins at a multiple of
    eight, so all before its value is the same each time: a record takes 20 us so, with a Variant for each value 60."""
    packer = _Packer()
    packer.text(key)
    packer.signature(signature)
    if signature == "s":
        head = bytes(packer.out + bytes(-len(packer.out) & 3))

        def text(value: str) -> bytes:
            data = value.encode(errors="replace")
            if b"\0" in data:
                data = clean(value).encode()
            return b"%b%b%b\0" % (head, _LENGTH.pack(len(data)), data)

        return text
    if signature in _PACK:
        pack, size = _PACK[signature]
        before = bytes(packer.out + bytes(-len(packer.out) & (size - 1)))
        return lambda value: before + pack(value)
    (type_,) = SignatureTree._get(signature).types  # noqa: SLF001 - as above

    def other(value: Any) -> bytearray:
        rest = _Packer()
        rest.out += packer.out
        rest.value(type_, clean(value))
        return rest.out

    return other


def _listed(value: Any) -> Any:
    if not isinstance(value, Records | list | tuple):
        raise TypeError(f"{type(value).__name__} is no list")
    return value
