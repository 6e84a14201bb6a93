"""The methods of org.agentd1.Notices that agentctl calls."""

from agentctl.client import Call, Client

NOTICES = "org.agentd1.Notices"

_FILTER = {"channel": "s", "state": "s", "before": "u", "limit": "u"}
_TELL = {"title": "s", "priority": "s", "to": "s"}

LIST_NOTICES = Call(NOTICES, "ListNotices", "a{sv}", free=True, options=_FILTER)
GET_NOTICE = Call(NOTICES, "GetNotice", "u", free=True)
LIST_CHANNELS = Call(NOTICES, "ListChannels", free=True)
LIST_PINGS = Call(NOTICES, "ListPings", free=True)
TELL = Call(NOTICES, "Tell", "ssa{sv}", options=_TELL)
DROP = Call(NOTICES, "Drop", "au")


def channel_names(client: Client) -> list[str]:
    """Returns the names of the channels. Raises Failure."""
    (found,) = client.call(LIST_CHANNELS)
    return [one["name"] for one in found]
