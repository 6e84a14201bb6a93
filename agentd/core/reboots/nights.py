"""The windows of the policy in force: which comes next, the reboot it wants, and whether one is still to be."""

from collections.abc import Iterable

from agentd.core.quantities import DAY
from agentd.core.reboots.model import Reboot
from agentd.core.reboots.policy import RebootPolicy
from agentd.core.reboots.windows import Calendar, Occurrence
from agentd.core.times import timezone


class Nights:
    """The windows on this machine's calendar. `zone` is the name of their time zone (empty: UTC), `host` seeds the
    jitter, `known` are the reboots so far, `booted` is the instant of the machine's boot."""

    def __init__(
        self, host: str, known: Iterable[Reboot], policy: RebootPolicy, zone: str, *, booted: int, now: int
    ) -> None:
        of_windows = [reboot for reboot in known if reboot.occurrence]
        had = ((one.begin, one.until) for one in of_windows if one.state == "verified" and one.until > now - 2 * DAY)
        self._calendar = Calendar(host, (one.occurrence for one in of_windows), had, booted, now)
        self.configure(policy, zone)

    def configure(self, policy: RebootPolicy, zone: str) -> None:
        """Takes the policy and the time zone that are in force from now on."""
        self._policy, self._zone = policy, timezone(zone or "UTC")
        self._calendar.forget()

    def clock_stepped(self, delta: int) -> None:
        """Works the coming windows out anew: the wall clock was set by `delta`."""
        self._calendar.booted += delta
        self._calendar.forget()

    def coming(self, now: int) -> Occurrence | None:
        """Returns the window that is open or comes next, of those that were not dealt with."""
        self._calendar.look(now)
        return self._calendar.coming(self._policy, self._zone)

    @property
    def due(self) -> int | None:
        """The instant at which people are to be warned of the next window; None: there is no window."""
        coming = self._calendar.coming(self._policy, self._zone)
        return None if coming is None else coming.begin - self._policy.grace

    def wish(self, now: int) -> Reboot | None:
        """Returns the reboot that the window wants which is open, or comes so soon that people are to be warned."""
        coming = self.coming(now)
        return None if coming is None or now < coming.begin - self._policy.grace else self._wish(coming, now)

    def open(self, now: int) -> Reboot | None:
        """Returns the reboot that the window wants which is open already."""
        coming = self.coming(now)
        return None if coming is None or now < coming.opens else self._wish(coming, now)

    def _wish(self, coming: Occurrence, now: int) -> Reboot:
        return Reboot(
            id=0,
            cause="nightly",
            reason=f"the window {coming.key}",
            kind=self._policy.kind,
            occurrence=coming.key,
            requested=now,
            begin=coming.begin,
            until=coming.end,
        )

    def deal_with(self, reboot: Reboot) -> None:
        """Notes that the window of a reboot, if it has one, has had its try."""
        if reboot.occurrence:
            self._calendar.deal_with(reboot.occurrence)

    def leave(self, reboot: Reboot) -> None:
        """Notes that the window of a reboot is to have its try after all, when it comes."""
        self._calendar.leave(reboot.occurrence)

    def occurrence_of(self, reboot: Reboot) -> Occurrence | None:
        """Returns the window of a reboot as it comes now, which may be over or still to come; None where the policy
        does not have that window any more."""
        return self._calendar.find(reboot.occurrence, self._policy, self._zone)
