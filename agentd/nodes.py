"""YAML to typed structs with the place of every error.

The text is composed to nodes, never constructed: a scalar keeps the text that was written, so `13:30` stays a
time, `no` stays a word where a word is wanted, and each problem is told with its line and column, all of them
at once. Types are msgspec structs; a field whose metadata names a "kind" is read by that parser.
"""

import contextlib
import io
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, get_args

import yaml
from msgspec import UNSET, Struct, ValidationError, convert, inspect
from msgspec.structs import FieldInfo, fields
from yaml import MappingNode, Node, ScalarNode, SequenceNode

from agentd import mistakes
from agentd.core.units import nearest, unknown_key

Parser = Callable[[Any], object]
_FastLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TRUE, _FALSE = {"true", "yes", "on"}, {"false", "no", "off"}
_MAX_BYTES = 16 << 20
_MAX_DEPTH = 50  # libyaml's composer recurses, and would take the process down
_MAX_VALUES = 1_000_000  # aliases may repeat a node without end
_MAX_MESSAGE = 500
_MAX_PROBLEMS = 1000


class Problem(Struct, frozen=True, order=True):
    """One error in a configuration; line and column count from 1, 0 where no place is known."""

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


class _TooDeep(yaml.MarkedYAMLError):
    """A node is nested too deeply."""


class _Loader(_FastLoader):  # type: ignore[misc]
    """The loader, with an end to nesting: these two are called around every node."""

    _depth = 0

    def descend_resolver(self, parent: Node | None, _: object) -> None:
        self._depth += 1
        if parent is not None and self._depth > _MAX_DEPTH:
            raise _TooDeep(problem_mark=parent.start_mark)

    def ascend_resolver(self) -> None:
        self._depth -= 1


class _Source(io.BytesIO):
    """What a YAML file says; its nodes carry `name` as the place they come from."""

    def __init__(self, text: bytes, name: str) -> None:
        super().__init__(text)
        self.name = name


class _NotYaml(Exception):
    """A text is not YAML: a sentence, and the index of the character that it is about."""

    def __init__(self, sentence: str, index: int) -> None:
        super().__init__(sentence)
        self.index = index


def _composed(text: str, name: str) -> Node | None:
    """The top node of a YAML text. Raises _NotYaml."""
    found = mistakes.unprintable(text)
    node: Node | None = None
    if not found:
        try:
            node = yaml.compose(_Source(text.encode(), name), Loader=_Loader)
            found = mistakes.unusable_escape(text)
        except (yaml.MarkedYAMLError, ValueError) as error:  # the second for an escape beyond Unicode
            found = _nested(error) or mistakes.explain(error, text)
            # A loader reads ahead of what it composes, how far depends on its version: what is before it is told first.
            with contextlib.suppress(yaml.YAMLError, ValueError):
                try:
                    yaml.compose(_Source(text[: found[1]].encode(), name), Loader=_Loader)
                except _TooDeep as before:
                    found = _nested(before) or found
    if found:
        raise _NotYaml(*found)
    return node


def _nested(error: Exception) -> tuple[str, int] | None:
    mark = error.problem_mark if isinstance(error, _TooDeep) else None
    return ("nested too deeply", mark.index) if mark else None


