"""Small files of BTF, written as the kernel's build writes them."""

import struct

Type = tuple[str, int, int, int, bytes]
"""Name, kind, number of members or linkage, the third word, and what follows these three."""


def blob(types: list[Type], *, cut: int = 0, magic: int = 0xEB9F) -> bytes:
    """A file of BTF; `cut` bytes short."""
    names, records = b"\0", b""
    for name, kind, members, third, rest in types:
        offset = 0
        if name:
            offset = len(names)
            names += name.encode() + b"\0"
        records += struct.pack("=III", offset, kind << 24 | members, third) + rest
    header = struct.pack("=HBBIIIII", magic, 1, 0, 24, 0, len(records), len(records), len(names))
    whole = header + records + names
    return whole[: len(whole) - cut]


def prototype(arguments: int) -> Type:
    return "", 13, arguments, 1, struct.pack("=II", 0, 1) * arguments


def kernel(arguments: int) -> bytes:
    """A kernel with one type of each kind, whose scx_bpf_create_dsq shows so many arguments: they are its type 21."""
    word, half = b"\1\0\0\0", b"\2\0\0\0"
    return blob(
        [
            ("int", 1, 0, 4, word),
            ("", 2, 0, 1, b""),  # pointer
            ("", 3, 0, 0, struct.pack("=III", 1, 1, 8)),  # array
            ("task_struct", 4, 3, 24, struct.pack("=III", 1, 1, 0) * 3),
            ("union", 5, 1, 8, struct.pack("=III", 1, 1, 0)),
            ("state", 6, 2, 4, struct.pack("=II", 1, 7) * 2),
            ("forward", 7, 0, 0, b""),
            ("u32", 8, 0, 1, b""),
            ("", 9, 0, 1, b""),
            ("", 10, 0, 1, b""),
            ("", 11, 0, 1, b""),
            ("scx_bpf_create_dsq_impl", 12, 1, 14, b""),
            ("scx_bpf_create_dsq", 12, 1, 21, b""),
            prototype(3),
            ("jiffies", 14, 0, 1, word),
            (".data", 15, 1, 8, struct.pack("=III", 15, 0, 8)),
            ("float", 16, 0, 4, b""),
            ("tag", 17, 0, 13, half),
            ("tag", 18, 0, 1, b""),
            ("large", 19, 2, 8, struct.pack("=III", 1, 1, 1) * 2),
            prototype(arguments),
        ]
    )
