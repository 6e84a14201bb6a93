"""Learning on disk: what is written is what the next agentd takes up."""

import copy
import sqlite3

import msgspec
import pytest

from agentd.core.learning import learner
from agentd.core.learning.learner import Row
from agentd.core.learning.model import Learnt, LearntSaved, NetworkChosen, Outcome, OutcomeKept, TrainingWanted
from agentd.learning.tables import LearningTables, list_looks, list_rows


@pytest.fixture
def db() -> sqlite3.Connection:
    db = sqlite3.connect(":memory:")
    db.execute("CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT)")
    db.executescript("".join(LearningTables.migrations))
    return db


@pytest.mark.parametrize("number", [-1, 0, 7])
def test_the_network_in_force_is_the_one_after_a_restart_and_none_is_none(db: sqlite3.Connection, number: int) -> None:
    LearningTables().write(db, [NetworkChosen(3), NetworkChosen(number)])
    assert LearningTables().load(db).network == number


@pytest.mark.parametrize("text", ["", "x", "1e3", "--1", "9" * 30])
def test_a_number_that_is_none_is_the_first_network(db: sqlite3.Connection, text: str) -> None:
    db.execute("INSERT INTO facts VALUES ('network', ?)", (text,))
    assert LearningTables().load(db).network == 0


def test_the_last_word_of_a_job_counts_and_one_that_is_damaged_begins_anew(db: sqlite3.Connection) -> None:
    tables = LearningTables()
    learnt = [LearntSaved("feed", msgspec.json.encode(Learnt(mark=mark))) for mark in ("one", "two")]
    assert tables.write(db, [*learnt, LearntSaved("other", b'{"mark": 7}')]) == 2
    assert tables.load(db).jobs == {"feed": Learnt(mark="two")}
    assert tables.warning == "what was learnt of 1 job could not be read: it begins to learn anew"


@pytest.mark.parametrize(
    "field",
    ["counts", "exposures", "scores", "hours", "hours_seen", "days", "days_seen", "found", "looked", "models", "model"],
)
def test_what_another_agentd_learnt_in_another_way_begins_anew(db: sqlite3.Connection, field: str) -> None:
    state = learner.begin(learner.Terms(start=300.0, shortest=30.0, longest=3600.0), 1.0)
    whole = Learnt(state=copy.deepcopy(state), mark="one", preference=2)
    if field == "models":
        state.scores.append(0.0)
    elif field == "model":
        state.model = "oracle"
    else:
        getattr(state.memory, field).append(1.0)
    other = Learnt(state=state, mark="one", preference=2)
    tables = LearningTables()
    tables.write(
        db, [LearntSaved(name, msgspec.json.encode(one)) for name, one in (("whole", whole), ("other", other))]
    )
    assert tables.load(db).jobs == {"whole": whole, "other": Learnt(mark="one", preference=2)}
    assert tables.warning


def test_the_rows_since_the_last_training_are_counted_across_a_restart(db: sqlite3.Connection) -> None:
    tables = LearningTables()
    kept = OutcomeKept(Outcome(at=5, job="feed", row=Row([0.5], 0.001, 300.0, useful=True), cpu=0.5))
    tables.write(db, [kept, kept])
    assert (tables.load(db).rows, tables.load(db).fresh) == (2, 2)
    tables.write(db, [TrainingWanted()])
    assert tables.load(db).fresh == 0
    tables.write(db, [kept])
    assert (tables.load(db).rows, tables.load(db).fresh) == (3, 1)


def test_outcomes_are_rows_to_learn_from(db: sqlite3.Connection) -> None:
    row = Row([0.1234567, -2.0], 0.001, 300.0, useful=True)
    LearningTables().write(db, [OutcomeKept(Outcome(at=5, job="feed", row=row, cpu=0.5))])
    assert list_rows(db) == [(5, "feed", 0.001, 300.0, 1, "[0.123457,-2.0]")]
    assert list_looks(db, job="feed") == [(5, 300.0, 1, 0.5)]
    assert LearningTables().load(db).rows == 1
