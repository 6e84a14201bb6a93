"""The heartbeat: a check outside hears again and again that agentd's engine ticks and can store. Silence alarms."""

from msgspec.structs import replace

from agentd.core.notices.model import BeatWanted, Check, CheckSaved, Outcome
from agentd.core.notices.settings import Heartbeat
from agentd.core.part import Effect


class Beats:
    """The beats, one each `every`. A beat is due in a tick alone, is carried out after something of its batch was
    stored, and is sent now or not at all: what did not get through is not sent later. Effects go to `effects`."""

    def __init__(self, effects: list[Effect]) -> None:
        self.check: Check | None = None
        """The check that hears the beats; None: nobody does."""
        self._effects = effects
        self._every = 0
        self._next = 0
        self._wanted = 0
        """The instant of the beat that is under way, by which it is known; 0: none is."""
        self._begun = False
        self._held = False
        """Whether nothing can be stored, or agentd stops."""

    def configure(self, settings: Heartbeat | None, known: Check | None, now: int) -> None:
        """Takes other settings; `known` is what is remembered of the check. An agentd that starts over and over beats
        no faster for that."""
        if settings is None or self.check is None or self.check.credential != settings.credential:
            self.check, self._wanted = None, 0
        if settings is not None:
            self.check = self.check or known or Check(credential=settings.credential)
            self._every = settings.every
            self._next = min(max(self.check.beat + self._every, now), now + self._every)

    def wakeup(self) -> int | None:
        """Returns when the next beat is due; None while there is none."""
        return None if self.check is None or self._held else self._next

    def tick(self, now: int) -> None:
        """Wants a beat sent that is due, unless the one before is still under way."""
        if self.check is None or self._held or now < self._next:
            return
        self._next = now + self._every
        if self._wanted:
            return
        self._wanted, self._begun = now, False
        self.check = replace(self.check, beat=now)
        self._effects += [CheckSaved(self.check), BeatWanted(self.check.credential, now)]

    def begin(self, at: int) -> bool:
        """Takes note that the beat of an instant is carried out now; returns whether it is still to be sent."""
        wanted = bool(at) and at == self._wanted
        self._begun = self._begun or wanted
        return wanted

    def ended(self, at: int, outcome: Outcome, now: int) -> None:
        """Takes note of what became of a beat; that is stored with the next one."""
        if self.check is None or not at or at != self._wanted:
            return
        self._wanted = 0
        if outcome.became == "sent":
            self.check = replace(self.check, sent=now, failed=0, why="", mend=False)
        else:
            self.check = replace(self.check, failed=self.check.failed + 1, why=outcome.why, mend=outcome.mend)

    def hold(self, held: bool) -> None:
        """Wants no beat while `held`. One that still waits to be carried out is not sent: it would tell of the past."""
        self._held = held
        if held and not self._begun:
            self._wanted = 0

    def clock_stepped(self, delta: int) -> None:
        """Goes on by elapsed time."""
        self._next += delta
        if self.check is not None:
            self.check = shifted(self.check, delta)

    def save_all(self) -> None:
        """Wants everything stored once more."""
        if self.check is not None:
            self._effects.append(CheckSaved(self.check))


def shifted(check: Check, delta: int) -> Check:
    """Returns a check after the wall clock was set by `delta`: what counts is the time that went by."""
    return replace(
        check,
        sent=check.sent and check.sent + delta,
        again_at=check.again_at and check.again_at + delta,
        beat=check.beat and check.beat + delta,
    )
