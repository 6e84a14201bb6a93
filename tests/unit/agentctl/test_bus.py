"""agentctl's own connection to D-Bus beside jeepney's: the same values as the same bytes, and whatever may come."""

import os
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jeepney.low_level import Endianness, parse_signature

from agentctl import wire
from agentctl.bus import Bus
from agentctl.client import BUS, BUS_PATH, Client
from agentctl.signals import plain
from agentctl.wire import Unreadable
from tests.unit.agentctl.fake import Ctl, FakeDaemon

LAYOUTS = {"y": 8, "q": 16, "u": 32, "t": 64, "n": 16, "i": 32, "x": 64}
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=300)
SIMPLE: dict[str, st.SearchStrategy[Any]] = {
    **{
        kind: st.integers(-(1 << bits - 1), (1 << bits - 1) - 1) if kind in "nix" else st.integers(0, (1 << bits) - 1)
        for kind, bits in LAYOUTS.items()
    },
    "b": st.booleans(),
    "s": TEXTS,
    "o": st.just("/org/agentd1"),
    "g": st.sampled_from(["", "s", "a{sv}"]),
    "d": st.floats(allow_nan=False),
}


def typed(depth: int = 3) -> st.SearchStrategy[tuple[str, Any]]:
    """A type, and a value of it as jeepney has it."""
    simple = st.sampled_from(sorted(SIMPLE)).flatmap(lambda kind: st.tuples(st.just(kind), SIMPLE[kind]))
    if not depth:
        return simple
    inner = typed(depth - 1)
    variants = st.dictionaries(TEXTS, inner, max_size=4)
    return st.one_of(
        simple,
        variants.map(lambda record: ("a{sv}", record)),
        st.lists(variants, max_size=3).map(lambda records: ("aa{sv}", records)),
        st.binary(max_size=9).map(lambda data: ("ay", data)),
        st.lists(TEXTS, max_size=3).map(lambda texts: ("as", texts)),
        st.dictionaries(TEXTS, SIMPLE["t"], max_size=3).map(lambda record: ("a{st}", record)),
        st.dictionaries(TEXTS, variants, max_size=3).map(lambda record: ("a{sa{sv}}", record)),
        st.lists(inner, min_size=1, max_size=3).map(
            lambda members: (f"({''.join(kind for kind, _ in members)})", tuple(value for _, value in members))
        ),
        inner.map(lambda pair: ("v", pair)),
    )


@given(st.lists(typed(), max_size=4), st.sampled_from([Endianness.little, Endianness.big]))
def test_values_are_read_as_jeepney_writes_them_and_written_as_it_reads_them(
    members: list[tuple[str, Any]], order: Endianness
) -> None:
    signature, values = "".join(kind for kind, _ in members), tuple(value for _, value in members)
    body = parse_signature(list(f"({signature})"))
    sign = {Endianness.little: "<", Endianness.big: ">"}[order]
    assert wire.read(signature, body.serialise(values, 0, order), 0, sign) == tuple(untyped(one) for one in members)
    assert body.parse_data(wire.packed(signature, values), 0, Endianness.little)[0] == values


def untyped(member: tuple[str, Any]) -> Any:
    """A value without the types of its variants."""
    kind, value = member
    if kind == "v":
        return untyped(value)
    if kind == "a{sv}":
        return {key: untyped(one) for key, one in value.items()}
    if kind in {"aa{sv}", "a{sa{sv}}"}:
        inner = kind[1:] if kind[1] == "a" else "a{sv}"
        if isinstance(value, dict):
            return {key: untyped((inner, one)) for key, one in value.items()}
        return [untyped((inner, one)) for one in value]
    if kind[0] == "(":
        return tuple(untyped(one) for one in zip(wire._split(kind[1:-1]), value, strict=True))
    return value


@given(st.lists(st.dictionaries(TEXTS, typed(1), max_size=6), max_size=4))
def test_records_are_read_as_those_that_listen_read_them(records: list[dict[str, tuple[str, Any]]]) -> None:
    records = [
        {key: one for key, one in record.items() if "v" not in one[0] or one[0] == "a{sv}"} for record in records
    ]
    (found,) = wire.read("aa{sv}", wire.packed("aa{sv}", (records,)), 0, "<")
    assert found == [plain(record) for record in records]
    assert wire.last(wire.packed("aa{sv}", (records,)), 0, "<") == (len(found), found[-1] if found else {})


def test_keys_and_types_are_read_once_for_all_records(monkeypatch: pytest.MonkeyPatch) -> None:
    entries: list[str] = []
    entry = wire._Reader._entry

    def counted(reader: Any) -> Any:
        known = entry(reader)
        entries.append(known[0])
        return known

    monkeypatch.setattr(wire._Reader, "_entry", counted)
    monkeypatch.setattr(wire, "_BEGINS", {"<": {}, ">": {}})
    records = [
        {
            "name": ("s", f"feed{number}"),
            "next": ("t", number),
            "running": ("as", [f"feed.{number}"]),
            "k" * 300: ("b", number % 7 == 0),
        }
        for number in range(100)
    ]
    plain_ones = [{key: value for key, (_, value) in record.items()} for record in records]
    for order in (Endianness.little, Endianness.big):
        entries.clear()
        data = parse_signature(["a", "a", "{", "s", "v", "}"]).serialise(records, 0, order)
        assert wire.read("aa{sv}", data, 0, "<" if order is Endianness.little else ">") == (plain_ones,)
        assert len(entries) == 3 + 100, "a key longer than 255 bytes is not kept, each other once"


