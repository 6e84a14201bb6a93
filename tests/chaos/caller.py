"""Callers of a world's agentd on its private bus: one that behaves, and, run as a program, some that do not."""

import contextlib
import sys
import threading
import time
from typing import Any, Self

from jeepney import DBusAddress, HeaderFields, MatchRule, MessageType, Properties, new_method_call
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import DBusConnection, open_dbus_connection

OBJECT = "/org/agentd1"
NAME = "org.agentd1"


class CallFailed(Exception):
    """An answer that is an error: its name, and what it says."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name


class Caller:
    """A connection to agentd; every call raises CallFailed, or OSError and TimeoutError where nobody answers."""

    def __init__(self, address: str, patience: float = 30.0) -> None:
        self._bus: DBusConnection = open_dbus_connection(bus=address, auth_timeout=patience)
        self._patience = patience

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bus.close()

    def call(self, member: str, signature: str = "", *body: Any) -> Any:
        """Calls "Jobs.RunJob" and the like; returns the one value, or all of several."""
        interface, _, name = member.partition(".")
        address = DBusAddress(OBJECT, NAME, f"{NAME}.{interface}")
        return self._value(new_method_call(address, name, signature or None, body))

    def property(self, name: str) -> Any:
        """Returns the value of a property such as "Manager.Warnings"."""
        interface, _, member = name.partition(".")
        return self._value(Properties(DBusAddress(OBJECT, NAME, f"{NAME}.{interface}")).get(member))[1]

    def _value(self, message: Any) -> Any:
        reply = self._bus.send_and_get_reply(message, timeout=self._patience)
        if reply.header.message_type is MessageType.error:
            raise CallFailed(reply.header.fields[HeaderFields.error_name], str(reply.body[0] if reply.body else ""))
        return reply.body[0] if len(reply.body) == 1 else reply.body


def plain(record: dict[str, tuple[str, Any]]) -> dict[str, Any]:
    """Returns a record without the types of its values."""
    return {key: value for key, (_, value) in record.items()}


def _agentd(interface: str) -> DBusAddress:
    return DBusAddress(OBJECT, NAME, interface)


def _storm(bus: DBusConnection, until: float) -> None:
    """Asks for everything, again and again, and reads no answer."""
    calls = [
        new_method_call(_agentd("org.agentd1.Jobs"), "ListJobs", "a{sv}", ({},)),
        new_method_call(_agentd("org.freedesktop.DBus.Introspectable"), "Introspect"),
        new_method_call(_agentd("org.agentd1.Manager"), "ListDecisions", "a{sv}", ({"limit": ("u", 10000)},)),
    ]
    bus.sock.settimeout(1.0)
    number = 0
    while time.monotonic() < until:
        number += 1
        bus.sock.sendall(calls[number % 3].serialise(serial=number))


def _huge(bus: DBusConnection, until: float) -> None:
    """Sends messages of megabytes to names, patterns and nowhere."""
    bus.sock.settimeout(10.0)
    number = 0
    while time.monotonic() < until:
        number += 2
        text = "x" * (4 << 20)
        run = new_method_call(_agentd("org.agentd1.Jobs"), "RunJob", "sa{sv}", (text, {}))
        nothing = new_method_call(_agentd("org.agentd1.Nothing"), "Nothing", "as", (["y" * 1000] * 4000,))
        bus.sock.sendall(run.serialise(serial=number) + nothing.serialise(serial=number + 1))
        time.sleep(0.05)


def _deaf(bus: DBusConnection, until: float) -> None:
    """Wants every signal, and reads none."""
    bus.send(message_bus.AddMatch(MatchRule(type="signal", sender=NAME)))
    time.sleep(max(0.0, until - time.monotonic()))


def _crowd(address: str, until: float) -> None:
    """Comes and goes, with a question that it does not wait for."""
    while time.monotonic() < until:
        with contextlib.suppress(OSError), open_dbus_connection(bus=address, auth_timeout=5) as bus:
            bus.send(new_method_call(_agentd("org.agentd1.Jobs"), "ListRuns", "a{sv}", ({"limit": ("u", 1000)},)))


def main(kind: str, address: str, seconds: float, callers: int) -> None:
    """Annoys agentd for some seconds in one of these ways, by several callers at once."""
    until = time.monotonic() + seconds

    def annoy() -> None:
        # The bus, or agentd, may well throw such a caller out.
        with contextlib.suppress(OSError, TimeoutError, EOFError):
            if kind == "crowd":
                _crowd(address, until)
                return
            with open_dbus_connection(bus=address, auth_timeout=30) as bus:
                {"storm": _storm, "huge": _huge, "deaf": _deaf}[kind](bus, until)

    threads = [threading.Thread(target=annoy, daemon=True) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds + 15)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
