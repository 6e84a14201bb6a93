"""The kinds of settings that all parts share, and how a setting says that it is wrong."""

from typing import Annotated, Any

from msgspec import Meta

from agentd.core.quantities import unknown_key

Raw = str | list["Raw"] | dict[str, "Raw"]


class Invalid(ValueError):
    """A value that cannot be used; `keys` lead to the part of a mapping that is wrong (none: the whole).

    `is_key` tells that the last key itself is wrong, not its value.
    """

    def __init__(self, sentence: str, *keys: str, is_key: bool = False) -> None:
        super().__init__(sentence)
        self.keys = keys
        self.is_key = is_key


def as_text(raw: Any, what: str, *keys: str) -> str:
    if not isinstance(raw, str):
        raise Invalid(f"expected {what}", *keys)
    return raw


def as_list(raw: Raw) -> list[Raw]:
    return raw if isinstance(raw, list) else [raw]


def as_mapping(raw: Raw, keys: set[str], example: str) -> dict[str, Raw]:
    if not isinstance(raw, dict):
        raise Invalid(f"expected a mapping such as {{{example}}}")
    for key in raw:
        if key not in keys:
            raise Invalid(unknown_key(key, sorted(keys)), key, is_key=True)
    return raw


type_kind = "kind"
Duration = Annotated[int, Meta(ge=0, extra={type_kind: "duration"})]
PositiveDuration = Annotated[int, Meta(ge=1000, extra={type_kind: "duration"})]
Size = Annotated[int, Meta(ge=1, extra={type_kind: "size"})]
ZoneName = Annotated[str, Meta(extra={type_kind: "timezone"})]
AbsolutePath = Annotated[str, Meta(extra={type_kind: "path"})]
UserName = Annotated[str, Meta(min_length=1, max_length=32, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*[$]?\Z")]
