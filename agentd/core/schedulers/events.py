"""The events of CPU schedulers that people may want to be told of."""

from agentd.core.events import Event, Hears, Kind
from agentd.core.quantities import format_duration
from agentd.core.schedulers.model import PART, SchedulerFailed

KINDS = (Kind("scheduler-ejected", "a CPU scheduler was ejected, did not start or broke a guard", told=True),)


def _failed(effect: SchedulerFailed, now: int) -> Event:
    """Returns the event of a scheduler that failed: news, for the kernel's own has taken its place."""
    tried = f"{effect.name} is not tried again for {format_duration(max(0, effect.until - now))}."
    text = f"{tried}\nagentctl sched status"
    return Event(at=now, part=PART, name="scheduler-ejected", about=effect.name, title=effect.sentence, text=text)


HEARS: Hears = {SchedulerFailed: _failed}
