"""The question whether the machine asks for a reboot, which a window puts: to a file, or to a job."""

from agentd.core.jobs.model import Run
from agentd.core.reboots.book import Book
from agentd.core.reboots.lookout import Lookout
from agentd.core.reboots.model import Reboot, Times
from agentd.core.reboots.policy import RebootPolicy
from agentd.core.reboots.work import Work


class Required:
    """Asks on behalf of the window that is open, or comes so soon that people are to be warned. A job that succeeds
    says yes for all of that window; one that fails is asked again after a while."""

    def __init__(self, book: Book, jobs: Work, lookout: Lookout, times: Times) -> None:
        self._book = book
        self._jobs = jobs
        self._lookout = lookout
        self._times = times
        self._asked = ""  # the window for which the job was asked
        self._run: Run | None = None
        self._yes = ""  # the window for which the job said yes

    @property
    def yes(self) -> bool:
        """Whether a job said that the machine asks for a reboot, when it was asked last."""
        return bool(self._yes) and self._yes == self._asked

    def wanted(self, wish: Reboot, policy: RebootPolicy, now: int) -> bool:
        """Tells whether the reboot that a window wishes for is wanted; where that is not known yet, it is found out."""
        if not policy.only_if_required:
            return True
        if policy.asks_job:
            return self._says(policy.asks_job, wish, now)
        if self._lookout.required(now):
            return True
        self._lookout.look_whether_required(now)
        return False

    def _says(self, job: str, wish: Reboot, now: int) -> bool:
        if self._yes == wish.occurrence:
            return True
        if now < self._lookout.at:
            return False
        if self._run is None or self._asked != wish.occurrence:
            self._asked, self._run = wish.occurrence, self._jobs.run_hook(job, "hook", now)
        ended = None if self._run is None else self._jobs.outcome(self._run)
        if ended is None:
            self._lookout.at = now + self._times.look
            return False
        self._run = None
        if ended.result == "success":
            self._yes = wish.occurrence
            return True
        self._lookout.at = now + self._times.ask_required
        self._book.decide(now, f"{wish.reason}: {ended.run_id} says that no reboot is required ({ended.result})")
        return False
