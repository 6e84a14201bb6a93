"""The output of a job: on a terminal colours stay and nothing else steers it; in pipes every byte is as it was."""

import os
import re
import sys
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.jobs import output

COLOUR = re.compile(r"\x1b\[[0-9;:]*m")


def shown(*pieces: bytes) -> str:
    screen = output.Screen()
    return "".join(map(screen.shown, pieces)) + screen.end()


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        (b"plain\tand \xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\n", "plain\tand ä€😀\n"),
        (b"\x1b[1;31mred\x1b[0m\n", "\x1b[1;31mred\x1b[0m\n\x1b[0m"),
        (b"\x1b]0;owned\x07\n", "\\x1b]0;owned\\x07\n"),  # the title of the window
        (b"\x1b[2J\x1b[Hhidden\n", "\\x1b[2J\\x1b[Hhidden\n"),
        (b"\x1b[31\n", "\\x1b[31\n"),
        (b"secret\rpublic\n", "secret\\rpublic\n"),
        (b"dos\r\n", "dos\n"),
        (b"a\x08\x00\x7f\n", "a\\x08\\x00\\x7f\n"),
        (b"\xc2\x9b2J\n", "\\x9b2J\n"),  # an escape sequence of one character
        (b"\x9b2J\xff\n", "\\x9b2J\\xff\n"),  # the same in bytes that are no UTF-8
        ("\u202etxt.exe\u2028\n".encode(), "\\u202etxt.exe\\u2028\n"),
        (b"no newline", "no newline\n"),
        (b"", ""),
        (b"at the end \x1b", "at the end \\x1b\n"),
    ],
)
def test_on_a_terminal_nothing_but_newlines_tabs_and_colours_is_passed_on(written: bytes, seen: str) -> None:
    assert shown(written) == seen


@given(
    st.lists(st.sampled_from([b"\x1b", b"[", b"31", b";", b"m", b"\r", b"\n", b"\xc3", b"\xa4", b"]0;", b"a", b"\x9b"]))
)
def test_pieces_may_be_cut_anywhere(parts: list[bytes]) -> None:
    whole = b"".join(parts)
    seen = shown(whole)
    assert shown(*(whole[at : at + 1] for at in range(len(whole)))) == seen
    assert set(COLOUR.sub("", seen)) <= {chr(code) for code in range(32, 127)} | set("\n\täÛ")


@pytest.mark.parametrize(("raw", "seen"), [(False, b"\\x1b[2J end\r\n"), (True, b"\x1b[2J end")])
def test_copying_to_a_terminal_is_safe_unless_raw_bytes_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, raw: bool, seen: bytes
) -> None:
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w", encoding="utf-8") as terminal:
        for name in ("stdout", "stderr"):
            monkeypatch.setattr(sys, name, terminal)
            assert output.copy(iter([b"\x1b[2", b"J end"]), to_stderr=name == "stderr", raw=raw) == 8
            read = b""
            while len(read) < len(seen):
                read += os.read(ours, 100)
            assert read == seen
        monkeypatch.undo()
    os.close(ours)


def test_copying_into_a_pipe_leaves_every_byte(capfdbinary: Any) -> None:
    everything = bytes(range(256))
    pieces = [everything[first:second] for first, second in pairwise(range(0, 257, 16))]
    output.copy(iter(pieces))
    assert capfdbinary.readouterr().out == everything
