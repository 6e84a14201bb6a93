"""libbpf, by ctypes: an object with a scheduler is opened, looked through, changed, loaded and attached.

Whoever uses it has a process for this alone: what libbpf says goes to the standard error of the process, which is
turned aside meanwhile, and an attached scheduler ends with the process.
"""

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from typing import Protocol

from msgspec import Struct

from agentd.core.schedulers.objects import END_SECTION, END_SIZE

_P, _INT, _U32, _TEXT, _SIZE = ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32, ctypes.c_char_p, ctypes.c_size_t
_FUNCTIONS = {
    "bpf_object__open_mem": (_P, (_P, _SIZE, _P)),
    "bpf_object__load": (_INT, (_P,)),
    "bpf_object__close": (None, (_P,)),
    "bpf_object__btf": (_P, (_P,)),
    "bpf_object__next_program": (_P, (_P, _P)),
    "bpf_program__name": (_TEXT, (_P,)),
    "bpf_program__type": (_INT, (_P,)),
    "bpf_object__next_map": (_P, (_P, _P)),
    "bpf_object__find_map_by_name": (_P, (_P, _TEXT)),
    "bpf_map__name": (_TEXT, (_P,)),
    "bpf_map__type": (_INT, (_P,)),
    "bpf_map__map_flags": (_U32, (_P,)),
    "bpf_map__pin_path": (_TEXT, (_P,)),
    "bpf_map__initial_value": (_P, (_P, ctypes.POINTER(_SIZE))),
    "bpf_map__lookup_elem": (_INT, (_P, _P, _SIZE, _P, _SIZE, ctypes.c_uint64)),
    "bpf_map__attach_struct_ops": (_P, (_P,)),
    "bpf_link__destroy": (_INT, (_P,)),
    "btf__type_by_id": (_P, (_P, _U32)),
    "btf__name_by_offset": (_TEXT, (_P, _U32)),
    "btf__find_by_name_kind": (ctypes.c_int32, (_P, _TEXT, _U32)),
}
STRUCT_OPS_PROGRAM, STRUCT_OPS_MAP, LINK = 27, 26, 1 << 13
"""The kernel's numbers: of a type of programs, of a type of maps, and of the flag of maps BPF_F_LINK."""
_DATASEC = 15
_THROUGH, _DEEPEST = {8, 9, 10, 14}, 8  # typedef, volatile, const, variable: on the way to a type
_NAME = 128  # bytes of a scheduler's name
_FIRST, _LAST = 8192, 65536  # bytes that are kept of what libbpf says


class Refused(Exception):
    """A refusal of libbpf or the kernel. `log` is what libbpf said, `number` the error's, 0: there is none."""

    def __init__(self, sentence: str, log: str = "", number: int = 0) -> None:
        super().__init__(sentence)
        self.log, self.number = log, number


class Map(Struct, frozen=True, kw_only=True):
    """A map of an object: its name, its type and flags as the kernel numbers them, and where it wants to be pinned."""

    name: str
    type: int
    flags: int = 0
    pin: str = ""


class Facts(Struct, frozen=True, kw_only=True):
    """An opened object: the types of its programs by their names, its maps, and the C structures that its struct_ops
    maps are of."""

    programs: dict[str, int]
    maps: tuple[Map, ...]
    structures: tuple[str, ...]


class Object(Protocol):
    """An opened object."""

    def facts(self) -> Facts:
        """Returns what is in the object. Raises Refused."""

    def settings(self, name: str, longest: int) -> int:
        """Names the scheduler and bounds its timeout, before it is loaded; returns the timeout, in milliseconds, of
        which 0 stood for the longest. Raises Refused."""

    def load(self) -> None:
        """Has the kernel verify the programs, and make the maps; nothing is attached. Raises Refused."""

    def attach(self) -> None:
        """Hands the scheduler to the kernel, which may end it at once all the same. Raises Refused."""

    def record(self) -> bytes:
        """Returns the record of the end, from a loaded object; b"" where it cannot be read."""

    def close(self) -> None:
        """Takes the scheduler from the kernel, and frees everything; may be called again."""


