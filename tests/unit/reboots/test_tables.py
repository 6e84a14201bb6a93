"""The ledger on disk: what was written comes back, what cannot be read is told, an older agentd's is taken up."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from agentd.core.config import History
from agentd.core.part import Decided
from agentd.core.quantities import DAY
from agentd.core.reboots.model import Ledger, LedgerSaved, Reboot, RebootSaved
from agentd.reboots.tables import RebootTables, list_reboots

ONE = Reboot(id=1, cause="nightly", reason="the window", state="verified", issued=5, health="well")
TWO = Reboot(id=2, cause="rule memory", reason="the memory is full", state="waiting")
FACTS = "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);"
_RECORD = (
    '{"id":7,"cause":"manual","reason":"new disks","kind":"kexec","automatic":false,"occurrence":"","force_users":'
    'true,"owner":"root","requested":1,"begin":2,"until":3,"at":0,"state":"cancelled","boot":"b","issued":0,"down"'
    ':0,"up":0,"led_to":"","attempts":1,"note":"taken back by root","health":""}'
)
OLDER = {  # rows of a database that version 0.1.0 wrote (user_version 3)
    "reboots": (
        7,
        "cancelled",
        "manual",
        _RECORD,
    ),
    "facts": ("reboot-guards", '{"breakers":{"rule leak":"it came again"},"lost":"","slot":true,"forgiven":4}'),
}


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as opened:
        opened.executescript(FACTS + "".join(RebootTables().migrations))
        yield opened


def test_what_was_written_comes_back(db: sqlite3.Connection) -> None:
    tables = RebootTables()
    assert tables.load(db) == Ledger(fresh=True)
    beside = LedgerSaved({"rule a": "why"}, "", slot=True, forgiven=1)
    effects = [RebootSaved(TWO), RebootSaved(ONE), RebootSaved(replace(TWO, state="deferred")),
               LedgerSaved({}, "gone", slot=False), beside, Decided(1, "reboots", "reboot", "", "why")]  # fmt: skip
    assert tables.write(db, effects) == 2
    reboots = (replace(TWO, state="deferred"), ONE)
    wanted = Ledger(reboots=reboots, breakers={"rule a": "why"}, slot=True, forgiven=1, next_id=3)
    assert tables.load(db) == wanted
    tables.write(db, [])
    tables.forget(db, History(keep=DAY), now=1000 * DAY)
    assert tables.load(db) == wanted


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, [2, 1]),
        ({"state": "verified"}, [1]),
        ({"cause": "rule memory"}, [2]),
        ({"cause": "x' OR 1=1 --"}, []),
        ({"limit": 1}, [2]),
        ({"state": "verified", "cause": "rule memory"}, []),
    ],
)
def test_reboots_are_found_by_what_is_asked_for(
    db: sqlite3.Connection, wanted: dict[str, object], found: list[int]
) -> None:
    RebootTables().write(db, [RebootSaved(ONE), RebootSaved(TWO)])
    assert [reboot.id for reboot in list_reboots(db, **wanted)] == found  # type: ignore[arg-type]


@pytest.mark.parametrize("within", [False, True])
def test_a_record_that_cannot_be_read_is_told_until_that_is_cleared(db: sqlite3.Connection, within: bool) -> None:
    tables = RebootTables()
    tables.write(db, [RebootSaved(ONE), RebootSaved(TWO), LedgerSaved({"rule a": "why"}, "", slot=True)])
    db.execute("UPDATE reboots SET record = '{' WHERE id = 2")
    assert [reboot.id for reboot in list_reboots(db)] == [1]
    if within:
        db.execute("BEGIN")
    for _ in range(2):
        ledger = tables.load(db)
        assert (ledger.reboots, ledger.breakers, ledger.slot) == ((ONE,), {"rule a": "why"}, True)
        assert ledger.lost == "1 of 2 records in the ledger of reboots cannot be read"
    assert db.in_transaction == within
    tables.write(db, [LedgerSaved({}, "", slot=False)])
    assert tables.load(db).lost == ""


def test_what_is_remembered_beside_and_cannot_be_read_is_told(db: sqlite3.Connection) -> None:
    db.execute("INSERT INTO facts VALUES ('reboot-guards', '{')")
    ledger = RebootTables().load(db)
    assert "the record of breakers and of the fleet's slot cannot be read" in ledger.lost


def test_a_new_database_in_the_place_of_a_damaged_one_knows_that_the_ledger_was_lost(db: sqlite3.Connection) -> None:
    tables = RebootTables()
    tables.afresh(db, Path("/nowhere/agentd.db.damaged-3"))
    assert tables.load(db) == Ledger(lost="the ledger of reboots was lost with a damaged database")


def test_the_ledger_of_an_older_agentd_is_taken_up(db: sqlite3.Connection) -> None:
    db.execute("INSERT INTO reboots VALUES (?, ?, ?, ?)", OLDER["reboots"])
    db.execute("INSERT INTO facts VALUES (?, ?)", OLDER["facts"])
    ledger = RebootTables().load(db)
    (reboot,) = ledger.reboots
    assert (reboot.id, reboot.kind, reboot.owner, reboot.note) == (7, "kexec", "root", "taken back by root")
    assert (ledger.breakers, ledger.lost, ledger.slot) == ({"rule leak": "it came again"}, "", True)
    assert (ledger.forgiven, ledger.next_id) == (4, 8)


def test_an_older_agentd_could_read_what_this_one_writes(db: sqlite3.Connection) -> None:
    RebootTables().write(db, [RebootSaved(replace(ONE, id=7)), LedgerSaved({}, "", slot=False)])
    ((record,),) = db.execute("SELECT record FROM reboots").fetchall()
    ((beside,),) = db.execute("SELECT value FROM facts WHERE name = 'reboot-guards'").fetchall()
    assert json.loads(record).keys() == json.loads(str(OLDER["reboots"][3])).keys()
    newer = {"uncounted"}  # what an older agentd does not know, it passes over
    assert json.loads(beside).keys() - newer == json.loads(str(OLDER["facts"][1])).keys()
