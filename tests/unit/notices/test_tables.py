"""Notices on disk: what is written is what the next agentd takes up, and what is damaged is set aside."""

import sqlite3
from typing import Any

import msgspec
import pytest

from agentd.core.config import History
from agentd.core.notices.model import (
    Check,
    CheckForgotten,
    CheckSaved,
    Message,
    MessageSaved,
    Ping,
    PingForgotten,
    PingSaved,
    State,
    Trouble,
    TroubleForgotten,
    TroubleSaved,
)
from agentd.core.quantities import DAY, HOUR
from agentd.notices import tables as module
from agentd.notices.tables import NoticeTables, find_message, list_messages

NOW = 1_792_880_800_000_000
DAMAGED: list[Any] = ["", "{", '{"id": 1}', "[" * 100_000, "\0", b"\xff\xfe", b"", 7, 1.5, '{"id": "one"}']
DAMAGED += [b'{"id": 1, "title": "\xff"}', '{"key": "x", "more": ' + "[" * 100_000]


@pytest.fixture
def db() -> sqlite3.Connection:
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.executescript("".join(NoticeTables.migrations))
    return db


@pytest.fixture(autouse=True)
def instant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "this_instant", lambda: NOW)


def message(identity: int, state: State = "waiting", channel: str = "phone", ended: int = 0, **more: Any) -> Message:
    return Message(id=identity, channel=channel, made=NOW - DAY, title="x", state=state, ended=ended, **more)


def trouble(key: str = "job backup", **more: Any) -> Trouble:
    return Trouble(key=key, part="jobs", name="failure", title="x", since=1, last=2, told=2, **more)


def write(db: sqlite3.Connection, *messages: Message) -> None:
    NoticeTables().write(db, [MessageSaved(one) for one in messages])


def ids(db: sqlite3.Connection) -> list[int]:
    return [one.id for one in NoticeTables().load(db).messages]


def test_the_last_word_on_a_message_and_a_trouble_counts(db: sqlite3.Connection) -> None:
    tables = NoticeTables()
    whole = message(2, text="a\nb", lines=("one", "two"), priority="high", count=3, lost=4, attempts=5, why="down")
    again = trouble(errors=("exit code 3",), channels=("phone",), count=9)
    rows = tables.write(
        db,
        [MessageSaved(message(1)), MessageSaved(message(2)), MessageSaved(whole), TroubleSaved(trouble()),
         TroubleSaved(again), TroubleSaved(trouble("store")), TroubleForgotten("store")],
    )  # fmt: skip
    assert rows == 4
    saved = NoticeTables().load(db)
    assert saved.messages == (message(1), whole)
    assert saved.troubles == (again,)
    tables.write(db, [TroubleForgotten("job backup"), TroubleForgotten("never known")])
    assert NoticeTables().load(db).troubles == ()


def test_a_trouble_that_was_forgotten_and_came_again_is_there(db: sqlite3.Connection) -> None:
    NoticeTables().write(db, [TroubleForgotten("job backup"), TroubleSaved(trouble())])
    assert NoticeTables().load(db).troubles == (trouble(),)


def test_what_waits_what_ended_within_the_hour_and_the_last_of_each_channel_are_taken_up(
    db: sqlite3.Connection,
) -> None:
    write(
        db,
        message(1),
        message(2, "sent", ended=NOW - 2 * HOUR),
        message(3, "sent", ended=NOW - HOUR),
        message(4, "dropped", ended=NOW - 3 * HOUR),
        message(5, "failed", "team", NOW - DAY),
        message(6, "failed", "team", NOW - DAY),
    )
    assert ids(db) == [1, 3, 4, 6]


@pytest.mark.parametrize("record", DAMAGED, ids=range(len(DAMAGED)))
def test_a_record_that_is_damaged_is_set_aside_and_the_others_are_taken_up(
    db: sqlite3.Connection, record: object
) -> None:
    tables = NoticeTables()
    write(db, message(1), message(2), message(3))
    tables.write(db, [TroubleSaved(trouble()), TroubleSaved(trouble("store"))])
    db.execute("UPDATE notices SET record = ? WHERE id = 2", (record,))
    db.execute("UPDATE troubles SET record = ? WHERE trouble = 'store'", (record,))
    assert [one.id for one in list_messages(db)] == [3, 1]
    assert find_message(db, identity=2) is None
    saved = tables.load(db)
    assert [one.id for one in saved.messages] == [1, 3]
    assert saved.troubles == (trouble(),)
    assert tables.warning.startswith("of what people were told 1 of the messages and 1 of the troubles could not be ")
    assert db.execute("SELECT origin FROM unreadable ORDER BY origin").fetchall() == [("notices",), ("troubles",)]
    after = NoticeTables()
    assert after.load(db) == saved
    assert after.warning == "", "a person is told once"


def test_numbers_go_on_where_they_were_whatever_was_forgotten_or_damaged(db: sqlite3.Connection) -> None:
    assert NoticeTables().load(db).next_id == 1
    write(db, message(7, "sent", ended=1), message(8))
    assert NoticeTables().load(db).next_id == 9
    db.execute("UPDATE notices SET record = '{' WHERE id = 8")
    tables = NoticeTables()
    tables.number = 40  # what the store remembers beside the database
    assert tables.load(db).next_id == 41
    tables.write(db, [MessageSaved(message(12))])
    assert tables.number == 40
    tables.write(db, [MessageSaved(message(41))])
    assert tables.number == 41


