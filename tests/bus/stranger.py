"""A client with bad intentions: speaks D-Bus by hand, so as to say what no library would, and only with Python's own
library, so as to run in a machine that has no other: stranger.py ADDRESS ATTACK GOES [MIB], the size of what is large.
"""

import os
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator

CALL, RETURN, ERROR, SIGNAL = 1, 2, 3, 4
NO_REPLY = 1
NAME, PATH = "org.agentd1", "/org/agentd1"
BUS = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
MIB = 1 << 20


def padded(data: bytes, to: int) -> bytes:
    return data + bytes(-len(data) % to)


def text(value: str | bytes) -> bytes:
    """A string as it is marshalled, where the offset is a multiple of four."""
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<I", len(data)) + data + b"\0"


def options(**texts: str | bytes) -> bytes:
    """An a{sv} with texts, where the offset is a multiple of eight."""
    entries = b""
    for key, value in texts.items():
        entries = padded(entries, 8) + padded(text(key) + b"\x01s\0", 4) + text(value)
    return struct.pack("<II", len(entries), 0) + entries


def number_option(key: str, value: int) -> bytes:
    entry = padded(text(key) + b"\x01u\0", 4) + struct.pack("<I", value)
    return struct.pack("<II", len(entry), 0) + entry


def message(  # noqa: PLR0913 - as many as a header has
    kind: int,
    serial: int,
    *,
    to: str = NAME,
    path: str = PATH,
    interface: str = f"{NAME}.Jobs",
    member: str = "ListJobs",
    signature: str = "",
    body: bytes = b"",
    flags: int = 0,
) -> bytes:
    fields = b""
    for code, type_, value in ((1, b"o", path), (2, b"s", interface), (3, b"s", member), (6, b"s", to)):
        fields = padded(fields, 8) + bytes((code, 1)) + type_ + b"\0" + text(value)
    if signature:
        fields = padded(fields, 8) + b"\x08\x01g\0" + bytes((len(signature),)) + signature.encode() + b"\0"
    start = struct.pack("<BBBBIII", ord("l"), kind, flags, 1, len(body), serial, len(fields))
    return padded(start + fields, 8) + body


class Stranger:
    """A connection to the bus at an address such as unix:path=/run/dbus/system_bus_socket."""

    def __init__(self, address: str, *, files: bool = False, large: int = 31) -> None:
        self.large = large * MIB
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(address.partition("path=")[2].partition(",")[0])
        self._socket.sendall(b"\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\n")
        assert self._socket.recv(100).startswith(b"OK")
        if files:
            self._socket.sendall(b"NEGOTIATE_UNIX_FD\r\n")
            assert self._socket.recv(100).startswith(b"AGREE")
        self._socket.sendall(b"BEGIN\r\n")
        self._read = b""
        self._serial = 0
        self.ask_bus("Hello")

    def serial(self) -> int:
        self._serial += 1
        return self._serial

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def send_with_files(self, data: bytes, files: list[int]) -> None:
        socket.send_fds(self._socket, [data], files)

    def close(self) -> None:
        self._socket.close()

    def call(self, **call: object) -> tuple[int, bytes]:
        """Calls a method; returns the kind of the answer, and all of the answer's bytes."""
        serial = self.serial()
        self.send(message(CALL, serial, **call))  # type: ignore[arg-type] # of the names that message() has
        return self.answer(serial)

    def ask_bus(self, member: str, **call: object) -> bytes:
        """Calls a method of the bus; returns all of the answer's bytes."""
        to, path, interface = BUS
        return self.call(to=to, path=path, interface=interface, member=member, **call)[1]

    def answer(self, serial: int) -> tuple[int, bytes]:
        """Returns the answer to a call; what comes before it is lost."""
        return next(answer for _, answer in self.answers({serial}))

    def answers(self, serials: set[int], patience: float = 60) -> Iterator[tuple[int, tuple[int, bytes]]]:
        """Yields the answers to calls by their serials, as they come."""
        wanted = {b"\x05\x01u\0" + struct.pack("<I", serial): serial for serial in serials}
        for one in self._messages(time.monotonic() + patience):
            found = one.find(b"\x05\x01u\0", 0, 400)
            if one[1] in (RETURN, ERROR) and (serial := wanted.pop(one[found : found + 8], None)) is not None:
                yield serial, (one[1], one)
            if not wanted:
                return
        raise TimeoutError(f"{len(wanted)} answers have not come within {patience:g} s")

    def _messages(self, deadline: float) -> Iterator[bytes]:
        while True:
            while len(self._read) >= 16:
                body, _, fields = struct.unpack_from("<4xIII", self._read)
                length = 16 + fields + -fields % 8 + body
                if len(self._read) < length:
                    break
                one, self._read = self._read[:length], self._read[length:]
                yield one
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                data = self._socket.recv(1 << 18)
            except TimeoutError:
                return
            if not data:
                raise EOFError("the bus has ended the connection")
            self._read += data

    def owner(self) -> str:
        """Returns the unique name of agentd."""
        answer = self.ask_bus("GetNameOwner", signature="s", body=text(NAME))
        return answer.rpartition(b":")[2].rstrip(b"\0").decode().join((":", ""))


# Attacks: each returns the bytes of one go


def big_signal(stranger: Stranger, owner: str) -> bytes:
    """A signal that nobody listens to, which takes minutes to parse."""
    arrays = struct.pack("<I", stranger.large - 1024) + bytes(stranger.large - 1024)
    signal = {"interface": "org.example.Noise", "member": "Noise", "signature": "aau", "body": arrays}
    return message(SIGNAL, stranger.serial(), to=owner, flags=NO_REPLY, **signal)  # type: ignore[arg-type] # as above


