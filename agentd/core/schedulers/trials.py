"""A trial of a scheduler in the kernel: what was seen, and what follows. Instants and spans are in microseconds."""

import struct
from collections.abc import Sequence

from msgspec import Struct

from agentd.core.quantities import SECOND
from agentd.core.schedulers.model import Ending, Observed
from agentd.core.schedulers.objects import END_SIZE

SPAN = 10 * SECOND
"""The time for which a scheduler must hold under load."""
PATIENCE = 30 * SECOND
"""The time within which a scheduler must be on once it was handed to the kernel."""
GRACE = 2 * SECOND
"""The time that the kernel gets to say why a scheduler is no longer on: it takes it off first."""
TIMEOUT_MS = 5000
"""The longest for which a scheduler of one's own may let a task wait before the kernel ends it."""
_END = struct.Struct("=iIq128s256s")  # struct agentd_end in scx.h
_KINDS = {64: "unregistered", 65: "unregistered", 66: "unregistered", 67: "sysrq"}
_FAULTS = {1024: "error", 1025: "bpf-error", 1026: "stall"}
_HOTPLUG = 1 << 32
_RESTART = 1 << 48
assert _END.size == END_SIZE  # noqa: S101 - one layout, written down twice


class Verdict(Struct, frozen=True, kw_only=True):
    """The end of a step: whether it went well, with a sentence, lines of those who know more, and, of a scheduler that
    ended, how."""

    ok: bool
    sentence: str
    excerpt: tuple[str, ...] = ()
    ending: Ending | None = None


def ending(record: bytes) -> Ending | None:
    """Returns the end of a scheduler that scx.h recorded in its map; None: it has not ended, or did not record it."""
    if len(record) != END_SIZE:
        return None
    kind, _, code, reason, message = _END.unpack(record)
    if kind == 0:
        return None
    word = _KINDS.get(kind) or _FAULTS.get(kind) or "unknown"
    if code & _HOTPLUG and kind in _KINDS:
        word = "hotplug"
    restart = bool(code & _RESTART) and kind in _KINDS
    return Ending(kind=word, reason=_text(reason), message=_text(message), restart=restart)


def words(end: Ending) -> str:
    """Returns the end as programs of schedulers write it on their last line: reason (message)."""
    return (end.reason or end.kind) + (f" ({end.message})" if end.message else "")


def _text(field: bytes) -> str:
    text = field.split(b"\0", 1)[0].decode(errors="replace")
    return "".join(c if c.isprintable() else " " for c in text).strip()


class Look(Struct, frozen=True, kw_only=True):
    """The state at one moment of a trial: the kernel's word, the record of the end, and how far each task of the load
    has come."""

    observed: Observed
    end: Ending | None = None
    progress: Sequence[int] = ()


class Trial:
    """A trial: fed with looks, it says when it is over. `ops` is the name that the kernel must show, `before` what it
    said before the scheduler was handed to it, at `began`. A task of the load that does not come on for longer than
    `timeout` ends the trial, as the kernel's own watchdog should have done before."""

    def __init__(self, ops: str, before: Observed, began: int, timeout: int, span: int = SPAN) -> None:
        self._ops, self._seq, self._span, self._timeout = ops, before.seq + 1, span, timeout
        self._began = self._last = began
        self._enabled = -1
        self._gone = -1
        self._looks = self._longest = self._rejected = 0
        self._moved: list[tuple[int, int]] = []  # how far each task was, and since when

    def seen(self, now: int, look: Look) -> Verdict | None:
        """Takes a look in; returns the verdict once there is one."""
        if self._enabled >= 0:
            self._longest = max(self._longest, now - self._last)
        self._last = now
        if look.end is not None:
            return self._ended(now, look.end)
        observed = look.observed
        if self._enabled < 0:
            return self._not_yet(now, observed)
        if why := self._not_ours(observed):
            return self._off(now, f"{self._after(now)} {why}")
        self._gone = -1
        if why := self._stands_still(now, look.progress):
            return Verdict(ok=False, sentence=f"{self._after(now)} {why}")
        self._looks += 1
        self._rejected = observed.rejected
        if now - self._enabled < self._span:
            return None
        more = f"; it refused {self._rejected} tasks" if self._rejected else ""
        sentence = (
            f"it was on at each of {self._looks} looks in {(now - self._enabled) / SECOND:.1f} s under load, the "
            f"longest time between two looks was {self._longest / SECOND:.2f} s{more}"
        )
        return Verdict(ok=True, sentence=sentence)

    def _not_yet(self, now: int, observed: Observed) -> Verdict | None:
        """Deals with a look before the scheduler was seen to be on."""
        if observed.seq >= self._seq:  # the kernel counts a scheduler once it is on
            why = self._not_ours(observed)
            if not why:
                self._enabled, self._gone = now, -1
                return None
            return self._off(now, why)
        if observed.state == "enabled" and observed.ops not in {"", self._ops}:
            return Verdict(ok=False, sentence=f"another scheduler, {observed.ops}, is on")
        if now - self._began > PATIENCE:
            why = f"it was not on after {PATIENCE // SECOND} s: the kernel says {observed.state}"
            return Verdict(ok=False, sentence=why)
        return None

    def _off(self, now: int, why: str) -> Verdict | None:
        """Deals with a look at which the scheduler is no longer on: the reason may be recorded in a moment."""
        self._gone = now if self._gone < 0 else self._gone
        return Verdict(ok=False, sentence=why) if now - self._gone >= GRACE else None

    def _not_ours(self, observed: Observed) -> str:
        """Returns why what is on is not, or not rightly, the scheduler that is tried; "": it is."""
        if observed.state != "enabled":
            return f"the kernel says {observed.state}, and no reason was recorded"
        if observed.ops != self._ops or observed.seq != self._seq:
            return f"{observed.ops or 'another scheduler'} is on in its place (number {observed.seq} since the boot)"
        if not observed.switched_all:
            return "it takes only tasks that ask for it (SCX_OPS_SWITCH_PARTIAL), and so a trial proves nothing"
        return ""

    def _stands_still(self, now: int, progress: Sequence[int]) -> str:
        if len(self._moved) != len(progress):
            self._moved = [(far, now) for far in progress]
        self._moved = [
            (far, since if far == before else now) for far, (before, since) in zip(progress, self._moved, strict=True)
        ]
        longest = max((now - since for _, since in self._moved), default=0)
        if longest <= self._timeout + SECOND:
            return ""
        return f"a task of the load did not run for {longest / SECOND:.1f} s, and the kernel did not end it for that"

    def _ended(self, now: int, end: Ending) -> Verdict:
        again = ": a processor came or went meanwhile, try again" if end.restart else ""
        when = self._after(now) if self._enabled >= 0 else f"within {(now - self._began) / SECOND:.1f} s"
        return Verdict(ok=False, sentence=f"the kernel ended it {when}: {words(end)}{again}", ending=end)

    def _after(self, now: int) -> str:
        return f"after {(now - self._enabled) / SECOND:.1f} s"
