"""The check of a compiled scheduler, whatever its source was: the programs of one scheduler, and no others.

The object is the compiler's word and not the author's: no macro hides a program from this check.
"""

import struct
from collections.abc import Mapping

from msgspec import Struct

LARGEST = 4 << 20
"""The bytes that an object may have; one with its debugging information has about 850 KB."""
END_SECTION = ".data.ended"
END_SIZE = 400
"""The bytes of the record of the end, struct agentd_end in scx.h."""
_HEADER = 64
_BPF, _RELOCATABLE, _CODE, _SYMBOLS = 247, 1, 0x4, 2
_OURS = (".text", "struct_ops", "struct_ops.s")


class Section(Struct, frozen=True):
    """A section of an object: its kind and flags as ELF has them, the number of the section that goes with it, and
    what it holds."""

    kind: int
    flags: int
    link: int
    content: bytes


def check(data: bytes) -> str:
    """Returns why an object is not taken, as a sentence; "": it may be loaded."""
    if len(data) > LARGEST:
        return f"expected an object of at most {LARGEST >> 20} MiB, but this one has {len(data)} bytes"
    try:
        sections = _sections(data)
    except (struct.error, IndexError, ValueError):
        return "expected a BPF object in 64-bit ELF, but this is none, or a damaged one"
    names = [name for name, _ in sections]
    for name, section in sections:
        if section.flags & _CODE and not any(name == ours or name.startswith(f"{ours}/") for ours in _OURS):
            return f"expected programs of the type struct_ops alone, but there is one of the section {name[:40]}"
        if section.kind == _SYMBOLS and b"\0__SCX_" in sections[section.link][1].content:
            return (
                "expected the SCX_* constants of this kernel's vmlinux.h, but those of the scx project's headers are "
                "in there, which are zero until a program fills them in"
            )
    return _of_one_scheduler(names, dict(sections))


def _of_one_scheduler(names: list[str], sections: Mapping[str, Section]) -> str:
    for name in names:
        if name.lstrip("?") == ".struct_ops":
            return "expected a scheduler with a link (SCX_OPS of scx.h): one without stays when its process ends"
    if names.count(".struct_ops.link") != 1:
        return "expected one scheduler (SCX_OPS of scx.h) in the object, but there is none"
    if names.count(END_SECTION) != 1 or len(sections[END_SECTION].content) != END_SIZE:
        return "expected the record of the end that scx.h has, but there is none, or another"
    if names.count("license") != 1 or sections["license"].content.rstrip(b"\0") != b"GPL":
        return "expected the license GPL, as scx.h says it"
    return ""


def _sections(data: bytes) -> list[tuple[str, Section]]:
    """Returns the sections of an object with their names. Raises struct.error, IndexError and ValueError."""
    order = {1: "<", 2: ">"}.get(data[5], "")
    if data[:5] != b"\x7fELF\x02" or not order:
        raise ValueError
    kind, machine = struct.unpack_from(order + "HH", data, 16)
    (offset,) = struct.unpack_from(order + "Q", data, 40)
    size, count, names = struct.unpack_from(order + "HHH", data, 58)
    if (kind, machine, size) != (_RELOCATABLE, _BPF, _HEADER):
        raise ValueError
    raw = [struct.unpack_from(order + "IIQQQQIIQQ", data, offset + at * size) for at in range(count)]
    if any(one[6] >= count for one in raw):
        raise ValueError
    found = [Section(one[1], one[2], one[6], b"" if one[1] == 8 else _part(data, one[4], one[5])) for one in raw]
    table = found[names].content
    return [(_text(table, one[0]), section) for one, section in zip(raw, found, strict=True)]


def _part(data: bytes, offset: int, size: int) -> bytes:
    if offset + size > len(data):
        raise ValueError
    return data[offset : offset + size]


def _text(table: bytes, start: int) -> str:
    return table[start : table.index(b"\0", start)].decode("ascii", "replace")
