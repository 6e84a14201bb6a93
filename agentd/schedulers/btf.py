"""The kernel's description of its types (BTF), read as far as to tell how many arguments a function shows.

The format is that of Documentation/bpf/btf.rst: a header, the types one after the other in records whose length follows
from their kind, and the names. Only the running kernel's own byte order is read. The 5 MB of a kernel take about a
tenth of a second; a machine that emulates another needs longer, which is why this is done on a thread.
"""

import os
import struct
from pathlib import Path

_HEADER = struct.Struct("=HBBIIIII")  # magic, version, flags, length; offset and length of the types and of the names
_MAGIC = 0xEB9F
_MOST = 64 << 20
_FUNCTION, _PROTOTYPE = 12, 13
_LINKAGES = (0, 1, 2)  # static, global, extern
_WORDS = {
    **dict.fromkeys((2, 7, 8, 9, 10, 11, 12, 16, 18), (0, 0)),  # pointers, typedefs, const, functions and so on
    **dict.fromkeys((1, 14, 17), (1, 0)),  # int, variable, tag of a declaration
    3: (3, 0),  # array
    **dict.fromkeys((4, 5, 15, 19), (0, 3)),  # struct, union, section, 64-bit enum
    **dict.fromkeys((6, 13), (0, 2)),  # enum, prototype
}
"""The 32-bit words that follow the three of each record, by its kind: of them all, and for each of its members."""


class NotBtf(Exception):
    """A file does not hold BTF that can be read; the text says why."""


def read(path: Path) -> bytes:
    """Returns what a file of BTF holds. Raises OSError, and NotBtf where it is larger than 64 MiB."""
    with path.open("rb", buffering=0) as stream:
        most = min(os.fstat(stream.fileno()).st_size, _MOST) + 1
        parts = []
        while most > 0 and (part := stream.read(most)):
            parts.append(part)
            most -= len(part)
    if most <= 0:
        raise NotBtf(f"{path} is larger than it says, or than {_MOST >> 20} MiB")
    return b"".join(parts)


def arguments(btf: bytes, function: str) -> int | None:
    """Returns how many arguments a function of the kernel shows; None where there is no such function.

    Raises NotBtf.
    """
    types, names = _sections(btf)
    offset = names.find(b"\0" + function.encode() + b"\0") + 1
    if offset == 0:
        return None
    prototype = _prototype(types, offset)
    if prototype is None:
        return None
    info = _info(types, prototype)
    if info >> 24 & 0x1F != _PROTOTYPE:
        raise NotBtf(f"the type of {function} is not that of a function")
    return info & 0xFFFF


def _sections(btf: bytes) -> tuple[bytes, bytes]:
    if len(btf) < _HEADER.size:
        raise NotBtf("it is too short")
    magic, version, _, header, types_at, types_length, names_at, names_length = _HEADER.unpack_from(btf)
    if magic != _MAGIC or version != 1:
        raise NotBtf("it does not begin as BTF of version 1 does")
    types_at, names_at = header + types_at, header + names_at
    types, names = btf[types_at : types_at + types_length], btf[names_at : names_at + names_length]
    if len(types) < types_length or len(names) < names_length or types_length % 4 or types_at % 4:
        raise NotBtf("it is cut off")
    return types, names


def _prototype(types: bytes, name: int) -> int | None:
    """Returns the number of the prototype of the function with that name.

    The record of a function begins with the offset of its name and the word of its kind: no other record can hold these
    two beside each other, as the second is too large for the number of a type.
    """
    for linkage in _LINKAGES:
        record = struct.pack("=II", name, _FUNCTION << 24 | linkage)
        at = types.find(record)
        while at >= 0:
            if at % 4 == 0 and at + 12 <= len(types):
                return int(struct.unpack_from("=I", types, at + 8)[0])
            at = types.find(record, at + 1)
    return None


def _info(types: bytes, number: int) -> int:
    """Returns the second word of a type's record: its kind, and how many members it has. Raises NotBtf."""
    words = memoryview(types).cast("I")
    at, last = 0, len(words) - 3
    for _ in range(number - 1):
        if at > last:
            break
        info = words[at + 1]
        sizes = _WORDS.get(info >> 24 & 0x1F)
        if sizes is None:
            raise NotBtf(f"there is a type of a kind that is not known: {info >> 24 & 0x1F}")
        at += 3 + sizes[0] + sizes[1] * (info & 0xFFFF)
    if number < 1 or at > last:
        raise NotBtf(f"there is no type {number}")
    return int(words[at + 1])
