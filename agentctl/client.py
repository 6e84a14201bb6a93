"""The way to the daemon: finding its bus, calling it, and turning what goes wrong into sentences and exit codes."""

import os
from collections import deque
from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any, Self

Record = dict[str, Any]

NAME = "org.agentd1"
PATH = "/org/agentd1"
MANAGER = "org.agentd1.Manager"
JOBS = "org.agentd1.Jobs"
REBOOT = "org.agentd1.Reboot"
NOT_RUNNING = (
    "agentd is not running (start it with: systemctl enable --now agentd, "
    "or try it without root: python3 -m agentd --standalone)"
)

# Every method that agentctl calls, with the signature of its arguments; a test compares them with the contract.
METHODS = {
    "Reload": (MANAGER, ""),
    "ListJobs": (JOBS, "a{sv}"),
    "GetJob": (JOBS, "s"),
    "RunJob": (JOBS, "sa{sv}"),
    "StopJob": (JOBS, "s"),
    "Increase": (JOBS, "s"),
    "Decrease": (JOBS, "s"),
    "SetInterval": (JOBS, "st"),
    "SetEnabled": (JOBS, "sb"),
    "Reset": (JOBS, "s"),
    "NextTimes": (JOBS, "stu"),
    "ListRuns": (JOBS, "a{sv}"),
    "ListDecisions": (JOBS, "a{sv}"),
    "ReadOutput": (JOBS, "st"),
    "ReportProgress": (JOBS, "ss"),
    "GetStatus": (REBOOT, ""),
    "RebootNow": (REBOOT, "a{sv}"),
    "Examine": (REBOOT, "a{sv}"),
    "CancelReboot": (REBOOT, ""),
    "Clear": (REBOOT, ""),
    "ListReboots": (REBOOT, "a{sv}"),
    "ListHolders": (REBOOT, ""),
    "GetAll": ("org.freedesktop.DBus.Properties", "s"),
}
# Those that change nothing: nobody is asked for a password because of them.
FREE = {
    *("ListJobs", "GetJob", "NextTimes", "ListRuns", "ListDecisions", "ReadOutput", "GetAll"),
    *("GetStatus", "Examine", "ListReboots", "ListHolders"),
}
PASSWORD_TIMEOUT = 300.0  # seconds for a person to type one
FILTER_TYPES = {
    **dict.fromkeys(("job", "run_id", "reason", "kind"), "s"),
    **dict.fromkeys(("failed", "force_users"), "b"),
    **dict.fromkeys(("since", "at", "within"), "t"),
    "limit": "u",
}


class ExitCode(IntEnum):
    """What agentctl's exit status means. Ctrl-C ends it with 130, as shells have it."""

    OK = 0
    ERROR = 1  # agentd said no
    USAGE = 2  # wrong usage, or a configuration with errors
    NOT_RUNNING = 3
    NOT_ALLOWED = 4
    NO_SUCH = 5  # no such job or run, no pending reboot
    RUN_FAILED = 6  # run --wait, run --follow: the run ended otherwise than with success
    BLOCKED = 7  # reboot-now: something is in the way


class Failure(Exception):
    """Ends agentctl with a sentence on stderr and an exit code; `error` is the last word of a D-Bus error's name."""

    def __init__(self, sentence: str, code: ExitCode = ExitCode.ERROR, error: str = "") -> None:
        super().__init__(sentence)
        self.code = code
        self.error = error


def safe(text: str) -> str:
    """One line without anything that a terminal would obey: control and format characters as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


_CODES = {
    f"{NAME}.Error.NoSuchJob": ExitCode.NO_SUCH,
    f"{NAME}.Error.NoSuchRun": ExitCode.NO_SUCH,
    f"{NAME}.Error.NoSuchReboot": ExitCode.NO_SUCH,
    f"{NAME}.Error.Blocked": ExitCode.BLOCKED,
    f"{NAME}.Error.InvalidConfig": ExitCode.USAGE,
    f"{NAME}.Error.AccessDenied": ExitCode.NOT_ALLOWED,
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
    """What a D-Bus error means to the user. agentd's own messages are sentences already and stay as they are."""
    error = error_name.rpartition(".")[2]
    if error_name.startswith(f"{NAME}.Error."):
        return Failure(message or error_name, _CODES.get(error_name, ExitCode.ERROR), error)
    sentence, code = _BUS_ERRORS.get(error, ("", ExitCode.ERROR))
    return Failure(sentence or f"agentd or the bus answered with an error: {message or error_name}", code, error)


