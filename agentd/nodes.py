"""YAML to typed structs with the place of every error.

The text is composed to nodes, never constructed: a scalar keeps the text that was written, so `13:30` stays a
time, `no` stays a word where a word is wanted, and each problem is told with its line and column, all of them
at once. Types are msgspec structs; a field whose metadata names a "kind" is read by that parser.
"""

import difflib
import io
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, get_args

import yaml
from msgspec import UNSET, Struct, ValidationError, convert, inspect
from msgspec.structs import FieldInfo, fields
from yaml import MappingNode, Node, ScalarNode, SequenceNode

Parser = Callable[[Any], object]
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TRUE, _FALSE = {"true", "yes", "on"}, {"false", "no", "off"}
_MAX_BYTES = 16 << 20
_MAX_VALUES = 1_000_000  # aliases may repeat a node without end


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


class _Source(io.BytesIO):
    """What a YAML file says; its nodes carry `name` as the place they come from."""

    def __init__(self, text: bytes, name: str) -> None:
        super().__init__(text)
        self.name = name


def compose(file: Path, name: str) -> MappingNode | None:
    """The top mapping of a YAML file (None: it is empty); `name` is how errors call the file. Raises Problems."""

    def refuse(message: str, line: int = 0, column: int = 0) -> Problems:
        return Problems([Problem(name, line, column, message)])

    try:
        if file.stat().st_size > _MAX_BYTES:
            raise refuse(f"is larger than {_MAX_BYTES >> 20} MiB")
        text = file.read_bytes()
        text.decode()
    except OSError as error:
        raise refuse(f"cannot be read: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError as error:
        raise refuse(f"is not UTF-8 text (byte {error.start})") from None
    try:
        node = yaml.compose(_Source(text, name), Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = ", ".join(str(part) for part in (error.context, error.problem) if part)
        place = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise refuse(f"is not YAML: {what}", *place) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise refuse(f"is not YAML: {str(error).splitlines()[0] if str(error) else 'too deeply nested'}") from None
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
        """Notes an error at the node."""
        where = f"{path}: " if path else ""
        self.problems.append(Problem(str(node.start_mark.name), *_place(node), f"{where}{message}"))

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
                near = difflib.get_close_matches(key, names, 1)
                hint = f" (did you mean {near[0]}?)" if near else f"; expected one of {', '.join(names)}"
                self.problem(key_node, path, f'unknown key "{key}"{hint}')
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
        self._values += 1
        if self._values > _MAX_VALUES:
            if self._values == _MAX_VALUES + 1:
                self.problem(node, path, "the aliases of this file repeat more than a million values")
            return UNSET
        if isinstance(node, ScalarNode) and node.tag.endswith(":null") and node.style is None:
            self.problem(node, path, "has no value (remove the key to get the default)")
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
        nodes = node.value if isinstance(node, SequenceNode) else [node]
        values = tuple(self.value(one, item, f"{path}[{index}]") for index, one in enumerate(nodes))
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
                near = difflib.get_close_matches(text, [str(value) for value in info.values], 1)
                hint = f" (did you mean {near[0]}?)" if near else ""
                self.problem(node, path, f'"{text}" is not one of {", ".join(map(str, info.values))}{hint}')
                return UNSET
            return text
        if isinstance(info, inspect.IntType):
            if not text.isdecimal() or (text.startswith("0") and text != "0"):
                octal = f" (YAML reads it as octal; write {text.lstrip('0')})" if text.isdecimal() else ""
                self.problem(node, path, f'"{text}" is not a whole number{octal}')
                return UNSET
            return self._constrained(node, int(text), type_, path)
        return self._constrained(node, text, type_, path)

    def _kind(self, node: Node, kind: str, type_: Any, path: str) -> Any:
        try:
            return self._constrained(node, self._kinds[kind](plain(node)), type_, path)
        except ValueError as error:
            inner: str = getattr(error, "key", "")
            self.problem(_inside(node, inner), f"{path}.{inner}" if inner else path, str(error))
            return UNSET

    def _constrained(self, node: Node, value: object, type_: Any, path: str) -> Any:
        """The value, when it keeps to the bounds and patterns of its type."""
        info = _info(type_)
        base = info.type if isinstance(info, inspect.Metadata) else info
        if not isinstance(base, inspect.IntType | inspect.StrType):
            return value
        try:
            return convert(value, type_)
        except ValidationError:
            self.problem(node, path, f"{_shown(node)} {_bounds(base)}")
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


def plain(node: Node) -> Any:
    """The node as text, lists and dictionaries of text, as it was written. Raises ValueError for odd keys."""
    if isinstance(node, ScalarNode):
        return node.value
    if isinstance(node, SequenceNode):
        return [plain(item) for item in node.value]
    result = {}
    for key, value in node.value:
        if not isinstance(key, ScalarNode):
            raise ValueError("a key must be plain text")  # noqa: TRY004 - of the text, not of the program
        if key.value in result:
            raise ValueError(f'"{key.value}" is there twice')
        result[key.value] = plain(value)
    return result


def _inside(node: Node, path: str) -> Node:
    """The node at a dotted path below; the nearest one above it that exists."""
    for part in filter(None, path.split(".")):
        if not isinstance(node, MappingNode):
            return node
        matches = [(key, value) for key, value in node.value if isinstance(key, ScalarNode) and key.value == part]
        if not matches:
            return node
        node = matches[0][1]
    return node


def _bounds(info: inspect.IntType | inspect.StrType) -> str:
    if isinstance(info, inspect.StrType):
        return "is not a valid name" if info.pattern else "has a length that is not allowed"
    if info.ge is not None and info.le is not None:
        return f"must lie between {info.ge} and {info.le}"
    return "is too small" if info.le is None else "is too large"


def _place(node: Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _shown(node: Node) -> str:
    return f'"{node.value}"' if isinstance(node, ScalarNode) else _called(node)


def _called(node: Node) -> str:
    if isinstance(node, ScalarNode):
        return f'"{node.value}"' if node.value else "nothing"
    return "a list" if isinstance(node, SequenceNode) else "a mapping"
