"""The deciding half of a part: the effects that come out of it, and what it is asked. Time is always an argument."""

from collections.abc import Sequence
from typing import ClassVar

from msgspec import Struct

AHEAD = 1_000_000
"""Microseconds by which at most something is dealt with before it is due."""


class Refused(Exception):
    """A request that cannot be carried out. `name` is the last part of the D-Bus error name; the text is a sentence."""

    def __init__(self, name: str, sentence: str) -> None:
        super().__init__(sentence)
        self.name = name


class Effect(Struct, frozen=True):
    """Something that a core wants done. Effects are carried out in order, after those of their batch that are Stored
    are on the disk."""

    heard: ClassVar[bool] = True
    """Whether the cores hear of it. A look of each second and what it measured are news to none, and not told: that
    saves two rounds through all cores, some 40 of the 539 calls of a look in the bench. Where such alone come of
    a tick, no other core is asked what it wants: whoever has another core want something says so in an effect that is
    heard."""


class Stored(Effect, frozen=True):
    """An effect that is on the disk before any other effect of its batch is carried out."""


class Sampled(Effect, frozen=True):
    """A measured value that is kept for people: stored within a minute, together with others, and not awaited. A power
    cut may lose a minute of them, while the disk is full they are dropped, and no core hears them."""

    heard: ClassVar[bool] = False


class Urgent(Effect, frozen=True):
    """An effect that is carried out even while nothing can be stored: something stops, is withdrawn or is put back.

    The exception is an effect whose `subject` is that of a Beginning which itself waits for the disk.
    """

    @property
    def subject(self) -> str:
        """The run, the reboot or the scheduler that the effect is about."""
        raise NotImplementedError


class Beginning(Effect, frozen=True):
    """An effect that begins something which an Urgent one may end: the end never overtakes the beginning."""

    @property
    def subject(self) -> str:
        """The run, the reboot or the scheduler that the effect is about."""
        raise NotImplementedError


class Decided(Stored, frozen=True):
    """A decision of a part with its reason, as one sentence.

    `kind` is a word of the part's (jobs: start, skip, queue, retry, stop, interval, enable, reset, clock, late,
    too-long, too-short), `about` the job, rule or scheduler that the decision is about or "", `run_id` the run where
    the decision is about one: then `about` is its job. `by` is the user who wanted it, where a person did and is known:
    the reason says so as well, and is what is stored.
    """

    at: int
    part: str
    kind: str
    about: str
    reason: str
    run_id: str = ""
    by: str = ""


def by_whom(user: str) -> str:
    """Returns the end of a sentence about what a person wanted: " (by alice)", or "" where it is not known who."""
    return f" (by {user})" if user else ""


class Core:
    """The deciding half of a part: derive from this class and write the methods that are needed. Every method returns
    at once; the effects of a call come out of effects()."""

    def tick(self, now: int) -> None:
        """Deals with everything that is due at `now` (microseconds since 1970, as everywhere)."""

    def wakeup(self) -> int | None:
        """Returns when tick() is next wanted; None: not before something else happens. No tick comes before."""
        return None

    def effects(self) -> list[Effect]:
        """Returns what is wanted since the last call, in order."""
        return []

    def heard(self, effects: Sequence[Effect], now: int) -> None:
        """Takes note of what all parts want done, this one included, but for effects that are not to be heard."""

    def clock_stepped(self, delta: int, now: int) -> None:
        """Takes note that the wall clock was set by `delta` and shows `now`."""

    def storable(self, trouble: str, now: int) -> None:
        """Takes note that nothing can be stored, and why, as a sentence; or with "" that everything can be again.

        What is wanted meanwhile is kept, and carried out after the call with "". The same trouble may be told often.
        """

    def configuration_read(self, errors: str, now: int) -> None:
        """Takes note that the configuration was read, and why it was refused, an error a line; "": it was taken."""

    def gone(self, part: str, now: int) -> None:
        """Takes note that another part was shut off because of a defect, and lets go what it holds."""

    def drain(self) -> None:
        """Begins nothing new from here on: agentd stops."""

    def save_all(self) -> None:
        """Wants everything stored once more: the store that had it is gone."""
