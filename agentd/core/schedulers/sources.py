"""The check of the text of a scheduler in BPF C before a compiler sees it: bounded, plain, and one scheduler.

The checks find mistakes early and say where they are. They are no wall: a macro can paste a word together (a ## b) that
is not in the text, and no text tells whether every task gets its turn. The walls are the sandbox of the compiler, the
check of the object that comes out (objects.py), the kernel's verifier, and a trial in the kernel with its watchdog.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from msgspec import Struct

from agentd.core.schedulers.tokens import Source, Token, closing, value

LARGEST = 60 * 1024
"""The bytes that a source may have: with its author's words it has to fit into one call."""
MOST_FINDINGS = 20
NAME = re.compile(r"[a-z][a-z0-9_]{0,14}")
"""The name of a scheduler, as a whole."""
HEADERS = ("scx.h", "vmlinux.h", "bpf/bpf_helpers.h", "bpf/bpf_tracing.h", "bpf/bpf_core_read.h", "bpf/bpf_endian.h")
# Not error and warning: to a compiler what follows them is no C, and a comment that seems to begin there does not.
_DIRECTIVES = {
    *("define", "undef", "include", "pragma"),
    *("if", "ifdef", "ifndef", "elif", "elifdef", "elifndef", "else", "endif"),
}
_PRAGMAS = (("once",), ("unroll",), ("nounroll",), ("clang", "loop"), ("clang", "diagnostic"), ("GCC", "diagnostic"))
_SECTION = re.compile(
    r"struct_ops(\.s)?(/[A-Za-z0-9_]+)?|\.struct_ops\.link|\.maps|\.(data|rodata|bss)(\.[A-Za-z0-9_]+)?"
)
_READS = "would read another file into the object"
_REFUSED_CALLED = ("section", "__section__", "__declspec")
_REFUSED = {
    **dict.fromkeys(("asm", "__asm", "__asm__", "_asm"), f"assembler is not taken: {{}} {_READS}"),
    **dict.fromkeys(
        ("__has_include", "__has_include_next", "__has_embed"),
        "{} is not taken: the headers that there are, are " + ", ".join(HEADERS),
    ),
    **dict.fromkeys(("_Pragma", "__pragma"), "{} is not taken: write #pragma"),
    **dict.fromkeys(_REFUSED_CALLED, "{}() is not taken: write SEC() where a section is wanted"),
    "LIBBPF_PIN_BY_NAME": "{} is not taken: a scheduler leaves nothing behind in the kernel",
}
_TRIGRAPH = re.compile(r"\?\?[=/'()!<>-]")
_HIDDEN = re.compile("[\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
"""Characters that are not seen, or that change the order in which others are."""
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)")
"""Characters that have no place in a text: some end a line, and so a comment, for one reader and not for another."""
_BEGINS = frozenset(("BPF_STRUCT_OPS", "BPF_STRUCT_OPS_SLEEPABLE"))
_EXAMPLE_EXIT = "void BPF_STRUCT_OPS(NAME_exit, struct scx_exit_info *ei) { record_end(ei); }"


class Unusable(Exception):
    """A source that cannot even be checked: too large, or no text."""


class Finding(Struct, frozen=True):
    """A reason not to take a source, with its place in the text: line and column, from 1."""

    line: int
    column: int
    sentence: str


def is_name(text: str) -> bool:
    """Tells whether a text can be the name of a scheduler of one's own."""
    return NAME.fullmatch(text) is not None


def read(data: bytes) -> str:
    """Returns the text of a source. Raises Unusable."""
    if len(data) > LARGEST:
        raise Unusable(f"expected a source of at most {LARGEST // 1024} KiB, but this one has {len(data)} bytes")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Unusable(f"expected a text in UTF-8, but line {line} has other bytes") from None
    if not text.strip():
        raise Unusable("expected the source of a scheduler, but there is nothing in it")
    return text


def check(text: str) -> tuple[Finding, ...]:
    """Returns why a source is not taken, in the order of the text, at most MOST_FINDINGS; none: it may be compiled."""
    source = Source(text)
    found = [(hidden.start(), "an unseen character is not taken") for hidden in _HIDDEN.finditer(text)]
    found += [(one.start(), "a control character is not taken") for one in _CONTROL.finditer(text)]
    found += [
        (three.start(), f"{three[0]} is not taken: C has read it in two ways") for three in _TRIGRAPH.finditer(text)
    ]
    found += _odd(source.tokens)
    lines = tuple(_lines(source.tokens))
    code = [token for line in lines if not _is_directive(line) for token in line]
    for line in lines:
        if _is_directive(line):
            found += _directive(line)
    found += _words([token for line in lines for token in line])
    if not found:
        found += _includes_ours(lines)
        found += _scheduler(code)
    places = sorted(set(found))[:MOST_FINDINGS]
    return tuple(Finding(*source.place(start), sentence) for start, sentence in places)


