"""The engine of a llama.cpp server, by what its slots do and how probes end. Instants and spans are microseconds of
the monotonic clock."""

from collections import deque
from typing import Any

from msgspec import Struct

from agentd.core.quantities import HOUR, MINUTE, SECOND

WINDOW = 15 * MINUTE
"""The span that response time, failure rate and speed are about."""
FEWEST = 5  # probes in that span, without which it tells nothing
_MOST = 4096  # probes that are remembered
TIMES = 3  # looks that must agree before a server counts as wedged
_STILL = MINUTE  # for so long a slot that processes must have stood still
_PACE = 10  # tokens of a prompt that a slow processor reads in a second
_BATCH = 2048  # tokens that llama.cpp reads before it says how far it got
_PROMPT = HOUR  # for reading a prompt, at most
_LARGEST = 1e15  # a larger number is not believed


class Slot(Struct):
    """A slot as /slots has it; newer servers have a list of one where older ones have an object."""

    is_processing: bool
    id_task: Any = None
    n_prompt_tokens: Any = None
    n_prompt_tokens_processed: Any = None
    next_token: Any = None

    @property
    def decoded(self) -> float | None:
        """The tokens that were made, None where the server does not tell."""
        token = self.next_token[0] if isinstance(self.next_token, list) and self.next_token else self.next_token
        return as_number(token.get("n_decoded")) if isinstance(token, dict) else None

    @property
    def mark(self) -> tuple[float | None, ...]:
        """The numbers of which one changes while the slot makes progress."""
        numbers = (self.id_task, self.n_prompt_tokens, self.n_prompt_tokens_processed)
        return (self.decoded, *(as_number(number) for number in numbers))

    @property
    def patience(self) -> int:
        """The time beyond _STILL in which the slot may stand still because it reads its prompt."""
        if self.decoded:
            return 0
        return min(_PROMPT, int(max(as_number(self.n_prompt_tokens) or 0, _BATCH) * SECOND) // _PACE)


class Still(Struct):
    """A slot that processes: since when and for how many looks it has had that mark."""

    mark: tuple[float | None, ...]
    since: int
    looks: int
    patience: int


class Progress:
    """The slots that process, and how long each has stood still."""

    def __init__(self) -> None:
        self._slots: dict[int, Still] = {}
        self._decodes: float | None = None

    @property
    def processing(self) -> int:
        """The number of slots that process."""
        return len(self._slots)

    @property
    def patience(self) -> int:
        """The longest time that a slot may need for its prompt."""
        return max((slot.patience for slot in self._slots.values()), default=0)

    def decodes(self, count: float | None, now: int) -> None:
        """Takes how often the engine has decoded in all; None: unknown."""
        if None not in (count, self._decodes) and count != self._decodes:
            self.moved(now)
        self._decodes = count

    def moved(self, now: int) -> None:
        """Notes that the engine did something, for whichever slot."""
        for slot in self._slots.values():
            slot.since, slot.looks = now, 0

    def look(self, slots: list[Slot], now: int) -> tuple[int, int] | None:
        """Takes the slots; returns the number of one that is stuck, and for how long it has stood still, if one is."""
        seen = {}
        for number, slot in enumerate(slots):
            if slot.is_processing:
                old = self._slots.get(number)
                if old is None or old.mark != slot.mark:
                    old = Still(slot.mark, now, 0, slot.patience)
                seen[number] = Still(slot.mark, old.since, old.looks + 1, slot.patience)
        self._slots = seen
        for number, still in seen.items():
            if still.looks >= TIMES and now - still.since >= _STILL + still.patience:
                return number, now - still.since
        return None


class Probes:
    """The probes of the last WINDOW: their instants, and how long they took (None: failed)."""

    def __init__(self) -> None:
        self._probes: deque[tuple[int, int | None]] = deque(maxlen=_MOST)

    def add(self, now: int, took: int | None) -> None:
        """Takes a probe that ended now."""
        self._probes.append((now, took))

    def response(self, now: int) -> float | None:
        """Returns the average of those that were answered, in seconds; None where they are too few."""
        times = [took for took in self._recent(now) if took is not None]
        return sum(times) / len(times) / SECOND if len(times) >= FEWEST else None

    def failed(self, now: int) -> float | None:
        """Returns the percentage that failed; None where the probes are too few."""
        recent = self._recent(now)
        return 100 * sum(took is None for took in recent) / len(recent) if len(recent) >= FEWEST else None

    def _recent(self, now: int) -> list[int | None]:
        while self._probes and self._probes[0][0] <= now - WINDOW:
            self._probes.popleft()
        return [took for _, took in self._probes]


class Speed:
    """The tokens that were made in the last WINDOW and the seconds that took.

    A probe's one token takes no time as llama.cpp counts, and is left out.
    """

    def __init__(self) -> None:
        self._deltas: deque[tuple[int, float, float]] = deque(maxlen=_MOST)
        self._before: tuple[float, float] | None = None
        self._probes = (0.0, 0.0)  # what the probes since then add to both counters

    def probed(self, tokens: float, seconds: float) -> None:
        """Takes what a probe added to the counters."""
        self._probes = (self._probes[0] + tokens, self._probes[1] + seconds)

    def count(self, tokens: float | None, seconds: float | None, now: int) -> None:
        """Takes the server's two counters. One that fell is that of another process, and what lies between unknown."""
        before, probes, self._probes = self._before, self._probes, (0.0, 0.0)
        self._before = None if tokens is None or seconds is None else (tokens, seconds)
        if self._before is None or before is None:
            return
        made, spent = (new - old - own for new, old, own in zip(self._before, before, probes, strict=True))
        if made > 0 and spent > 0:
            self._deltas.append((now, made, spent))

    def value(self, now: int) -> float | None:
        """Returns tokens per second; None where nothing was made."""
        while self._deltas and self._deltas[0][0] <= now - WINDOW:
            self._deltas.popleft()
        spent = sum(seconds for _, _, seconds in self._deltas)
        return sum(tokens for _, tokens, _ in self._deltas) / spent if spent > 0 else None


def as_number(value: object) -> float | None:
    """Returns a number from 0 on that can be believed, or a text's, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if 0 <= number <= _LARGEST else None
