"""The things in the way of a reboot, from the facts that were observed, the policy and the ledger."""

from collections.abc import Iterable

from agentd.core.jobs.model import Run
from agentd.core.quantities import DAY, HOUR, SECOND, WEEK, format_duration
from agentd.core.reboots.model import Blocker, Boot, Facts, Ledger, Reboot, Session
from agentd.core.reboots.policy import RebootLimits, RebootPolicy

_EARLIER = HOUR  # a weekly window's reboot may come a little earlier than the last one
RIGHT_AFTER = HOUR
"""A cause that comes again within this time of the boot that it led to was not cured by that reboot."""


def of_the_machine(facts: Facts) -> list[Blocker]:
    """Returns what holds every reboot: block inhibitors, the package manager, logind itself."""
    return list(facts.blockers)


def of_people(reboot: Reboot, policy: RebootPolicy, facts: Facts, boot: Boot, now: int) -> list[Blocker]:
    """Returns the sessions of others than the reboot's owner, as long as the policy lets them hold the reboot."""
    patience, idle = policy.wait_for.users, policy.wait_for.idle
    over = patience is not None and now - max(reboot.begin, reboot.requested) >= patience
    if reboot.force_users or over or overdue(policy, boot, now):
        return []
    return [
        Blocker("session", session.user, _presence(session), plainly=f"{session.user} is logged in")
        for session in facts.sessions
        if session.user != reboot.owner
        and session.user not in policy.wait_for.except_users
        and not (policy.wait_for.except_system_users and session.system)
        and not (idle is not None and session.idle_since and now - session.idle_since >= idle)
    ]


def _presence(session: Session) -> str:
    return session.unsure or f"{session.user} is logged in{session.terminal and ' on ' + session.terminal}"


def of_jobs(runs: Iterable[tuple[Run, bool]], policy: RebootPolicy, boot: Boot, now: int) -> list[Blocker]:
    """Returns the runs of critical jobs; each run comes with whether its job is one."""
    if overdue(policy, boot, now):
        return []
    return [
        Blocker("job", run.job, f"{run.run_id} runs, and {run.job} is critical", run.started)
        for run, critical in runs
        if critical
    ]


def of_caution(
    reboot: Reboot, policy: RebootPolicy, facts: Facts, ledger: Ledger, boot: Boot, now: int
) -> list[Blocker]:
    """Returns what holds automatic reboots alone: limits, an unset clock, a ledger that was lost."""
    if not reboot.automatic:
        return []
    found = []
    limits, up = policy.limits, now - boot.at
    wanted, why = _least_uptime(limits, facts.forgets)
    if up < wanted:
        text = f"the machine is up for {format_duration(max(0, up) // SECOND * SECOND)}, less than"
        found.append(Blocker("uptime", "", f"{text} {format_duration(wanted)} ({why})", boot.at))
    ahead = len(dated_ahead(ledger, now))
    wrong = f", {ahead} of them by a clock that was ahead (agentctl reboot clear forgives those)" if ahead else ""
    for span, most, name in _caps(limits):
        if (counted := issued_within(ledger, span, now)) >= most:
            text = f"{counted} automatic reboots within a {name}{wrong}, at most {most} are allowed"
            found.append(Blocker("limit", "", f"{text} (limits.per_{name})"))
    if facts.clock:
        found.append(Blocker("clock", "", facts.clock))
    if ledger.lost:
        found.append(Blocker("ledger", "", f"{ledger.lost} (agentctl reboot clear lets automatic reboots go on)"))
    return found


def _caps(limits: RebootLimits) -> tuple[tuple[int, int, str], ...]:
    return (DAY, limits.per_day, "day"), (WEEK, limits.per_week, "week")


def _least_uptime(limits: RebootLimits, forgets: str) -> tuple[int, str]:
    """Returns how long the machine must have been up, in microseconds, and why, as a sentence. Where the ledger does
    not outlive a boot, the time between two boots is all that keeps to the limits."""
    wanted, why = limits.min_uptime, "limits.min_uptime"
    if forgets:
        for span, most, name in _caps(limits):
            if most and (span - _EARLIER) // most > wanted:
                wanted = (span - _EARLIER) // most // SECOND * SECOND
                why = f"limits.per_{name}, kept by the time between two boots: {forgets}"
    return wanted, why


def overdue(policy: RebootPolicy, boot: Boot, now: int) -> bool:
    """Tells whether the machine has been up for longer than `latest`: then people and jobs hold no reboot."""
    return policy.latest is not None and now - boot.at >= policy.latest


def issued_within(ledger: Ledger, span: int, now: int) -> int:
    """Returns how many automatic reboots logind was asked for within the last `span` microseconds, a day or a week, but
    for shutdowns that were cancelled.

    Reboots in the future, issued while the clock ran ahead, count too until clear().
    """
    since = now - span + _EARLIER
    # Of a long ledger, almost all were issued before: that comes first.
    return sum(
        1
        for reboot in ledger.reboots
        if reboot.issued > since
        and reboot.automatic
        and reboot.state != "cancelled"
        and reboot.id not in ledger.uncounted
    )


def dated_ahead(ledger: Ledger, now: int) -> list[int]:
    """Returns the ids of automatic reboots in the future, which limits count: the clock ran ahead."""
    return [
        reboot.id
        for reboot in ledger.reboots
        if reboot.issued > now
        and reboot.automatic
        and reboot.state != "cancelled"
        and reboot.id not in ledger.uncounted
    ]


def comes_again(cause: str, ledger: Ledger, boot: Boot, now: int) -> str:
    """Returns why a cause must not reboot the machine again, as a sentence; "" where it may."""
    last = next((reboot for reboot in ledger.reboots if reboot.state == "verified"), None)
    if last is None or last.id <= ledger.forgiven or last.cause != cause:
        return ""
    if last.led_to != boot.id or now - boot.at >= RIGHT_AFTER:
        return ""
    ago = format_duration(max(0, now - boot.at) // SECOND * SECOND)
    return f"reboot {last.id} did not help: the same cause came again {ago} after the boot"


def sentence(blockers: Iterable[Blocker]) -> str:
    """Returns the blockers as one text."""
    return "; ".join(blocker.why for blocker in blockers)


def plainly(blockers: Iterable[Blocker]) -> str:
    """Returns the blockers as one text without words that a stranger chose."""
    return "; ".join(blocker.plainly or blocker.why for blocker in blockers)
