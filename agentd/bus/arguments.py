"""How arguments of callers are checked."""

from typing import Any

from agentd.core.part import Refused


def limit_of(filter: dict[str, Any]) -> int:  # noqa: A002
    limit: int = filter.get("limit", 50)
    if not 1 <= limit <= 10_000:
        raise Refused("InvalidArgument", f"limit must lie between 1 and 10000, not {limit}")
    return limit


def only(given: dict[str, Any], **known: type) -> None:
    """Refuses keys that mean nothing and values of another type: a filter that is ignored would mislead."""
    for key, value in given.items():
        if key not in known:
            options = f"; it may have {', '.join(sorted(known))}" if known else ""
            raise Refused("InvalidArgument", f'"{key}" is not an option here{options}')
        if not isinstance(value, known[key]) or (known[key] is int and isinstance(value, bool)):
            raise Refused("InvalidArgument", f'the option "{key}" must be of type {known[key].__name__}')
        if isinstance(value, int) and abs(value) > 1 << 62:
            raise Refused("InvalidArgument", f'the option "{key}" is out of range')
