"""Events: what happened in any part that people may want to be told. A part declares its own in its `events.py`."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from msgspec import Struct

from agentd.core.part import Effect

Priority = Literal["low", "normal", "high"]
RANK: Mapping[Priority, int] = {"low": 0, "normal": 1, "high": 2}


class Event(Struct, frozen=True, kw_only=True):
    """Something that happened at the instant `at` (microseconds since 1970), and its words: a line and a text.

    `name` is one of the names of Kind, `about` the job, rule or reboot, "" for agentd. With `trouble` the event begins
    or repeats a state of that name, or ends it where the event is `over`; without, the event is news. `error` tells
    what is wrong in words that stay the same while the same thing is wrong: an exit code, no time and no number of
    attempts. The last lines of the output of `run_id` belong under the text.
    """

    at: int
    part: str
    name: str
    about: str = ""
    title: str
    text: str = ""
    priority: Priority = "normal"
    trouble: str = ""
    error: str = ""
    over: bool = False
    otherwise: str = ""
    """Of an event that is over: the name of the news that the event is where nobody is told of the end; "": none. The
    success of a job is "recovered", otherwise "success". An event that is over without any name ends a trouble of which
    nobody is told the end: a person did it on purpose."""
    asked: tuple[str, ...] | None = None
    """The names of the events that the job or whatever it is about wants told; None: it says nothing of it."""
    run_id: str = ""


class Kind(Struct, frozen=True):
    """A kind of events: the name by which routes choose it, what it is, and whether it is told where nobody says."""

    name: str
    help: str
    told: bool = False


Hears = Mapping[type[Effect], Callable[[Any, int], Event | None]]
"""The makers of events by the types of a part's effects, at an instant; None: this effect is no event."""

PART = "agentd"
KINDS = (
    Kind("configuration-refused", "the configuration has errors, and the one before stays in force", told=True),
    Kind("store-trouble", "nothing can be stored, so nothing starts", told=True),
    Kind("part-shut-off", "a part of agentd was shut off because of a defect", told=True),
    Kind("message", "a job or a person says something: agentctl tell", told=True),
)
"""The events of agentd itself."""


def configuration(errors: str, now: int) -> Event:
    """Returns the event that the configuration was refused with these errors; with "" that one was taken."""
    first, _, rest = errors.partition("\n")
    return Event(
        at=now,
        part=PART,
        name="configuration-refused",
        title="the configuration has errors: the one before stays in force" if errors else "the configuration is taken",
        text=errors,
        trouble="configuration",
        error=first and f"{first}{' and more' if rest else ''}",
        over=not errors,
    )


def store(trouble: str, now: int) -> Event:
    """Returns the event that nothing can be stored, and why as a sentence; with "" that everything can be again."""
    return Event(
        at=now,
        part=PART,
        name="store-trouble",
        title=trouble or "the state can be stored again",
        priority="high",
        trouble="store",
        error=trouble,
        over=not trouble,
    )


def shut_off(part: str, now: int) -> Event:
    """Returns the event that a part was shut off: news, for a part comes back with the next start alone."""
    title = f"the part {part} of agentd is shut off because of a defect"
    text = "The log names the defect: journalctl -u agentd. A restart of agentd starts the part again."
    return Event(at=now, part=PART, name="part-shut-off", about=part, title=title, text=text, priority="high")