MEMBERS = {"name": "s", "about": "s", "command": "as", "enabled": "b", "next": "t", "running": "as", "unmet": "a{ss}"}
ALIKE: dict[str, st.SearchStrategy[Any]] = {
    "s": st.sampled_from(["", "x", "feed", "a longer one"]),
    "as": st.sampled_from([[], ["x"], ["feed.7", "x"]]),
    "b": st.booleans(),
    "t": st.sampled_from([0, 1, 7]),
    "a{ss}": st.sampled_from([{}, {"late": "it is"}]),
}
ENTRIES = {key: st.tuples(st.just(kind), ALIKE[kind]) for key, kind in MEMBERS.items()}


@given(
    st.lists(
        st.fixed_dictionaries({}, optional=ENTRIES),
        min_size=1,
        max_size=6,
    ),
    st.integers(wire._MANY - 1, 3 * wire._MANY),
    st.randoms(use_true_random=False),
    st.sampled_from([Endianness.little, Endianness.big]),
)
def test_records_with_much_in_common_are_read_as_others_are(
    some: list[dict[str, tuple[str, Any]]], count: int, chance: Any, order: Endianness
) -> None:
    records = [chance.choice(some) for _ in range(count)]
    data = parse_signature(["a", "a", "{", "s", "v", "}"]).serialise(records, 0, order)
    (found,) = wire.read("aa{sv}", data, 0, "<" if order is Endianness.little else ">")
    assert found == [plain(record) for record in records]
    assert [list(record) for record in found] == [list(record) for record in records], "in the order of the answer"


def test_what_many_records_have_in_common_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lists: list[str] = []
    array = wire._Reader._array

    def counted(reader: Any, kind: str) -> Any:
        lists.append(kind)
        return array(reader, kind)

    monkeypatch.setattr(wire._Reader, "_array", counted)
    same = {"about": ("s", ""), "overridden": ("as", []), "enabled": ("b", True), "running": ("as", ["x"])}
    records = [
        {"name": ("s", f"feed{number}"), **same, "next": ("t", number), "unmet": ("as", [])} for number in range(1000)
    ]
    for order in (Endianness.little, Endianness.big):
        lists.clear()
        data = parse_signature(["a", "a", "{", "s", "v", "}"]).serialise(records, 0, order)
        (found,) = wire.read("aa{sv}", data, 0, "<" if order is Endianness.little else ">")
        assert found == [plain(record) for record in records]
        assert len(lists) == 1 + 3 * wire._SAMPLES


@given(st.binary(max_size=80), st.text("ybnqiuxtdsogvha(){}z", max_size=8), st.sampled_from("<>"))
@example(b"\xff\xff\xff\x03" + bytes(12), "ay", "<")
@example(b"\x04\0\0\0\0\0\0\0", "a()", "<")
@example(b"\x01v\0" * 2000, "v", "<")
@example(b"", "a" * 255, "<")
@example(b"\x05\0\0\0hello", "s", "<")
def test_whatever_comes_is_read_or_is_unreadable(data: bytes, signature: str, order: str) -> None:
    with suppress(Unreadable):
        wire.read(signature, data, 0, order)


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_list_of_records_is_read_or_is_unreadable(damage: list[tuple[int, int]]) -> None:
    record = {"name": ("s", "feed"), "next": ("t", 7), "running": ("as", ["feed.7"]), "enabled": ("b", True)}
    for count in (3, wire._MANY):
        data = bytearray(wire.packed("aa{sv}", ([record] * count,)))
        for place, byte in damage:
            data[place % len(data)] = byte
        for read in (partial(wire.read, "aa{sv}"), wire.last):
            with suppress(Unreadable):
                read(bytes(data), 0, "<")


# The connection


@pytest.mark.parametrize(
    ("form", "found"),
    [
        ("unix:path={}", True),
        ("unix:path={},guid=0123", True),
        ("unix:guid=0123,path={}", True),
        ("tcp:host=localhost,port=1;unix:path={}", True),
        ("unix:path=/nowhere;unix:path={}", True),
        ("unix:path={}%2f", False),
        ("unix:dir=/tmp", False),
        ("unix:path", False),
        ("unix:path=%zz", False),
        ("unix:path=", False),
        ("unix:abstract=nobody-is-here", False),
        ("tcp:host=localhost", False),
        ("nonsense", False),
        ("", False),
        ("unix:path=" + "x" * 300, False),
        ("unix:path=a\0b", False),
    ],
)
def test_an_address_is_one_that_answers_or_an_error(bus: str, form: str, found: bool) -> None:
    path = bus.partition("path=")[2].partition(",")[0]
    for text in (path, "".join(f"%{byte:02x}" for byte in os.fsencode(path))):
        try:
            connection = Bus(form.format(text), 5)
        except (OSError, ValueError):
            assert not found
        else:
            assert found
            (name,) = connection.call(BUS, BUS_PATH, BUS, "GetNameOwner", "s", (BUS,), 5).values()
            assert name == BUS
            connection.close()


