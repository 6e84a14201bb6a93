"""The files of a configuration laid over each other, and their settings as one Config.

What the settings of a part mean is the part's own: see config.kinds.
"""

import contextlib
import gc
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from msgspec import UNSET, Struct
from yaml import MappingNode, Node, ScalarNode

from agentd.config.compose import compose
from agentd.config.files import Loaded, in_zone
from agentd.config.foreign import translated
from agentd.config.kinds import PARTS, Settings
from agentd.config.nodes import Decoder, locate, without_names
from agentd.config.problems import Problems
from agentd.config.types import fields_of, is_by_name, section
from agentd.config.zone import local
from agentd.core.config import Config
from agentd.core.fields import Keys


class _Thing(Struct):
    """Stands for the struct of a thing, such as a job, where files are laid over each other: a setting of a thing is
    replaced as a whole, whatever its type."""


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
