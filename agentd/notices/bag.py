"""The files between agentd and a courier: the messages that go out, and the lines about what became of them."""

from typing import Literal

from msgspec import Struct

from agentd.core.events import Priority
from agentd.core.notices.model import Sort


class Letter(Struct, frozen=True):
    """A message as agentd hands it out; one with a `ping` is a ping of the run `run`. A `dry` one is not sent: the
    courier only looks whether it could be."""

    id: int
    title: str = ""
    body: str = ""
    priority: Priority = "normal"
    sort: Sort = "news"
    ping: str | int | None = None
    run: str = ""
    dry: bool = False


class Bag(Struct, frozen=True):
    """The messages for one credential, in their order."""

    version: Literal[1]
    channel: str = ""
    messages: list[Letter] = []


class Told(Struct, frozen=True, omit_defaults=True):
    """A line of what became of a message; `after` is in seconds. `mend`: a person has to mend something before."""

    id: int
    became: Literal["sent", "again", "refused"]
    why: str = ""
    after: float | None = None
    mend: bool = False