def test_an_abstract_socket_is_an_address_too() -> None:
    with serving(f"\0agentctl-{os.getpid()}", [OK, hello()]):
        Bus(f"unix:abstract=agentctl-{os.getpid()}", 5).close()


OK = b"OK 0123456789abcdef\r\n"


def message(kind: int, serial: int, signature: str = "", *values: Any, error: str = "", order: str = "<") -> bytes:
    """A message that answers a call of this serial."""
    fields = [(5, ("u", serial)), *([(4, ("s", error))] if error else []), *([(8, ("g", signature))] * bool(signature))]
    layout = {"<": Endianness.little, ">": Endianness.big}[order]
    body = parse_signature(list(f"({signature})")).serialise(values, 0, layout)
    start = struct.pack(f"{order}BBBBII", ord("l" if order == "<" else "B"), kind, 0, 1, len(body), 1)
    header = start + parse_signature(list("a(yv)")).serialise(fields, 12, layout)
    return bytes(header + bytes(-len(header) % 8) + body)


def hello(order: str = "<") -> bytes:
    return message(2, 1, "s", ":1.1", order=order)


class serving:  # noqa: N801 - used as a function
    """A bus that answers what it hears, one piece at a time, with what it is given."""

    def __init__(self, place: str, answers: list[bytes]) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(place)
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve, args=(answers,))

    def _serve(self, answers: list[bytes]) -> None:
        with suppress(OSError):
            other, _ = self._socket.accept()
            with other:
                for answer in answers:
                    while not (heard := other.recv(4096)) or heard == b"BEGIN\r\n":
                        if not heard:
                            return
                    other.sendall(answer)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._thread.join()


Hostile = Callable[[list[bytes]], Any]


@pytest.fixture
def hostile(tmp_path: Path) -> Hostile:
    """Calls a method of a bus that answers as it is told, and returns the answer."""

    def call(answers: list[bytes]) -> Any:
        place = tmp_path / "bus"
        place.unlink(missing_ok=True)
        with serving(str(place), answers):
            connection = Bus(f"unix:path={place}", 0.3)
            try:
                answer = connection.call("a.b", "/", "a.b", "C", "", (), 0.3)
                return answer.values(), answer.error
            finally:
                connection.close()

    return call


@pytest.mark.parametrize("order", "<>")
def test_answers_in_either_order_of_bytes_are_read(hostile: Hostile, order: str) -> None:
    signal = message(4, 2, "s", "a signal that has the serial of our call", order=order)
    stranger = message(2, 77, "s", "the answer to somebody else", order=order)
    unreadable = bytearray(message(2, 2, order=order))
    unreadable[16] = 200  # in the header: no field has this number, and its type is none
    unreadable[18:20] = b"z\0"
    reply = message(2, 2, "sa{sv}", "yes", {"at": ("t", 5)}, order=order)
    found = hostile([OK, hello(order), signal + stranger + bytes(unreadable) + reply])
    assert found == (("yes", {"at": 5}), "")
    refused = message(3, 2, "s", "no", error="org.agentd1.Error.Busy", order=order)
    assert hostile([OK, hello(order), refused]) == (("no",), "org.agentd1.Error.Busy")


@pytest.mark.parametrize(
    ("answers", "raised"),
    [
        ([b"REJECTED EXTERNAL\r\n"], ValueError),
        ([b"x" * 9000], ValueError),
        ([b""], OSError),
        ([OK], OSError),
        ([OK, b"HTTP/1.1 400 Bad Request\r\n"], Unreadable),
        ([OK, hello(), b"l\2\1\1" + b"\xff" * 12], Unreadable),
        ([OK, hello(), message(2, 2, "s", "cut off")[:-4]], OSError),
        ([OK, hello(), message(2, 2, "s", "too long").replace(b"\x08\0\0\0too", b"\xff\0\0\0too")], Unreadable),
        ([OK, hello(), message(4, 2)], OSError),
    ],
)
def test_a_bus_that_is_none_ends_in_an_error(hostile: Hostile, answers: list[bytes], raised: type[Exception]) -> None:
    with pytest.raises(raised):
        hostile(answers)


def test_a_bus_that_says_nothing_is_not_waited_for_forever(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "bus"))
        silent.listen()
        with pytest.raises(TimeoutError):
            Bus(f"unix:path={tmp_path}/bus", 0.05)


def test_an_answer_that_cannot_be_read_is_told(daemon: FakeDaemon, ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(*_: object, **_options: object) -> None:
        raise Unreadable("no")

    connection = Bus(daemon.address, 5)
    monkeypatch.setattr(connection, "call", unreadable)
    monkeypatch.setattr(Client, "connect", lambda _address, _state: Client(connection, 5))
    ended = ctl("stop", "feed")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("agentctl: the answer to StopJob cannot be read: expected one as D-Bus has it")