def compose(file: Path, name: str) -> MappingNode | None:
    """The top mapping of a YAML file (None: it is empty); `name` is how errors call the file. Raises Problems."""

    def refuse(message: str, line: int = 0, column: int = 0) -> Problems:
        return Problems([Problem(name, line, column, _legible(message))])

    def place(before: bytes) -> tuple[int, int]:
        lines = before.decode(errors="replace").split("\n")
        return len(lines), len(lines[-1]) + 1

    try:
        with file.open("rb") as stream:
            text = stream.read(_MAX_BYTES + 1)
        if len(text) > _MAX_BYTES:
            raise refuse(f"is larger than {_MAX_BYTES >> 20} MiB")
        text.decode()
    except OSError as error:
        raise refuse(f"cannot be read: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError as error:
        raise refuse("is not UTF-8 text", *place(text[: error.start])) from None
    try:
        node = _composed(written := text.decode("utf-8-sig"), name)
    except _NotYaml as error:
        raise refuse(f"is not YAML: {error}", *place(written[: error.index].encode())) from None
    if node is None or (isinstance(node, ScalarNode) and node.tag.endswith(":null")):
        return None
    if not isinstance(node, MappingNode):
        raise refuse(f"expected a mapping of settings, got {_called(node)}", *_place(node))
    return node


class Decoder:
    """Turns nodes into values of a type; what is wrong is collected in `problems`."""

    def __init__(self, kinds: Mapping[str, Parser]) -> None:
        self.problems: list[Problem] = []
        self._kinds = kinds
        self._values = 0

    def problem(self, node: Node, path: str, message: str) -> None:
        """Notes an error at the node. Raises Problems when there are enough of them."""
        where = f"{path}: " if path else ""
        if len(self.problems) >= _MAX_PROBLEMS:
            where, message = "", f"has more than {_MAX_PROBLEMS} errors; what comes after is not told"
        self.problems.append(Problem(str(node.start_mark.name), *_place(node), _legible(f"{where}{message}")))
        if len(self.problems) > _MAX_PROBLEMS:
            raise Problems(self.problems)

    def struct(self, node: Node, type_: type[Struct], path: str = "", **given: object) -> Any:
        """A struct from a mapping; `given` are the fields that do not come from it. UNSET where it has errors."""
        if not isinstance(node, MappingNode):
            self.problem(node, path, f"expected a mapping of settings, got {_called(node)}")
            return UNSET
        known = {field.encode_name: field for field in _fields(type_) if field.name not in given}
        names = sorted({*known, *given} - {"name"})
        values = dict(given)
        for key, key_node, value in self.items(node, path):
            if key not in known:
                self.problem(key_node, path, unknown_key(key, names))
                continue
            values[known[key].name] = self.value(value, known[key].type, f"{path}.{key}" if path else key)
        required = [field.encode_name for field in known.values() if field.required and field.name not in values]
        for name in required:
            self.problem(node, path, f"needs {name}")
        if required or any(value is UNSET for value in values.values()):
            return UNSET
        return type_(**values)

    def items(self, node: MappingNode, path: str) -> Iterator[tuple[str, Node, Node]]:
        """The keys and values of a mapping; a key that comes twice is an error."""
        self._count(node, path)
        seen: dict[str, Node] = {}
        for key_node, value in node.value:
            if not isinstance(key_node, ScalarNode):
                self.problem(key_node, path, "a key must be plain text")
            elif key_node.tag.endswith(":merge"):
                self.problem(key_node, path, "merge keys (<<) are not supported; write the settings out")
            elif key_node.value in seen:
                first = seen[key_node.value].start_mark.line + 1
                self.problem(key_node, path, f'"{key_node.value}" is there twice (first in line {first})')
            else:
                seen[key_node.value] = key_node
                yield key_node.value, key_node, value

    def value(self, node: Node, type_: Any, path: str) -> Any:
        """A value of any type that a field may have; UNSET, and a problem noted, where the node is not one."""
        if isinstance(node, ScalarNode) and node.tag.endswith(":null") and not node.style:
            self.problem(node, path, "has no value: give one, or leave the key out")
            return UNSET
        info = _info(type_)
        constrained = type_
        if isinstance(info, inspect.Metadata):
            kind = (info.extra or {}).get("kind")
            if kind is not None:
                return self._kind(node, kind, constrained, path)
            info = info.type
        if isinstance(info, inspect.UnionType):  # X | None: null is said by leaving the key out
            return self.value(node, next(arg for arg in get_args(type_) if arg is not type(None)), path)
        if isinstance(info, inspect.StructType):
            return self.struct(node, info.cls, path)
        if isinstance(info, inspect.DictType):
            return self._dict(node, get_args(type_)[1], path)
        if isinstance(info, inspect.VarTupleType):
            return self._tuple(node, get_args(type_)[0], path)
        return self._scalar(node, info, constrained, path)

    def _dict(self, node: Node, item: Any, path: str) -> Any:
        if not isinstance(node, MappingNode):
            self.problem(node, path, f"expected a mapping of names to values, got {_called(node)}")
            return UNSET
        values = {key: self.value(value, item, f"{path}.{key}") for key, _, value in self.items(node, path)}
        return UNSET if UNSET in values.values() else values

    def _tuple(self, node: Node, item: Any, path: str) -> Any:
        if not isinstance(node, SequenceNode):
            one = self.value(node, item, path)
            return UNSET if one is UNSET else (one,)
        self._count(node, path)
        values = tuple(self.value(one, item, f"{path}[{index}]") for index, one in enumerate(node.value))
        return UNSET if UNSET in values else values

    def _scalar(self, node: Node, info: inspect.Type, type_: Any, path: str) -> Any:
        if not isinstance(node, ScalarNode):
            self.problem(node, path, f"expected one value, got {_called(node)}")
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
                self.problem(node, path, f'"{text}" is not one of {", ".join(words)}{nearest(text, words)}')
                return UNSET
            return text
        if isinstance(info, inspect.IntType):
            if not re.fullmatch(r"0|-?[1-9][0-9]{0,30}", text):
                octal = f" (YAML reads it as octal; write {int(text)})" if re.fullmatch(r"0[0-9]{1,30}", text) else ""
                self.problem(node, path, f'"{text}" is not a whole number{octal}')
                return UNSET
            return self._constrained(node, int(text), type_, path)
        return self._constrained(node, text, type_, path)

    def _kind(self, node: Node, kind: str, type_: Any, path: str) -> Any:
        before = len(self.problems)
        raw = self._plain(node, path)
        if len(self.problems) > before:
            return UNSET
        try:
            return self._constrained(node, self._kinds[kind](raw), type_, path)
        except ValueError as error:
            keys: tuple[str, ...] = getattr(error, "keys", ())
            is_key: bool = getattr(error, "is_key", False)
            where = ".".join((path, *(keys[:-1] if is_key else keys)))
            self.problem(_inside(node, keys, is_key=is_key), where, str(error))
            return UNSET

    def _plain(self, node: Node, path: str, depth: int = 0) -> Any:
        """The node as text, lists and dictionaries of text, as it was written."""
        if isinstance(node, ScalarNode):
            return node.value
        if depth > _MAX_DEPTH:  # a node that holds itself
            self.problem(node, path, "is nested too deeply")
            return None
        if isinstance(node, MappingNode):
            return {key: self._plain(value, path, depth + 1) for key, _, value in self.items(node, path)}
        self._count(node, path)
        return [self._plain(item, path, depth + 1) for item in node.value]

    def _count(self, node: Node, path: str) -> None:
        self._values += len(node.value)
        if self._values > _MAX_VALUES:
            self.problem(node, path, "the file holds more than a million values (those of an alias count each time)")
            raise Problems(self.problems)

    def _constrained(self, node: Node, value: object, type_: Any, path: str) -> Any:
        """The value, when it keeps to the bounds and patterns of its type."""
        info = _info(type_)
        base = info.type if isinstance(info, inspect.Metadata) else info
        if not isinstance(base, inspect.IntType | inspect.StrType):
            return value
        try:
            return convert(value, type_)
        except ValidationError:
            self.problem(node, path, f"{_shown(node)} {_bounds(base, info)}")
            return UNSET


_INFO: dict[int, tuple[Any, inspect.Type]] = {}


def _info(type_: Any) -> inspect.Type:
    # By identity: annotated types cannot be hashed. The type is kept, so that its identity stays taken.
    if id(type_) not in _INFO:
        _INFO[id(type_)] = (type_, inspect.type_info(type_))
    return _INFO[id(type_)][1]


@cache
def _fields(type_: type[Struct]) -> tuple[FieldInfo, ...]:
    return fields(type_)


def _inside(node: Node, keys: tuple[str, ...], *, is_key: bool) -> Node:
    """The node below these keys, or the last key itself; the nearest one above it that exists."""
    for key, value in node.value if keys and isinstance(node, MappingNode) else ():
        if key.value == keys[0]:
            return key if is_key and len(keys) == 1 else _inside(value, keys[1:], is_key=is_key)
    return node


def _bounds(base: inspect.IntType | inspect.StrType, info: inspect.Type) -> str:
    if isinstance(base, inspect.StrType):
        return "is not a valid name" if base.pattern else "has a length that is not allowed"
    if base.ge is not None and base.le is not None:
        return f"must lie between {base.ge} and {base.le}"
    # The bound of a text such as "5min" is in another unit than the text.
    return "is too small" if isinstance(info, inspect.Metadata) else f"must be at least {base.ge}"


def _legible(message: str) -> str:
    """The message on one line, and of a length that can be read, whatever the file holds."""
    if len(message) > _MAX_MESSAGE:
        message = f"{message[: _MAX_MESSAGE // 2]} ... {message[-_MAX_MESSAGE // 2 :]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)


def _place(node: Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _shown(node: Node) -> str:
    return f'"{node.value}"' if isinstance(node, ScalarNode) else _called(node)


def _called(node: Node) -> str:
    if isinstance(node, ScalarNode):
        return f'"{node.value}"' if node.value else "nothing"
    return "a list" if isinstance(node, SequenceNode) else "a mapping"
