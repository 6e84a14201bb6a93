"""The wishes for a reboot of programs and people: checked, and brought to the states."""

from msgspec import Struct, json

from agentd.core.part import Refused
from agentd.core.quantities import DAY, HOUR, MINUTE, format_duration
from agentd.core.reboots import guards
from agentd.core.reboots.beside import MOST
from agentd.core.reboots.model import Blocker, Facts, Reboot
from agentd.core.reboots.policy import Kind
from agentd.core.reboots.reboots import Reboots

GIVE_UP = 6 * HOUR
"""For so long a program's request is tried where the program does not say."""
_FARTHEST = 366 * DAY
_LONGEST_REASON = 200


class ByHand(Struct, frozen=True, kw_only=True):
    """A person's wish: a reboot at the instant `at`, or now (0), given up `within` so many microseconds (0: the usual
    time). Sessions of its `owner` do not hold the reboot, with `force_users` no session does."""

    reason: str = ""
    kind: Kind | None = None
    at: int = 0
    within: int = 0
    force_users: bool = False
    owner: str = ""


def request(reboots: Reboots, reason: str, cause: str, kind: Kind | None, within: int, now: int) -> Reboot:
    """Begins a reboot that a program wants: all guards apply. The request keeps its own time beside whatever is
    pending; where its cause waits already, that wish is returned, which now waits as long as the longer of both.

    Raises Refused InvalidArgument, Breaker, Busy.
    """
    reason, policy = _line(reason), reboots.policy
    _check_span(within)
    if within and within <= policy.grace:
        text = f"within must be longer than the warning (reboot.grace, {format_duration(policy.grace)})"
        raise Refused("InvalidArgument", text)
    if not cause or cause in {"nightly", "manual"} or len(cause) > _LONGEST_REASON or not cause.isprintable():
        shown = json.encode(cause[:_LONGEST_REASON]).decode()
        raise Refused("InvalidArgument", f"{shown} cannot be the cause of a request")
    if why := reboots.book.breaker(cause, reboots.boot, now):
        raise Refused("Breaker", f"{cause}: {why}; it may reboot the machine again after: agentctl reboot clear")
    until = now + (within or GIVE_UP)
    if (same := next((wish for wish in reboots.wishes if wish.cause == cause), None)) is not None:
        reboots.book.decide(now, f"{cause} asks again: {reason}; reboot {same.id} is on its way already")
        reboots.extend(same, until)
        return same
    if len(reboots.beside) >= MOST:
        raise Refused("Busy", f"{MOST} other wishes for a reboot wait already beside the pending one (agentctl reboot)")
    wish = Reboot(id=0, cause=cause, reason=reason, kind=kind or policy.kind, requested=now, begin=now, until=until)
    return reboots.begin(wish, now)


def by_hand(reboots: Reboots, wish: ByHand, now: int) -> Reboot:
    """Begins a reboot that a person wants; one for a later instant waits beside what is pending.

    Raises Refused Busy, Blocked, InvalidArgument.
    """
    reboot, pending = _of_a_person(wish, reboots, now), reboots.pending
    planned = next((other for other in reboots.wishes if other.state == "issued" or not other.automatic), None)
    if planned is not None:
        raise Refused("Busy", f"a reboot is pending already: {planned.reason} (agentctl reboot status)")
    if not wish.at and (blockers := reboots.in_the_way(reboot, now)):
        raise Refused("Blocked", f"not rebooting: {guards.sentence(blockers)}")
    if pending is not None and reboot.begin - reboots.policy.grace <= now:
        reboots.finish("cancelled", "somebody reboots the machine by hand", now)
    reboot = reboots.begin(reboot, now)
    if not wish.at:
        reboots.proceed(now)
    return next((one for one in reboots.wishes if one.id == reboot.id), reboot)


def examine(reboots: Reboots, wish: ByHand, facts: Facts, now: int) -> list[Blocker]:
    """Returns the blockers that by_hand() would name for that wish if it saw these facts; changes nothing.

    Raises Refused InvalidArgument.
    """
    return reboots.in_the_way(_of_a_person(wish, reboots, now), now, facts)


def cancel(reboots: Reboots, note: str, now: int) -> Reboot:
    """Takes the pending reboot back, and what waits beside it; the note, a sentence, says who wanted that.

    Raises Refused NoSuchReboot, TooLate.
    """
    if reboots.pending is None:
        raise Refused("NoSuchReboot", "no reboot is pending")
    if reboots.pending.state == "issued":
        raise Refused("TooLate", reboots.pending.note or "the machine is going down already; try: shutdown -c")
    return reboots.cancel(note, now)


def withdraw(reboots: Reboots, cause: str, note: str, now: int) -> None:
    """Takes back what a program asked for, by its cause, unless the machine goes down already; the note, a sentence,
    says why."""
    for wish in [wish for wish in reboots.wishes if wish.cause == cause and wish.state != "issued"]:
        reboots.withdraw(wish, note, now)


def _of_a_person(wish: ByHand, reboots: Reboots, now: int) -> Reboot:
    """Returns the reboot that a person wants. Raises Refused InvalidArgument."""
    if wish.at and not now < wish.at <= now + _FARTHEST:
        raise Refused("InvalidArgument", "that instant has passed, or is more than a year away")
    _check_span(wish.within)
    at_once = now + (wish.within or 5 * MINUTE) + reboots.longest_drain
    return Reboot(
        id=0,
        cause="manual",
        reason=_line(wish.reason or "asked for by hand"),
        kind=wish.kind or reboots.policy.kind,
        automatic=False,
        force_users=wish.force_users,
        owner=wish.owner,
        requested=now,
        begin=wish.at or now,
        until=wish.at + (wish.within or HOUR) if wish.at else at_once,
    )


def _line(reason: str) -> str:
    """Returns a reason as one line. Raises Refused InvalidArgument."""
    text = " ".join(reason.split())
    if not text or len(text) > _LONGEST_REASON or not text.isprintable():
        raise Refused("InvalidArgument", f"a reason is one line of up to {_LONGEST_REASON} characters")
    return text


def _check_span(within: int) -> None:
    """Raises Refused InvalidArgument."""
    if not 0 <= within <= _FARTHEST:
        raise Refused("InvalidArgument", f"within must lie between 0 and a year, in microseconds, not {within}")