class Client:
    """A connection to a running daemon. Every method raises Failure when something goes wrong."""

    def __init__(self, connection: Any, timeout: float, *, asks: bool = False) -> None:
        self._connection = connection
        self._timeout = timeout
        self._asks = asks  # a person at a terminal, who may be asked for a password by polkit
        self._agent: Any = None

    @classmethod
    def connect(cls, address: str | None = None) -> Self:
        """Finds the daemon: the address given, $AGENTD_ADDRESS, the user's standalone daemon, the system bus."""
        timeout = _timeout()
        address, source = (address, "--address") if address else (os.environ.get("AGENTD_ADDRESS"), "AGENTD_ADDRESS")
        if address:
            client = cls._open(address, timeout)
            sentence = (
                f"agentd is not running at {address} (from {source}): expected the address of a bus with agentd on it, "
                "such as unix:path=/run/user/1000/agentd/bus"
            )
        else:
            own = standalone_address()
            # A daemon that was killed leaves its address file behind: then the system's daemon is the one meant.
            client = (cls._open(own, timeout) if own else None) or cls._open("SYSTEM", timeout)
            sentence = NOT_RUNNING
        if client is None:
            raise Failure(sentence, ExitCode.NOT_RUNNING)
        return client

    @classmethod
    def _open(cls, address: str, timeout: float) -> Self | None:
        """A client where agentd owns its name on the bus at address, None where nothing answers."""
        from jeepney.io.blocking import open_dbus_connection

        try:
            # A script must not hang at a question, and on a private bus and for root there is none.
            asks = address == "SYSTEM" and os.isatty(0) and os.geteuid() != 0
            client = cls(open_dbus_connection(bus=address, auth_timeout=timeout), timeout, asks=asks)
        except (OSError, ValueError, RuntimeError):  # what jeepney raises for no, a wrong or an unusable address
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
        self._connection.close()

    def call(self, member: str, *args: object) -> tuple[Any, ...]:
        """Calls a method of METHODS and returns its results.

        Dictionaries are filters or options: their values get the types of FILTER_TYPES, None drops a key. Records come
        back as plain dictionaries.
        """
        interface, signature = METHODS[member]
        values = tuple(_variants(value) if isinstance(value, Mapping) else value for value in args)
        asks = self._asks and member not in FREE
        if asks and self._agent is None:
            from agentctl import password

            self._agent = password.start()
        body = self._send(NAME, PATH, interface, member, signature, values, asks=asks)
        return tuple(_plain(value) for value in body)

    def runs(self, **filters: str | int | None) -> list[Record]:
        """Runs, newest first; filters as in ListRuns."""
        (runs,) = self.call("ListRuns", filters)
        return list(runs)

    def daemon(self) -> Record:
        """The properties of the daemon itself, under their names in the contract."""
        (properties,) = self.call("GetAll", MANAGER)
        return dict(properties)

    def reboots(self) -> Record:
        """The properties about reboots, under their names in the contract."""
        (properties,) = self.call("GetAll", REBOOT)
        return dict(properties)

    def subscribe(self, signal: str) -> deque[Any]:
        """From now on the daemon's signal of this name is collected, for wait_finished."""
        from jeepney import MatchRule

        rule = MatchRule(type="signal", sender=NAME, interface=JOBS, member=signal, path=PATH)
        self._send_to_bus("AddMatch", "s", rule.serialise())
        # The bus translates NAME; what arrives carries the daemon's unique name. A new daemon has another one.
        del rule.header_fields["sender"]
        signals: deque[Any] = deque()
        self._connection.filter(rule, queue=signals)
        return signals

    def wait_finished(self, signals: deque[Any], run_id: str, patience: float = 5.0) -> Record:
        """The record of a run once it has ended; signals is what subscribe("JobFinished") returned.

        After each `patience` seconds of silence the run itself is looked at: a daemon that was restarted in
        the meantime may have told of the end to nobody.
        """
        while True:
            try:
                message = self._connection.recv_until_filtered(signals, timeout=patience)
            except TimeoutError:
                ended = [run for run in self.runs(run_id=run_id) if run.get("state") == "ended"]
                if ended:
                    return ended[0]
                continue
            except OSError:
                raise _gone() from None
            _, finished, _, run = message.body
            if finished == run_id:
                return dict(_plain(run))

    def _send_to_bus(self, member: str, signature: str, *args: object) -> tuple[Any, ...]:
        return self._send(
            "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", member, signature, args
        )

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
    ) -> tuple[Any, ...]:
        from jeepney import DBusAddress, HeaderFields, MessageFlag, MessageType, new_method_call

        message = new_method_call(DBusAddress(path, name, interface), member, signature or None, values)
        if asks:
            message.header.flags = MessageFlag.allow_interactive_authorization
        patience = max(self._timeout, PASSWORD_TIMEOUT) if asks else self._timeout
        try:
            reply = self._connection.send_and_get_reply(message, timeout=patience)
        except TimeoutError:
            sentence = f"agentd did not answer {member} within {patience:g} s (AGENTD_TIMEOUT sets the limit)"
            raise Failure(sentence, ExitCode.ERROR) from None
        except OSError:
            raise _gone() from None
        except UnicodeEncodeError:
            raise Failure("an argument is not valid UTF-8: give the name as agentctl status shows it") from None
        if reply.header.message_type is MessageType.error:
            text = reply.body[0] if reply.body and isinstance(reply.body[0], str) else ""
            raise failure(reply.header.fields[HeaderFields.error_name], text)
        return tuple(reply.body)


def standalone_address() -> str | None:
    """The address that this user's standalone daemon wrote down, if there is one and it is the user's own."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(runtime) if runtime else Path("~/.cache").expanduser()
    try:
        with (folder / "agentd" / "address").open(encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_uid != os.geteuid():
                return None
            return file.readline().strip() or None
    except (OSError, UnicodeDecodeError, RuntimeError):  # RuntimeError: the user has no home
        return None


def _timeout() -> float:
    """Seconds that a call may take."""
    text = os.environ.get("AGENTD_TIMEOUT") or "30"
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e6:
        raise Failure(f'AGENTD_TIMEOUT is "{text}": expected a number of seconds, such as 30', ExitCode.USAGE)
    return seconds


def _gone() -> Failure:
    return Failure("the connection to agentd was lost: it ended, or its bus did", ExitCode.NOT_RUNNING)


def _variants(filters: Mapping[str, object]) -> dict[str, tuple[str, object]]:
    return {key: (FILTER_TYPES[key], value) for key, value in filters.items() if value is not None}


def _plain(value: Any) -> Any:
    """A record without the types of its values; lists of records likewise; anything else as it is."""
    if isinstance(value, dict):
        return {key: _plain(variant[1]) for key, variant in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [_plain(item) for item in value]
    return value
