"""A scheduler of one's own for tests: its source, an object in ELF, a libbpf and a kernel that are played."""

import struct
from collections.abc import Callable, Sequence

from agentd.core.schedulers.model import Observed
from agentd.core.schedulers.objects import END_SECTION, END_SIZE
from agentd.schedulers.libbpf import LINK, STRUCT_OPS_MAP, STRUCT_OPS_PROGRAM, Facts, Map, Refused

FIFO = """\
/* First in, first out. */
#include "scx.h"

void BPF_STRUCT_OPS(fifo_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

void BPF_STRUCT_OPS(fifo_exit, struct scx_exit_info *ei)
{
	record_end(ei);
}

SCX_OPS(fifo_ops,
	.enqueue = (void *)fifo_enqueue,
	.exit = (void *)fifo_exit,
	.timeout_ms = 5000,
	.name = "fifo");
"""
CODE, SYMBOLS, STRINGS = 0x4, 2, 3


def elf(
    sections: Sequence[tuple[str, int, int, bytes]], machine: int = 247, symbols: bytes = b"\0", link: int = -1
) -> bytes:
    """An object of these sections: the name, kind, flags and content of each, and the names of its symbols."""
    both = [("", 0, 0, b""), *sections, (".symtab", SYMBOLS, 0, b""), (".strtab", STRINGS, 0, symbols)]
    names = b"\0" + b"".join(name.encode() + b"\0" for name, *_ in [*both, (".shstrtab", 0, 0, b"")][1:])
    both.append((".shstrtab", STRINGS, 0, names))
    body, headers, at = b"", b"", 64
    for number, (name, kind, flags, content) in enumerate(both):
        offset = names.index(b"\0" + name.encode() + b"\0") + 1 if number else 0
        strings = (len(both) - 2 if link < 0 else link) if kind == SYMBOLS else 0
        headers += struct.pack("<IIQQQQIIQQ", offset, kind, flags, 0, at, len(content), strings, 0, 1, 0)
        body += content
        at += len(content)
    identity = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    rest = struct.pack("<HHIQQQIHHHHHH", 1, machine, 1, 0, 0, at, 0, 64, 0, 0, 64, len(both), len(both) - 1)
    return identity + rest + body + headers


PARTS = (
    ("struct_ops/fifo_enqueue", 1, CODE, b"\x95" + bytes(7)),
    (".text", 1, CODE, b""),
    (".struct_ops.link", 1, 3, bytes(448)),
    (END_SECTION, 1, 3, bytes(END_SIZE)),
    ("license", 1, 3, b"GPL\0"),
)
OBJECT = elf(PARTS)
FACTS = Facts(
    programs={"fifo_enqueue": STRUCT_OPS_PROGRAM},
    maps=(Map(name=".data.ended", type=2), Map(name="fifo_ops", type=STRUCT_OPS_MAP, flags=LINK)),
    structures=("sched_ext_ops",),
)


def record(kind: int = 0, code: int = 0, reason: bytes = b"", message: bytes = b"") -> bytes:
    """The record of an end, as scx.h writes it."""
    return struct.pack("=iIq128s256s", kind, 0, code, reason, message)


class Kernel:
    """A kernel with sched_ext and a libbpf for it. `course` says, by milliseconds since a scheduler was attached, what
    happens; time goes by where somebody waits."""

    def __init__(self, course: Callable[["Kernel", int], None] = lambda kernel, _: kernel.enable()) -> None:
        self.time = 0
        self.seen = Observed(state="disabled", seq=7)
        self.facts = FACTS
        self.ended = record()
        self.refuses: dict[str, Refused] = {}
        self.calls: list[str] = []
        self.name = ""
        self.stop_at = -1
        self.stuck = False
        self._course = course
        self._attached = -1

    # What a course may do

    def enable(self, **more: object) -> None:
        if self.seen.state == "disabled" and self.seen.seq == 7:
            self.seen = Observed(**{"state": "enabled", "ops": self.name, "seq": 8, **more})  # type: ignore[arg-type]

    def eject(self, kind: int, reason: bytes, message: bytes = b"", code: int = 0, *, told: bool = True) -> None:
        self.enable()
        self.seen = Observed(state="disabled", seq=8)
        self.ended = record(kind, code, reason, message) if told else record()

    # The library

    def open(self, data: bytes, name: str) -> "Kernel":
        self._do("open")
        return self

    def settings(self, name: str, longest: int) -> int:
        self.name = name
        return longest

    def load(self) -> None:
        self._do("load")

    def attach(self) -> None:
        self._do("attach")
        self._attached = self.time
        self._go_on()

    def record(self) -> bytes:
        return self.ended

    def close(self) -> None:
        self.calls.append("close")
        if self._attached >= 0 and not self.stuck:
            self.seen = Observed(state="disabled", seq=self.seen.seq)
        self._attached = -1

    def _do(self, call: str) -> None:
        self.calls.append(call)
        if call in self.refuses:
            raise self.refuses[call]

    # The machine

    def observe(self) -> Observed:
        return self.seen

    def clock(self) -> int:
        return self.time

    def stopped(self, seconds: float) -> bool:
        self.time += int(seconds * 1_000_000)
        self._go_on()
        return 0 <= self.stop_at <= self.time

    def _go_on(self) -> None:
        if self._attached >= 0:
            self._course(self, (self.time - self._attached) // 1000)


class Library:
    """The libbpf of a played kernel, whose object it is as well."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def open(self, data: bytes, name: str) -> "Opened":
        self._kernel.open(data, name)
        return Opened(self._kernel)


class Opened:
    """An object that is open in a played kernel."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.settings, self.load, self.attach = kernel.settings, kernel.load, kernel.attach
        self.record, self.close = kernel.record, kernel.close

    def facts(self) -> Facts:
        return self._kernel.facts
