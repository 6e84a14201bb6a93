"""Nodes to typed structs with the place of every error.

Each problem is told with its line and column, all of them at once. Types are msgspec structs; a field whose metadata
names a "kind" is read by that parser, and one that is a mapping by name (core.fields.by_name) may be written as a list.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from msgspec import UNSET, Struct, ValidationError, convert, inspect
from yaml import MappingNode, Node, ScalarNode, SequenceNode

from agentd.config.compose import MAX_DEPTH, called, place_of
from agentd.config.problems import Problem, Problems, legible
from agentd.config.types import fields_of, info_of, item_of, metadata, without_none
from agentd.core.fields import Invalid, Keys, Parser
from agentd.core.quantities import format_duration, nearest, unknown_key

_TRUE, _FALSE = {"true", "yes", "on"}, {"false", "no", "off"}
_MAX_VALUES = 1_000_000  # aliases may repeat a node without end
_MAX_PROBLEMS = 1000
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,99}"
_TAGS = frozenset(
    f"tag:yaml.org,2002:{word}"
    for word in ("bool", "float", "int", "map", "merge", "null", "seq", "str", "timestamp", "value")
)
"""The tags that nodes have where nobody wrote one."""
_NO_VALUE = "has no value: give one, or leave the key out"
_NAME_RULE = "1 to 100 letters, digits, _ . : - and none of . : - first"


class Decoder:
    """Turns nodes into values of a type; errors are collected in `problems`. `kinds` are the parsers by name."""

    def __init__(self, kinds: Mapping[str, Parser]) -> None:
        self.problems: list[Problem] = []
        self._kinds = kinds
        self._values = 0

    def problem(self, node: Node, path: Keys, message: str, at: int = 0) -> None:
        """Notes an error at a character (from 0) of the node. Raises Problems when there are enough of them."""
        where = f"{_dotted(path)}: " if path else ""
        if len(self.problems) >= _MAX_PROBLEMS:
            where, message = "", f"has more than {_MAX_PROBLEMS} errors; what comes after is not told"
        self.problems.append(Problem(str(node.start_mark.name), *place_of(node, at), legible(f"{where}{message}")))
        if len(self.problems) > _MAX_PROBLEMS:
            raise Problems(self.problems)

    def struct(self, node: Node, type_: type[Struct], path: Keys = (), **given: object) -> Any:
        """Returns a struct from a mapping; `given` are fields from elsewhere. UNSET where the node has errors."""
        if not isinstance(node, MappingNode):
            self.problem(node, path, f"expected a mapping of settings, got {called(node)}")
            return UNSET
        known = {field.encode_name: field for field in fields_of(type_) if field.name not in given}
        values = dict(given)
        for key, key_node, value in self.items(node, path):
            if key not in known:
                meant = next(
                    (name for name, field in known.items() if key in metadata(field.type).get("synonyms", ())), ""
                )
                said = f'unknown key "{key}" (did you mean {meant}?)' if meant else unknown_key(key, sorted(known))
                self.problem(key_node, path, said)
                continue
            values[known[key].name] = self.value(value, known[key].type, (*path, key))
        required = [field.encode_name for field in known.values() if field.required and field.name not in values]
        for name in required:
            self.problem(node, path, f"needs {name}")
        if required or any(value is UNSET for value in values.values()):
            return UNSET
        return type_(**values)

    def items(self, node: MappingNode, path: Keys) -> Iterator[tuple[str, Node, Node]]:
        """Yields the keys and values of a mapping; a key that comes twice is an error."""
        self._count(node, path)
        seen: dict[str, Node] = {}
        for key_node, value in node.value:
            if not isinstance(key_node, ScalarNode):
                self.problem(key_node, path, "a key must be plain text")
                continue
            self._untagged(key_node, path)
            self._untagged(value, (*path, key_node.value))
            if key_node.tag.endswith(":merge"):
                self.problem(key_node, path, "merge keys (<<) are not supported; write the settings out")
            elif key_node.value in seen:
                first = seen[key_node.value].start_mark.line + 1
                self.problem(key_node, path, f'"{key_node.value}" is there twice (first in line {first})')
            else:
                seen[key_node.value] = key_node
                yield key_node.value, key_node, value

    def _untagged(self, node: Node, path: Keys) -> None:
        """Notes a problem where a tag asks for something to be done with a node, which nothing here does."""
        if node.tag not in _TAGS:
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")
            self.problem(node, path, f"tags such as {tag} are not supported: write the value itself")

    def value(self, node: Node, type_: Any, path: Keys) -> Any:
        """Returns a value of any type that a field may have; UNSET, and a problem noted, where the node is not one."""
        extra = metadata(type_)
        if "by_name" in extra:
            return self._things(node, type_, path)
        if _is_null(node):
            self.problem(node, path, _NO_VALUE)
            return UNSET
        if "kind" in extra:
            return self._kind(node, extra["kind"], type_, path)
        info = info_of(type_)
        if isinstance(info, inspect.Metadata):
            info = info.type
        if isinstance(info, inspect.UnionType):  # X | None: null is said by leaving the key out
            return self.value(node, without_none(type_), path)
        if isinstance(info, inspect.StructType):
            return self.struct(node, info.cls, path)
        if isinstance(info, inspect.DictType):
            return self._dict(node, get_args(type_)[1], path)
        if isinstance(info, inspect.VarTupleType):
            return self._tuple(node, get_args(type_)[0], path)
        return self._scalar(node, info, type_, path)

    def _things(self, node: Node, type_: Any, path: Keys) -> Any:
        """Returns the things of a mapping by name, or of a list where the field may be one."""
        thing, or_list = metadata(type_)["by_name"], metadata(type_)["or_list"]
        things: dict[str, Any] = {}
        unnamed = without_names(node, type_)
        if unnamed is not None:
            self._count(node, path)
            for position, (name, one) in enumerate(unnamed.items()):
                self._untagged(one, (*path, position))
                things[name] = self._thing(one, type_, name, path if one is node else (*path, position))
        elif isinstance(node, MappingNode):
            for name, key_node, one in self.items(node, path):
                if not re.fullmatch(_NAME, name):
                    self.problem(key_node, path, f'"{name}" is not a {thing} name ({_NAME_RULE})')
                things[name] = self._thing(one, type_, name, (*path, name))
        else:
            a_list = f", or a list of {thing}s" if or_list else ""
            self.problem(node, path, f"expected a mapping of {thing} names to {thing}s{a_list} (with no {thing}: {{}})")
            return UNSET
        return UNSET if UNSET in things.values() else things

    def _thing(self, node: Node, type_: Any, name: str, path: Keys) -> Any:
        item = item_of(type_)
        given = {"name": name} if any(field.name == "name" for field in fields_of(item)) else {}
        return self.struct(node, item, path, **given)

    def _dict(self, node: Node, item: Any, path: Keys) -> Any:
        if not isinstance(node, MappingNode):
            self.problem(node, path, f"expected a mapping of names to values, got {called(node)}")
            return UNSET
        values = {key: self.value(value, item, (*path, key)) for key, _, value in self.items(node, path)}
        return UNSET if UNSET in values.values() else values

    def _tuple(self, node: Node, item: Any, path: Keys) -> Any:
        if not isinstance(node, SequenceNode):
            one = self.value(node, item, path)
            return UNSET if one is UNSET else (one,)
        values = tuple(self.value(one, item, (*path, index)) for index, one in self._listed(node, path))
        return UNSET if UNSET in values else values

    def _listed(self, node: Node, path: Keys) -> Iterator[tuple[int, Node]]:
        """Yields the values of a list with their positions."""
        self._count(node, path)
        for index, one in enumerate(node.value):
            self._untagged(one, (*path, index))
            yield index, one

    def _scalar(self, node: Node, info: inspect.Type, type_: Any, path: Keys) -> Any:
        if not isinstance(node, ScalarNode):
            self.problem(node, path, f"expected one value, got {called(node)}")
            return UNSET
        text = node.value
        if isinstance(info, inspect.BoolType):
            if text.lower() not in _TRUE | _FALSE:
                self.problem(node, path, f'"{text}" is neither true nor false')
                return UNSET
            return text.lower() in _TRUE
        if isinstance(info, inspect.LiteralType):
            if text not in info.values:
                words = [str(value) for value in info.values]
                instead = metadata(type_).get("instead", {}).get(text, "")
                hint = f": for that, {instead}" if instead else nearest(text, words)
                self.problem(node, path, f'"{text}" is not one of {", ".join(words)}{hint}')
                return UNSET
            return text
        if isinstance(info, inspect.IntType):
            if not re.fullmatch(r"0|-?[1-9][0-9]{0,30}", text):
                octal = f" (YAML reads it as octal; write {int(text)})" if re.fullmatch(r"0[0-9]{1,30}", text) else ""
                self.problem(node, path, f'"{text}" is not a whole number{octal}')
                return UNSET
            return self._constrained(node, int(text), type_, path)
        return self._constrained(node, text, type_, path)

    def _kind(self, node: Node, kind: str, type_: Any, path: Keys) -> Any:
        before = len(self.problems)
        raw = self._plain(node, path)
        if len(self.problems) > before:
            return UNSET
        try:
            return self._constrained(node, self._kinds[kind](raw), type_, path)
        except Invalid as error:
            inside, keys = locate(node, error.keys, is_key=error.is_key)
            self.problem(inside, (*path, *keys), str(error))
        except ValueError as error:
            self.problem(node, path, str(error))
        return UNSET

    def _plain(self, node: Node, path: Keys, depth: int = 0) -> Any:
        """Returns the node as text, lists and dictionaries of text, as it was written."""
        if isinstance(node, ScalarNode):
            if _is_null(node) and node.value:  # a word; where nothing is written, the setting's own parser judges
                self.problem(node, path, f"{_NO_VALUE}; a text such as {node.value} stands in quotes")
            return node.value
        if depth > MAX_DEPTH:  # a node that holds itself
            self.problem(node, path[:-depth], "is nested too deeply")
            return None
        if isinstance(node, MappingNode):
            return {key: self._plain(value, (*path, key), depth + 1) for key, _, value in self.items(node, path)}
        return [self._plain(item, (*path, index), depth + 1) for index, item in self._listed(node, path)]

    def _count(self, node: Node, path: Keys) -> None:
        self._values += len(node.value)
        if self._values > _MAX_VALUES:
            self.problem(node, path, "the file holds more than a million values (those of an alias count each time)")
            raise Problems(self.problems)

    def _constrained(self, node: Node, value: object, type_: Any, path: Keys) -> Any:
        """Returns the value, when it keeps to the bounds and patterns of its type; else UNSET, and a problem noted."""
        info = info_of(type_)
        base = info.type if isinstance(info, inspect.Metadata) else info
        if not isinstance(base, inspect.IntType | inspect.StrType):
            return value
        try:
            return convert(value, type_)
        except ValidationError:
            is_duration = metadata(type_).get("kind") == "duration"
            self.problem(node, path, f"{_shown(node)} {_bounds(base, info, is_duration=is_duration)}")
            return UNSET


def without_names(node: Node, type_: Any) -> dict[str, Node] | None:
    """Returns the things of a list, or one that stands alone, where a mapping by name may be either; None: neither.

    Their names are "1", "2" and so on, by their position.
    """
    if not metadata(type_).get("or_list"):
        return None
    if isinstance(node, SequenceNode):
        return {str(position + 1): one for position, one in enumerate(node.value)}
    if not isinstance(node, MappingNode) or any(isinstance(value, MappingNode) for _, value in node.value):
        return None
    settings = {field.encode_name for field in fields_of(item_of(type_))}
    return {"1": node} if any(isinstance(key, ScalarNode) and key.value in settings for key, _ in node.value) else None


def locate(node: Node, path: Keys, *, is_key: bool = False) -> tuple[Node, Keys]:
    """Returns the node at the end of a path, and the path as the file has it: with positions in lists without names.

    The node is the last one on the way where the file has less than the whole path. `is_key` means the last key itself:
    the path is then that of the mapping with this key.
    """
    for index, key in enumerate(path):
        below = _below(node, key)
        if below is None:
            break
        step, key_node, value = below
        path = (*path[:index], step, *path[index + 1 :])
        node = key_node if is_key and index == len(path) - 1 else value
    return node, path[:-1] if is_key else path


def _below(node: Node, key: str | int) -> tuple[str | int, Node, Node] | None:
    """Returns the key or position of what lies under a key or name, the key's node, and the node."""
    if isinstance(node, MappingNode):
        for key_node, value in node.value:
            if isinstance(key_node, ScalarNode) and key_node.value == key:
                return key, key_node, value
    elif isinstance(node, SequenceNode):
        for position, value in enumerate(node.value):
            if key in (position, str(position + 1)):
                return position, value, value
    return None


def _dotted(path: Keys) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")


def _bounds(base: inspect.IntType | inspect.StrType, info: inspect.Type, *, is_duration: bool) -> str:
    if isinstance(base, inspect.StrType):
        if base.pattern is None and base.min_length is None:
            return f"has more than {base.max_length:,} characters"
        return "is not a valid name" if base.pattern else "has a length that is not allowed"
    if base.ge is not None and base.le is not None:
        least, most = (format_duration(bound) if is_duration else str(bound) for bound in (base.ge, base.le))
        return f"must lie between {least} and {most}"
    # The bound of a text such as "5min" is in another unit than the text.
    return "is too small" if isinstance(info, inspect.Metadata) else f"must be at least {base.ge}"


def _is_null(node: Node) -> bool:
    """Tells whether a node is nothing, or null without quotes."""
    return isinstance(node, ScalarNode) and node.tag.endswith(":null") and not node.style


def _shown(node: Node) -> str:
    return f'"{node.value}"' if isinstance(node, ScalarNode) else called(node)
