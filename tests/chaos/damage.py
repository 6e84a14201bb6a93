"""Damage to files: bits, rows that hold nonsense, and what a crash or a hand does to a database."""

import contextlib
import sqlite3
from pathlib import Path
from random import Random

NONSENSE = (
    "UPDATE jobs SET state = replace(state, '{', '[') WHERE job = (SELECT job FROM jobs LIMIT 1)",
    "UPDATE jobs SET state = replace(state, 'handled', 'iandled')",
    "UPDATE jobs SET state = x'ff00' WHERE job = 'metronome'",
    "UPDATE runs SET reason = x'ff61' WHERE seq IN (SELECT max(seq) FROM runs GROUP BY job)",
    "UPDATE runs SET state = 'endex' WHERE seq IN (SELECT seq FROM runs WHERE state = 'ended' ORDER BY seq LIMIT 3)",
    "UPDATE runs SET due = 'tomorrow' WHERE seq = (SELECT max(seq) FROM runs)",
    "UPDATE runs SET attempt = -1 WHERE seq = (SELECT max(seq) FROM runs)",
    "UPDATE facts SET value = value || 'x' WHERE name = 'next_seq'",
    "UPDATE facts SET value = '' WHERE name = 'boot'",
    "UPDATE versions SET version = 0 WHERE part = 'jobs'",
    "DELETE FROM versions",
    "DROP TABLE facts",
)
"""Changes that SQLite finds nothing wrong with."""


def flip(file: Path, chance: Random, bits: int) -> None:
    """Turns bits over in a file."""
    data = bytearray(file.read_bytes())
    for _ in range(bits if data else 0):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    file.write_bytes(data)


def truncate(file: Path, chance: Random) -> None:
    """Cuts the end of a file off."""
    size = file.stat().st_size
    with file.open("r+b") as opened:
        opened.truncate(chance.randrange(size) if size else 0)


def wal(folder: Path, chance: Random) -> str:
    """Damages the log of what was written last; returns how."""
    file = folder / "agentd.db-wal"
    if not file.exists() or not file.stat().st_size:
        return "nothing (there was no -wal)"
    how = chance.choice(("deletes", "truncates", "flips a bit in"))
    if how == "deletes":
        file.unlink()
    elif how == "truncates":
        truncate(file, chance)
    else:
        flip(file, chance, 1)
    return f"{how} agentd.db-wal"


def database(folder: Path, chance: Random) -> str:
    """Damages the database itself; returns how."""
    file = folder / "agentd.db"
    if not file.exists():
        return "nothing (there was no database)"
    how = chance.choice(("truncates", "flips 1", "flips 30", "zeroes a page of", "writes garbage over", "deletes"))
    if how == "truncates":
        truncate(file, chance)
    elif how.startswith("flips"):
        flip(file, chance, int(how.split()[1]))
        how += " bits of"
    elif how == "deletes":
        file.unlink()
    else:
        pages = max(1, file.stat().st_size // 4096)
        with file.open("r+b") as opened:
            opened.seek(4096 * chance.randrange(pages))
            opened.write(bytes(4096) if how.startswith("zeroes") else chance.randbytes(4096))
    return f"{how} agentd.db"


def nonsense(folder: Path, chance: Random) -> str:
    """Writes what means nothing into a row; returns the statement."""
    statement = chance.choice(NONSENSE)
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(folder / "agentd.db")) as opened:
        opened.execute(statement)
        opened.commit()
    return statement
