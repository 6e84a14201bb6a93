"""What agentd reads of messages that anybody may send: headers of all kinds, bodies within bounds, and no surprise."""

import contextlib
import importlib.metadata
import inspect
import struct
from typing import Any

import pytest
from dbus_next._private.unmarshaller import Unmarshaller
from dbus_next.aio.message_bus import MessageBus
from dbus_next.constants import MessageFlag, MessageType
from dbus_next.message import Message
from dbus_next.message_bus import BaseMessageBus
from dbus_next.signature import SignatureTree, Variant
from hypothesis import given
from hypothesis import strategies as st

from agentd.bus.connection import plain
from agentd.bus.reading import CALL, LONGEST_HEADER, Head, Unreadable, body, head, sizes

TEXTS = st.text("ab /.:é€\N{SLEEPING SYMBOL}", max_size=20)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "s": TEXTS,
    "u": st.integers(0, 2**32 - 1),
    "t": st.integers(0, 2**64 - 1),
    "b": st.booleans(),
    "y": st.integers(0, 255),
    "x": st.integers(-(2**63), 2**63 - 1),
    "d": st.floats(allow_nan=False),
    "ay": st.binary(max_size=20),
    "as": st.lists(TEXTS, max_size=5),
    "a{ss}": st.dictionaries(TEXTS, TEXTS, max_size=5),
    "a(su)": st.lists(st.tuples(TEXTS, st.integers(0, 9)).map(list), max_size=5),
    "aau": st.lists(st.lists(st.integers(0, 9), max_size=3), max_size=5),
    "v": TEXTS.map(lambda text: Variant("s", text)),
    "a{sv}": st.dictionaries(TEXTS, st.lists(TEXTS, max_size=3).map(lambda texts: Variant("as", texts)), max_size=5),
}


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, list[Any]]:
    types = draw(st.lists(st.sampled_from(sorted(VALUES)), max_size=5))
    return "".join(types), [draw(VALUES[type_]) for type_ in types]


def marshalled(message: Message) -> bytearray:
    return bytearray(message._marshall())  # type: ignore[no-untyped-call] # the library's


def call(signature: str = "", values: list[Any] | None = None, **more: Any) -> bytearray:
    fields = {"destination": "org.agentd1", "path": "/org/agentd1", "interface": "a.b", "member": "Do", "serial": 7}
    return marshalled(Message(**{**fields, **more}, signature=signature, body=values or []))


def read(data: bytearray, *, stranger: bool = True) -> tuple[Head, list[Any]]:
    whole, header = sizes(data, 0)
    assert whole == len(data)
    found = head(data, 0, header)
    return found, body(found, bytes(data[header:]), stranger=stranger)


def test_the_library_is_the_one_whose_insides_are_known() -> None:
    assert importlib.metadata.version("dbus_next") == "0.2.3"
    reader = Unmarshaller(None)  # type: ignore[no-untyped-call] # the library's
    assert {"buf", "offset", "endian", "readers"} <= vars(reader).keys()
    assert list(inspect.signature(Unmarshaller.read).parameters) == ["self", "n", "prefetch"]
    assert set("ybnqiuxtdhosga({v") == reader.readers.keys()
    assert SignatureTree._get("as").types[0].children[0].token == "s"
    for method in ("_message_reader", "_finalize", "disconnect"):
        assert callable(getattr(MessageBus, method))
    source = inspect.getsource(BaseMessageBus) + inspect.getsource(MessageBus)
    for name in (
        "_disconnected",
        "_method_return_handlers",
        "_sock",
        "_fd",
        "_loop",
        "_negotiate_unix_fd",
        "_disconnect_future",
    ):
        assert f"self.{name} = " in source, name
    assert "add_reader(self._fd, self._message_reader)" in source


@given(bodies())
def test_what_the_library_writes_is_read(given: tuple[str, list[Any]]) -> None:
    signature, values = given
    found, there = read(call(signature, values))
    assert (found.kind, found.path, found.interface, found.member) == (CALL, "/org/agentd1", "a.b", "Do")
    assert (found.serial, found.signature, found.flags, found.files) == (7, signature, 0, 0)
    assert there == [plain(value) for value in values]


