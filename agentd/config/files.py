"""The configuration: which files, how they are laid over each other, and their settings as one Config.

What the settings of a part mean is the part's own: see config.kinds.
"""

import contextlib
import gc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from msgspec import UNSET, Struct
from msgspec.structs import replace
from yaml import MappingNode, Node, ScalarNode

from agentd.config.compose import Problem, Problems, compose, read
from agentd.config.foreign import translated
from agentd.config.kinds import PARTS, Settings
from agentd.config.nodes import Decoder, locate, without_names
from agentd.config.types import fields_of, is_by_name, section
from agentd.config.zone import Zone, local
from agentd.core.config import Config
from agentd.core.fields import Keys

SYSTEM_DIRECTORIES = tuple(Path(folder) for folder in ("/usr/lib/agentd", "/run/agentd", "/etc/agentd"))
"""Rising precedence: a file hides those of the same name before it; a link to /dev/null masks them."""
MAIN_FILE = "agentd.yaml"
DROP_INS = "conf.d"
_SUFFIXES = {".yaml", ".yml"}


class _Thing(Struct):
    """Stands for the struct of a thing, such as a job, where files are laid over each other: a setting of a thing is
    replaced as a whole, whatever its type."""


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


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Looks for no cycles, which would double the time for many jobs: nodes refer to nothing that refers to them.

    A whole function is the scope: what it leaves behind is gone before cycles are looked for again.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


@_uncollected()
def decoded(
    names: Sequence[str],
    content: Callable[[str], bytes],
    whole: type[Config] = Config,
    parts: Sequence[Settings] = PARTS,
) -> Loaded:
    """Returns the configuration in files of those names, in order of rising precedence. Raises Problems."""
    decoder = Decoder({kind: parser for part in parts for kind, parser in part.kinds.items()})
    top = _layered(decoder, names, content, whole)
    config = decoder.struct(top, whole)
    if config is UNSET:
        raise Problems(decoder.problems)
    names_zone = bool(config.timezone)
    for part in parts:
        for fault in part.faults(config):
            node, path = locate(top, fault.path)
            decoder.problem(node, path, fault.sentence, fault.at)
    if decoder.problems:
        raise Problems(decoder.problems)
    loaded = Loaded(config, tuple(names), names_zone)
    return loaded if names_zone else in_zone(loaded, local())


def in_zone(loaded: Loaded, zone: Zone) -> Loaded:
    """Returns the configuration, whose files name no time zone, in that of the machine."""
    config = replace(loaded.config, timezone=zone.name)
    return replace(loaded, config=config, warnings=(zone.warning,) if zone.warning else ())


def _layered(
    decoder: Decoder, names: Sequence[str], content: Callable[[str], bytes], whole: type[Config]
) -> MappingNode:
    """Returns the settings of all files in one mapping, whose nodes know their files. Raises Problems."""
    layers = []
    for name in names:
        try:
            layers.append(translated(compose(content(name), name)))
        except Problems as error:
            decoder.problems += error.found
            continue
        if len(names) > 1:  # before they are laid over each other, each must be sound by itself
            _check_keys(decoder, layers[-1], whole, ())
    if len(layers) < len(names):  # the settings of the others would only make for errors that are none
        raise Problems(decoder.problems)
    top, *over = layers
    for layer in over:
        top = _merge(top, layer, whole)
    return top


def _levels(type_: Any) -> Callable[[str], Any] | None:
    """Returns the types of the settings below one of this type, by key, where files are merged key by key.

    None: a file replaces such a setting as a whole. Sections are laid over each other down to their last key, things in
    a mapping by name as far as their own settings.
    """
    if type_ is None:
        return None
    if is_by_name(type_):
        return lambda _: _Thing
    struct = section(type_)
    return None if struct is None else {field.encode_name: field.type for field in fields_of(struct)}.get


def _check_keys(decoder: Decoder, node: Node, type_: Any, path: Keys) -> None:
    """Finds keys that come twice where files are laid over each other: merging would hide them."""
    below = _levels(type_)
    if below is None:
        return
    unnamed = without_names(node, type_)
    if unnamed is not None:
        for position, one in enumerate(unnamed.values()):
            _check_keys(decoder, one, _Thing, path if one is node else (*path, position))
    elif isinstance(node, MappingNode):
        for key, _, value in decoder.items(node, path):
            _check_keys(decoder, value, below(key), (*path, key))


def _merge(base: Node, over: Node, type_: Any) -> Any:
    """Returns the settings of `base` with those of `over` laid over them, key by key as far as _levels says.

    Things without names in `base` are named by their position; in `over` they replace all that were there.
    """
    below = _levels(type_)
    if below is None or not isinstance(over, MappingNode) or without_names(over, type_) is not None:
        return over
    unnamed = without_names(base, type_)
    if unnamed is not None:
        merged = {name: (_name(name, one), one) for name, one in unnamed.items()}
    elif isinstance(base, MappingNode):
        merged = {key.value: (key, value) for key, value in base.value if isinstance(key, ScalarNode)}
    else:
        return over
    for key, value in over.value:
        if isinstance(key, ScalarNode):
            old = merged.get(key.value)
            merged[key.value] = (key, value if old is None else _merge(old[1], value, below(key.value)))
    return MappingNode(over.tag, list(merged.values()), over.start_mark, over.end_mark)


def _name(name: str, thing: Node) -> ScalarNode:
    """Returns a key for a thing that the file gives none."""
    return ScalarNode("tag:yaml.org,2002:str", name, thing.start_mark, thing.end_mark)
