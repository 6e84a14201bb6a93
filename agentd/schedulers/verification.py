"""The verification of a scheduler of one's own: source, compile, object, load, trial, store, each told as a step.

The first step that does not go well ends it; nothing is stored then, and a verified scheduler of that name stays as it
is.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from agentd.core.schedulers.custom import (
    STEPS,
    Compiled,
    Described,
    Metadata,
    Report,
    Step,
    Tried,
    digest,
    indescribable,
    plain,
)
from agentd.core.schedulers.sources import LARGEST, is_name
from agentd.schedulers.keeping import Damaged, Kept

_NOTHING = Described()


class Cannot(Exception):
    """A step that could not be done at all, as a sentence."""


class Tools(Protocol):
    """The means of a verification; both raise Cannot."""

    async def compiled(self, name: str, source: bytes) -> tuple[Compiled, bytes]:
        """Has a source checked and compiled; returns the report and the object, b"" where there is none."""

    async def tried(self, name: str, made: bytes) -> Tried:
        """Has an object loaded and tried in the kernel; returns the report."""


class Verifier:
    """Verifies sources, one at a time. `kernel` is this kernel's release; `now` tells microseconds since 1970."""

    def __init__(self, tools: Tools, kept: Kept, kernel: str, now: Callable[[], int]) -> None:
        self._tools, self._kept, self._kernel, self._now = tools, kept, kernel, now
        self._turn = asyncio.Lock()

    async def verify(self, name: str, source: bytes, described: Described = _NOTHING) -> Report:
        """Verifies a source, and keeps what is verified; returns the report, whatever comes."""
        async with self._turn:
            compiler, steps = await self._steps(name, source, described)
        done = {step.name: step for step in plain(steps)}
        return Report(
            name=name if is_name(name) else "",
            source=digest(source),
            kernel=self._kernel,
            compiler=compiler,
            steps=tuple(done.get(one) or Step(name=one, state="skipped") for one in STEPS),
            at=self._now(),
        )

    async def _steps(self, name: str, source: bytes, described: Described) -> tuple[str, Sequence[Step]]:
        """Returns the compiler and the steps that were done."""
        if why := refused(name, source, described):
            return "", (Step(name="source", state="failed", sentence=why),)
        try:
            compiled, made = await self._tools.compiled(name, source)
        except Cannot as error:
            return "", (Step(name="compile", state="failed", sentence=str(error)),)
        if not made or not _went_well(compiled.steps, "source", "compile", "object"):
            return compiled.compiler, _ended(compiled.steps, "compile")
        try:
            tried = await self._tools.tried(name, made)
        except Cannot as error:
            return compiled.compiler, (*compiled.steps, Step(name="load", state="failed", sentence=str(error)))
        if not _went_well(tried.steps, "load", "trial"):
            return compiled.compiler, (*compiled.steps, *_ended(tried.steps, "load"))
        steps = (*compiled.steps, *tried.steps)
        stored = Metadata(
            name=name,
            source=digest(source),
            object=digest(made),
            kernel=self._kernel,
            compiler=compiled.compiler,
            verified=self._now(),
            described=described,
            steps=plain(steps),
        )
        return compiled.compiler, (*steps, await self._stored(stored, source, made))

    async def _stored(self, stored: Metadata, source: bytes, made: bytes) -> Step:
        began = time.monotonic()
        try:
            await asyncio.to_thread(self._kept.put, stored, source, made)
        except OSError as error:
            sentence = f"{error.filename} cannot be written: {error.strerror}"
        except Damaged as error:
            sentence = str(error)
        else:
            seconds = round(time.monotonic() - began, 2)
            return Step(name="store", state="ok", seconds=seconds, sentence=f"kept as {self._kept.path(stored.name)}")
        return Step(name="store", state="failed", sentence=sentence)


def refused(name: str, source: bytes, described: Described) -> str:
    """Returns why a source is not taken at all, as a sentence; "": it is. The text itself is looked at where it is
    compiled, in a process of its own."""
    if not is_name(name):
        return "expected a name of at most 15 characters, a-z, 0-9 and _, that begins with a letter"
    if len(source) > LARGEST:
        return f"expected a source of at most {LARGEST // 1024} KiB, but this one has {len(source)} bytes"
    return indescribable(described)


def _went_well(steps: Sequence[Step], *names: str) -> bool:
    return [(step.name, step.state) for step in steps] == [(name, "ok") for name in names]


def _ended(steps: Sequence[Step], at: str) -> Sequence[Step]:
    """Returns steps of which one went badly; where none did, what made them is not as it should be."""
    if any(step.state == "failed" and step.name in STEPS for step in steps):
        return steps
    why = "the report has not all the steps that it should have"
    return (*(step for step in steps if step.name != at), Step(name=at, state="failed", sentence=why))
