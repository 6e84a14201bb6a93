"""The methods of org.agentd1.Scheduler that agentctl calls."""

from agentctl.client import Call, Client

SCHEDULER = "org.agentd1.Scheduler"

_PATIENCE = 180.0  # seconds: the old one has its time to stop, the new one to start, and the old one to come back
_VERIFIED = 600.0  # seconds: systemd bounds what compiles and what tries
_ENDING = {"keep": "b", "for": "t", "reason": "s"}
_WISH = {"mode": "s", **_ENDING}

GET_STATUS = Call(SCHEDULER, "GetStatus", free=True)
LIST_SCHEDULERS = Call(
    SCHEDULER,
    "ListSchedulers",
    "a{sv}",
    free=True,
    options={"name": "s", "ready": "b", "installed": "b", "for": "s"},
)
GET_SCHEDULER = Call(SCHEDULER, "GetScheduler", "s", free=True)
CHECK = Call(SCHEDULER, "Check", free=True, patience=_PATIENCE)
START = Call(SCHEDULER, "Start", "sa{sv}a{sv}", options=_WISH, patience=_PATIENCE)
SWITCH = Call(SCHEDULER, "Switch", "sa{sv}a{sv}", options=_WISH, patience=_PATIENCE)
STOP = Call(SCHEDULER, "Stop", "a{sv}", options=_ENDING, patience=_PATIENCE)
RESTART = Call(SCHEDULER, "Restart", patience=_PATIENCE)
RESTORE = Call(SCHEDULER, "Restore", patience=_PATIENCE)
RELEASE = Call(SCHEDULER, "Release", free=True)
KEEP = Call(SCHEDULER, "Keep")
CLEAR = Call(SCHEDULER, "Clear", "s")
LIST_TENURES = Call(SCHEDULER, "ListTenures", "a{sv}", free=True, options={"name": "s", "before": "t", "limit": "u"})
START_MONITOR = Call(
    SCHEDULER,
    "StartMonitor",
    "a{sv}",
    options={"interval": "t", "for": "t", "groups": "as", "keep": "b"},
)
STOP_MONITOR = Call(SCHEDULER, "StopMonitor")
GET_MONITOR = Call(SCHEDULER, "GetMonitor", free=True)
VERIFY = Call(
    SCHEDULER,
    "Verify",
    "saya{sv}",
    options={"summary": "s", "algorithm": "s", "use_cases": "as", "limits": "as"},
    patience=_VERIFIED,
)
LIST_CUSTOM = Call(SCHEDULER, "ListCustom", free=True)
GET_CUSTOM_SOURCE = Call(SCHEDULER, "GetCustomSource", "s", free=True)
REMOVE_CUSTOM = Call(SCHEDULER, "RemoveCustom", "s")


def scheduler_names(client: Client) -> list[str]:
    """Returns the names of the schedulers in the catalogue. Raises Failure."""
    (found,) = client.call(LIST_SCHEDULERS, {})
    return [one["name"] for one in found]


def custom_names(client: Client) -> list[str]:
    """Returns the names of the schedulers of one's own, without custom:, which a shell takes apart. Raises Failure."""
    (found,) = client.call(LIST_CUSTOM)
    return [one["name"].removeprefix("custom:") for one in found]
