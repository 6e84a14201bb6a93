"""The core of notices: events of all parts go in, messages for couriers come out."""

from collections.abc import Collection, Mapping
from zoneinfo import ZoneInfo

from msgspec import Struct

from agentd.core.events import Event
from agentd.core.jobs.settings import Job
from agentd.core.notices.model import Message, Outcome, Saved
from agentd.core.notices.settings import NoticeSettings
from agentd.core.part import Core


class Slice(Struct, frozen=True, kw_only=True):
    """The settings of the part: its section of the configuration, the jobs, and the time zone of the quiet hours."""

    notices: NoticeSettings
    jobs: Mapping[str, Job]
    zone: ZoneInfo


class Notices(Core):
    """Decides who is told what, and when. The shell carries CourierWanted out, and tells what became of it."""

    def __init__(self, settings: Slice, saved: Saved, now: int) -> None:
        raise NotImplementedError

    def configure(self, settings: Slice, now: int) -> list[str]:
        """Takes other settings; returns a sentence for each change."""
        raise NotImplementedError

    def tell(self, event: Event, now: int, to: Collection[str] = ()) -> list[int]:
        """Tells of an event by the manners, or as it is to the channels `to`; returns the ids of the messages.

        Raises Refused NoSuchChannel, NotConfigured.
        """
        raise NotImplementedError

    def delivered(self, message_id: int, outcome: Outcome, now: int) -> None:
        """Takes note of what became of a message that a courier had."""
        raise NotImplementedError

    def courier_ended(self, channel: str, why: str, now: int) -> None:
        """Takes note that a courier is no more; `why` is a sentence where it did not do its work."""
        raise NotImplementedError

    def drop(self, message_id: int, now: int) -> list[int]:
        """Drops a message that waits, or with 0 all of them; returns their ids. Raises Refused NoSuchMessage."""
        raise NotImplementedError

    def waiting(self) -> list[Message]:
        """Returns the messages that wait, in the order in which they came."""
        raise NotImplementedError

    def lost(self) -> Mapping[str, int]:
        """Returns by channel how many events nobody was told of, because they could not be delivered."""
        raise NotImplementedError
