"""Couriers: what is handed to them, and what comes back. A courier is a process of its own, for it alone has the secret
address of a channel, and the network."""

import asyncio
import fcntl
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import msgspec

from agentd.core.notices.model import Outcome
from agentd.core.quantities import SECOND
from agentd.notices.bag import Bag, Letter, Told
from agentd.tasks import Threads

MOST_SECONDS = 900.0
"""The longest that a courier may take; its unit has less."""
_LONGEST_WORD = 64 << 10  # bytes of the file with what became of the messages
_LONGEST_PAUSE = 86_400.0  # seconds
_NONE = 0  # the id of no message

Start = Callable[[str, Path], Awaitable[str]]
"""Runs a courier for a credential, with the folder where the files are; returns why that failed, as a sentence, or "".
Raises OSError."""


class Couriers:
    """The files of couriers in a folder: CREDENTIAL.json goes out, CREDENTIAL.told comes back. What a courier told when
    agentd was killed is read before its messages are handed out again."""

    def __init__(self, folder: Path, threads: Threads, start: Start) -> None:
        self._folder, self._threads, self._start = folder, threads, start
        self._busy: dict[str, asyncio.Lock] = {}  # channels may share a credential
        self._earlier: dict[str, dict[int, Outcome]] = {}
        """By credential what was told to an agentd that was killed, of messages that were not handed out since."""

    async def deliver(
        self,
        credential: str,
        channel: str,
        letters: Sequence[Letter],
        told: Callable[[int, Outcome], object],
    ) -> str:
        """Has letters delivered, in this order; `told` hears what became of each by its id.

        Returns why the courier did not do its work, as a sentence, or "". Raises OSError where a file cannot be had.
        """
        async with self._busy.setdefault(credential, asyncio.Lock()):
            known = self._earlier.setdefault(credential, {})
            known |= await self._threads.do(partial(self._taken, credential))
            earlier = {letter.id: known.pop(letter.id) for letter in letters if letter.id in known}
            for identity, outcome in earlier.items():
                told(identity, outcome)
            rest = [letter for letter in letters if letter.id not in earlier]
            if not rest or any(outcome.became == "again" for outcome in earlier.values()):
                return ""  # what comes after a message that goes again waits for it
            failed, later = await self._sent(credential, Bag(1, channel, rest))
        for identity, outcome in later.items():
            told(identity, outcome)
        if failed or any(letter.id in later for letter in rest):
            return failed
        return "the courier said nothing"

    async def try_out(self, credential: str, ping: bool = False) -> str:
        """Has a courier look whether it could use a credential, for a ping or for messages, without sending anything;
        returns why not, as a sentence, or "". Waits for the courier that is at work with it.

        Raises OSError where a file cannot be had.
        """
        async with self._busy.setdefault(credential, asyncio.Lock()):
            known = self._earlier.setdefault(credential, {})
            known |= await self._threads.do(partial(self._taken, credential))
            letter = Letter(_NONE, ping="success" if ping else None, dry=True)
            failed, found = await self._sent(credential, Bag(1, "", [letter]))
        if (outcome := found.pop(_NONE, None)) is None:
            return failed or "the courier said nothing"
        return outcome.why

    async def _sent(self, credential: str, bag: Bag) -> tuple[str, dict[int, Outcome]]:
        """Sends a courier; returns why that failed, or "", and what it told. Raises OSError."""
        await self._threads.do(partial(self._put, credential, msgspec.json.encode(bag)))
        failed = await self._start(credential, self._folder)
        return failed, await self._threads.do(partial(self._taken, credential))

    def _put(self, credential: str, text: bytes) -> None:
        """Writes what the courier gets; nobody but agentd and the courier may read it."""
        part = self._folder / f".{credential}.part"
        part.unlink(missing_ok=True)
        with open(part, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            os.fchmod(file.fileno(), 0o640)  # the folder's group is the courier's, and agentd's umask leaves it nothing
            file.write(text)
        part.replace(self._folder / f"{credential}.json")

    def _taken(self, credential: str) -> dict[int, Outcome]:
        """Takes what a courier told away, once it has ended."""
        told = self._folder / f"{credential}.told"
        with suppress(FileNotFoundError), _alone(told) as text:
            found = dict(_words(text))
            (self._folder / f"{credential}.json").unlink(missing_ok=True)
            told.unlink()
            return found
        return {}


@contextmanager
def _alone(told: Path) -> Iterator[bytes]:
    """Waits until no courier writes the file, and gives what stands there. Raises OSError."""
    with open(told, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK)) as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # a courier holds it for itself as long as it lives
        yield file.read(_LONGEST_WORD)


def _words(text: bytes) -> Iterator[tuple[int, Outcome]]:
    """Yields what became of messages; a line that is cut off, or says something else, tells nothing."""
    for line in text.splitlines():
        with suppress(msgspec.MsgspecError, ValueError, RecursionError):
            word = msgspec.json.decode(line, type=Told)
            after = round(min(max(word.after or 0.0, 0.0), _LONGEST_PAUSE) * SECOND)
            yield word.id, Outcome(word.became, word.why[:500], after, word.mend)
