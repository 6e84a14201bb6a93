"""Messages of all kinds at random: agentd neither ends nor stalls nor grows, and finds no defect in itself.

AGENTD_FUZZ=SECONDS goes on for as long, AGENTD_FUZZ_SEED does the same messages again.
"""

import os
import random
import select
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from jeepney import DBusAddress, HeaderFields, MessageType, new_method_call
from jeepney.io.blocking import open_dbus_connection
from jeepney.low_level import Message

from tests.bus.harness import OBJECT, Agentd
from tests.bus.stranger import MIB, NAME, Stranger
from tests.contracts import CONTRACTS

SECONDS = float(os.environ.get("AGENTD_FUZZ", "8"))
SEED = int(os.environ.get("AGENTD_FUZZ_SEED", "0") or "0") or (
    1 if os.environ.get("CI") else random.randrange(1, 1 << 32)
)
STALL = 0.1  # seconds that agentd's loop may be at work before it answers somebody else, on a machine with PACE
PACE = 0.08  # seconds of processor time for pace() on such a machine
GROWTH = 24 * MIB
CONFIG = """timezone: UTC
jobs:
  tick: {run: [/bin/true], when: {every: 1s}}
  once: {run: [/bin/echo, hello]}
  learns: {run: [/bin/true], when: {adaptive: {start: 5s, min: 1s, max: 1min}}, useful: output}
  slow: {run: [/bin/sleep, "1"], concurrency: 3, overlap: queue}
rules:
  watched: {when: "DiskUsage:/ > 99.99%", do: "RunJob:once"}
"""
LEFT_OUT = {"Train"}  # a process that computes for a minute
HOSTILE = ["", "once", "tick", "once.1", "slow", "*", "?*" * 60, "a" * 120, "a" * 121, "x" * 70_000, "%s%n",
           "../../etc",
           "\n\x1b[2J", "\u2028é\U0001f600", "-1", "5min", "1e999", "NaN", "watched", "bpfland", "org.agentd1", "'; --",
           "RootDirectory", "9" * 5000]  # fmt: skip
KEYS = ["limit", "before", "job", "name", "state", "since", "run_id", "part", "subject", "reason", "cause", "force",
        "kind", "at", "n", "channel", "tool", "changed", "full", "", "x" * 200]  # fmt: skip
RANGES = {"y": (0, 255), "n": (-(1 << 15), (1 << 15) - 1), "q": (0, (1 << 16) - 1), "i": (-(1 << 31), (1 << 31) - 1),
          "u": (0, (1 << 32) - 1), "x": (-(1 << 63), (1 << 63) - 1), "t": (0, (1 << 64) - 1)}  # fmt: skip


def members() -> list[tuple[str, str, str]]:
    """Returns interface, method and signature of all that agentd has, and of the interfaces that every object has."""
    found = []
    for contract in CONTRACTS:
        for interface in ET.parse(contract).iter("interface"):
            for method in interface.iter("method"):
                taken = (arg.attrib["type"] for arg in method.iter("arg") if arg.attrib.get("direction") != "out")
                found.append((interface.attrib["name"], method.attrib["name"], "".join(taken)))
    common = "org.freedesktop.DBus."
    return [*(one for one in found if one[1] not in LEFT_OUT), (f"{common}Introspectable", "Introspect", ""),
            (f"{common}Peer", "Ping", ""), (f"{common}Properties", "Get", "ss"), (f"{common}Properties", "GetAll", "s"),
            (f"{common}Properties", "Set", "ssv")]  # fmt: skip


MEMBERS = members()


