"""A part as the daemon sees it, and the daemon as its parts see it."""

import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct, field

from agentd.bus.contract import Handler, compare, members, wants_caller
from agentd.bus.server import Server
from agentd.core.config import Config, History
from agentd.core.part import Core, Decided, Effect, Refused, Sampled


def _nothing(*_: object) -> None:
    """Does nothing."""


async def _at_once(*_: object) -> None:
    """Returns at once."""


class CheckFailed(Exception):
    """A check of the self-test found something that is not as it should be; the text is a sentence."""


class CheckSkipped(Exception):
    """A check of the self-test does not apply here; the text says why, as a sentence."""


class Check(Struct, frozen=True, kw_only=True):
    """A check of the self-test. `look` returns what it found, as a sentence, or raises CheckFailed or CheckSkipped
    within `limit` seconds; `remedy` says what to do where it fails. `full` checks take long: they run only when the
    whole self-test is asked for, which a rule never does."""

    name: str
    look: Callable[[], Awaitable[str]]
    remedy: str
    limit: float = 5.0
    full: bool = False


class Part(Struct, frozen=True, kw_only=True):
    """A part as the daemon sees it. Only `name` must be said; the rest is what most parts do not need.

    `contract` is the XML file of the part's D-Bus interface; `methods` and `properties` are that interface's members by
    their names. A part that raises is shut off, and agentd goes on without it; where it is `vital`, agentd ends and
    systemd starts it anew.
    """

    name: str
    """The folder, the section of the configuration, and the `part` of decisions."""
    vital: bool = False
    core: Core | None = None
    does: Mapping[type[Effect], Callable[[Any], object]] = field(default_factory=dict)
    """How the effects of the part are carried out. Each type of effect belongs to one part."""
    contract: Path | None = None
    methods: Mapping[str, Handler] = field(default_factory=dict)
    properties: Mapping[str, Callable[[], Any]] = field(default_factory=dict)
    prepare: Callable[[Config], Awaitable[None]] = _at_once
    """Makes sure that a configuration can be carried out, before it is in force. Raises Refused."""
    configure: Callable[[Config, int], Sequence[str] | None] = _nothing
    """Takes the part's slice of a configuration that is in force from now on; returns a sentence for each change."""
    warnings: Callable[[], Sequence[str]] = tuple
    status: Callable[[], str] = str
    """A few words for `systemctl status`, such as "3 jobs"."""
    held: Callable[[], str] = str
    """The state in which the part begins nothing: "draining" or "paused"; empty: the part begins things."""
    start: Callable[[], Awaitable[None]] = _at_once
    """Turns to peers, before agentd answers on the bus. Raises CallFailed."""
    started: Callable[[], None] = _nothing
    """Is called once agentd answers and what was decided at the start is stored."""
    finish: Callable[[], Awaitable[None]] = _at_once
    """Waits, when agentd stops, for what must not be cut off; Host.ending is set when somebody is in a hurry."""
    close: Callable[[], None] = _nothing
    checks: Callable[[], Sequence[Check]] = tuple
    """Returns the part's checks of the self-test."""


