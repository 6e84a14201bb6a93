"""The bytes of a connection: messages in pieces of any size, floods that let the loop go on, files of strangers."""

import asyncio
import os
import struct
from pathlib import Path

import pytest
from dbus_next.constants import MessageType
from dbus_next.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.bus.connection import Bus, CallFailed
from agentd.bus.reading import CALL, SIGNAL, Head, head, sizes
from agentd.bus.wire import _PIECE, Wire
from tests.bus.stranger import Stranger, message, padded
from tests.examples import examples
from tests.unit.bus.conftest import connected


def signal(number: int, size: int) -> bytes:
    body = struct.pack("<I", size) + bytes(size)
    return message(SIGNAL, number, interface="a.b", member=f"M{number}", signature="ay", body=body)


@settings(max_examples=examples(50), deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 300)), min_size=1, max_size=8), st.data())
def test_messages_come_whole_in_whatever_pieces_they_are_read(
    given: list[tuple[bool, int]], data: st.DataObject
) -> None:
    sent = [(number, wanted, size) for number, (wanted, size) in enumerate(given, 1)]
    stream = b"".join(signal(number, size) for number, _, size in sent)
    wanted = {number for number, want, _ in sent if want}
    got: list[tuple[int, int | None]] = []

    def take(head: Head, content: bytes | None, _: list[int]) -> None:
        got.append((head.serial, None if content is None else len(content)))

    async def run() -> None:
        wire = Wire.__new__(Wire)
        wire._wanted, wire._got = lambda head: head.serial in wanted, take
        wire._buffer, wire._files, wire._method_return_handlers = bytearray(), [], {}
        wire._skip = wire._missing = 0
        left = stream
        while left:
            length = min(len(left), data.draw(st.sampled_from([1, 7, 16, 40, 120, 400, 3000])))
            wire._take(left[:length])
            left = left[length:]
        assert (wire._skip, len(wire._buffer)) == (0, 0)

    asyncio.run(run())
    assert got == [(number, size + 4 if want else None) for number, want, size in sent]


def test_a_header_of_a_megabyte_is_skipped_and_what_follows_is_read(address: str) -> None:
    async def run() -> None:
        async with connected(address) as ours:
            stranger = Stranger(address)
            name = _name(ours)
            for _ in range(3):
                stranger.send(message(1, stranger.serial(), to=name, path="/" + "a" * 1_000_000))
            await _everything(ours, stranger)
            assert await ours.call_bus("GetId", "")
            assert ours._bus is not None
            assert len(ours._bus._buffer) == 0
            stranger.close()

    asyncio.run(run())


def test_a_flood_keeps_no_timer_waiting(address: str) -> None:
    async def run() -> None:
        async with connected(address) as ours:
            turns = seen = most = 0
            stranger = Stranger(address)
            one = message(SIGNAL, 7, to=_name(ours), interface="a.b")
            flood = one * 3000
            ours._bus._loop.remove_reader(ours._bus._fd)  # type: ignore[union-attr] # it is connected
            await asyncio.to_thread(stranger.send, flood)
            ours._bus._loop.add_reader(ours._bus._fd, ours._bus._message_reader)  # type: ignore[union-attr] # as above
            wanted = ours._bus._wanted  # type: ignore[union-attr] # as above

            def counting(head: Head) -> bool:
                nonlocal seen
                seen += head.interface == "a.b"
                return wanted(head)

            ours._bus._wanted = counting  # type: ignore[union-attr] # as above
            while seen < 3000:
                before = seen
                await asyncio.sleep(0)
                turns, most = turns + 1, max(most, seen - before)
            stranger.close()
            assert turns > 20  # the library would have read all that is there at once
            assert most <= _PIECE / len(one) + 1, "more than a piece was read before others had their turn"

    asyncio.run(run())


def test_the_files_that_a_stranger_sends_are_closed(address: str) -> None:
    async def run() -> None:
        bus = Bus()
        await bus.connect(address, files=True)
        stranger = Stranger(address, files=True)
        with Path(os.devnull).open() as file:
            await bus.call_bus("GetId", "")
            before = len(list(Path("/proc/self/fd").iterdir()))
            for kind in (CALL, SIGNAL):
                stranger.send_with_files(_with_file(kind, _name(bus)), [file.fileno()] * 3)
            await _everything(bus, stranger)
            assert len(list(Path("/proc/self/fd").iterdir())) == before
        stranger.close()
        assert bus._bus is not None
        bus.close()
        await bus.lost()
        bus._bus._stream.close()
        bus._bus._sock.close()

    asyncio.run(run())


def test_an_answer_that_cannot_be_read_is_the_failure_of_that_call_alone() -> None:
    async def run() -> None:
        bus = Bus()
        answer = Message(message_type=MessageType.METHOD_RETURN, reply_serial=9, signature="as", body=[["text"]])
        data = bytearray(bus.packed(answer))
        _, header = sizes(data, 0)
        found = head(data, 0, header)
        assert not bus._wants(found)
        waiting = bus._pending[9] = asyncio.get_running_loop().create_future()
        assert bus._wants(found)
        bus._got(found, bytes(data[header:-3]), [])
        with pytest.raises(CallFailed, match="the answer cannot be read: the body ends within a value"):
            await waiting

    asyncio.run(run())


def _with_file(kind: int, to: str) -> bytes:
    fields = padded(b"\x09\x01u\0" + struct.pack("<I", 3), 8)
    plain = bytearray(message(kind, 5, to=to, interface="a.b"))
    length = struct.unpack_from("<I", plain, 12)[0]
    end = 16 + length + -length % 8
    plain[12:16] = struct.pack("<I", end - 16 + len(fields))
    return bytes(plain[:end] + fields + plain[end:])


def _name(bus: Bus) -> str:
    assert bus._bus is not None
    return str(bus._bus.unique_name)


async def _everything(ours: Bus, stranger: Stranger) -> None:
    """Returns once the connection has read what the stranger has sent so far."""
    await asyncio.to_thread(stranger.ask_bus, "GetId")
    await ours.call_bus("GetId", "")
