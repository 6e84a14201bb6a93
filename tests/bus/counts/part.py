"""A toy part, as a newcomer would write one: counts the runs that have ended, up to `counts.limit`, and then fails."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from agentd.core.config import Config
from agentd.core.jobs.model import RunChanged
from agentd.core.part import Core, Decided, Effect, Stored
from agentd.part import Host, Part, Tables


class Counts(Struct, frozen=True):
    limit: int = 3


class Whole(Config, frozen=True, kw_only=True):
    counts: Counts = Counts()  # in agentd, a field of Config itself


class Counted(Stored, frozen=True):
    total: int


class Counter(Core):
    def __init__(self, counts: Counts, total: int) -> None:
        self.counts, self.total, self._effects = counts, total, list[Effect]()

    def effects(self) -> list[Effect]:
        return [self._effects.pop(0) for _ in range(len(self._effects))]

    def heard(self, effects: Sequence[Effect], now: int) -> None:
        for _ in [effect for effect in effects if isinstance(effect, RunChanged) and effect.event == "finished"]:
            self.total += 1
            if self.total > self.counts.limit:
                raise OverflowError("cannot count so far")
            why = f"{self.total} have ended"
            self._effects += [Counted(self.total), Decided(now, "counts", "count", "runs", why)]


class CountTables(Tables):
    part, migrations = "counts", ("CREATE TABLE counts (total INTEGER NOT NULL);",)

    def load(self, db: sqlite3.Connection) -> int:
        return int(db.execute("SELECT coalesce(max(total), 0) FROM counts").fetchone()[0])

    def write(self, db: sqlite3.Connection, effects: Sequence[Effect]) -> int:
        rows = [(effect.total,) for effect in effects if isinstance(effect, Counted)]
        return db.executemany("INSERT INTO counts VALUES (?)", rows).rowcount if rows else 0


async def plug(host: Host, config: Any) -> Part:
    counter = Counter(config.counts, await host.take_up(CountTables()))
    contract = Path(__file__).with_name("org.agentd1.Counts.xml")
    does: dict[type[Effect], Any] = {Counted: lambda effect: host.server.emit("Counts", "Changed", effect.total)}
    return Part(name="counts", core=counter, does=does, contract=contract, properties={"Total": lambda: counter.total})
