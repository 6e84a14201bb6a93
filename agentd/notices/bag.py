"""The files between agentd and a courier: the messages that go out, and the lines about what became of them."""

from typing import Literal

from msgspec import Struct

from agentd.core.events import Priority
from agentd.core.notices.model import Sort


class Letter(Struct, frozen=True):
    """A message as agentd hands it out; one with a `ping` is a ping of the run `run`."""

    id: int
    title: str = ""
    body: str = ""
    priority: Priority = "normal"
    sort: Sort = "news"
    ping: str | int | None = None
    run: str = ""


class Bag(Struct, frozen=True):
    """The messages for one credential, in their order."""

    version: Literal[1]
    channel: str = ""
    messages: list[Letter] = []


class Told(Struct, frozen=True, omit_defaults=True):
    """A line of what became of a message; `after` is in seconds."""

    id: int
    became: Literal["sent", "again", "refused"]
    why: str = ""
    after: float | None = None
