"""The daemon, the bus and logind as the shell of reboots meets them: they note what is asked, and answer at once."""

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agentd.bus.connection import CallFailed
from agentd.bus.server import Caller
from agentd.core.reboots.model import PART, Blocker, Session
from agentd.linux import now

GONE = CallFailed("org.freedesktop.DBus.Error.ServiceUnknown", "no such name")


class Bus:
    """Answers each property with the value, or the error, that it was given for it; every caller is process 7 of
    root."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: Counter[str] = Counter()

    async def get(self, _peer: Any, name: str, **_: Any) -> Any:
        return self._answer(name)

    async def call(self, _peer: Any, member: str, *_: Any, **_how: Any) -> Any:
        return (self._answer(member),)

    async def call_bus(self, member: str, _signature: str, sender: str) -> int:
        self.asked[f"{member} {sender}"] += 1
        return 7 if member == "GetConnectionUnixProcessID" else 0

    def _answer(self, name: str) -> Any:
        self.asked[name] += 1
        if isinstance(answer := self.answers.get(name), Exception):
            raise answer
        return answer


class Logind:
    """Answers after the loop went round; a question that has an error instead of an answer fails."""

    def __init__(self) -> None:
        self.held: list[Blocker] | CallFailed = []
        self.people: list[Session] | CallFailed = []
        self.can: str | CallFailed = "yes"
        self.coming: tuple[str, int] | CallFailed = ("", 0)
        self.user = "alice"
        self.asked: Counter[str] = Counter()

    async def inhibitors(self) -> Any:
        return await self._answer("inhibitors", self.held)

    async def sessions(self) -> Any:
        return await self._answer("sessions", self.people)

    async def can_reboot(self) -> Any:
        return await self._answer("can_reboot", self.can)

    async def scheduled(self) -> Any:
        return await self._answer("scheduled", self.coming)

    async def user_of(self, _pid: int) -> Any:
        return await self._answer("user_of", self.user)

    async def _answer(self, question: str, answer: Any) -> Any:
        self.asked[question] += 1
        await asyncio.sleep(0)
        if isinstance(answer, CallFailed):
            raise answer
        return answer


class Systemd:
    """Starts nothing: it is away."""

    async def start_unit(self, _unit: str) -> str:
        raise GONE


class Server:
    """Notes what is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def emit(self, *signal: Any) -> None:
        self.told.append(signal)

    def changed(self, *_names: str) -> None: ...


class Host:
    """A daemon that has stored everything at once. `at` is the instant, or the real one."""

    folder = Path("/nowhere")

    def __init__(self, at: int = 0) -> None:
        self.server = Server()
        self.at = at
        self.heard = 0
        self.asked: list[tuple[Callable[..., Any], dict[str, Any]]] = []
        self.defects: list[BaseException] = []

    def now(self) -> int:
        return self.at or now()

    def hear(self, part: str, deed: Callable[[], object]) -> None:
        assert part == PART
        deed()
        self.heard += 1

    def ready(self) -> None: ...
    async def settle(self) -> None: ...
    async def saved(self) -> None: ...

    async def ask(self, question: Callable[..., Any], /, **wanted: Any) -> Any:
        self.asked.append((question, wanted))
        return []

    async def take_up(self, _tables: Any) -> None: ...

    def defect(self, _where: str, error: BaseException) -> None:
        self.defects.append(error)


def caller(sender: str = ":1.7") -> Caller:
    return Caller(sender, "Examine", "none", (), interactive=False)
