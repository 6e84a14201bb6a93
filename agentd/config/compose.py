"""A YAML file to nodes, and the sentences about what is wrong with one.

The text is composed to nodes, never constructed: a scalar keeps the text that was written, so `13:30` stays a time and
`no` stays a word where a word is wanted.
"""

import contextlib
import io
from typing import Any

import yaml
from yaml import MappingNode, Node, ScalarNode, SequenceNode

from agentd.config import mistakes
from agentd.config.problems import Problem, Problems, legible

_FastLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MAX_DEPTH = 50  # libyaml's composer recurses, and would take the process down


class _TooDeep(yaml.MarkedYAMLError):
    """A node is nested too deeply."""


class _Loader(_FastLoader):  # type: ignore[misc]
    """The loader, with an end to nesting: the composer calls these two methods around every node."""

    _depth = 0

    def descend_resolver(self, parent: Node | None, _: object) -> None:
        self._depth += 1
        if parent is not None and self._depth > MAX_DEPTH:
            raise _TooDeep(problem_mark=parent.start_mark)

    def ascend_resolver(self) -> None:
        self._depth -= 1


class _Source(io.BytesIO):
    """The text of a YAML file; its nodes carry `name` as the file they come from."""

    def __init__(self, text: bytes, name: str) -> None:
        super().__init__(text)
        self.name = name


class _NotYaml(Exception):
    """A text is not YAML: a sentence, and the index of the character that it is about."""

    def __init__(self, sentence: str, index: int) -> None:
        super().__init__(sentence)
        self.index = index


def _composed(text: str, name: str) -> Node | None:
    """Returns the top node of a YAML text. Raises _NotYaml."""
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


def compose(text: bytes, name: str) -> MappingNode:
    """Returns the top mapping of a YAML text; `name` is how errors call its file. Raises Problems."""

    def refuse(message: str, line: int = 0, column: int = 0) -> Problems:
        return Problems([Problem(name, line, column, legible(message))])

    def place(before: bytes) -> tuple[int, int]:
        lines = before.decode(errors="replace").split("\n")
        return len(lines), len(lines[-1]) + 1

    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise refuse("is not UTF-8 text", *place(text[: error.start])) from None
    try:
        node = _composed(written := text.decode("utf-8-sig"), name)
    except _NotYaml as error:
        raise refuse(f"is not YAML: {error}", *place(written[: error.index].encode())) from None
    if node is None or (isinstance(node, ScalarNode) and node.tag.endswith(":null")):
        start = yaml.Mark(name, 0, 0, 0, None, 0)
        return MappingNode("tag:yaml.org,2002:map", [], start, start)
    if not isinstance(node, MappingNode):
        raise refuse(f"expected a mapping of settings, got {called(node)}", *place_of(node))
    return node


def place_of(node: Node, at: int = 0) -> tuple[int, int]:
    """Returns line and column, from 1, where a node begins, or where a character of its text (from 0) stands.

    That is the beginning as well where the text is not written as it is read: over several lines, or with escapes.
    """
    begin, end = node.start_mark, node.end_mark
    quotes = bool(getattr(node, "style", None))
    if at and isinstance(node, ScalarNode) and end.index - begin.index == len(node.value) + 2 * quotes:
        return begin.line + 1, begin.column + 1 + quotes + at
    return begin.line + 1, begin.column + 1


def called(node: Node) -> str:
    """Returns a node as it is named in an error: its text, or what it is."""
    if isinstance(node, ScalarNode):
        return f'"{node.value}"' if node.value else "nothing"
    return "a list" if isinstance(node, SequenceNode) else "a mapping"
