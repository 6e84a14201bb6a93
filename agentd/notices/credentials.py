"""A credential by its name: one line with a secret, in a file that systemd or its owner keeps from everybody else.

No sentence of this file has a word of what a credential says.
"""

import errno
import os
from collections.abc import Mapping
from pathlib import Path

from agentd.peers.credentials import absent, places, unusable, wrong

LONGEST = 64 << 10  # bytes


class Unusable(Exception):
    """A credential that cannot be used; the text is a sentence that says what was expected."""


def read(name: str, environment: Mapping[str, str] = os.environ) -> str:
    """Returns the line of a credential, systemd's where there is one, else the user's own. Raises Unusable."""
    for file, closed in places(name, environment):
        if (text := _content(name, file, closed)) is not None:
            return _line(name, text)
    raise Unusable(absent(name))


def _content(name: str, file: Path, closed: int) -> bytes | None:
    """Returns what a file has that nobody may open by the bits `closed`; None: there is none. Raises Unusable."""
    try:
        # Whoever may write there may have put a pipe in its place, which nobody ever ends.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
        with open(file, "rb", opener=lambda path, _: os.open(path, flags)) as opened:
            if why := wrong(file, os.fstat(opened.fileno()), closed):
                raise Unusable(unusable(name, why))
            return opened.read(LONGEST + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        link = error.errno == errno.ELOOP
        why = "is a link: expected a file" if link else f"{error.strerror or error.errno}".lower()
        raise Unusable(unusable(name, f"{file} {why}")) from None


def _line(name: str, content: bytes) -> str:
    """Returns the one line of a credential. Raises Unusable."""
    if len(content) > LONGEST:
        raise Unusable(f"the credential {name} is longer than {LONGEST >> 10} KiB")
    try:
        text = content.decode().strip(" \t\r\n")
    except UnicodeDecodeError:
        raise Unusable(f"the credential {name} is no text: expected a URL") from None
    if not text:
        raise Unusable(f"the credential {name} is empty: expected a URL")
    if "\n" in text:
        raise Unusable(f"the credential {name} has several lines: expected one URL")
    if not text.isprintable():
        raise Unusable(f"the credential {name} has control characters: expected a URL")
    return text
