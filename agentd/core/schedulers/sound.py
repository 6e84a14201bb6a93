"""A scheduler of the catalogue made sound: the values in it with their types, and what makes no sense."""

import re
from collections.abc import Iterator, Mapping

from msgspec.structs import replace

from agentd.core.fields import Fault, Keys
from agentd.core.quantities import nearest
from agentd.core.schedulers.catalogue import NONE, Flag, Scheduler, Value, option
from agentd.core.schedulers.values import PLAIN, contradiction, value_of

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
"""The names of schedulers, which are file names of programs and instances of units."""
_FLAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_OPTION = re.compile(r"-[A-Za-z0-9]|--[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_OPS = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,126}")  # SCX_OPS_NAME_LEN is 128, with the end
_NEED = re.compile(r"debugfs|kernel-config|specification|cpus:[1-9][0-9]{0,3}")
_ARGUMENT = re.compile(r"[ -~]{1,4096}")


def typed(scheduler: Scheduler) -> tuple[Scheduler, list[Fault]]:
    """Returns the scheduler, the values of its flags and modes with their types, and what is wrong with it: where there
    are faults, it cannot be used. Their paths lead from the scheduler to the setting."""
    faults = [*_faults(scheduler)]
    flags: dict[str, Flag] = {}
    for name, flag in scheduler.flags.items():
        wrong = list(_flag_faults(scheduler, flag))
        faults += wrong
        flags[name] = flag
        if flag.type == "bool" and not flag.says:
            flags[name] = replace(flag, default=False)
        elif flag.default is not None and not wrong:
            try:
                flags[name] = replace(flag, default=value_of(flag, flag.default))
            except ValueError as error:
                faults.append(Fault(("flags", name, "default"), str(error)))
    sound = replace(scheduler, flags=flags, modes={})
    if faults:
        return sound, faults
    modes = {mode: _mode(sound, mode, values, faults) for mode, values in scheduler.modes.items()}
    return replace(sound, modes=modes), faults


def _mode(scheduler: Scheduler, mode: str, values: Mapping[str, Value | None], faults: list[Fault]) -> dict[str, Value]:
    """Returns the flags of a mode with their types; adds what is wrong with them to the faults."""
    found: dict[str, Value] = {}
    for name, value in values.items():
        path: Keys = ("modes", mode, name)
        if name not in scheduler.flags:
            faults.append(Fault(path, f'there is no flag "{name}"{nearest(name, scheduler.flags)}'))
            continue
        try:
            found[name] = value_of(scheduler.flags[name], NONE if value is None else value)
        except ValueError as error:
            faults.append(Fault(path, str(error)))
    if sentence := contradiction(scheduler, found):
        faults.append(Fault(("modes", mode), sentence))
    return found


def _faults(scheduler: Scheduler) -> Iterator[Fault]:
    """Yields what is wrong with a scheduler beside its flags."""
    if not NAME.fullmatch(scheduler.name) or scheduler.name == NONE:
        yield Fault((), f'"{scheduler.name}" is not the name of a program: expected letters, digits, _ and -')
    if not _OPS.fullmatch(scheduler.ops):
        yield Fault(("ops",), f'"{scheduler.ops}" is not a name that the kernel would show')
    for position, need in enumerate(scheduler.needs):
        if not _NEED.fullmatch(need):
            text = f'"{need}" is none of debugfs, kernel-config, specification, cpus:N'
            yield Fault(("needs", position), text)
    for position, argument in enumerate(scheduler.always):
        if not _ARGUMENT.fullmatch(argument):
            yield Fault(("always", position), "expected an argument of 1 to 4096 characters that can be printed")
    for position, group in enumerate(scheduler.one_of):
        for name in group:
            if name not in scheduler.flags:
                yield Fault(("one_of", position), f'there is no flag "{name}"{nearest(name, scheduler.flags)}')
    for position, left_out in enumerate(scheduler.left_out):
        if not _OPTION.fullmatch(left_out):
            yield Fault(("left_out", position), f'"{left_out}" is not an option such as --stats or -v')


def _flag_faults(scheduler: Scheduler, flag: Flag) -> Iterator[Fault]:
    """Yields what is wrong with a flag beside its default, but for what only its type has."""
    path: Keys = ("flags", flag.name)
    if not _FLAG.fullmatch(flag.name):
        yield Fault(path, f'"{flag.name}" is not the name of a flag: expected letters, digits, _ and -')
    elif not _OPTION.fullmatch(option(flag)):
        yield Fault((*path, "option"), f'"{flag.option}" is not an option such as --slice-us or -s')
    if flag.at_most and (flag.at_most not in scheduler.flags or flag.at_most == flag.name):
        near = nearest(flag.at_most, scheduler.flags)
        yield Fault((*path, "at_most"), f'there is no other flag "{flag.at_most}"{near}')
    yield from _type_faults(flag, path)


def _type_faults(flag: Flag, path: Keys) -> Iterator[Fault]:
    """Yields what a flag of its type lacks, or has wrong."""
    match flag.type:
        case "bool" if not flag.says and flag.default not in (None, "false"):
            yield Fault(
                (*path, "default"), "is false for a flag that is given or not (says: true is for =true, =false)"
            )
        case "choice":
            if not flag.choices:
                yield Fault(path, "needs choices")
            for position, choice in enumerate(flag.choices):
                if not PLAIN.fullmatch(choice):
                    text = f'"{choice}" cannot be an argument: no spaces, no - first'
                    yield Fault((*path, "choices", position), text)
        case "text":
            if not flag.pattern:
                yield Fault(path, "needs a pattern that its texts match")
            try:
                re.compile(flag.pattern)
            except re.error as error:
                yield Fault((*path, "pattern"), f"is not a regular expression: {error.msg}")
        case "int" | "float":
            if flag.low is None and flag.high is None:
                yield Fault(path, "needs low and high, the bounds of its numbers")
            elif flag.low is not None and flag.high is not None and flag.low > flag.high:
                yield Fault((*path, "low"), f"{flag.low:.15g} is more than high, {flag.high:.15g}")