class Tables:
    """A part's tables in the store; every method runs on the storing thread. Derive from this class and write the
    methods that are needed."""

    part: str
    migrations: tuple[str, ...]
    """SQL scripts; a database knows how many of them it has seen. A script that was released is never changed."""
    vital: tuple[str, ...] = ()
    """The tables that decide what happens: they are examined before they are loaded, however large the database is."""
    number: int = 0
    """The highest number that the part has given away, where it numbers something: the store remembers it beside the
    database, and sets it before load()."""
    seen: int = 0
    """The instant at which the agentd before this one stored something last, 0 where that is not known: the last sign
    of life of what ended with that one. The store sets it before load()."""
    warning: str = ""
    """What a person should know of the tables, as a sentence, or empty."""

    def load(self, db: sqlite3.Connection) -> Any:
        """Returns what the core takes up at its start. Rows that cannot be read are set aside, with set_aside()."""
        raise NotImplementedError

    def afresh(self, db: sqlite3.Connection, aside: Path) -> None:
        """Writes into new tables what must stand there from the first moment on, after a damaged database was set aside
        as the file `aside`. Called within the transaction that makes the tables."""

    def behind(self, db: sqlite3.Connection, upto: int) -> None:
        """Makes tables safe that are older than what was carried out: whatever was due until the instant `upto` may
        have been dealt with, whatever was open may be over. Called before load(), within a transaction."""

    def write(self, db: sqlite3.Connection, effects: Sequence[Effect]) -> int:
        """Stores those effects that are this part's, within a transaction; returns how many rows that made."""
        raise NotImplementedError

    def forget(self, db: sqlite3.Connection, history: History, now: int, *, whole: bool = True) -> Iterator[object]:
        """Removes what is older or more than `history` keeps, a few milliseconds of work at a time: each step runs in a
        transaction of its own. `whole`: looks at everything, else at the oldest alone."""
        del db, history, now, whole
        return iter(())

    def crowded(self, history: History) -> bool:
        """Returns whether more is kept than `history` says, as far as that is known at once."""
        del history
        return False

    def make_room(self, db: sqlite3.Connection) -> bool:
        """Removes some of the oldest that is kept for people, because the disk is full, in files beside the database;
        returns whether there was any."""
        del db
        return False


_PAGE = 50  # rows that are deleted in one step: a few milliseconds
_LOOKED_AT = 1000  # rows that are looked at in one step: less than a millisecond


def forget_rows(
    db: sqlite3.Connection, table: str, key: str, dead: str, bounds: Sequence[int], *, whole: bool, also: str = "''"
) -> Iterator[list[tuple[int, str]]]:
    """Deletes the rows for which `dead`, a condition with `bounds`, holds, from the lowest `key` on, the rowid. Yields
    those of each step with the column `also`. Stops at a page without any, unless the `whole` is to be seen.

    SQLite looks for them in a page: a look at all of 1,000,000 rows takes 0.2 s of processor time that way, and took
    1.3 s while each row came to Python.
    """
    first = f"SELECT min({key}) FROM {table} WHERE {key} > ?"  # noqa: S608 - our own words
    page = f"SELECT {key}, {also} FROM {table} WHERE {key} BETWEEN ? AND ? AND ({dead}) ORDER BY {key} LIMIT {_PAGE}"  # noqa: S608 - our own words
    last = -(1 << 63)
    while (begin := db.execute(first, (last,)).fetchone()[0]) is not None:
        end = min(begin + _LOOKED_AT - 1, (1 << 63) - 1)
        gone = [(number, str(name)) for number, name in db.execute(page, (begin, end, *bounds))]
        db.executemany(f"DELETE FROM {table} WHERE {key} = ?", [(number,) for number, _ in gone])  # noqa: S608 - our own words
        last = gone[-1][0] if len(gone) == _PAGE else end
        yield gone
        if not (gone or whole):
            return


def where(conditions: Mapping[str, object]) -> tuple[str, list[object]]:
    """Returns the WHERE of those conditions with a ? whose value is not "" or 0, and these values. A condition that
    does not apply is left out: one such as (? = '' OR job = ?) has SQLite look through the whole table."""
    given = {text: value for text, value in conditions.items() if value}
    return f"WHERE {' AND '.join(given)}" if given else "", list(given.values())


def set_aside(db: sqlite3.Connection, table: str, rows: Mapping[int, Sequence[object]], now: int) -> None:
    """Moves rows that cannot be read, by rowid, from a table to the table `unreadable`, for a person to look at."""
    db.execute("SAVEPOINT aside")
    try:
        db.execute("CREATE TABLE IF NOT EXISTS unreadable (at INTEGER, origin TEXT, number INTEGER, content TEXT)")
        values = [(now, table, number, repr(row)) for number, row in rows.items()]
        db.executemany("INSERT INTO unreadable VALUES (?, ?, ?, ?)", values)
        db.executemany(f"DELETE FROM {table} WHERE rowid = ?", [(number,) for number in rows])  # noqa: S608 - our own words
    except BaseException:
        db.execute("ROLLBACK TO aside")
        raise
    finally:
        db.execute("RELEASE aside")


