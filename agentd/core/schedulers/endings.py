"""The reason for which a scheduler ended, from what the kernel, its program and systemd said.

The kernel knows best: it ended the scheduler. The program repeats the kernel's reason, often with more of its message,
and alone knows why it was never loaded. systemd knows how the process ended, which is the reason where the kernel only
says that user space took its scheduler away.
"""

import re
import signal
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from agentd.core.schedulers.model import LAUNCHER, Ending, Exit

LONGEST = 500
"""Characters of a reason or a message that are kept."""

RESTART, HOTPLUG = 1 << 48, 1 << 32
"""Bits of the exit code: what the kernel asks for (bits 48 to 63), and its reason (bits 32 to 47)."""
_REASONS = {
    "unregistered from user space": "unregistered",
    "unregistered from BPF": "unregistered",
    # The kernel takes the scheduler of the whole machine away by itself only when a processor comes or goes.
    "unregistered from the main kernel": "hotplug",
    "disabled by sysrq-S": "sysrq",
    "parent exiting": "unregistered",
    "killed by parent scheduler": "unregistered",
    "runtime error": "error",
    "scx_bpf_error": "bpf-error",
    "runnable task stall": "stall",
    "reenqueue limit": "error",
    "rescue bandwidth overload": "error",
}
"""The kind of an ending by the kernel's reason (scx_exit_reason() of kernel/sched/ext.c, 6.12 to 7.2 and later)."""
_KINDS = dict(zip((64, 65, 66, 67, 68, 69, 1024, 1025, 1026, 1027, 1028), _REASONS, strict=True))
"""The kernel's reason by its number (enum scx_exit_kind)."""

_PREFIX = r"^(?:\[ *\d+\.\d+\] )?sched_ext: "
_CHANGE = re.compile(
    _PREFIX + r'BPF (?P<sub>sub-)?scheduler "(?P<name>[^"]*)" (?P<verb>enabled|disabled)(?: \((?P<reason>.*)\))?$'
)
_LOCKUP = re.compile(_PREFIX + r"((?:soft|hard) lockup - CPU ?\d+ stuck.*?)(?:, disabling.*)?$", re.IGNORECASE)
_ISOLATED = re.compile(_PREFIX + r'(Not compatible with "isolcpus=" domain isolation)$')
_MESSAGE = re.compile(_PREFIX + r"(?P<name>[^\s\":]+): (?P<text>.+)$")
_STUCK = re.compile(r"(soft|hard) lockup|rcu .*stall", re.IGNORECASE)

_EXIT = re.compile(r"(?:^|\s)EXIT: (?P<reason>[^(]+?)(?: \((?P<message>.*)\))?(?: on CPU \d+)?$")
_OWN = re.compile(rf"^{LAUNCHER}: (.+)$")
_PANIC = re.compile(r"^thread '[^']*'(?: \(\d+\))? panicked at (.*?):?$")
_VERDICT = re.compile(r"^processed \d+ insns")
_ERRNO = (
    r"-E[A-Z]+\b|os error \d+|Device or resource busy|Operation not permitted|Permission denied"
    r"|Cannot allocate memory|No such file or directory|Argument list too long"
)
_REFUSALS = tuple(
    re.compile(pattern)
    for pattern in (
        r"(another sched_ext scheduler is already running)",
        r"(can't (?:register struct_ops|pin link) .+)$",
        r"(no struct_ops found in .+)$",
        r"(extern \([^)]*\) '[^']+': .+)$",
        r"(kfunc '[^']+' is referenced but wasn't resolved)",
        r"(map '[^']+': failed to create: .+)$",
        r"(failed to open system Kconfig)$",
        r"([Ff]ailed to attach struct_ops.*)$",
        r"(Couldn't load trivial BPF program.*)$",
        r"(prog '[^']+': (?:BPF program load failed|failed to load): .+)$",
        r"((?:[Ff]ailed to (?:load|open|attach|init)|[Ff]ailed loading).*)$",
        rf"^(?:Error|error|libbpf): (.*(?:{_ERRNO}).*)$",
        r"^\[SCX_BUG\] \S+ \((.+)\)$",
    )
)
"""Lines of libbpf, bpftool and schedulers that say that the kernel or libbpf did not take a scheduler, the most telling
first."""
_ERROR = re.compile(r"^(?:Error|error|ERROR): (.+)$")
_CAUSES = ("Caused by:", "Caused by")
_CAUSE = re.compile(r"^\s*(?:\d+: )?(.+)$")
_SIGNALS = {int(number): number.name for number in signal.Signals}


def ending(log: Sequence[str], output: Sequence[str], unit: Exit | None = None, ops: str = "") -> Ending:
    """Returns the truest reason for the end of a scheduler: from lines of the kernel's log, the lines that its program
    printed (both the oldest first), and how systemd says that its unit ended. `ops` is the kernel's name of the
    scheduler without its version; without `ops` the last one that ended counts."""
    kernel, program = of_kernel(log, ops), of_output(output)
    for word in (kernel, program):
        if word is not None and word.kind not in {"unregistered", "refused", "exited"}:
            if program is not None and word.reason == program.reason and len(program.message) > len(word.message):
                return replace(word, message=program.message)
            return word
    process = of_unit(unit)
    if process is not None and process.kind == "killed":
        return process
    if unit is not None and unit.result == "exit-code" and program is None and process is not None:
        return process  # the kernel saw its scheduler go as the program ended by itself
    # A program that fell over says why; that the kernel then lost its scheduler is but what follows of it.
    if program is not None and program.kind in {"refused", "exited"}:
        return program
    return kernel or program or process or Ending()


