"""A connection to an agentd that keeps the signals, and speaks of values as JSON can hold them."""

import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

from jeepney import DBusAddress, HeaderFields, MatchRule, MessageType, new_method_call
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import open_dbus_connection

NAME = "org.agentd1"
OBJECT = "/org/agentd1"
PROPERTIES = "org.freedesktop.DBus.Properties"
PATIENCE = 15.0
Step = dict[str, Any]


class Client:
    """A connection to the daemon's bus; `folder` is the daemon's, `by` how far its state was moved in time."""

    def __init__(self, address: str, folder: str, by: int) -> None:
        self._connection = open_dbus_connection(address)
        self._folder, self._by = folder, by
        self._signals: list[Step] = []
        self._changed: list[Any] = []
        rule = MatchRule(type="signal", path=OBJECT)
        self._connection.send_and_get_reply(message_bus.AddMatch(rule))

    def close(self) -> None:
        self._connection.close()

    def call(self, step: Step) -> Step:
        """Makes the call of a step; returns its answer or its error."""
        interface, _, member = step["call"].rpartition(".")
        address = DBusAddress(step.get("path", OBJECT), step.get("to", NAME), interface or None)
        by = 0 if step.get("calendar") else self._by
        body = tuple(_sent(value, by) for value in step.get("body", []))
        message = new_method_call(address, member, step.get("signature") or None, body)
        serial = next(self._connection.outgoing_serial)
        self._connection.send(message, serial)
        deadline = time.monotonic() + PATIENCE
        while True:
            reply = self._receive(deadline)
            if reply is None:
                raise TimeoutError(f"no answer to {step['call']}")
            if reply.header.fields.get(HeaderFields.reply_serial) == serial:
                break
        fields = reply.header.fields
        if reply.header.message_type is MessageType.error:
            return {"error": fields[HeaderFields.error_name], "text": self._plain(reply.body[0], by)}
        answer = [self._plain(value, by) for value in reply.body]
        if member == "Introspect":
            answer = [introspected(answer[0])]
        return {"answer": [fields.get(HeaderFields.signature, ""), answer]}

    def listen(self, enough: Callable[[list[Step], list[Any]], bool], quiet: float) -> tuple[list[Step], list[Any]]:
        """Takes signals until those since the last call are enough, or none came for `quiet` seconds.

        Returns the signals of agentd's interfaces, and apart from them the arguments of PropertiesChanged.
        """
        while not enough(self._signals, self._changed) and self._receive(time.monotonic() + quiet) is not None:
            pass
        signals, changed = self._signals, self._changed
        self._signals, self._changed = [], []
        return signals, changed

    def until(self, name: str, value: Any) -> Any:
        """Waits until a property has that value, or so many records; returns what it has in the end."""
        interface, _, member = name.rpartition(".")
        question = {"call": f"{PROPERTIES}.Get", "signature": "ss", "body": [interface, member]}
        deadline = time.monotonic() + PATIENCE
        while True:
            found = self.call(question)["answer"][1][0][1]
            found = len(found) if isinstance(found, list) else found
            if found == value or time.monotonic() > deadline:
                return found
            time.sleep(0.01)

    def _receive(self, deadline: float) -> Any:
        """The next message that is no signal, or any signal, kept; None when there was none before the deadline."""
        try:
            message = self._connection.receive(timeout=max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            return None
        if message.header.message_type is MessageType.signal:
            fields = message.header.fields
            body = [self._plain(value, self._by) for value in message.body]
            if fields[HeaderFields.interface] == PROPERTIES:
                self._changed.append(body)
            elif fields[HeaderFields.interface].startswith(NAME):
                name = f"{fields[HeaderFields.interface]}.{fields[HeaderFields.member]}"
                self._signals.append(
                    {"signal": name, "signature": fields.get(HeaderFields.signature, ""), "body": body}
                )
        return message

    def _plain(self, value: Any, by: int) -> Any:
        """A value as JSON can hold it, its instants in the time of the recorded state."""
        if isinstance(value, str):
            return value.replace(self._folder, "FOLDER")
        if isinstance(value, bytes):
            return {"bytes": value.decode()}
        if isinstance(value, dict):
            return {key: self._plain(item, by) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._plain(item, by) for item in value]
        return value - by if is_instant(value) else value


def is_instant(value: object) -> bool:
    """Whether a number is an instant of this age in microseconds: no duration, number or size is as large."""
    return isinstance(value, int) and 10**15 < value < 10**16


def _sent(value: Any, by: int) -> Any:
    """A value of a step as jeepney takes it: variants are pairs of a signature and a value."""
    if isinstance(value, dict):
        return {key: (item[0], _sent(item[1], by)) for key, item in value.items()}
    return value + by if is_instant(value) else value


def introspected(xml: str) -> dict[str, Any]:
    """What introspection tells, by name: of nodes, interfaces, methods, signals, properties, with their annotations."""

    def told(element: ET.Element) -> dict[str, Any]:
        found: dict[str, Any] = {key: value for key, value in element.attrib.items() if key != "name"}
        for child in element:
            if child.tag == "arg":
                found.setdefault("args", []).append([child.get(key, "") for key in ("name", "type", "direction")])
            elif child.tag == "annotation":
                found.setdefault("annotations", {})[child.get("name", "")] = child.get("value")
            else:
                found.setdefault(child.tag, {})[child.get("name", "")] = told(child)
        return found

    return told(ET.fromstring(xml))
