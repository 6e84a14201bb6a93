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
_KEPT = 64  # values of a key of records, while an answer is packed
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
        return partial(self._record, {key: _entries(key, signature) for key, signature in types.items()})

    def _record(self, entries: Mapping[str, "_Packed"], values: dict[str, Any]) -> None:
        """Packs plain values as an a{sv}, but for those that are None."""
        data = b"".join([entries[key][value] for key, value in values.items() if value is not None])
        size = len(data)
        for key in reversed(values):
            if (value := values[key]) is not None:
                size -= entries[key].padding(value)  # there is none behind the last entry
                break
        out = self.out
        out += _ZEROS[-len(out) & 3]
        out += _LENGTH.pack(size)
        out += _ZEROS[-len(out) & 7]
        out += memoryview(data)[:size]

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


_ZEROS = tuple(map(bytes, range(8)))
_Pack = Callable[[Any], bytes]


class _Packed(dict[Any, bytes]):
    """Values as bytes up to the next multiple of a `unit` of bytes, where another begins: so they are the same wherever
    they stand. Those of the first values are kept, and most values are among them: to pack the record of a job takes
    5 us, instead of 16 for its values one by one."""

    def __init__(self, pack: _Pack, unit: int = 8) -> None:
        super().__init__()
        self._pack = pack
        self._odd = unit - 1

    def __missing__(self, value: Any) -> bytes:
        data = self._pack(value)
        data += _ZEROS[-len(data) & self._odd]
        if len(self) < _KEPT:
            self[value] = data
        return data

    def padding(self, value: Any) -> int:
        """Returns how many bytes stand behind a value."""
        return -len(self._pack(value)) & self._odd


class _Unkept(_Packed):
    """Values that cannot be looked up: lists, and 0.0, which is equal to -0.0."""

    def __getitem__(self, value: Any) -> bytes:
        data = self._pack(value)
        return data + _ZEROS[-len(data) & self._odd]


def _entries(key: str, signature: str) -> _Packed:
    """Returns what packs values of that type as entries of an a{sv} with that key."""
    packer = _Packer()
    packer.text(key)
    packer.signature(signature)
    size = _PACK[signature][1] if signature in _PACK else 4
    head = bytes(packer.out + _ZEROS[-len(packer.out) & size - 1])
    if signature in _PACK:
        pack, _ = _PACK[signature]
        return (_Unkept if signature == "d" else _Packed)(lambda value: head + pack(value))
    if signature == "s":
        return _Packed(_text(head))
    if signature == "as":
        return _Unkept(_texts(head))
    (type_,) = SignatureTree._get(signature).types  # noqa: SLF001 - as above

    def other(value: Any) -> bytes:
        rest = _Packer()
        rest.out += packer.out
        rest.value(type_, clean(value))
        return bytes(rest.out)

    return _Unkept(other)


def _text(head: bytes) -> _Pack:
    """Returns what packs a text, as record() has it, behind that head."""
    length = _LENGTH.pack

    def pack(value: str) -> bytes:
        data = value.encode("utf-8", "replace")
        if b"\0" in data:
            data = clean(value).encode()
        return b"%b%b%b\0" % (head, length(len(data)), data)

    return pack


def _texts(head: bytes) -> _Pack:
    """Returns what packs a list of texts behind that head."""
    pack = _text(b"")
    packed, none = _Packed(pack, 4), head + _LENGTH.pack(0)

    def texts(value: Any) -> bytes:
        if not _listed(value):
            return none
        *others, last = value
        data = b"".join([packed[one] for one in others]) + pack(last)
        return b"%b%b%b" % (head, _LENGTH.pack(len(data)), data)

    return texts


def _listed(value: Any) -> Any:
    if not isinstance(value, Records | list | tuple):
        raise TypeError(f"{type(value).__name__} is no list")
    return value
