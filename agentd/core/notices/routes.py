"""The routes: which channels are told of an event."""

from collections.abc import Mapping

from agentd.core.events import RANK, Event, Priority
from agentd.core.notices.settings import TOLD, NoticeSettings
from agentd.core.patterns import matcher


class Routes:
    """The routes of a configuration. What a job or whatever an event is about wants told or not told goes before them;
    they say where, and what is told of those that want nothing in particular."""

    def __init__(self, settings: NoticeSettings) -> None:
        self._usual = (settings.usual,) if settings.usual else ()
        self._routes = [(route, matcher(route.jobs or "*")) for route in settings.routes]

    def targets(self, event: Event, name: str) -> tuple[tuple[str, ...], Priority]:
        """Returns the channels that are told of an event under one of its names, and how urgently; no channel where
        nobody is."""
        if event.asked is not None and name not in event.asked:
            return (), event.priority
        wanted = name in TOLD if event.asked is None else True
        found = [
            route
            for route, fits in self._routes
            if (name in route.events if route.events else wanted)
            and (not route.jobs or (event.part == "jobs" and fits(event.about)))
        ]
        if not found:
            return self._usual if wanted else (), event.priority
        channels: Mapping[str, None] = dict.fromkeys(channel for route in found for channel in route.to)
        said = [route.priority for route in found if route.priority is not None]
        return tuple(channels), max(said, key=RANK.__getitem__) if said else event.priority