class Library(Protocol):
    """libbpf."""

    def open(self, data: bytes, name: str) -> Object:
        """Opens an object, which libbpf then calls by that name. Raises Refused."""


class _Type(ctypes.Structure):
    _fields_ = (("name", _U32), ("info", _U32), ("size", _U32))


class _Three(ctypes.Structure):  # btf_member: name, type, offset; btf_var_secinfo: type, offset, size
    _fields_ = (("first", _U32), ("second", _U32), ("third", _U32))


class Libbpf:
    """libbpf of this machine. Raises Refused where there is none."""

    def __init__(self, name: str = "libbpf.so.1") -> None:
        try:
            self._library = ctypes.CDLL(name, use_errno=True)
            for function, (result, arguments) in _FUNCTIONS.items():
                found = getattr(self._library, function)
                found.restype, found.argtypes = result, arguments
        except (OSError, AttributeError) as error:
            raise Refused(f"libbpf cannot be used ({error}): install libbpf1, 1.4 or newer") from None

    def open(self, data: bytes, name: str) -> Object:
        """Opens an object, which libbpf then calls by that name. Raises Refused."""
        options = _Options(ctypes.sizeof(_Options), name.encode())
        with _aside() as said:
            pointer = self._library.bpf_object__open_mem(data, len(data), ctypes.byref(options))
            number = ctypes.get_errno()
        if not pointer:
            raise Refused(f"libbpf cannot open the object of {name}", said.text, number)
        return _Opened(self._library, pointer)


