"""Schedulers of one's own: how a verification is told, and how a verified one is listed among the others."""

import hashlib
from collections.abc import Iterable
from typing import Literal

import msgspec
from msgspec import Struct

from agentd.core.schedulers.catalogue import OWN, Scheduler
from agentd.core.schedulers.sources import is_name
from agentd.core.schedulers.trials import TIMEOUT_MS
from agentd.core.schedulers.verdicts import readable

STEPS = ("source", "compile", "object", "load", "trial", "store")
"""The steps of a verification, in their order."""
_MOST_WORDS = 2000
_MOST_ITEMS = 20


class Step(Struct, frozen=True, kw_only=True):
    """A step of a verification: one of STEPS, how it went, how long it took in seconds, a sentence, and lines of the
    compiler, libbpf or the verifier."""

    name: str
    state: Literal["ok", "failed", "skipped"]
    seconds: float = 0.0
    sentence: str = ""
    excerpt: tuple[str, ...] = ()


class Compiled(Struct, frozen=True, kw_only=True):
    """The report of a compilation: of which source (its SHA-256), by which compiler, the steps `source`, `compile` and
    `object`, and the SHA-256 of the object ("": there is none)."""

    source: str
    compiler: str = ""
    steps: tuple[Step, ...] = ()
    object: str = ""


class Tried(Struct, frozen=True, kw_only=True):
    """The report of a trial: of which object (its SHA-256), and the steps `load` and `trial`."""

    object: str
    steps: tuple[Step, ...] = ()


class Described(Struct, frozen=True, kw_only=True):
    """The words of its author about a scheduler."""

    summary: str = ""
    algorithm: str = ""
    use_cases: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()


class Report(Struct, frozen=True, kw_only=True):
    """A verification as told: all steps, and of which source (its SHA-256) on which kernel. `at` is when it ended, in
    microseconds since 1970."""

    name: str
    source: str
    kernel: str
    compiler: str = ""
    steps: tuple[Step, ...] = ()
    at: int = 0

    @property
    def ok(self) -> bool:
        """Whether every step went well."""
        return [step.name for step in self.steps if step.state == "ok"] == list(STEPS)

    @property
    def sentence(self) -> str:
        """The outcome in a sentence."""
        if self.ok:
            return f"{OWN}{self.name} is verified on {self.kernel}"
        why = next(
            (f"{step.name}: {step.sentence}" for step in self.steps if step.state == "failed"), "not all was done"
        )
        return f"{OWN}{self.name} is not verified: {why}"


class Metadata(Struct, frozen=True, kw_only=True):
    """A verified scheduler as it is stored: the SHA-256 of its source and of its object, the kernel and the compiler it
    was verified with, when (microseconds since 1970), and its author's words."""

    name: str
    source: str
    object: str
    kernel: str
    compiler: str
    verified: int
    described: Described = Described()
    steps: tuple[Step, ...] = ()


def plain(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Returns steps as they may be shown: printable, and of bounded length, whoever wrote them."""
    return tuple(
        msgspec.structs.replace(
            step, name=_line(step.name), sentence=_line(step.sentence), excerpt=readable("\n".join(step.excerpt))
        )
        for step in steps
    )


def _line(text: str) -> str:
    return " ".join(readable(text[:_MOST_WORDS], most=3))


def digest(data: bytes) -> str:
    """Returns the SHA-256 of data, in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def ops_name(name: str, made: str) -> str:
    """Returns the name that the kernel shows for a scheduler of one's own: with the beginning of its object's SHA-256,
    so that neither another version nor one whose name begins alike is taken for it."""
    return f"custom_{name}_{made[:8]}"


def own_name(name: str) -> str:
    """Returns the name of a scheduler of one's own without the prefix that it is listed with; "": it is none."""
    own = name.removeprefix(OWN)
    return own if own != name and is_name(own) else ""


def scheduler(stored: Metadata, path: str) -> Scheduler:
    """Returns a verified scheduler as the catalogue has others. `path` is the file that it was read from."""
    told = stored.described
    return Scheduler(
        name=f"{OWN}{stored.name}",
        ops=ops_name(stored.name, stored.object),
        summary=told.summary or f"a scheduler of one's own, verified on {stored.kernel}",
        algorithm=told.algorithm,
        use_cases=told.use_cases,
        limits=told.limits,
        readiness="experimental",
        timeout=TIMEOUT_MS * 1000,
        language="bpf",
        file=path,
    )


def not_here(stored: Metadata, kernel: str) -> str:
    """Returns why a verified scheduler is not to be started on a kernel (its release); "": it may be."""
    if stored.kernel == kernel:
        return ""
    return f"{OWN}{stored.name} was verified on {stored.kernel}, and this kernel is {kernel}: verify it again"


def indescribable(told: Described) -> str:
    """Returns why the author's words are not taken; "": they are."""
    for field in ("summary", "algorithm", "use_cases", "limits"):
        value = getattr(told, field)
        texts = (value,) if isinstance(value, str) else value
        if len(texts) > _MOST_ITEMS:
            return f"expected at most {_MOST_ITEMS} {field}, not {len(texts)}"
        for text in texts:
            if len(text) > _MOST_WORDS or not text.replace("\n", " ").isprintable():
                return f"expected {field} as printable text of at most {_MOST_WORDS} characters"
    return ""
