"""Draining before a reboot: nothing new starts, a hook may say no, and runs under way get their time."""

from agentd.core.jobs.model import Run
from agentd.core.quantities import MINUTE, SECOND
from agentd.core.reboots.model import PART, Blocker
from agentd.core.reboots.work import Work

_HOOK = MINUTE  # microseconds that a hook has at least
_MARGIN = 5 * SECOND  # beyond the time that a job has to stop


class Drain:
    """`until` is when draining goes on at the latest, 0 while nothing is drained; `no` is the hook's, if it said so."""

    def __init__(self, jobs: Work) -> None:
        self.until = 0
        self.no: Blocker | None = None
        self._jobs = jobs
        self._reason = ""
        self._hook: Run | None = None
        self._jobs_until = 0
        self._stopped = False

    def begin(self, reason: str, hook: str | None, patience: int, now: int) -> None:
        """Starts nothing new from here on. The hook, a job, and the runs under way have `patience` microseconds."""
        self._jobs.hold(PART, f"the machine is about to reboot ({reason}); nothing new starts")
        self.no, self._reason, self._stopped = None, reason, False
        self._hook = self._jobs.run_hook(hook, "hook", now) if hook is not None else None
        self._jobs_until = now + patience
        self.until = self._jobs_until if self._hook is None else now + max(patience, _HOOK)

    def clock_stepped(self, delta: int) -> None:
        """Moves along with the wall clock, which was set by `delta`."""
        self.until = self.until and self.until + delta
        self._jobs_until += delta

    def over(self, now: int) -> bool:
        """Tells whether nothing runs any more, or the hook said no. Runs that take too long are stopped."""
        if self._hook is not None and not self._agreed(self._hook, now):
            return self.no is not None
        if self._jobs.running() and now < self.until:
            return False
        if self._jobs.running() and not self._stopped:
            self._jobs.stop_all("interrupted", f"the machine reboots ({self._reason})", now)
            self.until, self._stopped = now + self._jobs.longest_stop + _MARGIN, True
            return False
        return True

    def end(self, now: int, *, release: bool) -> None:
        """Ends this draining, and stops its hook; where released, jobs start again."""
        hook = self._hook
        if hook is not None and hook.cause == "hook" and hook.run_id in {run.run_id for run in self._jobs.running()}:
            self._jobs.stop(hook.run_id, now)  # the hook prepares a reboot that does not come
        self.until, self._hook = 0, None
        if release:
            self._jobs.release(PART, now)

    def _agreed(self, hook: Run, now: int) -> bool:
        ended = self._jobs.outcome(hook)
        if ended is None and now < self.until:
            return False
        if ended is None or ended.result != "success":
            how = "takes too long" if ended is None else f"said no ({ended.result})"
            self.no = Blocker("hook", hook.job, f"the hook {hook.run_id} {how}", now)
            return False
        self._hook, self.until = None, self._jobs_until
        return True
