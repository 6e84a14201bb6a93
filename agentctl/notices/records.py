"""The records of messages and channels: as JSON, as rows of a table and as text. `now` is always an argument, in
microseconds."""

from agentctl.client import Record
from agentctl.show import picked
from agentctl.times import clock, relative

HEADER = ("ID", "MADE", "CHANNEL", "STATE", "TITLE", "WHY")
CHANNELS_HEADER = ("CHANNEL", "CREDENTIAL", "WAITING", "LAST SENT", "NEXT ATTEMPT", "TROUBLE")
_KEYS = ("id", "channel", "state", "made", "ended", "event", "about", "run_id", "title", "priority", "sort", "count")
_LATER = ("attempts", "again_at", "why")
_CHANNEL = ("kind", "name", "credential", "default", "waiting", "lost", "sent", "next", "trouble")
_INSTANTS = ("made", "ended", "again_at")


def notice_json(notice: Record, *, text: bool = False) -> Record:
    """Returns a message, with its text where that was asked for."""
    return picked(notice, *_KEYS, *_LATER, *(("text",) if text else ()), instants=_INSTANTS)


def channel_json(channel: Record) -> Record:
    """Returns a channel, or a check that is pinged, with what becomes of what is sent there."""
    return picked({"kind": "channel", **channel}, *_CHANNEL, instants=("sent", "next"))


def called(channel: Record) -> str:
    """Returns how a channel is called, or a check that is pinged: its name may be that of a channel."""
    kind = channel.get("kind", "")
    return f"{kind} of {channel.get('name')}" if kind else str(channel.get("name"))


def notice_row(notice: Record, now: int) -> tuple[str, ...]:
    """Returns a row under HEADER."""
    return (
        str(notice.get("id")),
        relative(notice["made"], now) if notice.get("made") else "-",
        str(notice.get("channel", "-")),
        str(notice.get("state", "-")),
        str(notice.get("title", "-")),
        str(notice.get("why") or "-"),
    )


def channel_row(channel: Record, now: int) -> tuple[str, ...]:
    """Returns a row under CHANNELS_HEADER."""
    sent, coming = channel.get("sent", 0), channel.get("next", 0)
    return (
        f"{called(channel)}{' (default)' if channel.get('default') else ''}",
        str(channel.get("credential", "-")),
        str(channel.get("waiting", 0)),
        relative(sent, now) if sent else "-",
        relative(coming, now) if coming else "-",
        str(channel.get("trouble") or "-"),
    )


def notice_facts(notice: Record, now: int) -> list[tuple[str, str]]:
    """Returns the labelled lines about a message."""
    made, ended, again = (notice.get(key, 0) for key in ("made", "ended", "again_at"))
    known = [
        ("channel", str(notice.get("channel", ""))),
        ("state", str(notice.get("state", ""))),
        ("made", f"{clock(made, now, seconds=True)} ({relative(made, now)})" if made else ""),
        (str(notice.get("state")), f"{clock(ended, now, seconds=True)} ({relative(ended, now)})" if ended else ""),
        ("next", f"{clock(again, now, seconds=True)} ({relative(again, now)})" if again else ""),
        ("attempts", str(notice.get("attempts") or "")),
        ("event", f"{notice.get('event', '')} of {notice['about']}" if notice.get("about") else ""),
        ("run", str(notice.get("run_id") or "")),
        ("priority", str(notice.get("priority", ""))),
        ("why", str(notice.get("why") or "")),
    ]
    return [(label, text) for label, text in known if text]
