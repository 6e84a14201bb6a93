"""The errors of a configuration, each with its place, and what a file holds: nothing here needs YAML."""

from pathlib import Path

from msgspec import Struct

_MAX_BYTES = 16 << 20
_MAX_MESSAGE = 500


class Problem(Struct, frozen=True, order=True):
    """An error in a configuration; line and column count from 1, 0 where no place is known."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        place = f":{self.line}:{self.column}" if self.line else ""
        return f"{self.file}{place}: {self.message}"


class Problems(Exception):
    """A configuration cannot be used; `found` lists every error."""

    def __init__(self, found: list[Problem]) -> None:
        self.found = sorted(set(found))
        super().__init__("\n".join(str(problem) for problem in self.found))


def read(file: Path) -> bytes:
    """Returns what a YAML file holds. Raises Problems."""
    try:
        with file.open("rb") as stream:
            text = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        reason = f"cannot be read: {(error.strerror or str(error)).lower()}"
        raise Problems([Problem(str(file), 0, 0, legible(reason))]) from None
    if len(text) > _MAX_BYTES:
        raise Problems([Problem(str(file), 0, 0, f"is larger than {_MAX_BYTES >> 20} MiB")])
    return text


def legible(message: str) -> str:
    """Returns the message on one line, and of a length that can be read, whatever the file holds."""
    if len(message) > _MAX_MESSAGE:
        message = f"{message[: _MAX_MESSAGE // 2]} ... {message[-_MAX_MESSAGE // 2 :]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)
