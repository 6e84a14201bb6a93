"""The way to the daemon: finding its bus, calling it, and turning errors into sentences and exit codes."""

import os
import shlex
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from agentctl.standalone import Standalone, standalones

if TYPE_CHECKING:
    from agentctl.bus import Bus, Message
    from agentctl.signals import Listening, Reply

Record = dict[str, Any]

NAME = "org.agentd1"
PATH = "/org/agentd1"
NOT_RUNNING = (
    "agentd is not running (start it with: systemctl enable --now agentd, "
    "or try it without root: python3 -m agentd --standalone)"
)
PAGE = 1000  # records of a list, the contract's limit for one answer
BUS, BUS_PATH = "org.freedesktop.DBus", "/org/freedesktop/DBus"
PASSWORD_TIMEOUT = 300.0  # seconds for a person to type one


class Call(NamedTuple):
    """A method of the daemon, as the contract has it. Each part declares the methods that its commands call."""

    interface: str
    member: str
    signature: str = ""  # of all arguments
    free: bool = False  # the method changes nothing, and never asks for a password
    options: Mapping[str, str] = {}  # the types of the keys that its a{sv} may have, where it takes one
    patience: float = 0.0  # seconds that its answer may take in any case


class Signal(NamedTuple):
    """A signal of the daemon: its interface and name, the types of its values, and these."""

    interface: str
    name: str
    signature: str
    values: tuple[Any, ...]


class ExitCode(IntEnum):
    """The meanings of agentctl's exit status. Ctrl-C ends agentctl with 130, as shells have it."""

    OK = 0
    ERROR = 1  # agentd said no
    USAGE = 2  # wrong usage, or a configuration with errors
    NOT_RUNNING = 3
    NOT_ALLOWED = 4
    NO_SUCH = 5  # no such job or run, no pending reboot
    RUN_FAILED = 6  # run --wait, run --follow: the run ended otherwise than with success
    BLOCKED = 7  # reboot-now: something is in the way
    NO_READER = 141  # as other programs, which SIGPIPE ends


class Failure(Exception):
    """Ends agentctl with a sentence on stderr and an exit code; `error` is the last word of a D-Bus error's name."""

    def __init__(self, sentence: str, code: ExitCode = ExitCode.ERROR, error: str = "") -> None:
        super().__init__(sentence)
        self.code = code
        self.error = error


def safe(text: str) -> str:
    """Returns one line in which nothing steers a terminal: control and format characters become escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


_CODES = {
    "Blocked": ExitCode.BLOCKED,
    "InvalidConfig": ExitCode.USAGE,
    "AccessDenied": ExitCode.NOT_ALLOWED,
}
_OTHER_VERSION = (
    "the running agentd does not know this command: it is of another version than agentctl; restart it",
    ExitCode.ERROR,
)
_BUS_ERRORS = {
    "ServiceUnknown": (NOT_RUNNING, ExitCode.NOT_RUNNING),
    "NameHasNoOwner": (NOT_RUNNING, ExitCode.NOT_RUNNING),
    "NoReply": ("agentd ended before it answered; look at its log, then try again", ExitCode.NOT_RUNNING),
    "UnknownMethod": _OTHER_VERSION,
    "UnknownInterface": _OTHER_VERSION,
    "AccessDenied": ("the bus does not let you talk to agentd: try it with sudo", ExitCode.NOT_ALLOWED),
    "InteractiveAuthorizationRequired": (
        "this needs an administrator's password: try it with sudo",
        ExitCode.NOT_ALLOWED,
    ),
}


def failure(error_name: str, message: str) -> Failure:
    """Returns the failure that a D-Bus error is. agentd's own messages are sentences already and stay as they are."""
    error = error_name.rpartition(".")[2]
    if error_name.startswith(f"{NAME}.Error."):
        code = ExitCode.NO_SUCH if error.startswith("NoSuch") else _CODES.get(error, ExitCode.ERROR)
        return Failure(message or error_name, code, error)
    sentence, code = _BUS_ERRORS.get(error, ("", ExitCode.ERROR))
    return Failure(sentence or f"agentd or the bus answered with an error: {message or error_name}", code, error)