def _lines(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    """Returns the tokens by lines, empty ones left out."""
    line: list[Token] = []
    for token in tokens:
        if token.kind != "newline":
            line.append(token)
        elif line:
            yield line
            line = []
    if line:
        yield line


def _is_directive(line: Sequence[Token]) -> bool:
    return line[0].text == "#"


_Found = Iterator[tuple[int, str]]


def _odd(tokens: Sequence[Token]) -> _Found:
    for token in tokens:
        if token.kind == "odd":
            yield token.start, _why_odd(token.text)


def _why_odd(text: str) -> str:
    if text in {'"', "'"}:
        return f"expected the text or character that begins with {text} to end in its line"
    if text == "/*":
        return "this comment has no end"
    if text.endswith("R"):
        return "raw strings are not taken"
    if text.isascii() and text.isprintable():
        return f"{text} does not belong here"
    return f"{text[:10]!a} does not belong outside of comments and texts"


def _directive(line: Sequence[Token]) -> _Found:
    start, words = line[0].start, [token.text for token in line[1:]]
    if not words:
        return
    if words[0] not in _DIRECTIVES:
        yield start, f"#{words[0]} is not taken"
    elif words[0] == "include":
        name = "".join(words[1:])
        if (name[:1], name[-1:]) not in {("<", ">"), ('"', '"')} or name[1:-1] not in HEADERS:
            yield start, f"#include {name[:40]} is not taken: the headers that there are, are {', '.join(HEADERS)}"
    elif words[0] == "pragma" and not any(tuple(words[1 : 1 + len(known)]) == known for known in _PRAGMAS):
        yield start, f"#pragma {' '.join(words[1:3])} is not taken"
    elif words[0] in {"define", "undef"} and words[1:2] in (["SEC"], *([name] for name in _BEGINS), ["SCX_OPS"]):
        yield start, f"{words[1]} means what scx.h says"


def _words(tokens: Sequence[Token]) -> _Found:
    for at, token in enumerate(tokens):
        if token.kind != "word":
            continue
        called = tokens[at + 1 : at + 2] and tokens[at + 1].text == "("
        if token.text in _REFUSED and (called or token.text not in _REFUSED_CALLED):
            yield token.start, _REFUSED[token.text].format(token.text)
        elif token.text == "SEC":
            yield from _section(token, tokens[at + 1 : at + 4])


def _section(word: Token, after: Sequence[Token]) -> _Found:
    if len(after) < 3 or after[0].text != "(" or after[1].kind != "string" or after[2].text != ")":
        yield word.start, 'expected SEC("...") with a single text in it'
    elif value(after[1]) == "license":
        yield word.start, "scx.h says the license, GPL: leave it out here"
    elif not _SECTION.fullmatch(value(after[1])):
        wants = "a scheduler has programs of the type struct_ops alone, begun with BPF_STRUCT_OPS(), and maps"
        yield word.start, f"SEC({after[1].text[:40]}) is not taken: {wants}"


def _includes_ours(lines: Sequence[Sequence[Token]]) -> _Found:
    for line in lines:
        if "".join(token.text for token in line) in {'#include"scx.h"', "#include<scx.h>"}:
            return
    yield 0, 'expected #include "scx.h", which has what a scheduler needs and notes why one ends'


def _scheduler(code: Sequence[Token]) -> _Found:
    """Finds what is missing in the scheduler that the code defines."""
    defined = list(_definitions(code))
    if not defined:
        yield 0, "expected a scheduler, but nothing defines one: SCX_OPS(NAME_ops, .enqueue = (void *)NAME_enqueue, …);"
        return
    for start, _ in defined[1:]:
        yield start, "expected one scheduler in a source, but this is another one"
    start, members = defined[0]
    if not members.keys() >= {"enqueue"} and not members.keys() >= {"select_cpu", "dispatch"}:
        yield start, "expected .enqueue, or .select_cpu and .dispatch: nothing says where a task goes"
    if "name" not in members:
        yield start, 'expected .name = "..."'
    if "timeout_ms" not in members:
        yield (
            start,
            "expected .timeout_ms = 5000 or less: how long the kernel lets a task wait before it ends the scheduler",
        )
    if "exit" not in members:
        yield start, f"expected .exit = (void *)NAME_exit, and {_EXAMPLE_EXIT}, so that its end has a reason"
    elif not _records(code, members["exit"]):
        yield start, f"expected the function of .exit to call record_end(): {_EXAMPLE_EXIT}"


def _definitions(code: Sequence[Token]) -> Iterator[tuple[int, Mapping[str, Token]]]:
    """Returns the schedulers that are defined: where, and the members that are set, each with the last word of its
    value."""
    over = 0
    for at, token in enumerate(code):
        after = [one.text for one in code[at + 1 : at + 4]]
        opening = at + 1 if token.text == "SCX_OPS" and after[:1] == ["("] else 0
        if token.text == "sched_ext_ops" and after[1:] == ["=", "{"]:
            opening = at + 3
        if opening and at >= over:  # one within another is none
            over = closing(code, opening)
            yield token.start, _members(code[opening + 1 : over])


def _members(inside: Sequence[Token]) -> Mapping[str, Token]:
    groups, depth = [list[Token]()], 0
    for token in inside:
        depth += (token.text in "([{") - (token.text in ")]}") if token.kind == "mark" else 0
        if token.text == "," and depth == 0:
            groups.append([])
        else:
            groups[-1].append(token)
    return {
        group[1].text: group[-1]
        for group in groups
        if [token.text for token in group[:1] + group[2:3]] == [".", "="] and len(group) > 3
    }


def _records(code: Sequence[Token], function: Token) -> bool:
    """Tells whether a function that the kernel calls has record_end() in it."""
    for at, token in enumerate(code):
        if token.text in _BEGINS and [one.text for one in code[at + 1 : at + 3]] == ["(", function.text]:
            body = closing(code, at + 1) + 1
            inside = code[body : closing(code, body)] if body < len(code) else ()
            return any((one.text, two.text) == ("record_end", "(") for one, two in pairwise(inside))
    return False
