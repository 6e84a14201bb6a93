"""A choice of a scheduler: from what somebody asked for to checked flags, and on to the arguments of the program."""

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from agentd.core.part import Refused
from agentd.core.quantities import nearest
from agentd.core.schedulers.catalogue import (
    MODES,
    NONE,
    Catalogue,
    Flag,
    Scheduler,
    Value,
    kernel_text,
    legible,
    option,
)
from agentd.core.schedulers.model import Chosen
from agentd.core.schedulers.values import contradiction, value_of

Modes = Mapping[str, Mapping[str, Mapping[str, Value]]]
"""Flags of modes over those of the catalogue: {gaming: {scx_bpfland: {primary-domain: all}}}."""
_PREFIX = "scx_"
_LONGEST = 100  # no longer word is meant as a name


def find(catalogue: Catalogue, word: str) -> Scheduler:
    """Returns the scheduler that is called scx_bpfland or, in short, bpfland.

    Raises Refused NoSuchScheduler with the nearest name.
    """
    found = catalogue.get(word) or catalogue.get(_PREFIX + word)
    if found is None:
        names = catalogue if word.startswith(_PREFIX) else [name.removeprefix(_PREFIX) for name in catalogue]
        near = nearest(word[:_LONGEST], names)
        raise Refused("NoSuchScheduler", f'there is no scheduler "{legible(word)}" in the catalogue{near}')
    return found


def choose(
    catalogue: Catalogue, name: str, mode: str = "", flags: Mapping[str, Any] | None = None, modes: Modes | None = None
) -> Chosen:
    """Returns the scheduler of that name with the flags of the mode, those that `modes` has for it, and `flags`, each
    over those before it, with their types; values may be texts as from a command line. The mode `none` has no flags.

    Raises Refused NoSuchScheduler, and InvalidArgument with a sentence that names the scheduler and the flag.
    """
    flags, modes = flags or {}, modes or {}
    known_modes = dict.fromkeys((*MODES, *modes))
    if mode not in {"", NONE, *known_modes}:
        near = nearest(mode, known_modes) or f"; expected one of {', '.join(known_modes)}"
        raise Refused("InvalidArgument", f'there is no mode "{legible(mode)}"{near}')
    if name == NONE:
        if flags:
            raise Refused("InvalidArgument", f"none, the kernel's own scheduler, takes no flags: {legible(min(flags))}")
        return Chosen(mode=mode)
    scheduler = find(catalogue, name)
    merged: dict[str, Value] = {}
    for layer in (scheduler.modes.get(mode, {}), modes.get(mode, {}).get(scheduler.name, {}), flags):
        merged = _over(scheduler, merged, {flag: checked(scheduler, flag, value) for flag, value in layer.items()})
    if sentence := contradiction(scheduler, merged):
        raise Refused("InvalidArgument", f"{scheduler.name}: {sentence}")
    return Chosen(name=scheduler.name, mode=mode, flags=merged)


def again(catalogue: Catalogue, chosen: Chosen) -> Chosen:
    """Returns a choice that was made before, checked against the catalogue as it is now: its flags alone, as the mode's
    are among them. Raises Refused."""
    return replace(choose(catalogue, chosen.name, flags=chosen.flags), mode=chosen.mode)


def checked(scheduler: Scheduler, name: str, value: object) -> Value:
    """Returns the value with the type of the flag. Raises Refused InvalidArgument."""
    flag = scheduler.flags.get(name)
    if flag is None:
        near = nearest(name, scheduler.flags) or ("" if scheduler.flags else ": it takes none")
        raise Refused("InvalidArgument", f'{scheduler.name} has no flag "{legible(name)}"{near}')
    try:
        return value_of(flag, value)
    except ValueError as error:
        raise Refused("InvalidArgument", f"{scheduler.name}: {name}: {error}") from None


def _over(scheduler: Scheduler, below: Mapping[str, Value], above: Mapping[str, Value]) -> dict[str, Value]:
    """Returns both; of flags that exclude each other, those above put out those below."""
    out = {
        name
        for group in scheduler.one_of
        if any(above.get(name, False) is not False for name in group)
        for name in group
    }
    return {**{name: value for name, value in below.items() if name not in out}, **above}


def argv(scheduler: Scheduler, flags: Mapping[str, Value]) -> list[str]:
    """Returns the arguments of the program: those that it always gets, then the flags in the catalogue's order. Each
    value stands in one argument with its option, so that it cannot be taken for an option of its own.

    Raises Refused InvalidArgument for a flag that choose() would not let pass.
    """
    typed = {name: checked(scheduler, name, value) for name, value in flags.items()}
    given = [_argument(flag, typed[name]) for name, flag in scheduler.flags.items() if name in typed]
    return [*scheduler.always, *(argument for argument in given if argument)]


def _argument(flag: Flag, value: Value) -> str:
    """Returns --slice-us=5000, -s5000, --partial, or nothing for one that is left away."""
    name = option(flag)
    if flag.type == "bool" and not flag.says:
        return name if value else ""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"{name}={text}" if name.startswith("--") else f"{name}{text}"


def suited(scheduler: Scheduler, word: str) -> bool:
    """Tells whether one of the use cases of a scheduler has the word in it, in whatever case."""
    return any(word.casefold() in use.casefold() for use in scheduler.use_cases)


def described(scheduler: Scheduler) -> dict[str, Any]:
    """Returns what people are told of a scheduler, beside its flags and modes."""
    return {
        "name": scheduler.name,
        "ops": scheduler.ops,
        "summary": scheduler.summary,
        "algorithm": scheduler.algorithm,
        "use_cases": list(scheduler.use_cases),
        "limits": list(scheduler.limits),
        "readiness": scheduler.readiness,
        "min_kernel": kernel_text(scheduler.min_kernel),
        "not_on": [kernel_text(kernel) for kernel in scheduler.not_on],
        "needs": list(scheduler.needs),
        "timeout": scheduler.timeout,
        "language": scheduler.language,
        "always": list(scheduler.always),
        "catalogue": scheduler.file,
    }


def described_flags(scheduler: Scheduler) -> list[dict[str, Any]]:
    """Returns what people are told of a scheduler's flags; what a flag does not have is absent."""
    return [
        {
            "name": flag.name,
            "option": option(flag),
            "type": flag.type,
            "unit": flag.unit,
            "help": flag.help,
            **({} if flag.default is None else {"default": flag.default}),
            **({} if flag.low is None else {"low": flag.low}),
            **({} if flag.high is None else {"high": flag.high}),
            **({"choices": list(flag.choices)} if flag.choices else {}),
            **({"pattern": flag.pattern} if flag.pattern else {}),
        }
        for flag in scheduler.flags.values()
    ]
