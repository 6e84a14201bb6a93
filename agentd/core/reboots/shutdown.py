"""The shutdown that logind was asked for, or somebody else wanted: whether the machine goes down, as logind says.

logind may be wrong for a moment: where systemd is slow to answer, logind gives a shutdown up that comes all the same. A
reboot that logind has taken back therefore stays issued until the machine has stayed up for a while; if the machine
boots before that, it was rebooted, and that counts.
"""

from collections.abc import Callable

from msgspec.structs import replace

from agentd.core.quantities import HOUR, MINUTE, format_duration
from agentd.core.reboots.book import Book
from agentd.core.reboots.course import Course
from agentd.core.reboots.model import PART, Blocker, Reboot, Times
from agentd.core.reboots.work import Work

_GOING_DOWN = "the machine is going down; nothing new starts"
_CANCELLED = "the shutdown was cancelled"
_SAID = f"{_CANCELLED}, as logind says"


class Shutdown:
    """Takes logind's word for the pending reboot of a course."""

    def __init__(self, course: Course, book: Book, jobs: Work, times: Times) -> None:
        self._course = course
        self._book = book
        self._jobs = jobs
        self._times = times

    def take_up(self, issued: Reboot, now: int) -> None:
        """Goes on with a reboot that the agentd before this one asked logind for, in the same boot. Whether the clock
        was set meanwhile is not known: where logind took the reboot back, the machine has to stay up from now on."""
        self._course.pending = issued
        if issued.taken_back:
            self._doubt(issued, now)
        else:
            self._jobs.hold(PART, _GOING_DOWN)

    def due(self, reboot: Reboot) -> tuple[int, Callable[[int], None]]:
        """Returns what is due for an issued reboot where nothing else happens, and when."""
        if reboot.taken_back:
            return reboot.taken_back + self._times.stays_up, self._stay_up
        return reboot.issued + self._times.answer, self._miss

    def preparing(self, down: bool, now: int) -> None:
        """Notes that the machine goes down, whoever wanted that, or stays up after all, as logind says."""
        course = self._course
        course.going_down, reboot = down, course.pending
        if down:
            self._jobs.hold(PART, _GOING_DOWN)
            if reboot is not None and reboot.state == "issued":
                course.save(replace(reboot, down=now, note=""))
            somebody = "" if reboot is not None else "; somebody else asked for that"
            self._book.decide(now, f"the machine is going down{somebody}")
        elif reboot is not None and reboot.state == "issued":
            self._doubt(reboot, now)
        else:
            self._book.decide(now, f"{_CANCELLED}; work goes on")
            if reboot is None or reboot.state in {"waiting", "announced"}:
                self._jobs.release(PART, now)

    def refused(self, why: str, now: int) -> None:
        """Notes that the machine does not reboot, though logind was asked to; tries again later."""
        course, reboot = self._course, self._course.pending
        if reboot is None or reboot.state != "issued" or reboot.taken_back:
            self._book.decide(now, f"not expected: {why} (the state is {course.state})")
            return
        pause = min(HOUR, MINUTE << min(reboot.attempts, 6))
        course.lookout.said_no(
            Blocker("logind", "systemd-logind", f"the reboot did not happen: {why}", now), now + pause
        )
        course.pending = replace(reboot, attempts=reboot.attempts + 1, issued=0, down=0)
        course.withdraw(f"{why}; tried again in {format_duration(pause)}", now)

    def _doubt(self, reboot: Reboot, now: int) -> None:
        """Keeps a reboot issued that logind took back, and starts nothing new that the machine might cut off."""
        span = format_duration(self._times.stays_up)
        note = f"{_SAID}; once the machine has stayed up for {span} this reboot is over"
        self._jobs.hold(PART, f"{_SAID}; nothing new starts for {span}")
        self._course.save(replace(reboot, down=now, note=note))
        self._book.decide(now, f"reboot {reboot.id}: {note}")

    def _stay_up(self, now: int) -> None:
        self._course.finish("cancelled", _CANCELLED, now)

    def _miss(self, now: int) -> None:
        self.refused("the machine did not go down", now)
