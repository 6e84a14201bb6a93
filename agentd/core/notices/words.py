"""The words of messages: bounded, and free of what is no text or would steer a terminal."""

import re
from datetime import tzinfo

from agentd.core.times import moment

TITLE = 200
"""Characters of a title."""
TEXT = 8 << 10
"""Bytes of a text, as UTF-8."""
_ESCAPES = re.compile(
    "\x1b(?:"
    r"\[[0-?]*[ -/]*[@-~]"  # colours, and where the cursor goes
    "|\\][^\x07\x1b\n]*(?:\x07|\x1b\\\\)?"  # titles of windows, links
    "|[PX^_][^\x1b\n]*(?:\x1b\\\\)?"
    "|[ -/]*[0-~])"
    "|\x9b[0-?]*[ -/]*[@-~]"
)
_LINES = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_NO_TEXT = re.compile("[\ud800-\udfff\ufffe\uffff]")
_INVISIBLE = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
"""Control characters, and those that turn the direction of what is written."""


def clean(text: str) -> str:
    """Returns a text without escape sequences and control characters but for new lines and tabs; what is no text, such
    as a byte that Python could not decode, becomes a replacement character."""
    text = _LINES.sub("\n", _ESCAPES.sub("", text))
    return _INVISIBLE.sub("", _NO_TEXT.sub("\ufffd", text))


def title(text: str) -> str:
    """Returns a title of one line."""
    line = " ".join(clean(text[: TITLE * 10]).split())
    return line if len(line) <= TITLE else f"{line[: TITLE - 1]}…"


def body(text: str) -> str:
    """Returns a text that is short enough for a message, without blank lines at its ends."""
    found = clean(text[: TEXT * 2]).strip("\n")
    encoded = found.encode()
    if len(encoded) <= TEXT and len(text) <= TEXT * 2:
        return found
    return f"{encoded[: TEXT - 3].decode(errors='ignore')}…"


def at(instant: int, zone: tzinfo) -> str:
    """Returns an instant as the clocks of people show it, to the minute."""
    return f"{moment(instant, zone):%Y-%m-%d %H:%M}"