def test_answers_errors_and_signals_have_their_fields() -> None:
    answer, _ = read(marshalled(Message(message_type=MessageType.METHOD_RETURN, reply_serial=9, sender=":1.5")))
    assert (answer.kind, answer.reply_to, answer.member) == (2, 9, "")
    error, values = read(
        marshalled(
            Message(
                message_type=MessageType.ERROR, error_name="a.b.C", reply_serial=9, signature="s", body=["a sentence"]
            )
        )
    )
    assert (error.kind, error.error, values) == (3, "a.b.C", ["a sentence"])
    flags = MessageFlag.NO_REPLY_EXPECTED | MessageFlag.ALLOW_INTERACTIVE_AUTHORIZATION
    assert read(call(flags=flags))[0].flags == 5


def test_a_header_like_the_one_before_has_its_own_serial_flags_and_length() -> None:
    first, _ = read(call("s", ["a"], serial=7))
    flags = MessageFlag.NO_REPLY_EXPECTED
    second, values = read(call("s", ["another"], serial=8, flags=flags))
    assert (second.serial, second.flags, second.size, values) == (8, 1, 12, ["another"])
    assert (second.path, second.member, second.signature) == (first.path, first.member, first.signature)
    assert (first.serial, first.flags, first.size) == (7, 0, 6)


def test_both_byte_orders_are_read() -> None:
    fields = b"\x01\x01o\0" + struct.pack(">I", 2) + b"/a\0" + bytes(5) + b"\x08\x01g\0\x01u\0"
    start = struct.pack(">BBBBIII", ord("B"), 1, 0, 1, 4, 3, len(fields))
    data = bytearray(start + fields + bytes(-len(fields) % 8) + struct.pack(">I", 258))
    found, values = read(data)
    assert (found.path, found.signature, values) == ("/a", "u", [258])


def test_a_header_of_a_megabyte_is_not_read() -> None:
    data = call(path="/" + "a" * LONGEST_HEADER)
    with pytest.raises(Unreadable, match="the header is too long"):
        head(data, 0, sizes(data, 0)[1])


@given(bodies(), st.data())
def test_damage_is_unreadable_or_another_value_and_nothing_else(
    given: tuple[str, list[Any]], data: st.DataObject
) -> None:
    signature, values = given
    message = call(signature, values)
    at = data.draw(st.integers(16, len(message) - 1))
    message[at] = data.draw(st.integers(0, 255))
    _, header = sizes(message, 0)
    cut = data.draw(st.integers(header, len(message)))
    with contextlib.suppress(Unreadable):
        body(head(message, 0, header), bytes(message[header:cut]), stranger=True)


def test_a_stranger_is_read_no_more_than_a_thousand_values() -> None:
    many = call("aau", [[[]] * 1100])
    with pytest.raises(Unreadable, match="more than 1000 values"):
        read(many)
    assert len(read(many, stranger=False)[1][0]) == 1100


def test_values_that_lie_too_deep_are_unreadable() -> None:
    value = Variant("u", 1)
    for _ in range(200):
        value = Variant("v", value)
    with pytest.raises(Unreadable, match="too deep"):
        read(call("v", [value]))


def test_a_length_beyond_the_end_is_unreadable() -> None:
    found, _ = read(call("as", [[]]))
    with pytest.raises(Unreadable, match="ends within a value"):
        body(found, struct.pack("<I", 1 << 26), stranger=True)
    with pytest.raises(Unreadable, match="ends within a value"):
        body(found, b"\4\0\0", stranger=True)


def test_nothing_is_kept_of_the_types_that_strangers_make_up() -> None:
    known = dict(SignatureTree._cache)
    message = call("v", [Variant("(ssssuuuaaay)", ["a", "b", "c", "d", 1, 2, 3, [[b""]]])])
    for signature in SignatureTree._cache.keys() - known.keys():
        del SignatureTree._cache[signature]
    SignatureTree._get("v")
    before = len(SignatureTree._cache)
    assert read(message)[1] == [["a", "b", "c", "d", 1, 2, 3, [[b""]]]]
    assert len(SignatureTree._cache) == before
