"""A state directory as small text files, and from them a state directory again, moved in time.

The instants of a recorded state are moved as a whole, so that it was left a moment ago whenever it is taken up: no due
time passes between the recording and the test, nothing grows older than the configuration keeps.
"""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

DATABASE = "agentd.db"
_COLUMNS = {"runs": ("due", "not_before", "started", "ended"), "decisions": ("at",)}
_OF_JOBS = ("anchor", "since", "handled", "last_skip_at", "past")
_OF_REBOOTS = ("requested", "begin", "until", "at", "issued", "down", "up")
_OF_ENDS = ("started", "ended")


def dump(state: Path, to: Path) -> None:
    """Writes the database as SQL, and copies what else agentd 0.1.0 keeps: output, and ends of runs not yet stored."""
    with closing(sqlite3.connect(state / DATABASE)) as database:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        lines = [*database.iterdump(), f"PRAGMA user_version={version};"]
    to.mkdir(parents=True)
    (to / f"{DATABASE}.sql").write_text("\n".join(lines) + "\n")
    (to / "output").mkdir()
    for file in [*state.glob("ended-*.jsonl"), *(state / "output").iterdir()]:
        shutil.copyfile(file, to / file.relative_to(state))


def texts(recorded: Path) -> set[str]:
    """Every text in a recorded database and in the JSON that it holds."""
    found: set[str] = set()

    def gather(value: Any) -> None:
        if isinstance(value, str):
            found.add(value)
        for item in (*value.values(),) if isinstance(value, dict) else value if isinstance(value, list) else ():
            gather(item)

    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript((recorded / f"{DATABASE}.sql").read_text())
        for table in ("runs", "decisions", "jobs", "reboots", "facts"):
            for row in database.execute(f"SELECT * FROM {table}"):
                for cell in row:
                    gather(json.loads(cell) if isinstance(cell, str) and cell.startswith("{") else cell)
    return found


def restore(recorded: Path, state: Path, by: int, boot: str = "") -> None:
    """Makes a state directory of what dump() wrote, `by` microseconds later, in the boot of the id that is given."""
    state.mkdir(mode=0o700)
    with closing(sqlite3.connect(state / DATABASE)) as database:
        database.executescript((recorded / f"{DATABASE}.sql").read_text())
        move(database, by)
        if boot:
            (fact,) = database.execute("SELECT value FROM facts WHERE name = 'boot'").fetchone()
            database.execute("UPDATE facts SET value = ? WHERE name = 'boot'", (f"{boot} {fact.partition(' ')[2]}",))
        database.commit()
    shutil.copytree(recorded / "output", state / "output")
    for file in recorded.glob("ended-*.jsonl"):
        ends = [_moved(json.loads(line), _OF_ENDS, by) for line in file.read_text().splitlines()]
        (state / file.name).write_text("".join(f"{json.dumps(end)}\n" for end in ends))


def move(database: sqlite3.Connection, by: int) -> None:
    """Adds `by` microseconds to every instant that agentd 0.1.0 has in its database."""
    for table, columns in _COLUMNS.items():
        for column in columns:
            database.execute(f"UPDATE {table} SET {column} = {column} + ? WHERE {column} > 0", (by,))

    def edit(table: str, key: str, column: str, change: Callable[[str], str]) -> None:
        for name, text in database.execute(f"SELECT {key}, {column} FROM {table}").fetchall():
            database.execute(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", (change(text), name))

    edit("jobs", "job", "state", lambda text: json.dumps(_moved(json.loads(text), _OF_JOBS, by)))
    edit("reboots", "id", "record", lambda text: json.dumps(_moved(json.loads(text), _OF_REBOOTS, by)))
    for (fact,) in database.execute("SELECT value FROM facts WHERE name = 'boot'").fetchall():
        name, _, at = fact.partition(" ")
        database.execute("UPDATE facts SET value = ? WHERE name = 'boot'", (f"{name} {int(at) + by}",))


def _moved(record: dict[str, Any], keys: tuple[str, ...], by: int) -> dict[str, Any]:
    return {key: _later(value, by) if key in keys else value for key, value in record.items()}


def _later(value: Any, by: int) -> Any:
    """An instant or ranges of them; 0 stays none."""
    if isinstance(value, list):
        return [_later(item, by) for item in value]
    return value + by if value else value
