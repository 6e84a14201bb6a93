"""The standard library as a supervisor has it: 2.1 of its 11.9 MiB were of modules from which it used a name or two.

`signal` and `socket` are the modules in C below those of these names, which have all but the enumerations. contextlib
would bring collections and functools, json regular expressions, and typing is for who reads and checks this code.
"""

from _json import encode_basestring_ascii, make_scanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    import socket
    from collections.abc import Iterable
    from contextlib import suppress
    from typing import Any, NoReturn
else:
    import _signal as signal
    import _socket as socket
    from _collections_abc import Iterable

    Any = NoReturn = object

    class suppress:  # noqa: N801 - the name that contextlib gives it
        """Goes on behind the block where that raises one of these errors."""

        def __init__(self, *errors: type[BaseException]) -> None:
            self._errors = errors

        def __enter__(self) -> None:
            """Does nothing."""

        def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> bool:
            return kind is not None and issubclass(kind, self._errors)


__all__ = ["Iterable", "NoReturn", "Record", "decoded", "encoded", "signal", "socket", "suppress"]

Record = dict[str, Any]


class _Plain:
    """The settings with which json.loads() reads where it is told of none."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_int, parse_float, parse_constant = int, float, float


_plain: Any = _Plain()
_read = make_scanner(_plain)


def decoded(message: bytes) -> Record:
    """Returns the record that the daemon wrote as JSON, without a space before it."""
    record: Record = _read(message.decode(), 0)[0]
    return record


def encoded(record: Record) -> bytes:
    """Returns a record of texts, numbers and None as JSON."""
    fields = [f"{encode_basestring_ascii(name)}: {_written(value)}" for name, value in record.items()]
    return f"{{{', '.join(fields)}}}".encode()


def _written(value: object) -> str:
    if isinstance(value, str):
        return encode_basestring_ascii(value)
    return "null" if value is None else repr(value)
