"""The configuration: which files, how they are laid over each other, and their settings as one Config.

What the settings of a part mean is the part's own: see config.kinds.
"""

import gc
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from msgspec import UNSET, Struct
from msgspec.structs import replace
from yaml import MappingNode, Node, ScalarNode

from agentd.config.compose import Problem, Problems, compose
from agentd.config.kinds import PARTS, Settings
from agentd.config.nodes import Decoder, locate, without_names
from agentd.config.types import fields_of, is_by_name, section
from agentd.core.config import Config
from agentd.core.fields import Keys
from agentd.core.times import timezone

SYSTEM_DIRECTORIES = tuple(Path(folder) for folder in ("/usr/lib/agentd", "/run/agentd", "/etc/agentd"))
"""Rising precedence: a file hides those of the same name before it; a link to /dev/null masks them."""
MAIN_FILE = "agentd.yaml"
DROP_INS = "conf.d"
_SUFFIXES = {".yaml", ".yml"}


class _Thing(Struct):
    """Stands for the struct of a thing, such as a job, where files are laid over each other: a setting of a thing is
    replaced as a whole, whatever its type."""


class Loaded(Struct, frozen=True):
    """A configuration and the files that it was read from, in order of rising precedence."""

    config: Config
    files: tuple[str, ...]


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


def folders(given: Path | None) -> list[Path]:
    """Returns the folders in which a change may alter the configuration."""
    if given is not None and not given.is_dir():
        return [given.parent]
    return [path for top in (SYSTEM_DIRECTORIES if given is None else [given]) for path in (top, top / DROP_INS)]


def load(given: Path | None = None, whole: type[Config] = Config, parts: Sequence[Settings] = PARTS) -> Loaded:
    """Reads the configuration as a `whole`, whose settings mean what `parts` say.

    Raises Problems with every error of every file.
    """
    # Nodes refer to nothing that refers to them: looking for cycles only doubles the time for many jobs.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return _load(given, whole, parts)
    finally:
        if collecting:
            gc.enable()


def _load(given: Path | None, whole: type[Config], parts: Sequence[Settings]) -> Loaded:
    try:
        files = sources(given)
    except OSError as error:
        reason = f"cannot be read: {(error.strerror or str(error)).lower()}"
        raise Problems([Problem(str(error.filename or given), 0, 0, reason)]) from None
    if not files:
        where = given or SYSTEM_DIRECTORIES[-1]
        raise Problems([Problem(str(where), 0, 0, f"no configuration: expected {MAIN_FILE} in this folder")])
    decoder = Decoder({kind: parser for part in parts for kind, parser in part.kinds.items()})
    top = _layered(decoder, files, whole)
    config = decoder.struct(top, whole)
    if config is UNSET:
        raise Problems(decoder.problems)
    config = replace(config, timezone=config.timezone or local_timezone())
    for part in parts:
        config = replace(config, **part.complete(config))
    for part in parts:
        for fault in part.faults(config):
            node, path = locate(top, fault.path)
            decoder.problem(node, path, fault.sentence)
    if decoder.problems:
        raise Problems(decoder.problems)
    return Loaded(config, tuple(str(file) for file in files))


def _layered(decoder: Decoder, files: Sequence[Path], whole: type[Config]) -> MappingNode:
    """Returns the settings of all files in one mapping, whose nodes know their files. Raises Problems."""
    layers = []
    for file in files:
        try:
            layers.append(compose(file, str(file)))
        except Problems as error:
            decoder.problems += error.found
            continue
        if len(files) > 1:  # before they are laid over each other, each must be sound by itself
            _check_keys(decoder, layers[-1], whole, ())
    if len(layers) < len(files):  # the settings of the others would only make for errors that are none
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


def local_timezone() -> str:
    """Returns the machine's time zone by name: $TZ, else what /etc/localtime links to, else UTC."""
    target = os.environ.get("TZ", "").lstrip(":") or str(Path("/etc/localtime").resolve()).partition("zoneinfo/")[2]
    try:
        timezone(target)
    except ValueError:
        return "UTC"
    return target
