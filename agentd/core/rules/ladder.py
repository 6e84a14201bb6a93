"""The ladder of a rule in one episode: which of its steps are due, and which were done.

A step comes so long after the rule began to fire, on the monotonic clock and without the time in which agentd was down.
A step that comes late, because something kept it back, moves those behind it: between two steps lies always at least
the time that was written, in which the first may help.
"""

from collections.abc import Callable, Sequence

from agentd.core.rules.model import Moment
from agentd.core.rules.settings import Step


class Ladder:
    """The steps of a rule, as of the `began` of an episode."""

    def __init__(self, steps: Sequence[Step], began: Moment) -> None:
        self.began = began
        self.counted = False
        """Whether the episode counted as one in which the rule acted."""
        self.base = began.at
        """The instant (monotonic) from which the steps count."""
        self.done: set[int] = set()
        """The positions of the steps that were done."""
        self._begun: set[int] = set()  # those and the steps that are about to be
        self._steps = steps

    def take_up(self, base: int, done: Sequence[int], *, counted: bool) -> None:
        """Goes on from what these were."""
        self.base, self.counted = base, counted
        self.done, self._begun = set(done), set(done)

    def due(self, now: Moment, failed: Callable[[Moment], bool]) -> list[int]:
        """Returns the positions of the steps that are due now; `failed` tells whether a self-test failed since a
        moment."""
        found: list[int] = []
        base = self.base
        for position, step in enumerate(self._steps):
            if position in self._begun or now.at < base + step.after:
                continue
            if step.if_ == "still_firing" or failed(self.began):
                found.append(position)
                base = max(base, now.at - step.after)
        return found

    def begin(self, position: int, now: Moment) -> None:
        """Takes note that a step is about to be done."""
        self._begun.add(position)
        self.base = max(self.base, now.at - self._steps[position].after)

    def has_begun(self, verb: str) -> bool:
        """Returns whether a step with that action was done, or is about to be."""
        return any(self._steps[position].do.verb == verb for position in self._begun)