class _Opened:
    def __init__(self, library: ctypes.CDLL, pointer: int) -> None:
        self._library, self._object, self._link = library, pointer, 0

    def facts(self) -> Facts:
        call = self._library
        programs = {
            call.bpf_program__name(one).decode(errors="replace"): call.bpf_program__type(one)
            for one in self._each(call.bpf_object__next_program)
        }
        maps = tuple(
            Map(
                name=call.bpf_map__name(one).decode(errors="replace"),
                type=call.bpf_map__type(one),
                flags=call.bpf_map__map_flags(one),
                pin=(call.bpf_map__pin_path(one) or b"").decode(errors="replace"),
            )
            for one in self._each(call.bpf_object__next_map)
        )
        return Facts(
            programs=programs, maps=maps, structures=tuple(self._text(one.name) for one, _ in self._structures())
        )

    def settings(self, name: str, longest: int) -> int:
        size = _SIZE()
        data = self._library.bpf_map__initial_value(self._scheduler(), ctypes.byref(size))
        (structure, address), *_ = self._structures()
        offsets = self._offsets(structure, address)
        if not data:
            raise Refused("libbpf does not let the scheduler's settings be changed: it has to be 1.4 or newer")
        room = min(size.value, structure.size)
        if not 0 <= offsets.get("name", -1) <= room - _NAME or not 0 <= offsets.get("timeout_ms", -1) <= room - 4:
            raise Refused("the scheduler's structure is not the kernel's: it has no room for a name or a timeout")
        timeout = _U32.from_address(data + offsets["timeout_ms"])
        timeout.value = min(timeout.value or longest, longest)
        named = name.encode() + b"\0"
        ctypes.memmove(data + offsets["name"], named, len(named))
        return int(timeout.value)

    def load(self) -> None:
        with _aside() as said:
            result = self._library.bpf_object__load(self._object)
        if result:
            raise Refused(f"the kernel does not take it: {os.strerror(-result)}", said.text, -result)

    def attach(self) -> None:
        with _aside() as said:
            link = self._library.bpf_map__attach_struct_ops(self._scheduler())
            number = ctypes.get_errno()
        if not link:
            raise Refused(f"the kernel does not begin with it: {os.strerror(number)}", said.text, number)
        self._link = link

    def record(self) -> bytes:
        found = self._library.bpf_object__find_map_by_name(self._object, END_SECTION.encode())
        key, value = _U32(0), ctypes.create_string_buffer(END_SIZE)
        if not found or self._library.bpf_map__lookup_elem(found, ctypes.byref(key), 4, value, END_SIZE, 0):
            return b""
        return value.raw

    def close(self) -> None:
        if self._link:
            self._library.bpf_link__destroy(self._link)
        if self._object:
            self._library.bpf_object__close(self._object)
        self._link = self._object = 0

    def _each(self, following: "ctypes._NamedFuncPointer") -> Iterator[int]:
        one = following(self._object, None)
        while one:
            yield one
            one = following(self._object, one)

    def _scheduler(self) -> int:
        """Returns the map of the scheduler. Raises Refused."""
        for one in self._each(self._library.bpf_object__next_map):
            if self._library.bpf_map__type(one) == STRUCT_OPS_MAP:
                return one
        raise Refused("there is no scheduler in the object")

    def _text(self, offset: int) -> str:
        types = self._library.bpf_object__btf(self._object)
        return (self._library.btf__name_by_offset(types, offset) or b"").decode(errors="replace")

    def _structures(self) -> list[tuple[_Type, int]]:
        """Returns the types of the variables in the section of schedulers, and where each is. The object's own types
        count: libbpf turns its structure into the kernel's when it loads it."""
        types = self._library.bpf_object__btf(self._object)
        number = self._library.btf__find_by_name_kind(types, b".struct_ops.link", _DATASEC) if types else -1
        if number < 0:
            return []
        kind, section = self._type(number)
        found = []
        for at in range(kind.info & 0xFFFF):
            variable = _Three.from_address(section + ctypes.sizeof(_Type) + at * ctypes.sizeof(_Three))
            kind, address = self._type(variable.first)
            for _ in range(_DEEPEST):
                if (kind.info >> 24) & 0x1F in _THROUGH:
                    kind, address = self._type(kind.size)
            found.append((kind, address))
        return found

    def _type(self, number: int) -> tuple[_Type, int]:
        """Returns a type of the object, and where it is. Raises Refused."""
        address = self._library.btf__type_by_id(self._library.bpf_object__btf(self._object), number)
        if not address:
            raise Refused("the types of the object are damaged")
        return _Type.from_address(address), address

    def _offsets(self, structure: _Type, address: int) -> dict[str, int]:
        """Returns where each member of a structure begins, in bytes."""
        offsets = {}
        for at in range(structure.info & 0xFFFF):
            member = _Three.from_address(address + ctypes.sizeof(_Type) + at * ctypes.sizeof(_Three))
            bits = member.third & 0xFFFFFF if structure.info >> 31 else member.third
            offsets[self._text(member.first)] = bits // 8
        return offsets


class _Options(ctypes.Structure):  # the beginning of bpf_object_open_opts: libbpf takes the rest for zero
    _fields_ = (("size", _SIZE), ("name", _TEXT))


class _Said:
    text = ""


@contextlib.contextmanager
def _aside() -> Iterator[_Said]:
    """Turns the standard error of this process aside; the text is there when the block is over."""
    said = _Said()
    sys.stderr.flush()
    before, aside = os.dup(2), os.memfd_create("libbpf")
    try:
        os.dup2(aside, 2)
        try:
            yield said
        finally:
            os.dup2(before, 2)
            size = os.fstat(aside).st_size
            data = os.pread(aside, min(size, _FIRST + _LAST), 0)
            if size > _FIRST + _LAST:
                data = data[:_FIRST] + b"\n" + os.pread(aside, _LAST, size - _LAST)
            said.text = data.decode(errors="replace")
    finally:
        os.close(aside)
        os.close(before)
