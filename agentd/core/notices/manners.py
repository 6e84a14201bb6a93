"""The manners: a trouble is told when it begins, now and then while it lasts, when it becomes another, and when it is
over; not each time that it comes."""

from collections.abc import Callable, Container
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from agentd.core.events import Event, Priority
from agentd.core.notices import words
from agentd.core.notices.model import Draft, Sort, Trouble, TroubleForgotten, TroubleSaved
from agentd.core.notices.routes import Routes
from agentd.core.part import Effect
from agentd.core.quantities import DAY, HOUR, MINUTE, format_duration

_MOST_ERRORS = 5
"""The errors of one trouble that are told between two reminders: what has another error each time is one trouble."""
_FLAPS = 3
"""The spells of a trouble after which its end is not told before it has stayed away for a while."""
_CALM, _MOST_CALM = HOUR, 6 * HOUR
"""Microseconds of that while: doubled with each spell."""
_REMEMBERED = DAY
"""Microseconds after its end for which the spells of a trouble are counted."""


class Manners:
    """The troubles that people were told of. What people are to be told goes to `put`, what is to be remembered to
    `effects`."""

    def __init__(
        self, troubles: dict[str, Trouble], put: Callable[[Draft, int], list[int]], effects: list[Effect]
    ) -> None:
        self._troubles = troubles
        self._put = put
        self._effects = effects
        self._routes: Routes
        self._zone: ZoneInfo
        self._remind = 0
        self._next: int | None = None
        self._stale = True  # _next has to be worked out
        self._purged = 0

    def configure(self, routes: Routes, remind: int, channels: Container[str], usual: str, zone: ZoneInfo) -> None:
        """Takes other settings. A trouble whose channels are gone is `usual`'s from now on."""
        self._routes, self._remind, self._zone, self._stale = routes, remind, zone, True
        for trouble in list(self._troubles.values()):
            left = tuple(name for name in trouble.channels if name in channels) or ((usual,) if usual else ())
            if left != trouble.channels:
                self._save(replace(trouble, channels=left))

    # What happens

    def take(self, event: Event, now: int) -> list[int]:
        """Deals with an event; returns the ids of the messages that it led to."""
        if not event.trouble:
            return self._news(event, event.name, now)
        known = self._troubles.get(event.trouble)
        lasts = known if known is not None and not known.ended else None
        if event.over:
            return self._ends(event, lasts, now)
        return self._begins(event, known, now) if lasts is None else self._comes_again(event, lasts, now)

    def forget(self, key: str) -> None:
        """Lets go a trouble of which nobody is told anything more."""
        if self._troubles.pop(key, None) is not None:
            self._stale = True
            self._effects.append(TroubleForgotten(key))

    def lasting(self) -> list[Trouble]:
        """Returns the troubles that people were told of and that last, those that began first first."""
        return sorted((one for one in self._troubles.values() if not one.ended), key=lambda one: one.since)

    # Time

    def wakeup(self) -> int | None:
        """Returns when people are next to be told of a trouble again, or of its end."""
        if self._stale:
            self._stale = False
            self._next = min(map(self._due, self.lasting()), default=None) if self._troubles else None
            self._next = None if self._next == _NEVER else self._next
        return self._next

    def tick(self, now: int) -> None:
        """Tells of what lasts, and of what has stayed away for long enough."""
        if (due := self.wakeup()) is None or due > now:
            return
        for trouble in self.lasting():
            if trouble.over_at and trouble.over_at <= now:
                self._tell_end(trouble, now)
            elif self._due(trouble) <= now:
                self._save(replace(trouble, told=now, errors=(trouble.error,)))
                self._put(self._of(trouble, f"still: {trouble.title}", "trouble"), now)

    def purge(self, now: int) -> None:
        """Forgets the troubles that have been over for long; looks once an hour, or after the clock was set back."""
        if 0 <= now - self._purged < HOUR:
            return
        self._purged = now
        for key in [key for key, one in self._troubles.items() if one.ended and one.ended + _REMEMBERED <= now]:
            self.forget(key)

    def clock_stepped(self, delta: int) -> None:
        """Moves along with the wall clock: what counts is the time that went by."""
        for trouble in list(self._troubles.values()):
            self._save(_moved(trouble, delta))

    def save_all(self) -> None:
        """Wants all troubles stored once more."""
        self._effects += map(TroubleSaved, self._troubles.values())

    # How it is done

    def _news(self, event: Event, name: str, now: int) -> list[int]:
        channels, priority = self._routes.targets(event, name)
        return self._put(_draft(event, name, channels, priority, "news"), now) if channels else []

    def _begins(self, event: Event, before: Trouble | None, now: int) -> list[int]:
        channels, priority = self._routes.targets(event, event.name)
        if not channels:
            return []
        recent = before is not None and now - before.ended < _REMEMBERED
        trouble = Trouble(
            key=event.trouble,
            part=event.part,
            name=event.name,
            about=event.about,
            title=words.title(event.title),
            error=event.error,
            errors=(event.error,),
            priority=priority,
            channels=channels,
            run_id=event.run_id,
            since=now,
            last=now,
            told=now,
            spells=before.spells + 1 if before is not None and recent else 1,
        )
        self._save(trouble)
        draft = _draft(event, event.name, channels, priority, "trouble")
        return self._put(replace(draft, text=f"{draft.text}\n{_comes_and_goes(trouble)}"), now)

    def _comes_again(self, event: Event, known: Trouble, now: int) -> list[int]:
        channels, priority = self._routes.targets(event, event.name)
        if not channels:  # nobody wants to be told of it any more
            self.forget(known.key)
            return []
        other = event.error not in known.errors and len(known.errors) < _MOST_ERRORS
        trouble = replace(
            known,
            title=words.title(event.title),
            error=event.error,
            errors=(*known.errors, event.error) if other else known.errors,
            priority=priority,
            channels=tuple(dict.fromkeys((*known.channels, *channels))),
            run_id=event.run_id,
            last=now,
            told=now if other else known.told,
            count=known.count + 1,
            spells=known.spells + bool(known.over),
            over=0,
            over_at=0,
        )
        self._save(trouble)
        to = trouble.channels if other else tuple(name for name in channels if name not in known.channels)
        if not to:
            return []
        draft = _draft(event, event.name, to, priority, "trouble")
        return self._put(replace(draft, text=f"{draft.text}\n{self._so_far(trouble)}"), now)

    def _ends(self, event: Event, lasts: Trouble | None, now: int) -> list[int]:
        if lasts is not None and not lasts.over:
            told = bool(event.name) and bool(self._routes.targets(event, event.name)[0])
            title = words.title(event.title)
            over = replace(lasts, over=now, over_title=title, over_name=event.name, run_id=event.run_id)
            if not told:
                self.forget(lasts.key)
            elif calm := _calm(lasts.spells):
                self._save(replace(over, over_at=now + calm))
            else:
                return self._tell_end(over, now)
        return self._news(event, event.otherwise, now) if event.otherwise else []

    def _tell_end(self, trouble: Trouble, now: int) -> list[int]:
        self._save(replace(trouble, ended=now, over_at=0))
        lasted = format_duration((trouble.over - trouble.since) // MINUTE * MINUTE)
        title = f"{trouble.over_title} (over after {lasted if trouble.over - trouble.since >= MINUTE else 'a moment'})"
        return self._put(self._of(trouble, title, "over"), now)

    def _of(self, trouble: Trouble, title: str, sort: Sort) -> Draft:
        over = sort == "over"
        return Draft(
            channels=trouble.channels,
            title=title,
            text=self._so_far(trouble),
            priority=trouble.priority,
            sort=sort,
            event=trouble.over_name if over else trouble.name,
            about=trouble.about,
            # Once the trouble is over the run is the one that ended it, whose output says nothing of the trouble.
            run_id=trouble.run_id if over == bool(trouble.over) else "",
        )

    def _so_far(self, trouble: Trouble) -> str:
        error = f": {trouble.error}" if trouble.error else ""
        if trouble.count == 1:
            return f"once, at {words.at(trouble.last, self._zone)}{error}"
        since, last = words.at(trouble.since, self._zone), words.at(trouble.last, self._zone)
        return f"{trouble.count} times since {since}, the last time at {last}{error}"

    def _due(self, trouble: Trouble) -> int:
        remind = trouble.told + self._remind if self._remind else _NEVER
        return min(remind, trouble.over_at or _NEVER)

    def _save(self, trouble: Trouble) -> None:
        self._troubles[trouble.key] = trouble
        self._stale = True
        self._effects.append(TroubleSaved(trouble))


_NEVER = 1 << 62


def taken_up(troubles: tuple[Trouble, ...], now: int) -> dict[str, Trouble]:
    """Returns what is remembered of troubles by key; none lies ahead of a clock that was set back meanwhile."""
    found = {}
    for one in troubles:
        ahead = max(one.since, one.last, one.told, one.over, one.ended) - now
        found[one.key] = one if ahead <= 0 else _moved(one, -ahead)
    return found


def _moved(one: Trouble, delta: int) -> Trouble:
    return replace(
        one,
        since=one.since + delta,
        last=one.last + delta,
        told=one.told + delta,
        over=one.over and one.over + delta,
        over_at=one.over_at and one.over_at + delta,
        ended=one.ended and one.ended + delta,
    )


def _calm(spells: int) -> int:
    """Returns how long a trouble that comes and goes must stay away before its end is told."""
    return min(_MOST_CALM, _CALM << (min(spells, 10) - _FLAPS)) if spells >= _FLAPS else 0


def _comes_and_goes(trouble: Trouble) -> str:
    if not (calm := _calm(trouble.spells)):
        return ""
    return (
        f"This trouble comes and goes, {trouble.spells} times so far: the end is told once it has stayed away for "
        f"{format_duration(calm)}."
    )


def _draft(event: Event, name: str, channels: tuple[str, ...], priority: Priority, sort: Sort) -> Draft:
    return Draft(
        channels=channels,
        title=event.title,
        text=event.text,
        priority=priority,
        sort=sort,
        event=name,
        about=event.about,
        run_id=event.run_id,
    )
