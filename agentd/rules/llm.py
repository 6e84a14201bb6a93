"""The llama.cpp server of the machine, asked as the core of its health wants."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentd.core.quantities import SECOND
from agentd.core.rules import llm as core
from agentd.core.rules.kpis import Llm, Missing
from agentd.core.rules.settings import LlmServer
from agentd.peers import llama

if TYPE_CHECKING:  # nothing of these is loaded where no LLM is configured: see agentd.light
    from agentd.core.rules.llm import LlmHealth
    from agentd.peers.llama import Llama

_KEY = "agentd.llm-key"
_NONE = "no LLM is configured (llm)"


class LlmWatch:
    """Asks a server, on another thread, for as long as one is configured and somebody wants to know."""

    def __init__(self, clock: Callable[[], int], do: Callable[[Any], asyncio.Task[Any]]) -> None:
        self._clock, self._do = clock, do
        self._server: LlmServer | None = None
        self._health: LlmHealth | None = None
        self._peer: Llama | None = None
        self._unusable = ""
        self._needed = True
        self._asking: asyncio.Task[Any] | None = None

    def configure(self, server: LlmServer | None, *, needed: bool = True) -> None:
        """Asks that server from the next look() on, as long as its answers are `needed`; None: there is none."""
        if server != self._server or not needed:
            self.close()
            self._unusable = ""
        self._server, self._needed = server, needed

    async def look(self, _: str) -> Llm:
        """Returns how the server does; begins to ask it. Raises Missing."""
        if self._server is None:
            raise Missing(_NONE)
        if not self._needed:  # a look that was wanted before a reload
            raise Missing("no rule needs it any more")
        if self._unusable:
            raise Missing(self._unusable)
        if self._health is None:
            self._begin(self._server)
        seen = None if self._health is None else self._health.facts(self._clock())
        if seen is None:
            raise Missing(self._unusable or "the LLM was not asked yet")
        return seen

    async def state(self) -> tuple[str, str]:
        """Returns the server's state, "" where it does not answer yet, and the reason for it as a sentence. A server
        that nobody asks is asked now: one round, without a probe. Raises Missing where none is configured."""
        try:
            health = await self._known()
        except ValueError as error:
            return "misconfigured", str(error)
        return health.state, health.reason

    async def glance(self, _: str) -> Llm:
        """Returns how the server does, as state() does. Raises Missing."""
        try:
            health = await self._known()
        except ValueError as error:
            raise Missing(str(error)) from error
        seen = health.facts(self._clock())
        if seen is None:
            raise Missing(health.reason)
        return seen

    def close(self) -> None:
        """Asks no more."""
        if self._asking is not None:
            self._asking.cancel()
        if self._peer is not None:
            self._peer.close()
        self._asking = self._peer = self._health = None

    def _begin(self, server: LlmServer) -> None:
        try:
            self._peer = llama.Llama(server.url, _key())
        except ValueError as error:
            self._unusable = str(error)
            return
        self._health = core.LlmHealth(server.url, server.every)
        self._asking = self._do(self._ask(self._peer, self._health))

    async def _known(self) -> "LlmHealth":
        """Returns the server's health. Raises Missing where no server is configured; ValueError."""
        if self._server is None:
            raise Missing(_NONE)
        if self._health is not None and self._health.state:
            return self._health
        return await self._ask_once(self._server)

    async def _ask_once(self, server: LlmServer) -> "LlmHealth":
        """Asks the questions of one round. Raises ValueError."""
        peer, health = llama.Llama(server.url, _key()), core.LlmHealth(server.url, server.every)
        question = health.begin(self._clock())
        try:
            while isinstance(question, core.Ask) and question.at <= self._clock():
                result, took = await asyncio.to_thread(peer.ask, question)
                question = health.observed(result, took, self._clock())
        finally:
            peer.close()
        return health

    async def _ask(self, peer: "Llama", health: "LlmHealth") -> None:
        question = health.begin(self._clock())
        while True:
            await asyncio.sleep(max(0, question.at - self._clock()) / SECOND)
            result, took = await asyncio.to_thread(peer.ask, question)
            question = health.observed(result, took, self._clock())


def _key() -> bytes:
    """Returns the key of the server, a credential of the unit; empty where there is none."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    try:
        return (Path(folder) / _KEY).read_bytes() if folder else b""
    except OSError:
        return b""
