"""The words of compilers, libbpf and the kernel's verifier, made short enough to be read."""

import re
from collections.abc import Sequence

MOST_LINES = 40
WIDEST = 200
_ERROR = re.compile(r"^(?:(?P<place>[^:\s][^:]*:\d+:\d+): )?(?:fatal )?error: (?P<what>.*)")
_CRASH = re.compile(r"^(PLEASE submit a bug report|Stack dump:)", re.MULTILINE)
_NO_MEMORY = "LLVM ERROR: out of memory"
_BEGIN = re.compile(r"libbpf: prog '(?P<name>[^']*)': -- BEGIN PROG LOAD LOG --")
_FIGURES = re.compile(r"processed \d+ insns|verification time|stack depth|peak_states|-- END")
_SOURCE = re.compile(r"; (?P<text>.*) @ (?P<place>[^@]+:\d+)$")
_SAYS_LITTLE = re.compile(
    r"libbpf: (failed to load object|Failed to bump RLIMIT|prog '[^']*': (failed to load|BPF program load failed))"
)
_TOLD_LINES = 14


def readable(text: str, most: int = MOST_LINES, folder: str = "") -> tuple[str, ...]:
    """Returns lines that may be shown: at most `most`, of bounded width and printable; paths in `folder` without it."""
    text = _CRASH.split(text, maxsplit=1)[0]  # what follows is for the compiler's authors
    if folder:
        text = text.replace(f"{folder}/", "")
    lines = [_line(line) for line in text.splitlines() if line.strip()]
    if len(lines) > most:
        lines = [*lines[: most - 1], f"… {len(lines) - most + 1} more lines"]
    return tuple(lines)


def _line(line: str) -> str:
    line = "".join(c if c.isprintable() else " " for c in line.expandtabs().removeprefix("./")).rstrip()
    return line if len(line) <= WIDEST else f"{line[: WIDEST - 1]}…"


def compiled_badly(lines: Sequence[str]) -> str:
    """Returns what a compiler complains of first, with its place."""
    if _NO_MEMORY in lines:
        return "the source wants more memory to be compiled than it may"
    for line in lines:
        if found := _ERROR.match(line):
            return ": ".join(text for text in (found["place"], found["what"]) if text)
    return lines[0] if lines else ""


def refused(log: str) -> tuple[str, tuple[str, ...]]:
    """Returns why libbpf or the verifier did not take an object, and lines that say more, from what libbpf wrote."""
    begins = list(_BEGIN.finditer(log))
    if not begins:
        lines = readable(log)
        telling = [line for line in lines if line.startswith("libbpf: ") and not _SAYS_LITTLE.match(line)]
        return (telling or lines or ("libbpf: said nothing",))[0].removeprefix("libbpf: "), lines
    begin = begins[-1]
    body = log[begin.end() :].partition("-- END PROG LOAD LOG --")[0]
    said = [line for line in body.splitlines() if line.strip() and not _FIGURES.match(line)]
    places = [found for line in said if (found := _SOURCE.match(line))]
    where = f" at {places[-1]['place'].strip()}" if places else ""
    complaint = _line(said[-1]) if said else "it did not say why"
    sentence = f"the verifier refuses {begin['name']}{where}: {complaint}"
    return sentence, readable("\n".join(said[-_TOLD_LINES:]))
