"""The wishes for a reboot beside the pending one: each keeps its own time until it is over."""

from collections.abc import Iterable

from agentd.core.reboots.model import Reboot

MOST = 16
"""The most wishes that wait beside the pending one."""


def leads(wishes: Iterable[Reboot], pending: Reboot | None, grace: int, now: int) -> Reboot | None:
    """Returns the wish that comes first: of those whose time has come (people are warned `grace` microseconds ahead) a
    person's, then the one that is pending already, then the oldest; else the one that comes next."""
    wanted = list(wishes)
    due = [wish for wish in wanted if wish.begin - grace <= now]
    if due:
        return min(due, key=lambda wish: (wish.automatic, pending is None or wish.id != pending.id, wish.id))
    return min(wanted, key=lambda wish: (wish.begin, wish.id), default=None)


class Beside:
    """The wishes in the state waiting that are not the pending one, oldest first."""

    def __init__(self) -> None:
        self.wishes: list[Reboot] = []
        self._looked = 0

    def put(self, wish: Reboot) -> None:
        """Has a wish wait beside the pending one, in the place of itself where it is known."""
        self.take(wish)
        self.wishes = sorted([*self.wishes, wish], key=lambda one: one.id)

    def take(self, wish: Reboot) -> None:
        """Removes a wish."""
        self.wishes = [one for one in self.wishes if one.id != wish.id]

    def over(self, now: int) -> list[Reboot]:
        """Returns the wishes whose time is over."""
        return [wish for wish in self.wishes if wish.until <= now]

    def looked(self, now: int) -> None:
        """Notes that it was looked at `now` whether a wish comes first."""
        self._looked = now

    def due(self, grace: int) -> list[int]:
        """Returns the instants at which something becomes of a wish: its time is over, or has come."""
        coming = (wish.begin - grace for wish in self.wishes)
        return [*(wish.until for wish in self.wishes), *(when for when in coming if when > self._looked)]
