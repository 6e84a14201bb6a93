"""The credentials of couriers, looked at from outside: whether there is one, and whether others may open it.

Nothing here opens a file, so that no sentence has a word of what a credential says.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

PREFIX = "agentd.notice."
"""The beginning of the names of systemd's credentials for notices."""
OWN = ".config/agentd/credentials"
"""The folder of a user's own credentials, in the home."""
_PLAIN = ("etc/credstore", "run/credstore", "usr/lib/credstore", "run/credentials/@system")
_ENCRYPTED = (*(f"{folder}.encrypted" for folder in _PLAIN[:3]), "run/credentials/@encrypted")
"""The folders in which systemd looks for what a unit imports (ImportCredential=)."""


def places(name: str, environment: Mapping[str, str]) -> list[tuple[Path, int]]:
    """Returns the files of which a courier uses the first that there is, each with the bits that its mode may not have.

    systemd's own file is readable by an access list, which the bits of the group show.
    """
    service, home = environment.get("CREDENTIALS_DIRECTORY", ""), environment.get("HOME", "")
    found = [(Path(service) / f"{PREFIX}{name}", 0o007)] if service else []
    return [*found, (Path(home) / OWN / name, 0o077)] if home else found


def absent(name: str) -> str:
    """Returns the sentence about a credential that is in none of these places."""
    return f"there is no credential {name}: expected {PREFIX}{name} of systemd, or the file ~/{OWN}/{name}"


def unusable(name: str, why: str) -> str:
    """Returns the sentence about a credential that is there and cannot be used."""
    return f"the credential {name} cannot be used: {why}"


def wrong(file: Path, status: os.stat_result, closed: int) -> str:
    """Returns what is wrong with a file by its status, as the end of a sentence; "": nothing."""
    if stat.S_ISLNK(status.st_mode):
        return f"{file} is a link: expected a file"
    if not stat.S_ISREG(status.st_mode):
        return f"{file} is not a file"
    if status.st_uid not in {0, os.geteuid()}:
        return f"{file} belongs to somebody else"
    return f"others may open {file} (chmod 600 {file})" if status.st_mode & closed else ""


def own(name: str, environment: Mapping[str, str] = os.environ) -> str:
    """Returns why a courier of this user's could not use a credential, as a sentence; "": nothing is known against."""
    for file, closed in places(name, environment):
        try:
            why = wrong(file, file.lstat(), closed)
        except FileNotFoundError:
            continue
        except OSError as error:
            why = f"{file} {(error.strerror or str(error.errno)).lower()}"
        return unusable(name, why) if why else ""
    return absent(name)


def of_systemd(name: str, top: Path = Path("/")) -> str:
    """Returns why a courier that is a unit could not use a credential, as a sentence; "": nothing is known against it,
    or whoever asks may not look where systemd does."""
    try:
        file = _file_of_systemd(name, top)
        if file is None:
            plain, encrypted = top / _PLAIN[0], top / _ENCRYPTED[0]
            return f"there is no credential {name}: expected {PREFIX}{name} in {encrypted} or {plain}"
        if file.parent in {top / folder for folder in _ENCRYPTED} or not file.parent.stat().st_mode & 0o011:
            return ""
        return unusable(name, f"others may open {file} (chmod 600 {file})") if file.stat().st_mode & 0o077 else ""
    except OSError:
        return ""


def of_either(name: str, environment: Mapping[str, str] = os.environ, top: Path = Path("/")) -> str:
    """Returns why a courier could not use a credential, as a sentence, where nobody knows whether agentd is to run
    standalone; "": nothing is known against it."""
    if (why := own(name, environment)) != absent(name):
        return why
    try:
        return of_systemd(name, top) if _file_of_systemd(name, top) else why
    except OSError:
        return f"there is no file ~/{OWN}/{name}, which an agentd that runs standalone expects"


def _file_of_systemd(name: str, top: Path) -> Path | None:
    """Returns the file of a credential that a unit imports; None: there is none. Raises OSError where nobody but others
    may look."""
    for folder in (*_PLAIN, *_ENCRYPTED):
        file = top / folder / f"{PREFIX}{name}"
        try:
            file.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        return file
    return None
