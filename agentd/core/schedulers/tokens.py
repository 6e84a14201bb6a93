"""C source as tokens: what a compiler sees once comments are gone, each token with its place.

The reading is meant for checks, not for compiling: where C leaves room for another reading than this one (raw strings,
control characters, digraphs, a backslash where none belongs, a quote that does not end in its line), the odd thing
becomes a token of kind "odd", which a check refuses.
"""

import bisect
import re
from collections.abc import Iterator, Sequence

from msgspec import Struct

_SPLICE = re.compile(r"\\[ \t]*\r?\n")
_RAW = frozenset(("R", "LR", "uR", "UR", "u8R"))
_KINDS = re.compile(
    r"""(?P<space>[ \t]+)
    |(?P<newline>\r?\n)
    |(?P<comment>//[^\n]*|/\*.*?\*/)
    |(?P<open>/\*)
    |(?P<string>(?:u8|[LuU])?"(?:[^"\\\n]|\\[^\n])*")
    |(?P<char>[LuU]?'(?:[^'\\\n]|\\[^\n])*')
    |(?P<word>[A-Za-z_$][A-Za-z0-9_$]*)
    |(?P<number>\.?[0-9](?:[eEpP][+-]|[A-Za-z0-9_$.])*)
    |(?P<digraph>%:|<:|:>|<%|%>)
    |(?P<mark>\.\.\.|\#\#|[-+*/%&|^!<>=]=|<<|>>|->|[][(){}.,;:?~=<>!%^&|*+/#-])
    |(?P<odd>[^\x00-\x7f]+|.)""",
    re.VERBOSE | re.DOTALL,
)


class Token(Struct, frozen=True):
    """A token: its kind (word, number, string, char, mark, newline or odd), its text and where it begins."""

    kind: str
    text: str
    start: int


class Source:
    """A source: its tokens, and the place (line, column) of each, both from 1."""

    def __init__(self, text: str) -> None:
        self._lines = [0, *(found.end() for found in re.finditer("\n", text))]
        self._seams: list[int] = []  # in the joined text
        self._gone: list[int] = [0]  # characters that were left out before and at each seam
        pieces, last, length = [], 0, 0
        for found in _SPLICE.finditer(text):
            pieces.append(text[last : found.start()])
            length += found.start() - last
            last = found.end()
            self._seams.append(length)
            self._gone.append(last - length)
        self._joined = "".join((*pieces, text[last:]))
        self.tokens: Sequence[Token] = tuple(self._read())

    def place(self, start: int) -> tuple[int, int]:
        """Returns the line and the column of the character with this number, from 0, in the source."""
        line = bisect.bisect_right(self._lines, start)
        return line, start - self._lines[line - 1] + 1

    def _read(self) -> Iterator[Token]:
        for found in _KINDS.finditer(self._joined):
            kind, text = str(found.lastgroup), found[0]
            if kind in {"space", "comment"}:
                continue
            is_raw = kind == "word" and text in _RAW and self._joined[found.end() : found.end() + 1] == '"'
            odd = is_raw or kind in {"open", "digraph"}
            start = found.start() + self._gone[bisect.bisect_right(self._seams, found.start())]
            yield Token("odd" if odd else kind, text, start)
            if kind == "open":  # a comment without an end: nothing more to read, and nothing to look through again
                return


def closing(tokens: Sequence[Token], opening: int) -> int:
    """Returns where the bracket that opens at this index is closed; the length of the tokens where it is not."""
    depth = 0
    for at in range(opening, len(tokens)):
        if tokens[at].kind == "mark":
            depth += (tokens[at].text in "([{") - (tokens[at].text in ")]}")
            if depth == 0:
                return at
    return len(tokens)


def value(token: Token) -> str:
    """Returns the text of a string without its quotes; escapes stay as they are written."""
    return token.text[token.text.index('"') + 1 : -1]
