"""Answers as agentd packs them: as the library reads them, however long, and no value that does not fit its type."""

import asyncio
import struct
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from dbus_next.signature import Variant
from hypothesis import given
from hypothesis import strategies as st

from agentd.bus import writing
from agentd.bus.arguments import Records, record
from agentd.bus.connection import plain, variant
from agentd.bus.reading import ERROR, RETURN, body, head, sizes
from agentd.bus.writing import LONGEST_ANSWER, answer, error
from agentd.core.part import Refused
from agentd.private import BUS_CONFIG
from tests.unit.bus.test_reading import bodies


def read(data: bytes) -> tuple[Any, list[Any]]:
    whole, header = sizes(bytearray(data), 0)
    assert whole == len(data)
    found = head(bytearray(data), 0, header)
    return found, body(found, data[header:], stranger=False)


def packed(signature: str, values: list[Any]) -> bytes:
    async def run() -> bytes:
        return await answer(5, 9, ":1.7", signature, values, asyncio.Lock())

    return asyncio.run(run())


@given(bodies())
def test_what_is_packed_is_what_was_meant(given: tuple[str, list[Any]]) -> None:
    signature, values = given
    found, there = read(packed(signature, values))
    assert (found.kind, found.serial, found.reply_to, found.signature) == (RETURN, 5, 9, signature)
    assert there == [plain(value) for value in values]


def test_a_long_list_is_packed_in_slices_between_which_the_loop_has_its_turn() -> None:
    records = [{"seq": variant("t", number), "text": variant("s", "x" * (number % 9))} for number in range(1000)]
    made = Records(lambda number: records[number], range(1000))
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def run() -> bytes:
        counting = asyncio.ensure_future(count())
        data = await answer(5, 9, ":1.7", "aa{sv}", [made], asyncio.Lock())
        counting.cancel()
        return data

    assert read(asyncio.run(run()))[1] == [[plain(record) for record in records]]
    assert turns >= 20


FIELDS = {
    "s": st.text(max_size=12),
    "b": st.booleans(),
    "u": st.integers(0, (1 << 32) - 1),
    "i": st.integers(-(1 << 31), (1 << 31) - 1),
    "t": st.integers(0, (1 << 64) - 1),
    "d": st.floats(allow_nan=False),
    "as": st.lists(st.text(max_size=5), max_size=3),
    "a{ss}": st.dictionaries(st.text("ab"), st.text("ab"), max_size=2),
}
TYPES = {f"{'x' * length}{type_}": type_ for length in range(4) for type_ in FIELDS}


@given(st.lists(st.fixed_dictionaries({}, optional={key: st.none() | FIELDS[type_] for key, type_ in TYPES.items()})))
def test_plain_values_are_packed_as_records_are(given: list[dict[str, Any]]) -> None:
    made = Records(lambda values: record(values, TYPES), given)
    assert packed("uaa{sv}", [7, Records(dict, given, TYPES)]) == packed("uaa{sv}", [7, made])


def test_values_that_were_there_before_are_packed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    text = writing._text

    def counted(head: bytes) -> Any:
        pack = text(head)

        def packed(value: str) -> bytes:
            written.append(value)
            return pack(value)

        return packed

    monkeypatch.setattr(writing, "_text", counted)
    given = [
        {"s": f"job{number}", "xs": "every 12h", "xas": ["/bin/program", str(number)], "xxs": None, "xt": number}
        for number in range(300)
    ]
    made = Records(lambda values: record(values, TYPES), given)
    assert packed("aa{sv}", [Records(dict, given, TYPES)]) == packed("aa{sv}", [made])
    assert written.count("every 12h") == written.count("/bin/program") == 1
    assert len(written) == 300 + 1 + 1 + 300


def test_of_the_values_of_a_key_few_are_kept() -> None:
    entries = writing._entries("name", "s")
    assert len({entries[f"job{number}"] for number in range(1000)}) == 1000
    assert len(entries) == writing._KEPT


def test_zeros_of_either_sign_are_told_from_each_other() -> None:
    given = [{"d": value} for value in (0.0, -0.0, 0.0)]
    made = Records(lambda values: record(values, TYPES), given)
    assert packed("aa{sv}", [Records(dict, given, TYPES)]) == packed("aa{sv}", [made])


@pytest.mark.parametrize(("key", "value"), [("s", 1), ("s", ["a"]), ("as", "abc"), ("as", ""), ("as", [1]), ("u", -1)])
def test_a_plain_value_that_does_not_fit_its_type_is_an_error(key: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError, AttributeError, struct.error)):
        packed("aa{sv}", [Records(dict, [{key: value}], TYPES)])


def test_texts_that_no_bus_carries_are_packed_as_records_have_them() -> None:
    given = [{"s": text} for text in ("a\0b", "\udc80", "\N{SLEEPING SYMBOL}\0", "")]
    made = Records(lambda values: record(values, TYPES), given)
    assert packed("aa{sv}", [Records(dict, given, TYPES)]) == packed("aa{sv}", [made])


def test_of_plain_values_no_variant_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    monkeypatch.setattr(Variant, "__init__", lambda *given: made.append(given))
    monkeypatch.setattr("agentd.bus.arguments.variant", lambda *given: made.append(given))
    values = {"s": "text", "u": 1, "as": ["a"]}
    packed("aa{sv}", [Records(lambda _: values, range(100), TYPES)])
    assert made == []


def test_an_answer_that_no_bus_takes_is_refused() -> None:
    limit = ET.parse(BUS_CONFIG).find("limit[@name='max_message_size']")
    assert limit is not None
    longest = int(limit.text or 0)
    assert longest > LONGEST_ANSWER + (16 << 10)
    made = 0

    def make(_: int) -> dict[str, Any]:
        nonlocal made
        made += 1
        return {"tail": variant("s", "x" * 100_000)}

    for signature, values in (("aa{sv}", [Records(make, range(1000))]), ("as", [["x" * LONGEST_ANSWER]])):
        with pytest.raises(Refused, match=r"the answer has more than 7\.9 MiB, .*; give a lower limit"):
            packed(signature, values)
    assert made <= 125  # no more is made than tells that it is too much
    assert len(packed("s", ["x" * (LONGEST_ANSWER - 10)])) < longest


def test_an_error_is_a_name_and_a_sentence() -> None:
    found, values = read(error(5, 9, ":1.7", "org.agentd1.Error.Busy", "it is busy \N{SLEEPING SYMBOL}"))
    assert (found.kind, found.reply_to, found.error, values) == (
        ERROR, 9, "org.agentd1.Error.Busy", ["it is busy \N{SLEEPING SYMBOL}"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("signature", "value"),
    [
        ("s", 1), ("s", "a\0b"), ("s", "\udc80"), ("u", -1), ("u", "1"), ("t", 1 << 64), ("as", "abc"), ("as", [1]),
        ("a{sv}", {"a": 1}), ("a{sv}", {"a": variant("u", "x")}), ("(su)", ["a"]), ("v", 1), ("y", 256),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_its_type_is_an_error(signature: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError, AttributeError, struct.error)):
        packed(signature, [value])


def test_a_variant_is_as_the_library_makes_it() -> None:
    made, known = variant("as", ["a"]), Variant("as", ["a"])
    assert vars(made).keys() == vars(known).keys()
    assert made == known