class Client:
    """A connection to a running daemon. Every method raises Failure when something goes wrong."""

    def __init__(self, bus: "Bus | Listening", timeout: float, *, asks: bool = False) -> None:
        self._bus = bus
        self._timeout = timeout
        self._asks = asks  # a person at a terminal, who may be asked for a password by polkit
        self._agent: Any = None

    @classmethod
    def connect(cls, address: str | None = None, state: str | None = None) -> Self:
        """Connects to the daemon: at the address given, or the standalone one with the state directory given; else at
        $AGENTD_ADDRESS, the user's one standalone daemon, the system bus. Raises Failure."""
        timeout = _timeout()
        if state and not address:
            return cls._of_state(state, timeout)
        address, source = (address, "--address") if address else (os.environ.get("AGENTD_ADDRESS"), "AGENTD_ADDRESS")
        if address:
            client = cls._open(address, timeout)
            sentence = (
                f"agentd is not running at {address} (from {source}): expected the address of a bus with agentd on it, "
                "such as unix:path=/run/user/1000/agentd/bus"
            )
        else:
            alive = cls._alive(standalones(), timeout)
            if len(alive) > 1:
                raise _several(alive)
            client = alive[0][1] if alive else cls._open("SYSTEM", timeout)
            sentence = NOT_RUNNING
        if client is None:
            raise Failure(sentence, ExitCode.NOT_RUNNING)
        return client

    @classmethod
    def _of_state(cls, state: str, timeout: float) -> Self:
        """Connects to the standalone daemon with that state directory. Raises Failure."""
        try:
            alive = cls._alive(standalones(state), timeout)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise Failure(f"{state}: {reason}; expected the state directory of an agentd", ExitCode.USAGE) from None
        if not alive:
            raise Failure(
                f"no standalone agentd of this user is running with the state directory {state} "
                f"(start it with: agentd --standalone --state-dir {shlex.quote(state)})",
                ExitCode.NOT_RUNNING,
            )
        return alive[0][1]

    @classmethod
    def _alive(cls, daemons: Iterable[Standalone], timeout: float) -> list[tuple[Standalone, Self]]:
        """Returns those of the daemons that answer, each with a connection: one that was killed leaves its file."""
        opened = ((daemon, cls._open(daemon.address, timeout)) for daemon in daemons)
        return [(daemon, client) for daemon, client in opened if client is not None]

    @classmethod
    def _open(cls, address: str, timeout: float) -> Self | None:
        """Returns a client where agentd owns its name on the bus at this address, None where nothing answers."""
        from agentctl.bus import Bus

        try:
            # A script must not hang at a question, and on a private bus and for root there is none.
            asks = address == "SYSTEM" and os.isatty(0) and os.geteuid() != 0
            client = cls(Bus(address, timeout), timeout, asks=asks)
        except (OSError, ValueError):  # nobody answers there, or the address is wrong or unusable
            return None
        try:
            client._send_to_bus("GetNameOwner", "s", NAME)
        except Failure as failed:
            client.close()
            if failed.code == ExitCode.NOT_RUNNING:
                return None
            raise
        return client

    def close(self) -> None:
        """Ends the connection."""
        if self._agent is not None:
            from agentctl import password

            password.stop(self._agent)
        self._bus.close()

    def call(self, call: Call, *args: object) -> tuple[Any, ...]:
        """Calls a method of the daemon and returns its results; records come back as plain dictionaries.

        A dictionary among the arguments holds filters or options: their values get the types of call.options, unless
        they are pairs of a type and a value already; None drops a key. Raises Failure.
        """
        values = tuple(_variants(call, value) if isinstance(value, Mapping) else value for value in args)
        asks = self._asks and not call.free
        if asks and self._agent is None:
            from agentctl import password

            self._agent = password.start()
        patience = max(self._timeout, call.patience, PASSWORD_TIMEOUT if asks else 0)
        return self._send(NAME, PATH, call.interface, call.member, call.signature, values, asks=asks, patience=patience)

    def pages(self, call: Call, key: str, **options: object) -> Iterator[list[Record]]:
        """Yields the records of a list, page by page, each the records behind the last of the page before by its `key`.

        The next page is asked for before one is read: agentd packs the one while agentctl reads the other, and a status
        of 10,000 jobs takes 0.8 of the time. Raises Failure.
        """
        bus: Any = self._bus  # never the one that listens: no command that does has such a list
        patience = max(self._timeout, call.patience)

        def ask(after: object) -> Any:
            values = (_variants(call, {**options, "after": after}),)
            return bus.ask(NAME, PATH, call.interface, call.member, call.signature, values)

        with _told(call.member, patience):
            number = ask(None)
            while number:
                answer = bus.answer(number, patience)
                _check(answer)
                count, last = answer.last()
                number = ask(last[key]) if count == PAGE else None
                (page,) = answer.values()
                yield page

    def properties(self, interface: str) -> Record:
        """Returns the properties of an interface of the daemon, under their names in the contract. Raises Failure."""
        (properties,) = self._send(NAME, PATH, "org.freedesktop.DBus.Properties", "GetAll", "s", (interface,))
        return dict(properties)

    def listen(self, interface: str, signal: str, signature: str, tell: Callable[[Signal], None]) -> None:
        """Has the daemon's signals of this name told as they come while an answer is awaited. Raises Failure."""
        from agentctl.signals import Told

        self.subscribe(interface, signal, signature, Told(tell))

    def subscribe(
        self, interface: str = "", signal: str = "", signature: str | None = None, queue: deque[Any] | None = None
    ) -> deque[Any]:
        """Collects the daemon's signals of this name from now on, or all of them, for `receive`: those of anybody else
        and, where a signature is given, those with values of other types are passed over. Raises Failure."""
        signals: deque[Any] = deque() if queue is None else queue
        genuine = self._listening().collect(interface, signal, signature, signals)
        for rule in genuine.rules:
            self._send_to_bus("AddMatch", "s", rule)
        (genuine.owner,) = self._send_to_bus("GetNameOwner", "s", NAME)
        return signals

    def _listening(self) -> "Listening":
        """Returns the connection that hears signals, which takes the place of the first. Raises Failure."""
        from agentctl.signals import Listening

        if not isinstance(self._bus, Listening):
            self._bus.close()
            try:
                self._bus = Listening(self._bus.address, self._timeout)
            except (OSError, ValueError, RuntimeError):
                raise _gone() from None
        return self._bus

    def receive(self, signals: deque[Any], patience: float | None = None) -> Signal | None:
        """Returns the next signal that `subscribe` collected; None after `patience` seconds without one.

        Raises Failure when the connection is lost.
        """
        try:
            return self._listening().next(signals, patience)
        except TimeoutError:
            return None
        except OSError:
            raise _gone() from None

    def await_any(self, signals: deque[Any]) -> Signal:
        """Returns the next signal that `subscribe` collected, however long it takes. Raises Failure when the connection
        is lost."""
        while (signal := self.receive(signals)) is None:
            pass
        return signal

    def _send_to_bus(self, member: str, signature: str, *args: object) -> tuple[Any, ...]:
        return self._send(BUS, BUS_PATH, BUS, member, signature, args)

    def _send(
        self,
        name: str,
        path: str,
        interface: str,
        member: str,
        signature: str,
        values: tuple[object, ...],
        *,
        asks: bool = False,
        patience: float = 0,
    ) -> tuple[Any, ...]:
        patience = patience or self._timeout
        with _told(member, patience):
            answer = self._bus.call(name, path, interface, member, signature, values, patience, asks=asks)
            _check(answer)
            return answer.values()


