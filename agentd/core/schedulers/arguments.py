"""The arguments of a scheduler's program, read back into flags of the catalogue: the inverse of choosing.argv()."""

from collections.abc import Mapping, Sequence

from agentd.core.part import Refused
from agentd.core.quantities import nearest
from agentd.core.schedulers.catalogue import Flag, Scheduler, Value, legible, option
from agentd.core.schedulers.choosing import checked

_NO_SHORT: Mapping[str, str] = {}
_SAID = {"true", "false"}


def flags_of(scheduler: Scheduler, words: Sequence[str], short: Mapping[str, str] = _NO_SHORT) -> dict[str, Value]:
    """Returns the flags that arguments stand for, in whichever form the program would take them: --slice-us 5000,
    --slice-us=5000, -s 5000, -s5000, -s=5000, and switches together, as in -wS. `short` has the short names of the
    program: {"-s": "--slice-us"}. Arguments that the program always gets may stand among them.

    Raises Refused InvalidArgument with a sentence for whatever else there is, and for a value that is not the flag's.
    """
    known = {option(flag): flag for flag in scheduler.flags.values()}
    known = {name: known[long] for name, long in short.items() if long in known} | known
    found: dict[str, Value] = {}
    todo = [*reversed(words)]
    while todo:
        word = todo.pop()
        if word in scheduler.always:
            continue
        name, value = _split(word)
        flag = _known(scheduler, name, known)
        if flag.name in found:
            raise _refused(scheduler, f"{name} is given twice")
        if flag.type != "bool" or flag.says:
            found[flag.name] = checked(scheduler, flag.name, _value(scheduler, flag, value, todo))
            continue
        if value is not None and name.startswith("--"):
            raise _refused(scheduler, f"{name} is given or left away, and takes no value")
        found[flag.name] = True
        if value is not None:
            todo.append(f"-{word[2:]}")  # the switches after the first
    return found


def _split(word: str) -> tuple[str, str | None]:
    """Returns the name of an option, and what is written to it, if anything."""
    if word.startswith("--"):
        name, equals, value = word.partition("=")
        return name, value if equals else None
    return word[:2], word[2:].removeprefix("=") if word[2:] else None


def _known(scheduler: Scheduler, name: str, known: Mapping[str, Flag]) -> Flag:
    """Returns the flag of an option. Raises Refused InvalidArgument."""
    if (flag := known.get(name)) is not None:
        return flag
    shown = legible(name)
    near = nearest(shown, known) or f"; agentctl sched info {scheduler.name} has those that there are"
    kind = "is none of its flags" if name.startswith("-") else "belongs to no flag"
    raise _refused(scheduler, f'"{shown}" {kind}{near}')


def _value(scheduler: Scheduler, flag: Flag, written: str | None, todo: list[str]) -> str:
    """Returns the value of a flag: what is written to its option, or else the next argument; one that is true or false
    need not say that it is true. Raises Refused InvalidArgument."""
    if written is not None:
        return written
    if flag.type == "bool" and (not todo or todo[-1] not in _SAID):
        return "true"
    if not todo:
        raise _refused(scheduler, f"{option(flag)} is given without a value")
    return todo.pop()


def _refused(scheduler: Scheduler, text: str) -> Refused:
    return Refused("InvalidArgument", f"{scheduler.name}: {text}")