def forgotten(db: sqlite3.Connection, history: History) -> list[int]:
    for _ in NoticeTables().forget(db, history, NOW):
        pass
    return [number for (number,) in db.execute("SELECT id FROM notices ORDER BY id")]


def test_what_is_older_than_the_history_is_forgotten_and_never_what_waits(db: sqlite3.Connection) -> None:
    write(
        db,
        message(1),
        message(2, "sent", ended=NOW - 3 * DAY),
        message(3, "dropped", ended=NOW - 2 * DAY),
        message(4, "failed", ended=NOW - DAY // 2),
    )
    assert forgotten(db, History(keep=DAY)) == [1, 4]


def test_more_than_so_many_are_not_kept(db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    write(db, message(1), *(message(number, "sent", ended=NOW) for number in range(2, 8)))
    assert forgotten(db, History()) == [1, 5, 6, 7]


def test_messages_are_listed_newest_first_by_channel_state_and_page(db: sqlite3.Connection) -> None:
    write(db, *(message(number, "sent" if number % 2 else "waiting", f"c{number % 3}") for number in range(1, 10)))
    assert [one.id for one in list_messages(db, limit=3)] == [9, 8, 7]
    assert [one.id for one in list_messages(db, before=7, limit=2)] == [6, 5]
    assert [one.id for one in list_messages(db, state="sent")] == [9, 7, 5, 3, 1]
    assert [one.id for one in list_messages(db, channel="c0", state="waiting")] == [6]
    assert list_messages(db, channel="' OR 1 --") == []
    assert find_message(db, identity=4) == message(4, channel="c1")
    assert find_message(db, identity=99) is None


def test_a_record_of_an_agentd_that_knew_more_or_less_is_read(db: sqlite3.Connection) -> None:
    write(db, message(1))
    record = {"id": 1, "channel": "phone", "made": 5, "title": "x", "of_later": {"a": 1}}
    db.execute("UPDATE notices SET record = ?", (msgspec.json.encode(record).decode(),))
    assert NoticeTables().load(db).messages == (Message(id=1, channel="phone", made=5, title="x"),)


# Pings


def ping(identity: int, **more: Any) -> Ping:
    given = {"job": "backup", "run_id": f"backup.{identity // 2}", "says": "start", "made": NOW, **more}
    return Ping(id=identity, credential="backup-check", **given)


def test_pings_wait_until_they_are_forgotten_and_of_a_check_the_last_word_counts(db: sqlite3.Connection) -> None:
    tables = NoticeTables()
    failed = ping(3, says=255, text="failed")
    state = Check(credential="backup-check", sent=1, failed=2, again_at=3, why="down", beat=4)
    wanted = [PingSaved(ping(2)), PingSaved(failed), CheckSaved(Check(credential="gone")), CheckForgotten("gone")]
    assert tables.write(db, [*wanted, CheckSaved(Check(credential="backup-check")), CheckSaved(state)]) == 4
    saved = NoticeTables().load(db)
    assert (saved.pings, saved.checks) == ((ping(2), failed), (state,))
    tables.write(db, [PingForgotten(2), PingForgotten(99), CheckForgotten("backup-check"), CheckForgotten("never")])
    saved = NoticeTables().load(db)
    assert (saved.pings, saved.checks) == ((failed,), ())
    for _ in tables.forget(db, History(keep=1), NOW + DAY):
        pass
    assert NoticeTables().load(db).pings == (failed,), "what waits is never forgotten"


@pytest.mark.parametrize("record", DAMAGED, ids=range(len(DAMAGED)))
def test_a_ping_or_check_that_is_damaged_is_set_aside_and_the_others_are_taken_up(
    db: sqlite3.Connection, record: object
) -> None:
    tables = NoticeTables()
    tables.write(db, [PingSaved(ping(2)), PingSaved(ping(3)), CheckSaved(Check(credential="a"))])
    db.execute("UPDATE pings SET record = ? WHERE id = 2", (record,))
    db.execute("UPDATE checks SET record = ?", (record,))
    saved = tables.load(db)
    assert (saved.pings, saved.checks) == ((ping(3),), ())
    assert "0 of the messages and 0 of the troubles and 2 of the pings could not be read" in tables.warning
    after = NoticeTables()
    assert (after.load(db), after.warning) == (saved, "")


def test_a_database_from_before_pings_is_taken_up() -> None:
    old = sqlite3.connect(":memory:", isolation_level=None)
    old.executescript(NoticeTables.migrations[0])
    old.execute("INSERT INTO troubles VALUES ('job backup', ?)", (msgspec.json.encode(trouble()).decode(),))
    for script in NoticeTables.migrations[1:]:
        old.executescript(script)
    saved = NoticeTables().load(old)
    assert (saved.troubles, saved.pings, saved.checks) == ((trouble(),), (), ())