class Fuzzer:
    """A source of random messages to agentd, over a connection that is made anew when the bus ends it."""

    def __init__(self, address: str, seed: int) -> None:
        self._address = address
        self._dice = random.Random(seed)
        self._stranger: Stranger | None = None
        self.sent = 0

    def go(self) -> None:
        """Sends something, and reads what came back meanwhile."""
        kind = self._dice.choices([self._right, self._wrong, self._strange, self._damaged, self._signal, self._flood],
                                  [10, 4, 2, 1, 2, 1])[0]  # fmt: skip
        try:
            if self._stranger is None:
                self._stranger = Stranger(self._address)
                self._stranger._socket.settimeout(10)
            self._stranger.send(kind())
            self._drain(self._stranger)
        except (OSError, EOFError, AssertionError):  # the bus has ended the connection
            self.close()

    def close(self) -> None:
        if self._stranger is not None:
            self._stranger.close()
            self._stranger = None

    @staticmethod
    def _drain(stranger: Stranger) -> None:
        while select.select([stranger._socket], [], [], 0)[0]:
            if not stranger._socket.recv(1 << 18):
                raise EOFError

    def _message(self, interface: str, member: str, signature: str, body: tuple[Any, ...]) -> Message:
        self.sent += 1
        address = DBusAddress(self._path(), NAME, interface)
        return new_method_call(address, member, signature or None, body)

    def _path(self) -> str:
        return OBJECT if self._dice.random() < 0.97 else self._dice.choice(["/", "/org", "/a" * 500, f"{OBJECT}/x"])

    def _bytes(self, message: Message) -> bytes:
        assert self._stranger is not None
        if self._dice.random() < 0.1:
            message.header.flags |= 1  # no answer is wanted
        return bytes(message.serialise(serial=self._stranger.serial()))

    def _right(self) -> bytes:
        """A call with arguments of the right types."""
        interface, member, signature = self._dice.choice(MEMBERS)
        if interface.endswith("Properties") and self._dice.random() < 0.7:
            names = [self._dice.choice(MEMBERS)[0], self._text(), ("s", "x")][: len(signature)]
            return self._bytes(self._message(interface, member, signature, tuple(names)))
        return self._bytes(self._message(interface, member, signature, self._values(signature)))

    def _wrong(self) -> bytes:
        """A call with arguments of random types."""
        interface, member, _ = self._dice.choice(MEMBERS)
        signature = "".join(self._type(0) for _ in range(self._dice.randrange(5)))
        return self._bytes(self._message(interface, member, signature, self._values(signature)))

    def _strange(self) -> bytes:
        """A call of what there is not."""
        interface = self._dice.choice(["org.agentd1.None", "a.b", "org.freedesktop.DBus.ObjectManager", MEMBERS[0][0]])
        member = self._dice.choice(["None", "M" * 255, "Get", "GetManagedObjects"])
        return self._bytes(self._message(interface, member, "s", (self._text(),)))

    def _damaged(self) -> bytes:
        """A call in which some bytes are others; the bus may end the connection for it."""
        found = bytearray(self._right())
        for _ in range(self._dice.randrange(1, 4)):
            found[self._dice.randrange(len(found))] = self._dice.randrange(256)
        return bytes(found)

    def _signal(self) -> bytes:
        """A signal as of somebody else's, sent to agentd alone."""
        interface, _, signature = self._dice.choice(MEMBERS)
        name = self._dice.choice(["JobRemoved", "NameOwnerChanged", "PrepareForShutdown", "PropertiesChanged"])
        message = self._message(interface, name, signature, self._values(signature))
        message.header.message_type = MessageType.signal
        return self._bytes(message)

    def _flood(self) -> bytes:
        """One call, two hundred times."""
        interface, member, signature = self._dice.choice(MEMBERS)
        values = self._values(signature)
        return b"".join(self._bytes(self._message(interface, member, signature, values)) for _ in range(200))

    def _type(self, depth: int) -> str:
        if depth > 3 or self._dice.random() < 0.6:
            return self._dice.choice("sssoguixtbydv")
        inner = self._type(depth + 1)
        kinds = [f"a{inner}", f"({inner}{self._type(depth + 1)})", f"a{{s{inner}}}", "a{sv}"]
        return self._dice.choice(kinds)

    def _text(self) -> str:
        return self._dice.choice(HOSTILE)

    def _values(self, signature: str) -> tuple[Any, ...]:
        return tuple(self._value(one, 0) for one in split(signature))

    def _value(self, type_: str, depth: int) -> Any:
        match type_[0]:
            case "s":
                return self._text()
            case "o":
                return self._dice.choice(["/", OBJECT, "/a" * 100])
            case "g":
                return self._dice.choice(["", "s", "a{sv}", "(" * 31 + "y" + ")" * 31])
            case "b":
                return self._dice.random() < 0.5
            case "d":
                return self._dice.choice([0.0, -1.5, 1e308, float("nan"), float("inf")])
            case "v":
                inner = self._dice.choice("sutbx") if depth > 4 or self._dice.random() < 0.8 else self._type(depth)
                return inner, self._value(inner, depth + 1)
            case "(":
                return tuple(self._value(one, depth + 1) for one in split(type_[1:-1]))
            case "a" if type_[1] == "{":
                key, inner = split(type_[2:-1])
                keys: Callable[[], Any] = (
                    (lambda: self._dice.choice(KEYS)) if key == "s" else lambda: self._value(key, 0)
                )
                return {keys(): self._value(inner, depth + 1) for _ in range(self._dice.randrange(5))}
            case "a":
                many = 300 if type_[1] in RANGES else 3
                count = self._dice.choice([0, 1, many]) if depth < 2 else 1
                return [self._value(type_[1:], depth + 1) for _ in range(count)]
            case number:
                least, most = RANGES[number]
                return self._dice.choice([least, most, 0, 1, self._dice.randint(least, most)])


