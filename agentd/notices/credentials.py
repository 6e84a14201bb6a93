"""A credential by its name: one line with a secret, in a file that systemd or its owner keeps from everybody else.

No sentence of this file has a word of what a credential says.
"""

import errno
import os
import stat
from collections.abc import Mapping
from pathlib import Path

LONGEST = 64 << 10  # bytes
PREFIX = "agentd.notice."
"""The beginning of the names of systemd's credentials for notices."""
OWN = ".config/agentd/credentials"
"""The folder of a user's own credentials, in the home."""


class Unusable(Exception):
    """A credential that cannot be used; the text is a sentence that says what was expected."""


def read(name: str, environment: Mapping[str, str] = os.environ) -> str:
    """Returns the line of a credential, systemd's where there is one, else the user's own. Raises Unusable."""
    service, home = environment.get("CREDENTIALS_DIRECTORY", ""), environment.get("HOME", "")
    if service and (text := _content(name, Path(service) / f"{PREFIX}{name}", 0o007)) is not None:
        return _line(name, text)
    if home and (text := _content(name, Path(home) / OWN / name, 0o077)) is not None:
        return _line(name, text)
    raise Unusable(f"there is no credential {name}: expected {PREFIX}{name} of systemd, or the file ~/{OWN}/{name}")


def _content(name: str, file: Path, closed: int) -> bytes | None:
    """Returns what a file has that nobody may open by the bits `closed`; None: there is none. Raises Unusable.

    systemd's own file is readable by an access list, which the bits of the group show.
    """
    try:
        # Whoever may write there may have put a pipe in its place, which nobody ever ends.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
        with open(file, "rb", opener=lambda path, _: os.open(path, flags)) as opened:
            status = os.fstat(opened.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise Unusable(f"the credential {name} cannot be used: {file} is not a file")
            if status.st_uid not in {0, os.geteuid()}:
                raise Unusable(f"the credential {name} cannot be used: {file} belongs to somebody else")
            if status.st_mode & closed:
                raise Unusable(f"the credential {name} cannot be used: others may open {file} (chmod 600 {file})")
            return opened.read(LONGEST + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        why = "is a link: expected a file" if error.errno == errno.ELOOP else f"{error.strerror or error.errno}".lower()
        raise Unusable(f"the credential {name} cannot be used: {file} {why}") from None


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
