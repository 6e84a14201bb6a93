"""The messages of the bus, read header first: a body is parsed only where somebody wants it.

dbus_next 0.2.3 parses whole messages, in Python, before anybody can ask who sent them, and the system bus lets any user
send 32 MiB to any connection: one such message would hold the loop for minutes. Its private Unmarshaller reads bodies
here as well, within bounds; tests/unit/bus/test_reading.py holds what this file knows of it.
"""

import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from dbus_next._private.unmarshaller import Unmarshaller
from dbus_next.signature import SignatureTree
from msgspec import Struct

CALL, RETURN, ERROR, SIGNAL = 1, 2, 3, 4
NO_REPLY, INTERACTIVE = 1, 4
_LITTLE, _BIG = ord("l"), ord("B")
FIXED = 16  # the bytes before the fields of the header
LONGEST_HEADER = 16 << 10  # bytes: five names of 255, a signature and a path; a path of a stranger's may have megabytes
_SHORT = 512  # bytes of fields that are worth remembering
_LONGEST_MESSAGE = 1 << 27  # bytes, as the protocol has it
_DEEPEST = 64  # containers and variants within each other, as the protocol has it
_MOST_VALUES = 1000  # in a body of a stranger's; 64 KiB could hold sixteen times as many
_PATH, _INTERFACE, _MEMBER, _ERROR_NAME, _REPLY_TO, _DESTINATION, _SENDER, _SIGNATURE, _FILES = range(1, 10)
_FIELDS = (
    *((_PATH, ""), (_INTERFACE, ""), (_MEMBER, ""), (_ERROR_NAME, "")),
    *((_REPLY_TO, 0), (_SENDER, ""), (_SIGNATURE, ""), (_FILES, 0)),
)
_SIZES = {_LITTLE: struct.Struct("<4xIII"), _BIG: struct.Struct(">4xIII")}
_NUMBER = {_LITTLE: struct.Struct("<I"), _BIG: struct.Struct(">I")}


class Unreadable(Exception):
    """A header or a body is not what D-Bus has, or more than may be read."""


class Head(Struct, frozen=True):
    """The header of a message. Texts that are absent are empty; `size` is that of the body in bytes, `files` how many
    descriptors come with the message, `reply_to` the serial of the call that is answered."""

    kind: int
    flags: int
    order: int
    serial: int
    size: int
    path: str
    interface: str
    member: str
    error: str
    reply_to: int
    sender: str
    signature: str
    files: int


def sizes(data: bytearray, at: int) -> tuple[int, int]:
    """Returns how many bytes the message that begins at `at` has, and how many of them are its header.

    `data` must hold the first 16 of them. Raises Unreadable: the stream itself is broken.
    """
    order = data[at]
    if order not in _SIZES:
        raise Unreadable("a message begins with neither of the two byte orders")
    body, _, fields = _SIZES[order].unpack_from(data, at)
    header = FIXED + fields + (-fields & 7)
    if header + body > _LONGEST_MESSAGE:
        raise Unreadable("a message is longer than the protocol allows")
    return header + body, header


def head(data: bytearray, at: int, header: int) -> Head:
    """Returns the header of `header` bytes that begins at `at`. Raises Unreadable: the message is to be skipped."""
    if header > LONGEST_HEADER:
        raise Unreadable("the header is too long")
    order, kind = data[at], data[at + 1]
    size, serial, fields = _SIZES[order].unpack_from(data, at)
    # A flood repeats itself, and so do systemd's signals; an answer names the call, which is another each time.
    read = _fields_as_before if fields <= _SHORT and kind in (CALL, SIGNAL) else _fields
    try:
        found = read(bytes(data[at + FIXED : at + FIXED + fields]), order)
    except (IndexError, UnicodeDecodeError, struct.error) as error:
        raise Unreadable(str(error)) from None
    return Head(kind, data[at + 2], order, serial, size, *found)


def _fields(data: bytes, order: int) -> tuple[Any, ...]:
    """Returns the fields of a header, as Head has them from `path` on.

    Raises Unreadable, IndexError, UnicodeDecodeError, struct.error.
    """
    number = _NUMBER[order]
    found: dict[int, Any] = {}
    at = 0
    while at < len(data):
        # A field is its code, the signature of a variant, which is one letter, and the value.
        code, kind = data[at], data[at + 1 : at + 4]
        at += 4
        if kind in (b"\x01s\0", b"\x01o\0"):
            (length,) = number.unpack_from(data, at)
            at += 4
            found[code] = _text(data, at, length)
            at += length + 1
        elif kind == b"\x01u\0":
            (found[code],) = number.unpack_from(data, at)
            at += 4
        elif kind == b"\x01g\0":
            length = data[at]
            found[code] = _text(data, at + 1, length)
            at += length + 2
        else:
            raise Unreadable("a field of the header is of a type that no field has")
        at += -at & 7
    return tuple(found.get(code, nothing) for code, nothing in _FIELDS)


_fields_as_before = lru_cache(64)(_fields)


def _text(data: bytes, at: int, length: int) -> str:
    text = data[at : at + length]
    if len(text) != length:
        raise Unreadable("a text of the header ends beyond the header")
    return text.decode()


def body(head: Head, data: bytes, *, stranger: bool) -> list[Any]:
    """Returns the values of a body, variants as what is in them. Of a stranger's at most a thousand are read.

    Raises Unreadable.
    """
    try:
        return _Body(head, data, stranger=stranger).values()
    except Unreadable:
        raise
    except Exception as error:  # noqa: BLE001 - whatever dbus_next stumbles over must not end the connection
        raise Unreadable(f"{type(error).__name__}: {error}") from None


class _Body(Unmarshaller):
    """The body of a message, which is complete."""

    def __init__(self, head: Head, data: bytes, *, stranger: bool) -> None:
        super().__init__(None)  # type: ignore[no-untyped-call] # the library's
        self.buf = bytearray(data)
        self.endian = head.order
        self._signature = head.signature
        self._stranger = stranger
        self._left = _MOST_VALUES if stranger else _LONGEST_MESSAGE
        self._depth = 0

    def values(self) -> list[Any]:
        return [self.read_argument(type_) for type_ in self._tree(self._signature).types] if self.buf else []

    def _tree(self, signature: str) -> SignatureTree:
        # The library keeps each signature that it is asked for, for ever: those of strangers are not for keeping.
        known = not self._stranger or len(signature) == 1
        return SignatureTree._get(signature) if known else SignatureTree(signature)  # noqa: SLF001 - for which there is no other way

    def read(self, n: int, prefetch: bool = False) -> int:
        """Moves on by n bytes, all of which must be there."""
        start = self.offset
        if n > len(self.buf) - start:
            raise Unreadable("the body ends within a value")
        if not prefetch:
            self.offset += n
        return start

    def read_argument(self, type_: Any) -> Any:
        """Reads a value, within the bounds of number and depth."""
        self._left -= 1
        if self._left < 0:
            raise Unreadable(f"there are more than {_MOST_VALUES} values")
        self._depth += 1
        if self._depth > 2 * _DEEPEST:
            raise Unreadable("the values lie too deep within each other")
        read: Callable[[Any], Any] = self.readers[type_.token]
        value = read(type_)
        self._depth -= 1
        return value

    def read_variant(self, _: Any = None) -> Any:
        """Reads what is in a variant."""
        signature: str = self.read_signature()  # type: ignore[no-untyped-call] # the library's
        (type_,) = self._tree(signature).types
        return self.read_argument(type_)
