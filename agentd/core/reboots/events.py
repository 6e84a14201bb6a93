"""The events of reboots that people may want to be told of."""

from agentd.core.events import Event, Hears, Kind
from agentd.core.quantities import SECOND, format_duration, iso
from agentd.core.reboots.model import PART, RebootOver, RebootWarns

KINDS = (
    Kind("reboot-announced", "a reboot of the machine was announced"),
    Kind("reboot-deferred", "a reboot did not happen in its time, because something was in its way"),
    Kind("reboot-done", "the machine was rebooted"),
    Kind("reboot-failed", "the machine was not found well after its reboot", told=True),
)
_TROUBLE = "reboot"


def _announced(effect: RebootWarns, now: int) -> Event:
    title = f"reboot {effect.reboot} comes at {iso(effect.at)[:19]}Z: {effect.reason}"
    return Event(at=now, part=PART, name="reboot-announced", about=str(effect.reboot), title=title)


def _over(effect: RebootOver, now: int) -> Event | None:
    """Returns the event of a reboot that is over; none for one that a person took back, or that is not checked yet."""
    reboot = effect.reboot
    about = str(reboot.id)
    if reboot.state == "deferred":
        title = f"reboot {reboot.id} was deferred: {reboot.note}"
        return Event(at=now, part=PART, name="reboot-deferred", about=about, title=title, text=reboot.reason)
    if reboot.state != "verified" or reboot.health == "pending":
        return None
    well = reboot.health in {"", "well"}
    down = f", down for {format_duration(reboot.downtime // SECOND * SECOND)}" if reboot.downtime else ""
    return Event(
        at=now,
        part=PART,
        name="reboot-done" if well else "reboot-failed",
        about=about,
        title=f"reboot {reboot.id} is done{down}: "
        f"{reboot.reason if well else f'the machine is not well after it ({reboot.health})'}",
        text="" if well else "agentctl reboot status",
        priority="normal" if well else "high",
        trouble=_TROUBLE,
        error="" if well else reboot.health,
        over=well,
        otherwise="reboot-done" if well else "",
    )


HEARS: Hears = {RebootWarns: _announced, RebootOver: _over}
