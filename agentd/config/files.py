"""The files of the configuration: which there are, what changes them, and what is read from them.

How they are laid over each other and decoded: see config.layers, which needs YAML and is loaded where they are.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from agentd.config.kinds import PARTS, Settings
from agentd.config.problems import Problem, Problems, read
from agentd.config.zone import Zone
from agentd.core.config import Config

SYSTEM_DIRECTORIES = tuple(Path(folder) for folder in ("/usr/lib/agentd", "/run/agentd", "/etc/agentd"))
"""Rising precedence: a file hides those of the same name before it; a link to /dev/null masks them."""
MAIN_FILE = "agentd.yaml"
DROP_INS = "conf.d"
_SUFFIXES = {".yaml", ".yml"}


class Loaded(Struct, frozen=True):
    """A configuration and the files that it was read from, in order of rising precedence.

    `names_zone` tells whether they name the time zone, which is the machine's otherwise; `warnings` are sentences about
    what was guessed. `given` is the path that was asked for (empty: the system's folders), `texts` are the files'
    contents. A last good configuration has `errors`, those of the files as they are now, and `accepted`, the instant
    when it was read.
    """

    config: Config
    files: tuple[str, ...]
    names_zone: bool = False
    warnings: tuple[str, ...] = ()
    given: str = ""
    texts: tuple[bytes, ...] = ()
    errors: str = ""
    accepted: int = 0


def sources(given: Path | None) -> list[Path]:
    """Returns the files that make up the configuration: one file, those of one folder, or of the system's folders.

    A folder holds agentd.yaml and conf.d/*.yaml (or .yml); drop-ins are read in the order of their names.
    """
    if given is not None and not given.is_dir():
        return [given]
    found: dict[str, Path] = {}
    for folder in SYSTEM_DIRECTORIES if given is None else [given]:
        for file in (folder / MAIN_FILE, *_drop_ins(folder / DROP_INS)):
            if file.exists() or file.is_symlink():
                found["" if file.parent == folder else file.name] = file
    return [found[name] for name in sorted(found) if not found[name].is_char_device()]  # /dev/null


def _drop_ins(folder: Path) -> list[Path]:
    try:
        # A name with a dot first is an editor's.
        return [file for file in folder.iterdir() if file.suffix in _SUFFIXES and not file.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []


def watched(given: Path | None) -> list[Path]:
    """Returns the folders and the files in which a change may alter the configuration."""
    if given is not None and not given.is_dir():
        return [given]
    folders = [path for top in (SYSTEM_DIRECTORIES if given is None else [given]) for path in (top, top / DROP_INS)]
    with contextlib.suppress(OSError):  # a folder that cannot be read is told by who loads
        return [*folders, *sources(given)]
    return folders


def load(given: Path | None = None, whole: type[Config] = Config, parts: Sequence[Settings] = PARTS) -> Loaded:
    """Reads the configuration as a `whole`, whose settings mean what `parts` say.

    Raises Problems with every error of every file.
    """
    from agentd.config.layers import decoded  # noqa: PLC0415 - with YAML 1.2 MiB, in a process that reads

    try:
        files = sources(given)
    except OSError as error:
        reason = f"cannot be read: {(error.strerror or str(error)).lower()}"
        raise Problems([Problem(str(error.filename or given), 0, 0, reason)]) from None
    if not files:
        where = given or SYSTEM_DIRECTORIES[-1]
        raise Problems([Problem(str(where), 0, 0, f"no configuration: expected {MAIN_FILE} in this folder")])
    texts = {}

    def content(name: str) -> bytes:
        texts[name] = read(Path(name))
        return texts[name]

    names = tuple(str(file) for file in files)
    loaded = decoded(names, content, whole, parts)
    return replace(loaded, given=path_of(given), texts=tuple(texts[name] for name in names))


def are_there(given: Path | None) -> bool:
    """Tells whether there is a file of the configuration, or something that keeps one from being seen."""
    try:
        return bool(sources(given))
    except OSError:
        return True


def path_of(given: Path | None) -> str:
    """Returns the path that was asked for, as Loaded has it."""
    return "" if given is None else str(given.absolute())


def is_as_read(loaded: Loaded) -> bool:
    """Tells whether the files are the same as those that a configuration was read from, and hold the same."""
    try:
        files = sources(Path(loaded.given) if loaded.given else None)
        return tuple(read(file) for file in files) == loaded.texts  # the names may be of another working directory
    except (OSError, Problems):
        return False


def in_zone(loaded: Loaded, zone: Zone) -> Loaded:
    """Returns the configuration, whose files name no time zone, in that of the machine."""
    config = replace(loaded.config, timezone=zone.name)
    return replace(loaded, config=config, warnings=(zone.warning,) if zone.warning else ())
