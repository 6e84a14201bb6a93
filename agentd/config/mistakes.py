"""Mistakes in a text that is not YAML, told in agentd's own words.

The libraries that read YAML word their errors differently, and anew with a version, but agree on the place. So each
sentence comes from the place, and from what is written there.
"""

import re

import yaml
from yaml.composer import ComposerError
from yaml.parser import ParserError
from yaml.scanner import ScannerError

# The characters that are refused: to compile the class of all but those that are allowed takes 4 ms, at each start.
_NOT_PRINTABLE = re.compile("[\0-\x08\v\f\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufeff\ufffe\uffff]")
_QUOTED = re.compile(r"""\"(?:[^"\\]|\\.)*+\"|'(?:[^']|'')*+'""", re.DOTALL)
_PLANES = "".join(f"{chr(plane << 16 | 0xFFFE)}{chr(plane << 16 | 0xFFFF)}" for plane in range(17))
_NO_CHARACTER = re.compile(f"[\ufdd0-\ufdef{_PLANES}]")
"""What Unicode keeps out of texts: systemd ignores each line of a unit with one of them."""
_NO_CHARACTER_ESCAPED = re.compile(
    r"\\(?:(?:u|U0000)(?:fd[de][0-9a-f]|fff[ef])|U00(?:0[1-9a-f]|10)fff[ef])", re.IGNORECASE
)
_HALF_A_PAIR = re.compile(r"\\(?:u|U0000)[dD][89a-fA-F]")
_BEYOND_UNICODE = re.compile(r"\\U(?!000|0010)")


def unprintable(text: str) -> tuple[str, int] | None:
    """Returns the first character that YAML or Unicode does not allow, as a sentence and its index."""
    if found := _NOT_PRINTABLE.search(text):
        return f"U+{ord(found.group()):04X} is a character that YAML does not allow", found.start()
    if found := _NO_CHARACTER.search(text):
        return f"U+{ord(found.group()):04X} is no character: Unicode keeps it out of texts", found.start()
    return None


def unusable_escape(text: str) -> tuple[str, int] | None:
    """Returns the first escape for half a surrogate pair, which libyaml refuses and PyYAML alone would read, or for
    what is no character."""
    if _HALF_A_PAIR.search(text) or _NO_CHARACTER_ESCAPED.search(text):
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            if not isinstance(token, yaml.ScalarToken):
                continue
            start = token.start_mark.index
            if any("\ud800" <= letter <= "\udfff" for letter in token.value):
                found = _HALF_A_PAIR.search(text, start)
                return _escape(text, found.start() if found else start)
            if _NO_CHARACTER.search(token.value) and (found := _NO_CHARACTER_ESCAPED.search(text, start)):
                return f"{found.group()} is no character: Unicode keeps it out of texts", found.start()
    return None


def explain(error: yaml.MarkedYAMLError | ValueError, text: str) -> tuple[str, int]:
    """Returns the error as a sentence, and the index of the character that the sentence is about."""
    if isinstance(error, ValueError):  # PyYAML alone stumbles over an escape beyond Unicode
        found = _BEYOND_UNICODE.search(text)
        return _escape(text, found.start() if found else 0)
    mark = error.problem_mark or error.context_mark
    at = min(mark.index, len(text)) if mark else 0
    start = min(error.context_mark.index, at) if error.context_mark else at
    if isinstance(error, ComposerError):
        return _composing(text, start, at), at
    if text[at : at + 1] == "\t":
        return "a tab cannot stand here: YAML is indented with spaces", at
    if isinstance(error, ScannerError):
        return _scanning(text, start, at)
    if isinstance(error, ParserError):
        return _parsing(text, start, at), at
    return "the text cannot be understood from here on", at


def _composing(text: str, start: int, at: int) -> str:
    name = re.split(r"[\s,\[\]{}]", text[at + 1 :], maxsplit=1)[0]
    match text[at : at + 1]:
        case "*":
            return f'"*{name}" stands for nothing: there is no "&{name}" before it'
        case "&":
            return f'"&{name}" is there twice (first in line {_line(text, start)})'
        case _:
            return "a second document begins here; a configuration is one document"


def _scanning(text: str, start: int, at: int) -> tuple[str, int]:
    begun, here = text[start : start + 1], text[at : at + 1]
    if begun and begun in "\"'":
        if not _QUOTED.match(text, start):
            return _never_closed(text, start), at
        backslash = text.rfind("\\", start, at + 1)
        if begun == '"' and backslash > start:
            return _escape(text, backslash)
    if here == ":":
        return '":" cannot stand here: a setting has a line of its own, and a text with ": " in it needs quotes', at
    if here == "-" and start == at:
        return 'a list cannot begin here: each "-" stands at the beginning of a line', at
    if begun and begun in "|>":
        return f'nothing may come after "{begun}": the text begins in the next line', at
    if begun and begun in "&*!%@`?":
        return f'a text cannot begin with "{begun}": put it in quotes', start
    if start < at:
        return 'the ":" after the name of a setting is missing', start
    return "the text cannot be understood from here on", at


def _parsing(text: str, start: int, at: int) -> str:
    begun, here = text[start : start + 1], text[at : at + 1]
    if begun and begun in "[{" and start < at:
        if not text[at:].strip():
            return _never_closed(text, start)
        end = "]" if begun == "[" else "}"
        return f"expected , or {end} here: the {begun} of line {_line(text, start)} is not closed yet"
    if not text[at:].strip():
        return "the file ends in the middle of a value"
    if here in ",]}" and start == at:
        return f'"{here}" cannot stand here: a text that begins with it needs quotes'
    if here in "!%" and start == at:
        return f'a text cannot begin with "{here}": put it in quotes'
    if not text[text.rfind("\n", 0, at) + 1 : at].strip():
        return "this line does not go on with what stands above it: look at how far it is indented"
    return "the value has ended before this (a text with quotes or brackets in it needs quotes around all of it)"


def _never_closed(text: str, start: int) -> str:
    return f"the {text[start]} of line {_line(text, start)} is never closed"


def _escape(text: str, backslash: int) -> tuple[str, int]:
    written = re.match(r"\\(?:u\w{0,4}|U\w{0,8}|x\w{0,2}|.?)", text[backslash:], re.DOTALL | re.ASCII)
    shown = written.group() if written else "\\"
    return f"{shown} is not an escape that YAML knows (between ' and ' a backslash is only a backslash)", backslash


def _line(text: str, index: int) -> int:
    return text.count("\n", 0, index) + 1