class Host(Protocol):
    """The daemon, as its parts may ask it."""

    server: Server
    ending: Any
    """An asyncio.Event: agentd was told to stop, or to hurry."""

    @property
    def folder(self) -> Path:
        """The state directory."""

    @property
    def draining(self) -> bool:
        """Whether agentd stops."""

    @property
    def failure(self) -> str:
        """The reason why agentd ends without having been asked to, or empty."""

    def now(self) -> int:
        """Returns the instant, in microseconds since 1970."""

    def pump(self) -> None:
        """Has what was decided stored and carried out."""

    def pump_soon(self) -> None:
        """Pumps once for all reports that are read together."""

    def ready(self) -> None:
        """Raises Refused StoreUnavailable while nothing can be stored and so nothing can be done."""

    async def take_up(self, tables: Tables) -> Any:
        """Brings a part's tables up to date and returns what they load. Raises sqlite3.Error."""

    def hear(self, part: str, deed: Callable[[], object]) -> None:
        """Lets a report of a peer reach the core of a part, then pumps soon. A defect there is the part's."""

    async def settle(self) -> None:
        """Pumps; returns once what was decided is stored, or known not to be storable for now.

        Raises Refused StoreUnavailable when that turns out while it waits.
        """

    def collected(self, type_: type[Sampled]) -> list[Any]:
        """Returns the samples of a type that may not be stored yet, older ones first."""

    async def saved(self) -> None:
        """Returns once what was decided is stored and carried out; while nothing can be stored, after two seconds."""

    async def ask(self, question: Callable[..., Any], /, **wanted: Any) -> Any:
        """Calls question(db, **wanted) on the reading thread, after what was decided before is stored or known not to
        be storable for now; `db` can only be read. Raises Refused StoreUnavailable."""

    async def decisions(self, *, part: str = "", about: str = "", run_id: str = "", limit: int = 50) -> list[Decided]:
        """Returns decisions, newest first: of one part, about one subject or about one run where that is said."""

    def lost(self, why: str) -> None:
        """Ends agentd: something without which it cannot go on is gone."""

    def trouble(self, text: str) -> None:
        """Tells the log that a peer did something unexpected; what runs goes on."""

    def defect(self, where: str, error: BaseException) -> None:
        """Tells the log of a defect in agentd itself, as a sentence with its place."""


class Members(Protocol):
    """The members of an interface, such as an Api."""

    def methods(self) -> Mapping[str, Handler]:
        """Returns the handlers by their members' names."""

    def properties(self) -> Mapping[str, Callable[[], Any]]:
        """Returns the getters by their properties' names."""


def when_asked(contract: Path, make: Callable[[], Members]) -> tuple[dict[str, Handler], dict[str, Callable[[], Any]]]:
    """Returns handlers and getters of a contract's members. The first question calls `make`: until then what answers
    need not be loaded.

    That question raises BusError where the contract has a member without a handler or the other way round.
    """
    methods, properties = members(contract)

    @cache
    def made() -> tuple[Mapping[str, Handler], Mapping[str, Callable[[], Any]]]:
        its = make()
        handlers, getters = its.methods(), its.properties()
        compare(contract.stem, handlers.keys() ^ methods, getters.keys() ^ properties)
        return handlers, getters

    def call(member: str, *arguments: Any, caller: Any = None) -> Any:
        handler = made()[0][member]
        return handler(*arguments, caller=caller) if wants_caller(handler) else handler(*arguments)

    def get(member: str) -> Any:
        return made()[1][member]()

    return {one: partial(call, one) for one in methods}, {one: partial(get, one) for one in properties}


def absent(name: str, contract: Path, why: str, answers: Mapping[str, Handler], **at_rest: Any) -> Part:
    """Returns a part that cannot be here: its methods refuse with the sentence `why`, but for those with an answer of
    their own; its properties have the values `at_rest`."""

    def refuse(*_: object) -> None:
        raise Refused("Unsupported", why)

    methods, properties = members(contract)
    return Part(
        name=name,
        contract=contract,
        methods={member: answers.get(member, refuse) for member in methods},
        properties={member: partial(at_rest.__getitem__, member) for member in properties},
    )
