"""A connection that hears signals of the daemon while it waits, and makes calls as well: jeepney's.

Commands that only call, as most do, load neither this module nor jeepney.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from jeepney import DBusAddress, HeaderFields, MatchRule, MessageFlag, MessageType, new_method_call
from jeepney.io.blocking import open_dbus_connection

from agentctl.client import BUS, BUS_PATH, NAME, PATH, Signal


class Reply:
    """The answer to a call, as Bus has it."""

    def __init__(self, message: Any) -> None:
        is_error = message.header.message_type is MessageType.error
        self.error = str(message.header.fields[HeaderFields.error_name]) if is_error else ""
        self._values = message.body

    def values(self) -> tuple[Any, ...]:
        """Returns the values of the answer."""
        return tuple(plain(value) for value in self._values)


class Listening:
    """A connection to a bus that collects the daemon's signals."""

    def __init__(self, address: str, timeout: float) -> None:
        """Connects to the bus as Bus does. Raises OSError, ValueError, RuntimeError."""
        self.address = address
        self._connection = _patient(open_dbus_connection(bus=address, auth_timeout=timeout))

    def close(self) -> None:
        """Ends the connection."""
        self._connection.close()

    def call(
        self,
        name: str,
        path: str,
        interface: str,
        member: str,
        signature: str,
        values: tuple[Any, ...],
        patience: float,
        *,
        asks: bool = False,
    ) -> Reply:
        """Calls a method as Bus does. Raises TimeoutError, OSError, UnicodeEncodeError."""
        message = new_method_call(DBusAddress(path, name, interface), member, signature or None, values)
        if asks:
            message.header.flags = MessageFlag.allow_interactive_authorization
        return Reply(self._connection.send_and_get_reply(message, timeout=patience))

    def collect(self, interface: str, signal: str, signature: str | None, queue: deque[Any]) -> "Genuine":
        """Puts the daemon's signals of this name, or all of them, into a queue for `next`, once the bus was told the
        rules of what is returned, and the owner stands there: those of anybody else and, where a signature is given,
        those with values of other types are passed over."""
        genuine = Genuine(interface, signal, signature)
        self._connection.filter(genuine, queue=queue)
        return genuine

    def next(self, queue: deque[Any], patience: float | None) -> Signal:
        """Returns the next signal that `collect` put into the queue. Raises TimeoutError, OSError."""
        return _signal(self._connection.recv_until_filtered(queue, timeout=patience))


class Told(deque[Any]):
    """A queue of signals that tells each instead of keeping it."""

    def __init__(self, tell: Callable[[Signal], None]) -> None:
        super().__init__()
        self._tell = tell

    def append(self, message: Any) -> None:
        """Tells a signal."""
        self._tell(_signal(message))


class Genuine:
    """A rule of jeepney's for signals of the daemon alone: those of an interface and a name, where these are given,
    whose values have the types of `signature` where that is given, and that the owner of NAME sent. Whoever else is on
    the system bus may send any signal to one connection, but only the bus says who the owner is."""

    def __init__(self, interface: str, signal: str, signature: str | None) -> None:
        self.owner = ""
        self._signature = signature
        self._rule = MatchRule(
            type="signal", sender=NAME, interface=interface or None, member=signal or None, path=PATH
        )
        self._owners = MatchRule(type="signal", sender=BUS, interface=BUS, member="NameOwnerChanged", path=BUS_PATH)
        self._owners.add_arg_condition(0, NAME)
        self.rules = self._owners.serialise(), self._rule.serialise()
        # The bus translates NAME; what arrives carries the daemon's unique name. A new daemon has another one.
        del self._rule.header_fields["sender"]

    def matches(self, message: Any) -> bool:
        """Returns whether a message is such a signal. Takes note of a new owner."""
        if self._owners.matches(message):
            self.owner = message.body[2]
        sender = message.header.fields.get(HeaderFields.sender)
        return bool(
            self.owner
            and sender == self.owner
            and self._rule.matches(message)
            and self._signature in {None, _signature(message)}
        )


def _signal(message: Any) -> Signal:
    """Returns the signal that a message is."""
    interface, name = (message.header.fields[field] for field in (HeaderFields.interface, HeaderFields.member))
    return Signal(interface, name, _signature(message), tuple(plain(value) for value in message.body))


def _signature(message: Any) -> str:
    """Returns the types of the values of a message."""
    return str(message.header.fields.get(HeaderFields.signature) or "")


def _patient(connection: Any) -> Any:
    """Returns a connection after having it pass over messages that jeepney cannot read, which anybody may send: numbers
    of file descriptors that did not come."""
    parser = connection.parser
    read = parser.get_next_message

    def next_readable() -> Any:
        while True:
            try:
                return read()
            except Exception:
                if parser.next_msg_size is None:  # not even its length is known
                    raise
                parser.next_msg_size = None

    parser.get_next_message = next_readable
    return connection


def plain(value: Any) -> Any:
    """Returns a record without the types of its values, lists of records likewise, and any other value as it is."""
    if isinstance(value, dict):
        return {key: plain(one[1] if isinstance(one, tuple) else one) for key, one in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [plain(item) for item in value]
    return value
