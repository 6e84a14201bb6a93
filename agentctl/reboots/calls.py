"""The methods of org.agentd1.Reboot that agentctl calls."""

from agentctl.client import Call

REBOOT = "org.agentd1.Reboot"

_WISH = {"reason": "s", "at": "t", "force_users": "b", "kind": "s", "within": "t"}

GET_STATUS = Call(REBOOT, "GetStatus", free=True)
REQUEST_REBOOT = Call(REBOOT, "RequestReboot", "sa{sv}", options={"cause": "s", "kind": "s", "within": "t"})
REBOOT_NOW = Call(REBOOT, "RebootNow", "a{sv}", options=_WISH)
EXAMINE = Call(REBOOT, "Examine", "a{sv}", free=True, options=_WISH)
CANCEL_REBOOT = Call(REBOOT, "CancelReboot")
CLEAR = Call(REBOOT, "Clear")
LIST_REBOOTS = Call(REBOOT, "ListReboots", "a{sv}", free=True, options={"before": "t", "limit": "u"})
RELEASE_HOLDER = Call(REBOOT, "ReleaseHolder", "s")
LIST_HOLDERS = Call(REBOOT, "ListHolders", free=True)