def of_kernel(log: Sequence[str], ops: str = "") -> Ending | None:
    """Returns the end that the kernel's log tells last; None where it tells none since such a scheduler was enabled."""
    at = last_end(log, ops)
    if at < 0:
        return None
    if isolated := _ISOLATED.match(log[at]):
        return Ending(kind="refused", reason=isolated[1])
    change = _CHANGE.match(log[at])
    name, reason = (change["name"], change["reason"] or "") if change else ("", "")
    for line in log[at + 1 :]:
        if (told := _MESSAGE.match(line)) and told["name"] == name:
            return of_reason(reason, told["text"])
    lockups = [stuck[1] for line in log[:at] if (stuck := _LOCKUP.match(line))]
    return of_reason(reason, lockups[-1] if lockups and _REASONS.get(reason) == "error" else "")


def last_end(log: Sequence[str], ops: str = "") -> int:
    """Returns which line tells the last end of such a scheduler; -1 where none does since it was enabled."""
    for at in range(len(log) - 1, -1, -1):
        if _ISOLATED.match(log[at]):
            return at
        change = _CHANGE.match(log[at])
        if change and not change["sub"] and (not ops or f"{change['name']}_".startswith(f"{ops}_")):
            return at if change["verb"] == "disabled" else -1
    return -1


def of_output(output: Iterable[str]) -> Ending | None:
    """Returns the end that a scheduler's program told last; None where its lines have nothing of the kind."""
    lines = [line.rstrip() for line in output]
    for line in reversed(lines):
        if told := _EXIT.search(line):
            return of_reason(told["reason"], told["message"] or "")
        if own := _OWN.match(line):
            return Ending(kind="refused", reason=_short(own[1]))
    return _panic(lines) or _refusal(lines) or _error(lines)


def of_reason(reason: str, message: str = "") -> Ending:
    """Returns the end that a reason of the kernel's, with its message, stands for."""
    kind = _REASONS.get(reason.strip(), "unknown")
    if kind == "hotplug" and "cgroup" in message:
        kind = "unregistered"
    if kind == "error" and _STUCK.search(message):
        kind = "lockup"
    return Ending(kind=kind, reason=_short(reason), message=_short(message), restart=kind == "hotplug")


def of_exit_info(kind: int, exit_code: int, message: str = "") -> Ending:
    """Returns the end that the kernel's scx_exit_info tells, which a scheduler hands to ops.exit()."""
    if kind not in _KINDS:
        return Ending(reason=f"exit kind {kind}", message=_short(message), restart=bool(exit_code & RESTART))
    found = of_reason(_KINDS[kind], message)
    if found.kind == "hotplug" and not exit_code & HOTPLUG:
        found = replace(found, kind="unregistered")
    return replace(found, restart=bool(exit_code & RESTART))


def of_unit(unit: Exit | None) -> Ending | None:
    """Returns the end that systemd tells of a unit; None where it tells nothing."""
    if unit is None or not (unit.result or unit.code):
        return None
    if unit.result == "oom-kill":
        return Ending(kind="killed", reason="the kernel killed it for want of memory (or its MemoryMax=)")
    if unit.result in {"timeout", "watchdog"}:
        return Ending(kind="killed", reason=f"systemd killed it: {unit.result}")
    if unit.code in {"killed", "dumped"}:
        name = _SIGNALS.get(unit.status, f"signal {unit.status}")
        kind = "exited" if unit.result == "success" else "killed"  # SIGINT, with which it is asked to end
        return Ending(kind=kind, reason=f"its process was ended by {name}")
    if unit.code == "exited":
        return Ending(kind="exited", reason=f"its process ended with status {unit.status}")
    return Ending(kind="unknown", reason=f"systemd says: {unit.result}")


def _panic(lines: Sequence[str]) -> Ending | None:
    """Returns what a program of Rust said as it fell over: the place, and its message in the next line."""
    for at in range(len(lines) - 1, -1, -1):
        if panic := _PANIC.match(lines[at]):
            message = lines[at + 1] if at + 1 < len(lines) else ""
            return Ending(kind="exited", reason=_short(f"it panicked at {panic[1]}"), message=_short(message))
    return None


def _refusal(lines: Sequence[str]) -> Ending | None:
    """Returns the refusal that says most; the message is the verifier's last word, or what caused the refusal."""
    message = next((lines[at - 1] for at in range(len(lines) - 1, 0, -1) if _VERDICT.match(lines[at])), "")
    for pattern in _REFUSALS:
        for at in range(len(lines) - 1, -1, -1):
            if told := pattern.search(lines[at]):
                return Ending(kind="refused", reason=_short(told[1]), message=_short(message or _cause(lines, at)))
    return None


def _error(lines: Sequence[str]) -> Ending | None:
    """Returns the last error that a program told before it ended by itself."""
    for at in range(len(lines) - 1, -1, -1):
        if told := _ERROR.match(lines[at]):
            return Ending(kind="exited", reason=_short(told[1]), message=_short(_cause(lines, at)))
    return None


def _cause(lines: Sequence[str], at: int) -> str:
    """Returns the deepest cause below an error, as programs of Rust list them; "" where there is none."""
    causes = [number for number in range(at + 1, len(lines)) if lines[number].strip() in _CAUSES]
    if not causes:
        return ""
    cause = ""
    for line in lines[causes[0] + 1 :]:
        if not line.startswith(" ") or not (told := _CAUSE.match(line)):
            break
        cause = told[1]
    return cause


def _short(text: str) -> str:
    """Returns a text of whoever printed it as a part of a sentence: one line, at most LONGEST characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"
