"""polkit: whether a caller on the system bus may do what it asks for. Whatever goes wrong, the answer is no."""

from collections import Counter
from collections.abc import Callable

from agentd.bus.connection import TIMEOUT, Bus, CallFailed, variant
from agentd.bus.server import Caller
from agentd.core.part import Refused
from agentd.peers.systemd import MANAGER

_NAME = "org.freedesktop.PolicyKit1"
_POLKIT = (_NAME, "/org/freedesktop/PolicyKit1/Authority", f"{_NAME}.Authority")
_ALLOW_INTERACTION = 1
_INTERACTIVE_TIMEOUT = 300.0  # seconds for a person to type a password
_AT_ONCE = 8  # open questions of one user; four times as many of all
_OF_ITS_OWN = frozenset({"org.agentd1.report-progress", "org.agentd1.tell"})
"""The actions for which a process of the run itself needs no permission; the call's first argument is the run's id."""


async def ask(bus: Bus, client: str, action: str, *, interactive: bool = False) -> tuple[bool, bool]:
    """Returns whether polkit allows an action to a client of the bus, by its unique name, and whether the password of
    an administrator would help. `interactive`: a person may be asked for that now.

    Raises CallFailed, also where polkit does not know the action.
    """
    subject = ["system-bus-name", {"name": variant("s", client)}]
    flags, patience = (_ALLOW_INTERACTION, _INTERACTIVE_TIMEOUT) if interactive else (0, TIMEOUT)
    ((allowed, challenge, _),) = await bus.call(
        _POLKIT, "CheckAuthorization", "(sa{sv})sa{ss}us", subject, action, {}, flags, "", patience=patience
    )
    return bool(allowed), bool(challenge)


class Gate:
    """Asks for permission before a call is carried out. `unit_of` returns the object path of a run's unit, or ""."""

    def __init__(self, bus: Bus, unit_of: Callable[[str], str]) -> None:
        self._bus = bus
        self._unit_of = unit_of
        self._asking: Counter[int] = Counter()  # questions that polkit has not answered, by user

    async def authorize(self, caller: Caller) -> None:
        """Lets root do everything, and others what polkit allows. Raises Refused AccessDenied."""
        try:
            user = await self._bus.call_bus("GetConnectionUnixUser", "s", caller.sender)
            if user == 0 or (caller.action in _OF_ITS_OWN and await self._is_of_run(caller)):
                return
        except CallFailed as error:
            raise Refused("AccessDenied", f"{caller.member}: the bus does not know who asks: {error}") from None
        # Each question may last until a person has answered; one user must not have them all.
        if self._asking[user] >= _AT_ONCE or self._asking.total() >= 4 * _AT_ONCE:
            raise Refused("AccessDenied", f"{caller.member}: too many questions are open; answer those first")
        self._asking[user] += 1
        try:
            await self._ask_polkit(caller)
        finally:
            self._asking[user] -= 1

    async def _ask_polkit(self, caller: Caller) -> None:
        need = f"{caller.member} needs the permission {caller.action}"
        try:
            allowed, challenge = await ask(self._bus, caller.sender, caller.action, interactive=caller.interactive)
        except CallFailed as error:
            raise Refused("AccessDenied", f"{need}, but polkit could not be asked: {error}") from None
        if not allowed:
            how = "an administrator has it: try it with sudo" if challenge else "polkit does not give it to you"
            raise Refused("AccessDenied", f"{need}; {how}")

    async def _is_of_run(self, caller: Caller) -> bool:
        """Returns whether the caller is a process of the unit of the run that the call is about, as systemd sees it."""
        unit = self._unit_of(str(caller.arguments[0]))
        pid = await self._bus.call_bus("GetConnectionUnixProcessID", "s", caller.sender)
        try:
            (found,) = await self._bus.call(MANAGER, "GetUnitByPID", "u", pid)
        except CallFailed:
            return False
        return bool(unit) and found == unit