def wrong_call(stranger: Stranger, owner: str) -> bytes:
    """A call with arguments that the method does not take."""
    arrays = struct.pack("<I", stranger.large - 1024) + bytes(stranger.large - 1024)
    return message(CALL, stranger.serial(), to=owner, member="GetJob", signature="aau", body=arrays)


def long_name(stranger: Stranger, owner: str) -> bytes:
    """The name of a job, of millions of characters."""
    name = b"a" * (stranger.large - 1024)
    return message(CALL, stranger.serial(), to=owner, member="GetJob", signature="s", body=text(name))


def long_path(stranger: Stranger, owner: str) -> bytes:
    """The path of an object, of millions of characters: all of it is header."""
    return message(CALL, stranger.serial(), to=owner, path="/" + "a" * (stranger.large - 1024))


def patterns(stranger: Stranger, owner: str) -> bytes:
    """Patterns for names, each another one: long ones, and one that is just short enough."""
    count = stranger.serial()
    many = [b"?*" * (100_000 + count), b"*a" * 30_000 + str(count).encode(), b"*a?" * 35 + str(count).encode()]
    return b"".join(
        message(CALL, stranger.serial(), to=owner, signature="a{sv}", body=options(name=pattern)) for pattern in many
    )


def many_values(stranger: Stranger, owner: str) -> bytes:
    """A filter with fifteen thousand empty arrays, and one with a variant in a variant, and so on."""
    wide = padded(text("name") + b"\x03aau\0", 4) + struct.pack("<I", 60_000) + bytes(60_000)
    deep = text("name") + b"\x01v\0" * 50 + b"\x01y\0\7"
    bodies = [struct.pack("<II", len(entry), 0) + entry for entry in (wide, deep)]
    return b"".join(message(CALL, stranger.serial(), to=owner, signature="a{sv}", body=body) for body in bodies)


def unwanted_runs(stranger: Stranger, owner: str) -> bytes:
    """Long lists that nobody wants to have."""
    call = {"member": "ListRuns", "signature": "a{sv}", "body": number_option("limit", 10_000), "flags": NO_REPLY}
    return b"".join(message(CALL, stranger.serial(), to=owner, **call) for _ in range(60))  # type: ignore[arg-type] # as above


def runs(stranger: Stranger, owner: str) -> bytes:
    """Long lists that nobody reads."""
    call = {"member": "ListRuns", "signature": "a{sv}", "body": number_option("limit", 10_000)}
    return b"".join(message(CALL, stranger.serial(), to=owner, **call) for _ in range(20))  # type: ignore[arg-type] # as above


def unwanted_status(stranger: Stranger, owner: str) -> bytes:
    """Questions about reboots, without an answer."""
    call = {"interface": f"{NAME}.Reboot", "member": "GetStatus", "flags": NO_REPLY}
    return b"".join(message(CALL, stranger.serial(), to=owner, **call) for _ in range(2000))  # type: ignore[arg-type] # as above


def unread_jobs(stranger: Stranger, owner: str) -> bytes:
    """Lists of jobs that nobody reads."""
    body = options()
    return b"".join(message(CALL, stranger.serial(), to=owner, signature="a{sv}", body=body) for _ in range(1000))


def introspection(stranger: Stranger, owner: str) -> bytes:
    """The contract, again and again."""
    call = {"interface": "org.freedesktop.DBus.Introspectable", "member": "Introspect"}
    return b"".join(message(CALL, stranger.serial(), to=owner, **call) for _ in range(1000))  # type: ignore[arg-type] # as above


def pings(stranger: Stranger, owner: str) -> bytes:
    """Signs of life, asked for again and again."""
    call = {"interface": "org.freedesktop.DBus.Peer", "member": "Ping"}
    return b"".join(message(CALL, stranger.serial(), to=owner, **call) for _ in range(1000))  # type: ignore[arg-type] # as above


def noise(stranger: Stranger, owner: str) -> bytes:
    """Small signals of systemd's, in great numbers."""
    signal = {
        "interface": "org.freedesktop.systemd1.Manager",
        "member": "JobRemoved",
        "path": "/org/freedesktop/systemd1",
    }
    one = {
        **signal,
        "signature": "uoss",
        "body": padded(struct.pack("<I", 1) + text("/"), 4) + padded(text("a"), 4) + text("b"),
    }
    return b"".join(message(SIGNAL, stranger.serial(), to=owner, flags=NO_REPLY, **one) for _ in range(2000))  # type: ignore[arg-type] # as above


def unread_nonsense(stranger: Stranger, owner: str) -> bytes:
    """Methods that do not exist."""
    return b"".join(message(CALL, stranger.serial(), to=owner, member="Nothing") for _ in range(1000))


ATTACKS: dict[str, Callable[[Stranger, str], bytes]] = {
    attack.__name__: attack
    for attack in (
        big_signal, wrong_call, long_name, long_path, patterns, many_values, unwanted_runs, runs, unwanted_status,
        unread_jobs, introspection, pings, noise, unread_nonsense,
    )
}  # fmt: skip


def main(address: str, attack: str, goes: str, large: str = "31") -> None:
    """Attacks so many times, one after the other; returns once agentd has dealt with all of it.

    Whoever is thrown out by the bus comes back.
    """
    stranger = Stranger(address, large=int(large))
    owner = stranger.owner()
    for _ in range(int(goes)):
        try:
            stranger.send(ATTACKS[attack](stranger, owner))
        except (BrokenPipeError, ConnectionResetError):
            stranger.close()
            stranger = Stranger(address, large=int(large))
    while stranger.call(to=owner, interface="org.freedesktop.DBus.Peer", member="Ping")[0] != RETURN:
        time.sleep(0.05)


if __name__ == "__main__":
    main(*sys.argv[1:])
