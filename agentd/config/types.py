"""The types of settings: how a field of a struct says that its setting is to be read."""

from functools import cache
from typing import Any, get_args

from msgspec import Struct, inspect
from msgspec.structs import FieldInfo, fields

_INFO: dict[int, tuple[Any, inspect.Type]] = {}


def info_of(type_: Any) -> inspect.Type:
    """Returns msgspec's description of a type."""
    # By identity: annotated types cannot be hashed. The type is kept, so that its identity stays taken.
    if id(type_) not in _INFO:
        _INFO[id(type_)] = (type_, inspect.type_info(type_))
    return _INFO[id(type_)][1]


@cache
def fields_of(type_: type[Struct]) -> tuple[FieldInfo, ...]:
    """Returns the fields of a struct."""
    return fields(type_)


def section(type_: Any) -> type[Struct] | None:
    """Returns the struct that a setting of this type is read into, key by key; None for any other type."""
    info = info_of(type_)
    if isinstance(info, inspect.UnionType):
        return section(without_none(type_))
    return info.cls if isinstance(info, inspect.StructType) else None


def is_by_name(type_: Any) -> bool:
    """Tells whether a setting of this type is a mapping of names to things (core.fields.by_name)."""
    return "by_name" in metadata(type_)


def metadata(type_: Any) -> dict[str, Any]:
    """Returns the `extra` of a field's msgspec.Meta: its "kind", or that it is "by_name"."""
    info = info_of(type_)
    return (info.extra or {}) if isinstance(info, inspect.Metadata) else {}


def without_none(type_: Any) -> Any:
    """Returns X of X | None."""
    return next(arg for arg in get_args(type_) if arg is not type(None))


def item_of(type_: Any) -> type[Struct]:
    """Returns the struct of the things in a mapping by name."""
    item: type[Struct] = get_args(get_args(type_)[0])[1]
    return item
