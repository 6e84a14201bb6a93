"""The difference between two configurations, in words: what a person reads after a reload.

Each setting of every part is told by its place and its values; what parts tell by name themselves, such as a job, is
left to them.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args

from msgspec import Struct, inspect

from agentd.config.types import fields_of, info_of, is_by_name, metadata
from agentd.core.config import Config
from agentd.core.fields import Keys
from agentd.core.quantities import format_duration, format_time_of_day

_TOLD_BY_PARTS: frozenset[Keys] = frozenset({("timezone",), ("jobs",), ("rules",), ("notices", "channels")})
_SIZES = ("", "K", "M", "G", "T")


def changes(before: Config, after: Config) -> list[str]:
    """Returns a sentence for each setting that is another, such as "reboot.grace: 5min (was 10min)"."""
    return list(_of_struct(before, after, ()))


def _of_struct(before: Struct, after: Struct, path: Keys) -> Iterator[str]:
    for field in fields_of(type(after)):
        old, new, where = getattr(before, field.name), getattr(after, field.name), (*path, field.encode_name)
        if old == new or where in _TOLD_BY_PARTS:
            continue
        if is_by_name(field.type):
            yield from _of_things(old, new, metadata(field.type)["by_name"])
        elif isinstance(old, Struct) and isinstance(new, Struct) and not _has_phrase(new):
            yield from _of_struct(old, new, where)
        else:
            yield f"{'.'.join(map(str, where))}: {_change(old, new, field.type)}"


def _of_things(before: Mapping[str, Any], after: Mapping[str, Any], thing: str) -> Iterator[str]:
    """Yields a sentence for each thing of a mapping by name that came, went or is another."""
    for name in [*before, *(name for name in after if name not in before)]:
        if before.get(name) != after.get(name):
            yield f"{thing} {name}: {_change(before.get(name), after.get(name), None)}"


def _change(old: Any, new: Any, type_: Any) -> str:
    """Returns how a value changed; only that it did where no word for it is a person's."""
    shown = [_shown(value, type_) for value in (old, new)]
    if "" not in shown:
        return f"{shown[1]} (was {shown[0]})"
    word = "removed" if new is None else "added" if old is None else "changed"
    return f"{word}: {shown[1]}" if shown[1] and word == "added" else word


def _shown(value: Any, type_: Any) -> str:
    """Returns a value as a person would write it; "" where there is no such word."""
    if _has_phrase(value):
        return str(value.phrase())
    write = _WRITTEN.get(metadata(type_).get("kind", "")) if type_ is not None else None
    if write is not None:
        return write(value)
    if isinstance(value, tuple):
        items = [_shown(item, _item(type_)) for item in value]
        return f"[{', '.join(items)}]" if all(items) else ""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | str | float) else ""


def _item(type_: Any) -> Any:
    """Returns the type of the values in a list; None where that is not one."""
    info = info_of(type_)
    return get_args(type_)[0] if isinstance(info, inspect.VarTupleType) else None


def _has_phrase(value: Any) -> bool:
    return isinstance(value, Struct) and hasattr(value, "phrase")


def _size(count: int) -> str:
    unit = max(power for power in range(len(_SIZES)) if count % (1 << 10 * power) == 0)
    return f"{count >> 10 * unit}{_SIZES[unit]}"


_WRITTEN: Mapping[str, Callable[[Any], str]] = {
    "duration": lambda value: "" if value is None else format_duration(value),
    "size": lambda value: "" if value is None else _size(value),
    "time-of-day": lambda value: "" if value is None else format_time_of_day(value),
    "patience": lambda value: "window" if value is None else format_duration(value),
    "remind": lambda value: format_duration(value) if value else "no",
    "share": lambda value: f"{value:.0%}",
}
"""How the values of kinds are written, where that is not as they are."""
