"""The use of a run: whether what it watches is another than it was at the run before."""

import hashlib
import re
from functools import cache
from typing import Literal

from msgspec import Struct

from agentd.core.jobs.model import FAILURES, Run

MOST = 256 << 10
"""Bytes of an output or a file that are looked at, from its beginning."""
_PIECE, _LONGEST = 2048, 256
"""Characters of a line that are looked through at a time, as an expression lets no other thread run; and more than what
is masked as one ever has."""
Kind = Literal["output", "exit-code", "exit-codes", "file", "reported"]

_UNIT = r"(?:ns|us|µs|ms|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)\b"
_NUMBER = r"\d{1,20}(?:[.,]\d{1,20}){0,4}"  # bounded: an output of nothing but "12,12," takes no longer than another
_MASKS = "|".join((
        r"\b\d{4}-\d\d?-\d\d?(?:[T ]\d\d?:\d\d(?::\d\d)?(?:[.,]\d{1,9})?)?(?:\s?(?:Z|UTC|GMT|[+-]\d\d:?\d\d))?",  # ISO
        r"\b\d\d?[./]\d\d?[./]\d{2,4}\b",  # 25.11.2026, 11/25/26
        r"\b(?:mon|tue|wed|thu|fri|sat|sun)[a-z]{0,7},?\s{1,4}(?=(?:\d|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec))",
        r"\b(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,7}\s{1,4}\d\d?(?:,?\s{1,4}\d{4})?\b",
        r"\b\d\d?\s{1,4}(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,7}(?:\s{1,4}\d{4})?\b",
        r"\b\d\d?:\d\d(?::\d\d)?(?:[.,]\d{1,9})?(?:\s?[ap]m)?(?:\s?(?:Z|UTC|GMT|CES?T|[+-]\d\d:?\d\d))?(?:\s\d{4}\b)?",
        r"\b1[5-9]\d{8}(?:\d{3}|\d{6}|\d{9})?(?:\.\d{1,9})?\b",  # seconds since 1970, and parts of them
        rf"\b{_NUMBER}\s?{_UNIT}(?:\s{1,4}ago\b)?",
        r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b",  # a UUID
        r"\b0x[0-9a-f]{1,32}\b",  # an address in memory
        r"\b(?:\d{1,3}\.){3}\d{1,3}:\d{1,5}\b",  # an address with the port of a connection
        r"(?<=\w\[)\d{1,10}(?=\])",  # a process: sshd[1234]
        rf"\b(?:pid|process|run|attempt|try|iteration|seq|sequence|counter|serial|request|id|uptime|elapsed|took)\b(?:\s?[:=#]\s?|\s)#?{_NUMBER}(?:\s?{_UNIT})?(?![\w-])",
        rf"#{_NUMBER}\b",
    ))  # fmt: skip
"""Texts that differ from run to run and mean no change: times, durations, addresses, and counters; an expression."""


class Watch(Struct, frozen=True):
    """The thing that a useful run changes. `codes` are exit codes, `path` is that of a file."""

    kind: Kind
    codes: tuple[int, ...] = ()
    path: str = ""


def watch(useful: str) -> Watch:
    """Returns the thing that a job's setting `useful` names."""
    if useful.startswith("file:"):
        return Watch("file", path=useful.removeprefix("file:"))
    if useful.startswith("exit-code:"):
        return Watch("exit-codes", codes=tuple(map(int, useful.removeprefix("exit-code:").split(","))))
    return Watch("reported" if useful == "reported" else "exit-code" if useful == "exit-code" else "output")


def tells_nothing(watch: Watch, run: Run) -> str:
    """Returns why a run that ended says nothing of what is watched, as a sentence; or ""."""
    if run.result == "success" or (watch.kind in ("exit-code", "exit-codes") and run.exit_code is not None):
        return ""
    if run.result in FAILURES:
        return f"the last run failed ({run.result}), and what it found does not count"
    return f"the last run was {run.result}"


def masked(text: str) -> str:
    """Returns an output without what differs from run to run and means no change, and without white space at the ends
    of lines."""
    return "\n".join(_masked(line).rstrip() for line in text.splitlines()).strip()


@cache
def _masks() -> re.Pattern[str]:
    """Returns the expression of _MASKS, made when an output is first looked at: it takes 10 ms and 60 KiB."""
    return re.compile(_MASKS, re.IGNORECASE)


def _masked(line: str) -> str:
    """Returns a line with each mask, as sub() of the expression would, piece after piece. What begins near the end of
    a piece is left to the next one, so that it does not matter where pieces end."""
    kept: list[str] = []
    done = at = 0
    while at < len(line):
        end = min(at + _PIECE, len(line))
        upto = end if end == len(line) else end - _LONGEST
        for found in _masks().finditer(line, at, end):
            if found.start() >= upto:
                break
            kept += (line[done : found.start()], "~")
            done = found.end()
        at = max(done, upto)
    return "".join((*kept, line[done:]))


def mark(data: bytes) -> str:
    """Returns a text that tells one content from another."""
    return hashlib.blake2b(data, digest_size=12).hexdigest()


def mark_of_output(data: bytes, run_id: str = "") -> str:
    """Returns a text that tells one output from another, but for what masked() leaves out and the id of the run, which
    no other run has."""
    text = data[:MOST].decode(errors="replace")
    return mark(masked(text.replace(run_id, "~") if run_id else text).encode())
