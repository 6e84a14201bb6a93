"""The types of notices beside their settings: messages, troubles, and the effects. Instants are in microseconds since
1970, and 0 until they are known."""

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from agentd.core.events import Priority
from agentd.core.part import Effect, Stored, Urgent

PART = "notices"
Sort = Literal["news", "trouble", "over"]
State = Literal["waiting", "sent", "failed", "dropped"]
Says = Literal["start", "success", "fail", "log"] | int


class Message(Struct, frozen=True, kw_only=True):
    """A message to one channel: of one event, or a digest of `count` events.

    `made` is when its first event came, `latest` when the last did. `lines` are the titles of the first events of a
    digest; a message that went into one has a `count` of 0. The message is not handed out again before `again_at`,
    where `attempts` failed; `mend`: the last of them of what a person has to mend. `lost` counts the events before this
    message that nobody was told: the message tells that. One that `failed` was refused for good.
    """

    id: int
    channel: str
    made: int
    latest: int = 0
    title: str
    text: str = ""
    lines: tuple[str, ...] = ()
    priority: Priority = "normal"
    sort: Sort = "news"
    run_id: str = ""
    event: str = ""
    about: str = ""
    count: int = 1
    lost: int = 0
    attempts: int = 0
    again_at: int = 0
    mend: bool = False
    state: State = "waiting"
    ended: int = 0
    why: str = ""

    @property
    def body(self) -> str:
        """The text as people get it, but for the output of a run: with what was lost before."""
        if not self.lost:
            return self.text
        told = f"{self.lost} earlier {'event was' if self.lost == 1 else 'events were'} told nobody: not delivered"
        return f"{self.text}\n\n{told}".strip()


class Draft(Struct, frozen=True, kw_only=True):
    """A message before it is known when it goes. One that a person sends to try a channel goes
    `at_once`, and alone."""

    channels: tuple[str, ...]
    title: str
    text: str
    priority: Priority
    sort: Sort
    event: str
    about: str
    run_id: str = ""
    at_once: bool = False


class Trouble(Struct, frozen=True, kw_only=True):
    """A state that people are told about: when it began, ends, and what was told of it meanwhile.

    `count` is how often it came since then, `title` and `error` are those of the last time; `errors` were told since
    the last reminder. `channels` were told that it began. `over`: the instant of its end, of which nobody was told yet
    because it comes and goes: that is told at `over_at`. `ended`: when the end was told; the trouble is remembered for
    a while, for the number of its `spells`.
    """

    key: str
    part: str
    name: str
    about: str = ""
    title: str
    error: str = ""
    errors: tuple[str, ...] = ()
    priority: Priority = "normal"
    channels: tuple[str, ...] = ()
    run_id: str = ""
    since: int
    last: int
    told: int
    count: int = 1
    spells: int = 1
    over: int = 0
    over_at: int = 0
    over_title: str = ""
    over_name: str = ""
    ended: int = 0


class Outcome(Struct, frozen=True):
    """The fate of a message that was handed to a courier: sent, refused for good, or to be tried again, `after` so many
    microseconds at least. `why` is a sentence. `mend`: nothing gets through before a person mends something."""

    became: Literal["sent", "again", "refused"]
    why: str = ""
    after: int = 0
    mend: bool = False


class Ping(Struct, frozen=True, kw_only=True):
    """A word to a check outside about a run: `says` that it starts, and then that it is a success, that it is a failure
    (an exit status, where there was one), or what changes nothing for the check (log).

    The number of a ping follows from that of its run, which is never used again: whatever is heard twice is one ping.
    """

    id: int
    credential: str
    job: str
    run_id: str
    says: Says
    text: str = ""
    made: int

    @property
    def ends(self) -> bool:
        """Whether the ping tells the end of its run."""
        return self.says != "start"


class Check(Struct, frozen=True, kw_only=True):
    """The state of a check outside: when a ping got through last, and how many attempts `failed` since then, the last
    one for the reason `why`; `mend`: a person has to mend that. Nothing is tried before `again_at`. `beat`: when
    agentd's heartbeat was due last."""

    credential: str
    sent: int = 0
    failed: int = 0
    again_at: int = 0
    why: str = ""
    mend: bool = False
    beat: int = 0


class Pinged(Struct, frozen=True):
    """A check outside, who pings it (a job, or agentd with its heartbeat), and how many of these pings wait."""

    kind: Literal["ping", "heartbeat"]
    name: str
    check: Check
    waiting: int = 0


class Saved(Struct, frozen=True, kw_only=True):
    """The past that the core takes up at its start. `messages` are all that wait, those that ended within the last
    hour, and of each channel the one that ended last; in any order."""

    messages: tuple[Message, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    next_id: int = 1
    pings: tuple[Ping, ...] = ()
    checks: tuple[Check, ...] = ()


# Effects


class MessageSaved(Stored, frozen=True):
    """A message as it is now."""

    message: Message


class TroubleSaved(Stored, frozen=True):
    """A trouble as it is now."""

    trouble: Trouble


class TroubleForgotten(Stored, frozen=True):
    """A trouble that is not to be remembered any longer."""

    key: str


class PingSaved(Stored, frozen=True):
    """A ping waits."""

    ping: Ping


class PingForgotten(Stored, frozen=True):
    """A ping was sent, or is not to be sent any more."""

    id: int


class CheckSaved(Stored, frozen=True):
    """A check as it is now."""

    check: Check


class CheckForgotten(Stored, frozen=True):
    """Nothing pings that check any more."""

    credential: str


class PingsWanted(Urgent, frozen=True):
    """Pings are to be sent in this order: answered with Pings.delivered() for each, and always with
    Pings.courier_ended(). A run ends on a full disk too, and its check is told."""

    credential: str
    pings: tuple[Ping, ...]

    @property
    def subject(self) -> str:
        """The check."""
        return f"the check {self.credential}"


class BeatWanted(Effect, frozen=True):
    """The heartbeat is to be sent, unless Beats.begin() says otherwise: answered with Beats.ended(). Not Urgent: the
    beat tells that its CheckSaved, which is of the same batch, could be stored."""

    credential: str
    at: int


class CourierWanted(Urgent, frozen=True):
    """Messages are to be delivered in this order: answered with Notices.delivered() for each, as its result comes, and
    always with Notices.courier_ended(). That nothing can be stored is a message as well: couriers go all the same."""

    channel: str
    credential: str
    messages: tuple[Message, ...]

    @property
    def subject(self) -> str:
        """The channel."""
        return f"the channel {self.channel}"


class NoticeChanged(Effect, frozen=True):
    """Listeners are to be told that a message has another state."""

    message: Message


def shifted(message: Message, delta: int) -> Message:
    """Returns a message after the wall clock was set by `delta`: what counts is the time that went by."""
    return replace(
        message,
        made=message.made + delta,
        latest=message.latest and message.latest + delta,
        again_at=message.again_at and message.again_at + delta,
        ended=message.ended and message.ended + delta,
    )
