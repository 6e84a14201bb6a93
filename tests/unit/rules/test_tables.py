"""Rules on disk: what is stored is read again, samples are rolled up and forgotten, damage is borne."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentd.core.config import History
from agentd.core.quantities import DAY, HOUR, MINUTE, SECOND
from agentd.core.rules.model import Evidence, EvidenceSaved, KpisSampled, Remembered, RuleSaved, WorkSaved
from agentd.core.rules.work import JobMemory, WorkMemory
from agentd.daemon.store import Store
from agentd.rules.tables import RuleTables, list_evidence, list_samples

NOW = 1_800_000_000 * SECOND  # the beginning of an hour
HIGH = Remembered(when="MemoryUsage > 90%", boot="b", at=7, state="firing", spans=((1, 2), None), fires=((1, 2, "b"),))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = Store(tmp_path)
    found.open(NOW)
    found.take_up(RuleTables())
    yield found
    found.close()


def reopened(store: Store) -> tuple[Store, RuleTables]:
    folder = store.folder
    store.close()
    fresh, tables = Store(folder), RuleTables()
    fresh.open(NOW)
    fresh.take_up(tables)
    return fresh, tables


def test_how_rules_stand_and_jobs_do_is_read_again(store: Store) -> None:
    work = WorkMemory(since=5, minutes={30_000_000: (3, 1)}, jobs={"backup": JobMemory(2, NOW)})
    store.write([RuleSaved("high", Remembered(when="x")), RuleSaved("high", HIGH), WorkSaved(work)])
    fresh, tables = reopened(store)
    saved = tables.load(fresh.db)
    assert (saved.rules, saved.work) == ({"high": HIGH}, work)
    fresh.close()


def test_what_cannot_be_read_begins_anew(store: Store) -> None:
    store.write([RuleSaved("high", HIGH), RuleSaved("low", HIGH)])
    store.db.execute("UPDATE rules SET record = 'nonsense' WHERE name = 'high'")
    store.db.execute("INSERT OR REPLACE INTO facts VALUES ('work', '[]')")
    saved = RuleTables().load(store.db)
    assert (list(saved.rules), saved.work) == (["low"], WorkMemory())


def test_a_database_that_is_behind_lets_no_span_go_on_but_keeps_the_fires(store: Store) -> None:
    store.write([RuleSaved("high", HIGH)])
    RuleTables().behind(store.db, NOW)
    remembered = RuleTables().load(store.db).rules["high"]
    assert (remembered.boot, remembered.fires) == ("", HIGH.fires)


def test_samples_are_rolled_up_by_minute_and_hour(store: Store) -> None:
    values = [float(number % 7) for number in range(1440)]
    for begin in range(0, 1440, 12):  # as they come, by the minute
        batch = [KpisSampled(NOW + number * 5 * SECOND, {"A": values[number]}) for number in range(begin, begin + 12)]
        store.write(batch)
    minutes = list_samples(store.db, kpi="A", span=MINUTE, since=NOW, limit=1000)
    assert [row.at for row in minutes] == [NOW + minute * MINUTE for minute in range(120)]
    for number, row in enumerate(minutes):
        part = values[12 * number : 12 * number + 12]
        assert (row.count, row.least, row.most) == (12, min(part), max(part))
        assert row.mean == pytest.approx(sum(part) / 12)
    hours = list_samples(store.db, kpi="A", span=HOUR, since=NOW, limit=1000)
    assert [(row.at, row.count) for row in hours] == [(NOW, 720), (NOW + HOUR, 720)]
    assert len(list_samples(store.db, kpi="A", span=0, since=NOW + HOUR, limit=10_000)) == 720
    assert list_samples(store.db, kpi="B", span=0, since=0, limit=10) == []


def test_a_minute_to_which_the_clock_is_set_back_has_all_its_samples_and_a_kpi_may_be_missing(store: Store) -> None:
    instants = [NOW, NOW + MINUTE, NOW + HOUR, NOW + SECOND, NOW + 2 * SECOND]
    values: list[dict[str, float]] = [{"A": 1.0}, {"B": 7.0, "A": 2.0}, {"A": 3.0}, {"B": 5.0}, {"B": 6.0, "A": 6.0}]
    store.write([KpisSampled(at, found) for at, found in zip(instants, values, strict=True)])

    def rolled(kpi: str, span: int) -> list[tuple[int, int, float, float, float]]:
        rows = list_samples(store.db, kpi=kpi, span=span, since=0, limit=10)
        return [(row.at - NOW, row.count, row.mean, row.least, row.most) for row in rows]

    assert rolled("A", MINUTE) == [(0, 2, 3.5, 1.0, 6.0), (MINUTE, 1, 2.0, 2.0, 2.0), (HOUR, 1, 3.0, 3.0, 3.0)]
    assert rolled("A", HOUR) == [(0, 3, 3.0, 1.0, 6.0), (HOUR, 1, 3.0, 3.0, 3.0)]
    assert rolled("B", MINUTE) == [(0, 2, 5.5, 5.0, 6.0), (MINUTE, 1, 7.0, 7.0, 7.0)]
    assert rolled("B", HOUR) == [(0, 3, 6.0, 5.0, 7.0)]
    assert [row.mean for row in list_samples(store.db, kpi="B", span=0, since=0, limit=10)] == [7.0, 5.0, 6.0]


def test_the_samples_of_a_span_are_returned_coarser_the_older_they_are(store: Store) -> None:
    for minute in range(3 * 60):
        batch = [KpisSampled(NOW + minute * MINUTE + part * 5 * SECOND, {"A": float(minute)}) for part in range(12)]
        store.write(batch)
    list(RuleTables().forget(store.db, History(), NOW + 3 * HOUR))
    short = RuleTables({"A": 10 * MINUTE}).load(store.db).samples["A"]
    assert len(short) == 132
    assert short[-1] == (NOW + 3 * HOUR - 5 * SECOND, 179.0)
    long = RuleTables({"A": 2 * HOUR}).load(store.db).samples["A"]
    instants = [at for at, _ in long]
    assert instants == sorted(set(instants))
    assert long[0] == (NOW + 59 * MINUTE + MINUTE // 2, 59.0)
    assert 720 < len(long) < 800
    assert RuleTables({"B": HOUR}).load(store.db).samples["B"] == []


def test_samples_of_several_batches_are_told_one_by_one(store: Store) -> None:
    store.write([KpisSampled(NOW, {"A": 1.0, "B": 5.0}), KpisSampled(NOW + SECOND, {"A": 2.0})])
    store.write([KpisSampled(NOW + MINUTE, {"A": 3.0})])
    found = list_samples(store.db, kpi="A", span=0, since=NOW + SECOND, limit=10)
    assert [(row.at - NOW, row.mean) for row in found] == [(SECOND, 2.0), (MINUTE, 3.0)]
    assert [row.mean for row in list_samples(store.db, kpi="A", span=0, since=0, limit=2)] == [1.0, 2.0]


def test_each_span_is_kept_for_its_time(store: Store) -> None:
    ages = (0, 2 * HOUR, 3 * DAY, 400 * DAY)
    for age in ages:
        store.write([KpisSampled(NOW - age, {"A": 1.0})])
    list(RuleTables().forget(store.db, History(), NOW))

    def kept(span: int) -> int:
        return len(list_samples(store.db, kpi="A", span=span, since=0, limit=10))

    assert (kept(0), kept(MINUTE), kept(HOUR)) == (1, 2, 3)


def test_evidence_is_listed_newest_first_and_forgotten_with_the_history(store: Store) -> None:
    for age in (100 * DAY, 2 * DAY, 0):
        store.write([EvidenceSaved(Evidence(at=NOW - age, rule="high", when="x", seen=("y",), kpis={"A": 1.0}))])
    list(RuleTables().forget(store.db, History(keep=90 * DAY), NOW))
    found = list_evidence(store.db, rule="high", before=0, limit=10)
    assert [one.at for one in found] == [NOW, NOW - 2 * DAY]
    assert list_evidence(store.db, rule="high", before=NOW, limit=10) == found[1:]
    assert list_evidence(store.db, rule="low", before=0, limit=10) == []


def test_a_year_of_samples_stays_small(store: Store) -> None:
    names = {f"Kpi{number}": 1.0 for number in range(10)}
    for begin in range(0, 366 * 24, 24):
        store.write([KpisSampled(NOW - age * HOUR, names) for age in range(begin, begin + 24)])
    list(RuleTables().forget(store.db, History(), NOW))
    (rows,) = store.db.execute("SELECT count(*) FROM rolled").fetchone()
    assert rows == 10 * (366 * 24 + (2 * 24 + 1))  # hours and minutes


def test_the_tables_are_there_in_a_database_of_the_agentd_before(tmp_path: Path) -> None:
    before = Store(tmp_path)
    before.open(NOW)
    before.close()
    after = Store(tmp_path)
    after.open(NOW)
    after.take_up(RuleTables())
    names = {name for (name,) in after.db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert {"rules", "evidence", "kpis", "samples", "rolled"} <= names
    assert isinstance(after.db, sqlite3.Connection)
    after.close()
