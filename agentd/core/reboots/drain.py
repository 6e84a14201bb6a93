"""Draining before a reboot: nothing new starts, a hook may say no, and runs under way get their time."""

from agentd.core.jobs.model import Run
from agentd.core.quantities import MINUTE, SECOND
from agentd.core.reboots.model import PART, Blocker
from agentd.core.reboots.work import Work

HOOK = MINUTE
"""Microseconds that a hook has at least."""
_MARGIN = 5 * SECOND  # beyond the time that a job has to stop
_LAST_LOOK = 15 * SECOND  # from the end of the last run until logind is asked: a look at the machine, and the disk
_FIRST_LOOK = 15 * SECOND  # from the end of the runs' time until they are stopped: a look at the machine


def course(hook: str | None, patience: int, stopping: int) -> int:
    """Returns the longest time, in microseconds, from the beginning of a draining until the machine goes down, where
    runs have `patience` and then `stopping` microseconds to stop."""
    return (patience if hook is None else max(patience, HOOK)) + _FIRST_LOOK + stopping + _MARGIN + _LAST_LOOK


def least(hook: str | None) -> int:
    """Returns the time, in microseconds, that a draining needs even where nothing runs."""
    return _LAST_LOOK if hook is None else HOOK + _LAST_LOOK


class Drain:
    """A draining binds itself to `end`, the last instant at which the machine may go down: runs are stopped only where
    that leads to a reboot by then, and where nothing but them is in its way.

    `until` is when draining goes on at the latest, 0 while nothing is drained; `stops` tells whether the time of the
    runs is over, so that they are stopped once a look finds the way free; `no` is the hook's, if it said so; `late` are
    the runs which still ran at the end.
    """

    def __init__(self, jobs: Work) -> None:
        self.until = 0
        self.stops = False
        self.no: Blocker | None = None
        self.late: list[Run] = []
        self._jobs = jobs
        self._reason = ""
        self._hook: Run | None = None
        self._jobs_until = 0
        self._stopped = False

    def begin(self, reason: str, hook: str | None, patience: int, end: int, now: int) -> None:
        """Starts nothing new from here on. The hook, a job, and the runs under way have `patience` microseconds."""
        self._jobs.hold(PART, f"the machine is about to reboot ({reason}); nothing new starts")
        self.no, self.late, self._reason, self._stopped = None, [], reason, False
        self.stops = False
        self._hook = self._jobs.run_hook(hook, "hook", now) if hook is not None else None
        self._jobs_until = now + patience
        self.until = min(self._jobs_until if self._hook is None else now + max(patience, HOOK), end)

    def clock_stepped(self, delta: int) -> None:
        """Moves along with the wall clock, which was set by `delta`."""
        self.until = self.until and self.until + delta
        self._jobs_until += delta

    def over(self, end: int, now: int, *, free: bool) -> bool:
        """Tells whether nothing runs any more, or the hook said no, or the end has come. Runs that take too long are
        stopped where the way is `free`, unless the end would come first: then they have until the end."""
        if self._hook is not None and not self._agreed(self._hook, end, now):
            return self.no is not None
        self.stops = False
        if not self._jobs.running():
            return True
        if self._stopped:
            return now >= min(self.until, end)
        if now < min(self._jobs_until, end):
            return False
        self.stops = now + self._jobs.longest_stop + _MARGIN + _LAST_LOOK <= end
        if self.stops and free:
            self._jobs.stop_all("interrupted", f"the machine reboots ({self._reason})", now)
            self.until, self._stopped, self.stops = now + self._jobs.longest_stop + _MARGIN, True, False
            return False
        self.until = end
        self.late = list(self._jobs.running()) if now >= end else []
        return now >= end

    def end(self, now: int, *, release: bool) -> None:
        """Ends this draining, and stops its hook; where released, jobs start again."""
        hook = self._hook
        if hook is not None and hook.cause == "hook" and hook.run_id in {run.run_id for run in self._jobs.running()}:
            self._jobs.stop(hook.run_id, now)  # the hook prepares a reboot that does not come
        self.until, self._hook = 0, None
        if release:
            self._jobs.release(PART, now)

    def _agreed(self, hook: Run, end: int, now: int) -> bool:
        ended, until = self._jobs.outcome(hook), min(self.until, end)
        if ended is None and now < until:
            return False
        if ended is None or ended.result != "success":
            how = "takes too long" if ended is None else f"said no ({ended.result})"
            self.no = Blocker("hook", hook.job, f"the hook {hook.run_id} {how}", now)
            return False
        self._hook, self.until = None, min(self._jobs_until, end)
        return True
