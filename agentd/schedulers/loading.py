"""Loading a scheduler of one's own: what its object may be, the dry run, and the process that holds one which is on.

    python3 -I -m agentd.schedulers.loading NAME OBJECT

holds the scheduler NAME until SIGINT or SIGTERM, or until the kernel ends it. The last line on standard error says why,
as other schedulers do: EXIT: reason (message). The status is 0 where it was taken off by wish, and 1 where not. Nothing
is ever pinned: the scheduler ends with its process, however that ends.

CAP_BPF and CAP_PERFMON are all it needs; whoever starts it should give it nothing else. Where root did not make the
file /etc/agentd/custom-schedulers, nothing is loaded: who may have kernel code loaded can read the kernel's memory.
"""

import errno
import signal
import sys
from collections.abc import Callable, Collection
from pathlib import Path

from agentd.core.schedulers import objects, trials, verdicts
from agentd.core.schedulers.custom import digest, ops_name
from agentd.core.schedulers.model import Ending, Observed
from agentd.core.schedulers.sources import is_name
from agentd.core.schedulers.trials import TIMEOUT_MS, Verdict
from agentd.schedulers import looks
from agentd.schedulers.allowing import forbidden
from agentd.schedulers.files import take
from agentd.schedulers.libbpf import LINK, STRUCT_OPS_MAP, STRUCT_OPS_PROGRAM, Facts, Libbpf, Library, Object, Refused

STOPS = (signal.SIGINT, signal.SIGTERM)
_LOOKS = 1.0  # seconds between two looks at whether the kernel ended the scheduler that is held
_AWAY = 3
"""The looks in a row at which the kernel must have no scheduler before one that recorded no reason counts as ended."""
_HARMLESS_MAPS = {
    1: "hash",
    2: "array",
    5: "percpu hash",
    6: "percpu array",
    9: "lru hash",
    10: "lru percpu hash",
    11: "lpm trie",
    12: "array of maps",
    13: "hash of maps",
    22: "queue",
    23: "stack",
    STRUCT_OPS_MAP: "struct_ops",
    27: "ring buffer",
    29: "task storage",
    30: "bloom filter",
    32: "cgroup storage",
    33: "arena",
}
"""The types of maps that a scheduler may have, by the kernel's numbers: those that reach nothing beside it."""
_BY_WISH = {"unregistered", "hotplug"}
_HINTS = {
    errno.EPERM: "loading needs CAP_BPF and CAP_PERFMON",
    errno.EBUSY: "another scheduler is on",
    524: "the kernel's BPF JIT is off (net.core.bpf_jit_enable)",  # ENOTSUPP
}


def not_taken(facts: Facts) -> str:
    """Returns why an opened object is not loaded, as a sentence; "": it may be."""
    for name, kind in facts.programs.items():
        if kind != STRUCT_OPS_PROGRAM:
            return f"expected programs of the type struct_ops alone, but {name} is of type {kind}"
    for one in facts.maps:
        if one.pin:
            return f"the map {one.name} wants to be pinned, and a scheduler leaves nothing behind"
        if one.type not in _HARMLESS_MAPS:
            return f"the map {one.name} is of type {one.type}: expected {', '.join(_HARMLESS_MAPS.values())}"
    schedulers = [one for one in facts.maps if one.type == STRUCT_OPS_MAP]
    if facts.structures != ("sched_ext_ops",) or len(schedulers) != 1 or not schedulers[0].flags & LINK:
        return "expected one scheduler, struct sched_ext_ops with a link (SCX_OPS of scx.h), in the object"
    return ""


def opened(library: Library, data: bytes, name: str) -> tuple[Object, int]:
    """Opens, checks and names an object, and bounds its timeout; returns it with that, in milliseconds.

    Raises Refused, and then nothing is left open.
    """
    if why := objects.check(data):
        raise Refused(why)
    found = library.open(data, name)
    try:
        if why := not_taken(found.facts()):
            raise Refused(why)
        return found, found.settings(ops_name(name, digest(data)), TIMEOUT_MS)
    except BaseException:
        found.close()
        raise


def dry_run(library: Library, data: bytes, name: str) -> Verdict:
    """Has the kernel verify a scheduler, and takes it back; nothing is attached, and nothing stays."""
    try:
        found, timeout = opened(library, data, name)
        try:
            found.load()
        finally:
            found.close()
    except Refused as error:
        return refusal(error)
    return Verdict(
        ok=True, sentence=f"the kernel's verifier takes all programs; no task waits longer than {timeout} ms"
    )


def refusal(error: Refused) -> Verdict:
    """Returns the verdict about what libbpf or the kernel did not take."""
    if not error.log.strip():
        hint = f": {_HINTS[error.number]}" if error.number in _HINTS else ""
        return Verdict(ok=False, sentence=f"{error}{hint}")
    sentence, excerpt = verdicts.refused(error.log)
    if error.number in _HINTS and "verifier" not in sentence:
        sentence = f"{_HINTS[error.number]}: {sentence}"
    return Verdict(ok=False, sentence=sentence, excerpt=excerpt)


def hold(
    library: Library,
    data: bytes,
    name: str,
    stopped: Callable[[float], bool],
    observe: Callable[[], Observed] = looks.observed,
) -> int:
    """Has a scheduler on until `stopped`, which waits so many seconds for a signal, or until the kernel ends it; says
    why it ended on standard error; returns the status for the process."""
    try:
        found, _ = opened(library, data, name)
        try:
            found.load()
            found.attach()
            end = _ended(found, stopped, observe)
        finally:
            found.close()
    except Refused as error:
        return _failed(error)
    print(f"EXIT: {trials.words(end) if end else 'unregistered from user space'}", file=sys.stderr)
    return 0 if end is None or end.kind in _BY_WISH else 1


def _ended(found: Object, stopped: Callable[[float], bool], observe: Callable[[], Observed]) -> Ending | None:
    """Waits for the end of an attached scheduler; returns how the kernel ended it, None: it did not."""
    away = 0
    while not stopped(_LOOKS):
        if end := trials.ending(found.record()):
            return end
        away = away + 1 if observe().state == "disabled" else 0
        if away >= _AWAY:
            return Ending(reason="the kernel ended it, and it recorded no reason")
    return None


def _failed(error: Refused) -> int:
    """Says why a scheduler did not begin; returns the status for the process."""
    verdict = refusal(error)
    print(*verdict.excerpt, f"Error: {verdict.sentence}", sep="\n", file=sys.stderr)
    return 1


def waiting(signals: Collection[signal.Signals] = STOPS) -> Callable[[float], bool]:
    """Blocks signals from here on; returns what waits for one so many seconds, and tells whether one came."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    return lambda seconds: signal.sigtimedwait(signals, seconds) is not None


def main(arguments: list[str]) -> int:
    """Holds a scheduler; returns the status for the process."""
    stopped = waiting()
    if len(arguments) != 2 or not is_name(arguments[0]):
        print("usage: loading NAME OBJECT", file=sys.stderr)
        return 2
    file = Path(arguments[1])
    try:
        if why := forbidden():
            raise Refused(why)
        return hold(Libbpf(), take(file, objects.LARGEST), arguments[0], stopped)
    except OSError as error:
        print(f"Error: {file} cannot be read: {error.strerror}", file=sys.stderr)
        return 1
    except Refused as error:
        return _failed(error)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
