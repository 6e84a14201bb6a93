"""Draining before a reboot: nothing new starts, a hook may say no, and what runs gets its time."""

from agentd.core.jobs.jobs import Jobs
from agentd.core.jobs.model import Run
from agentd.core.quantities import MINUTE, SECOND
from agentd.core.reboots.model import Blocker

_HOOK = MINUTE  # that the hook has at least
_MARGIN = 5 * SECOND  # beyond the time that a job has to stop


class Drain:
    """`until` is when it looks again at the latest, 0 where nothing is drained; `no` is the hook's, once it is over."""

    def __init__(self, engine: Jobs) -> None:
        self.until = 0
        self.no: Blocker | None = None
        self._engine = engine
        self._reason = ""
        self._hook: Run | None = None
        self._jobs_until = 0
        self._stopped = False

    def begin(self, reason: str, hook: str | None, patience: int, now: int) -> None:
        """From now on nothing new starts. The hook, a job, and what runs have so many microseconds."""
        self._engine.hold(f"the machine is about to reboot ({reason}); nothing new starts")
        self.no, self._reason, self._stopped = None, reason, False
        self._hook = self._engine.run_hook(hook, "hook", now) if hook is not None else None
        self._jobs_until = now + patience
        self.until = self._jobs_until if self._hook is None else now + max(patience, _HOOK)

    def clock_stepped(self, delta: int) -> None:
        """The wall clock was set by delta."""
        self.until = self.until and self.until + delta
        self._jobs_until += delta

    def over(self, now: int) -> bool:
        """Whether nothing runs any more, or the hook said no. What takes too long is stopped."""
        if self._hook is not None and not self._agreed(self._hook, now):
            return self.no is not None
        if self._engine.running() and now < self.until:
            return False
        if self._engine.running() and not self._stopped:
            self._engine.stop_all("interrupted", f"the machine reboots ({self._reason})", now)
            longest = max((job.stop_timeout for job in self._engine.config.jobs.values()), default=0)
            self.until, self._stopped = now + longest + _MARGIN, True
            return False
        return True

    def end(self, now: int, *, release: bool) -> None:
        """It was for this time; jobs start again where they are released."""
        hook = self._hook
        if hook is not None and hook.cause == "hook" and hook.run_id in {run.run_id for run in self._engine.running()}:
            self._engine.stop(hook.run_id, now)  # it prepares what does not come
        self.until, self._hook = 0, None
        if release and self._engine.held:
            self._engine.release(now)

    def _agreed(self, hook: Run, now: int) -> bool:
        ended = self._engine.outcome(hook)
        if ended is None and now < self.until:
            return False
        if ended is None or ended.result != "success":
            how = "takes too long" if ended is None else f"said no ({ended.result})"
            self.no = Blocker("hook", hook.job, f"the hook {hook.run_id} {how}", now)
            return False
        self._hook, self.until = None, self._jobs_until
        return True