def split(signature: str) -> list[str]:
    """Returns the complete types of a signature."""
    found, at = [], 0
    while at < len(signature):
        begin = at
        while signature[at] == "a":
            at += 1
        if signature[at] in "({":
            open_, depth = at, 1
            while depth:
                at += 1
                depth += {"(": 1, "{": 1, ")": -1, "}": -1}.get(signature[at], 0)
            assert at > open_
        at += 1
        found.append(signature[begin:at])
    return found


def pace() -> float:
    """Returns how long this machine takes for something, in seconds of processor time."""

    def once() -> float:
        began = time.process_time()
        sum(number * number for number in range(1_000_000))
        return time.process_time() - began

    return min(once() for _ in range(3))


class Other(threading.Thread):
    """Somebody else, who asks agentd the same again and again, and notes how long its loop was at work before it
    answered: its own processor time, which a busy machine does not change."""

    def __init__(self, agentd: Agentd) -> None:
        super().__init__(daemon=True)
        assert agentd.process is not None
        self._loop = Path(f"/proc/{agentd.process.pid}/task/{agentd.process.pid}/schedstat")
        self._address = agentd.address
        self._over = threading.Event()
        self.worked: list[float] = []
        self.waited: list[float] = []
        self.refused = 0
        self.failure = ""

    def run(self) -> None:
        try:
            with open_dbus_connection(bus=self._address) as bus:
                to = DBusAddress(OBJECT, NAME, f"{NAME}.Jobs")
                while not self._over.is_set():
                    work, asked = self._work(), time.monotonic()
                    reply = bus.send_and_get_reply(new_method_call(to, "GetJob", "s", ("tick",)), timeout=20)
                    self.waited.append(time.monotonic() - asked)
                    self.worked.append(self._work() - work)
                    if reply.header.message_type is MessageType.error:
                        error = str(reply.header.fields[HeaderFields.error_name])
                        if error.endswith(".LimitsExceeded"):
                            # The fuzzer has all places of this user, with calls that have agentd read files. Nobody
                            # asks again at once who is told so.
                            self.refused += 1
                            time.sleep(0.1)
                        else:
                            self.failure = error
                    time.sleep(0.005)
        except (OSError, EOFError) as error:
            self.failure = f"nobody answered: {error!r}"

    def end(self) -> None:
        self._over.set()
        self.join(30)

    def _work(self) -> float:
        return int(self._loop.read_text().split()[0]) / 1e9


def resident(agentd: Agentd) -> int:
    assert agentd.process is not None
    return int(Path(f"/proc/{agentd.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def fuzzer(agentd: Agentd) -> Iterator[Fuzzer]:
    agentd.start(CONFIG)
    fuzzer = Fuzzer(agentd.address, SEED)
    yield fuzzer
    fuzzer.close()


def test_random_messages_neither_end_nor_stall_nor_grow_agentd(agentd: Agentd, fuzzer: Fuzzer) -> None:
    other, began, had = Other(agentd), time.monotonic(), 0
    other.start()
    while (past := time.monotonic() - began) < SECONDS and not other.failure:
        fuzzer.go()
        if not had and past > SECONDS / 3:
            had = resident(agentd)
    other.end()
    grew, seed = resident(agentd) - had, f"AGENTD_FUZZ_SEED={SEED} does it again"
    print(f"{fuzzer.sent} messages, {len(other.worked)} answers, {other.refused} refusals, "
          f"at most {max(other.worked):.3f} s of work and {max(other.waited):.3f} s before one, "
          f"{grew >> 10} KiB more; {seed}")  # fmt: skip
    assert agentd.process is not None
    assert agentd.process.poll() is None, seed
    assert other.failure == "", seed
    assert other.refused <= len(other.worked) / 20, seed
    told = agentd.log.read_text()
    assert "defect" not in told, f"{seed}: {told[-3000:]}"
    assert "Traceback" not in told, f"{seed}: {told[-3000:]}"
    assert max(other.worked) < STALL * max(1.0, pace() / PACE), seed
    assert grew < GROWTH, seed
    assert len(other.worked) > 20
    assert fuzzer.sent > 100
    before = len(agentd.runs(job=("s", "once")))
    agentd.call("Jobs.Reset", "s", "once")
    agentd.until(lambda: agentd.job("once")["state"] != "running", "what runs to end")
    agentd.call("Jobs.RunJob", "sa{sv}", "once", {})
    agentd.until(lambda: len(agentd.runs(job=("s", "once"))) > before, "a run")


def test_the_values_of_the_fuzzer_are_those_of_their_types() -> None:
    fuzzer = Fuzzer("", 7)
    for _ in range(300):
        signature = fuzzer._type(0)
        assert split(signature) == [signature]
        body = new_method_call(DBusAddress(OBJECT, NAME, "a.b"), "M", signature, fuzzer._values(signature))
        assert struct.unpack_from("<I", body.serialise(serial=1), 4)[0] >= 0