def _check(answer: "Message | Reply") -> None:
    """Raises Failure where an answer is an error, and ValueError where that cannot be read."""
    if answer.error:
        raise failure(answer.error, next((text for text in answer.values()[:1] if isinstance(text, str)), ""))


@contextmanager
def _told(member: str, patience: float) -> Iterator[None]:
    """Turns what a bus raises about a call into Failure."""
    try:
        yield
    except TimeoutError:
        sentence = f"agentd did not answer {member} within {patience:g} s (AGENTD_TIMEOUT sets the limit)"
        raise Failure(sentence, ExitCode.ERROR) from None
    except OSError:
        raise _gone() from None
    except UnicodeEncodeError:
        raise Failure("an argument is not valid UTF-8: give the name as agentctl status shows it") from None
    except (ValueError, LookupError):
        sentence = f"the answer to {member} cannot be read: expected one as D-Bus has it; restart agentd"
        raise Failure(sentence, ExitCode.ERROR) from None


def _several(alive: Iterable[tuple[Standalone, Client]]) -> Failure:
    """Returns the failure that more than one standalone daemon is there; ends the connections to them."""
    ways = []
    for daemon, client in alive:
        client.close()
        ways.append(f"--state-dir {shlex.quote(daemon.state)}" if daemon.state else f"--address {daemon.address}")
    return Failure(f"several agentds of this user are running: choose one with {' or '.join(ways)}", ExitCode.USAGE)


def _timeout() -> float:
    """Returns the seconds that a call may take. Raises Failure."""
    text = os.environ.get("AGENTD_TIMEOUT") or "30"
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e6:
        raise Failure(f'AGENTD_TIMEOUT is "{text}": expected a number of seconds, such as 30', ExitCode.USAGE)
    return seconds


def _gone() -> Failure:
    return Failure("the connection to agentd was lost: agentd ended, or its bus did", ExitCode.NOT_RUNNING)


def _variants(call: Call, options: Mapping[str, object]) -> dict[str, tuple[str, object]]:
    return {
        key: value if isinstance(value, tuple) else (call.options[key], value)
        for key, value in options.items()
        if value is not None
    }
