"""What callers send is checked here, and what they get is made fit for D-Bus."""

from collections.abc import Mapping
from typing import Any

from agentd.bus.connection import variant
from agentd.core.part import Refused

_MOST = 10_000
_LARGEST = 1 << 62


def only(given: Mapping[str, Any], **known: type) -> None:
    """Checks options or a filter: raises Refused InvalidArgument for a key that is not known, a value of another type
    and a number beyond 2^62. A filter that is ignored would mislead."""
    for key, value in given.items():
        if key not in known:
            options = f"; it may have {', '.join(sorted(known))}" if known else ""
            raise Refused("InvalidArgument", f'"{key}" is not an option here{options}')
        if not isinstance(value, known[key]) or (known[key] is int and isinstance(value, bool)):
            raise Refused("InvalidArgument", f'the option "{key}" must be of type {known[key].__name__}')
        if isinstance(value, int) and abs(value) > _LARGEST:
            raise Refused("InvalidArgument", f'the option "{key}" is out of range')


def limit_of(given: Mapping[str, Any]) -> int:
    """Returns how many records a filter asks for: 1 to 10,000, or 50. Raises Refused InvalidArgument."""
    limit: int = given.get("limit", 50)
    if not 1 <= limit <= _MOST:
        raise Refused("InvalidArgument", f"limit must lie between 1 and {_MOST}, not {limit}")
    return limit


def record(values: Mapping[str, Any], types: Mapping[str, str]) -> dict[str, Any]:
    """Returns an a{sv} of the values that are not None, with the D-Bus type that `types` names for each key."""
    return {key: variant(types[key], clean(value)) for key, value in values.items() if value is not None}


def clean(value: Any) -> Any:
    """Returns text as D-Bus can carry it, without NUL and lone surrogates; lists of it too."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode(errors="replace").decode()
    return [clean(item) for item in value] if isinstance(value, list | tuple) else value
