"""The trial of a scheduler of one's own, by a process for it alone: the dry run, then ten seconds in the kernel.

    python3 -I -m agentd.schedulers.trying NAME OBJECT FOLDER

tries the object of the scheduler NAME, and writes report.json into FOLDER. The status is 0 wherever there is a report.
SIGINT and SIGTERM end a trial early; however the process ends, the scheduler ends with it. CAP_BPF and CAP_PERFMON are
all it needs; as loading.py it loads nothing that root did not allow.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from agentd.core.schedulers import objects, trials
from agentd.core.schedulers.custom import Step, Tried, digest, ops_name
from agentd.core.schedulers.model import Observed
from agentd.core.schedulers.sources import is_name
from agentd.core.schedulers.trials import Look, Trial, Verdict
from agentd.schedulers import looks
from agentd.schedulers.allowing import forbidden
from agentd.schedulers.burden import Burden
from agentd.schedulers.files import put, take
from agentd.schedulers.libbpf import Libbpf, Library, Object, Refused
from agentd.schedulers.loading import dry_run, opened, refusal, waiting

_PAUSE = 0.1  # seconds between two looks
_OFF = 15.0  # seconds for the kernel to go back to its own scheduler


class Machine(Struct, frozen=True, kw_only=True):
    """The reach of a trial: the kernel's word, a load, a clock in microseconds, and what waits so many seconds and
    tells whether somebody wants the end."""

    observe: Callable[[], Observed] = looks.observed
    events: Callable[[], dict[str, int]] = looks.events
    burden: Callable[[], Burden] = lambda: Burden(os.cpu_count() or 1)
    clock: Callable[[], int] = lambda: time.monotonic_ns() // 1000
    stopped: Callable[[float], bool]


def trial(library: Library, data: bytes, name: str, machine: Machine) -> Verdict:
    """Has a scheduler on for trials.SPAN under a small load; the kernel is back at its own scheduler when this is over,
    or the verdict says that it is not."""
    before = machine.observe()
    if before.state != "disabled":
        return Verdict(ok=False, sentence=_not_now(before))
    try:
        found, timeout = opened(library, data, name)
        try:
            found.load()
            ops = ops_name(name, digest(data))
            verdict = _watched(found, Trial(ops, before, machine.clock(), timeout * 1000), machine)
        finally:
            found.close()
    except Refused as error:  # it was never on
        return refusal(error)
    except OSError as error:
        return Verdict(ok=False, sentence=f"there can be no load: {error.strerror}")
    return _left(verdict, before, machine)


def _not_now(before: Observed) -> str:
    if before.state == "absent":
        return "this kernel has no sched_ext, so there is nothing to try it in"
    return f"a scheduler is on ({before.ops or before.state}), and only one can be: stop it first"


def _watched(found: Object, watch: Trial, machine: Machine) -> Verdict:
    """Attaches a loaded scheduler, and looks until there is a verdict. Raises Refused and OSError."""
    burden = machine.burden()
    try:
        found.attach()
        while True:
            if machine.stopped(_PAUSE):
                return Verdict(ok=False, sentence="the trial was ended from outside before its time")
            look = Look(observed=machine.observe(), end=trials.ending(found.record()), progress=burden.progress())
            if verdict := watch.seen(machine.clock(), look):
                counted = {name: count for name, count in machine.events().items() if count}
                told = tuple(f"{name} {count}" for name, count in sorted(counted.items()))
                return msgspec.structs.replace(verdict, excerpt=told) if verdict.ok else verdict
    finally:
        burden.end()


def _left(verdict: Verdict, before: Observed, machine: Machine) -> Verdict:
    """Waits until the kernel is as it was; returns the verdict, or a worse one where it does not come to that."""
    until = machine.clock() + int(_OFF * 1_000_000)
    while (observed := machine.observe()).state != before.state:
        if machine.clock() > until:
            why = f"{verdict.sentence}; and {_OFF:.0f} s after it was taken off the kernel says {observed.state}"
            return msgspec.structs.replace(verdict, ok=False, sentence=why)
        machine.stopped(_PAUSE)
    return verdict


def run(library: Library, data: bytes, name: str, machine: Machine) -> Tried:
    """Does the dry run and, where that goes well, the trial."""
    steps = [_step("load", machine.clock, lambda: dry_run(library, data, name))]
    if steps[0].state == "ok":
        steps.append(_step("trial", machine.clock, lambda: trial(library, data, name, machine)))
    return Tried(object=digest(data), steps=tuple(steps))


def _step(name: str, clock: Callable[[], int], does: Callable[[], Verdict]) -> Step:
    began = clock()
    verdict = does()
    seconds = round((clock() - began) / 1_000_000, 2)
    return Step(
        name=name,
        state="ok" if verdict.ok else "failed",
        seconds=seconds,
        sentence=verdict.sentence,
        excerpt=verdict.excerpt,
    )


def main(arguments: list[str]) -> int:
    """Tries a scheduler; returns the status for the process."""
    stopped = waiting()
    if len(arguments) != 3 or not is_name(arguments[0]):
        print("usage: trying NAME OBJECT FOLDER", file=sys.stderr)
        return 2
    name, file, report = arguments[0], Path(arguments[1]), Path(arguments[2]) / "report.json"
    try:
        report.unlink(missing_ok=True)  # one of another time is none of this
        data = take(file, objects.LARGEST)
        try:
            if why := forbidden():
                raise Refused(why)
            tried = run(Libbpf(), data, name, Machine(stopped=stopped))
        except Refused as error:
            failed = Step(name="load", state="failed", sentence=str(error))
            tried = Tried(object=digest(data), steps=(failed,))
        put(report, msgspec.json.encode(tried))
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    for step in tried.steps:
        print(f"{step.name}: {step.state}: {step.sentence}", *step.excerpt, sep="\n  ", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
