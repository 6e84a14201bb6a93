"""The output of a run: from agentd or the journal, as it is, or so that it steers no terminal."""

import codecs
import re
import sys
import time
import unicodedata
from collections.abc import Iterator

from agentctl import daemon
from agentctl.client import Client
from agentctl.jobs import calls

POLL_SECONDS = 0.2
_CUT = b"[agentd keeps no more of this output"
_LAST_LINES = b"[the last lines of this output:]\n"
_COLOURS = re.compile(r"(\x1b\[[0-9;:]*m)")
_BEGUN = re.compile(r"(\x1b(\[[0-9;:]{0,40})?|\r)\Z")
_STEERING = {
    "Cc",
    "Cf",
    "Cs",
    "Zl",
    "Zp",
}  # the categories of what is no sign: control, format, half a pair, separators


def read(client: Client, run_id: str, to_end: bool) -> Iterator[bytes]:
    """Yields the output of a run, piece by piece: up to now, or to the run's end. Raises Failure."""
    if client.properties(daemon.MANAGER).get("Mode") == "system":
        from agentctl.jobs import journal

        yield from journal.output(client, run_id, to_end)
        return
    offset, finished, end = 0, False, b""
    while not finished:
        data, offset, finished = client.call(calls.READ_OUTPUT, run_id, offset)
        yield data
        end = (end + data)[-200:]
        if not data and not finished:
            if not to_end:
                return
            time.sleep(POLL_SECONDS)
    yield _tail(client, run_id, end)


def _tail(client: Client, run_id: str, end: bytes) -> bytes:
    """Returns the last lines of an output of which no more was kept, as its `end` or its tail says, or of which nothing
    is there any more; else nothing."""
    (runs,) = client.call(calls.LIST_RUNS, {"run_id": run_id, "tail": True})
    tail = str(runs[0].get("tail") or "").encode() if runs else b""
    cut = end.rstrip(b"\n").rpartition(b"\n")[2].startswith(_CUT)
    if not tail or not (cut or _CUT in tail or not end):
        return b""
    return (b"" if not end or end.endswith(b"\n") else b"\n") + _LAST_LINES + tail


def copy(pieces: Iterator[bytes], *, to_stderr: bool = False, raw: bool = False) -> int:
    """Writes an output and returns how many bytes it had: as it is into files and pipes and where `raw` says so; on a
    terminal what would steer it is shown as text, and the last line ends."""
    stream = sys.stderr if to_stderr else sys.stdout
    screen = Screen() if stream.isatty() and not raw else None
    written = 0
    for piece in pieces:
        stream.buffer.write(piece if screen is None else _encoded(screen.shown(piece), stream.encoding))
        stream.flush()
        written += len(piece)
    if screen is not None:
        stream.buffer.write(_encoded(screen.end(), stream.encoding))
        stream.flush()
    return written


def _encoded(text: str, encoding: str) -> bytes:
    return text.encode(encoding, "backslashreplace")


class Screen:
    """Makes bytes of anybody harmless for a terminal: newlines, tabs and colours (SGR) stay, whatever else would steer
    it is shown as text, such as \\x1b."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._held = ""  # what may be the begin of a colour, or of a line end
        self._coloured = False
        self._last = "\n"

    def shown(self, piece: bytes) -> str:
        """Returns what is to be shown of the next piece."""
        text = self._held + self._decoder.decode(piece)
        begun = _BEGUN.search(text)
        self._held = begun.group() if begun else ""
        return self._harmless(text[: len(text) - len(self._held)])

    def end(self) -> str:
        """Returns what is to be shown after the last piece: colours end, and the line does."""
        shown = self._harmless(self._held + self._decoder.decode(b"", final=True))
        self._held = ""
        return f"{shown}{chr(27) + '[0m' if self._coloured else ''}{'' if self._last == chr(10) else chr(10)}"

    def _harmless(self, text: str) -> str:
        parts = _COLOURS.split(text.replace("\r\n", "\n"))  # those at odd places are colours
        self._coloured = self._coloured or len(parts) > 1
        shown = "".join(part if number % 2 else "".join(map(_sign, part)) for number, part in enumerate(parts))
        self._last = shown[-1:] or self._last
        return shown


def _sign(char: str) -> str:
    if char in "\n\t" or unicodedata.category(char) not in _STEERING:
        return char
    return char.encode("unicode_escape").decode()
