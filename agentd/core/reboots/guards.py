"""The things in the way of a reboot, from the facts that were observed, the policy and the ledger."""

from collections.abc import Iterable

from agentd.core.jobs.model import Run
from agentd.core.quantities import DAY, HOUR, WEEK, format_duration
from agentd.core.reboots.model import Blocker, Boot, Facts, Ledger, Reboot
from agentd.core.reboots.policy import RebootPolicy

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
        Blocker("session", session.user, f"{session.user} is logged in{session.terminal and ' on ' + session.terminal}")
        for session in facts.sessions
        if session.user != reboot.owner
        and not (idle is not None and session.idle_since and now - session.idle_since >= idle)
    ]


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
    if up < limits.min_uptime:
        text = f"the machine is up for {format_duration(max(0, up) // 1_000_000 * 1_000_000)}, less than"
        found.append(Blocker("uptime", "", f"{text} {format_duration(limits.min_uptime)} (limits.min_uptime)", boot.at))
    for span, most, name in ((DAY, limits.per_day, "day"), (WEEK, limits.per_week, "week")):
        if (counted := issued_within(ledger, span, now)) >= most:
            text = f"{counted} automatic reboots within a {name}, at most {most} are allowed (limits.per_{name})"
            found.append(Blocker("limit", "", text))
    if facts.clock:
        found.append(Blocker("clock", "", facts.clock))
    if ledger.lost:
        found.append(Blocker("ledger", "", f"{ledger.lost} (agentctl reboot clear lets automatic reboots go on)"))
    return found


def overdue(policy: RebootPolicy, boot: Boot, now: int) -> bool:
    """Tells whether the machine has been up for longer than `latest`: then people and jobs hold no reboot."""
    return policy.latest is not None and now - boot.at >= policy.latest


def issued_within(ledger: Ledger, span: int, now: int) -> int:
    """Returns how many automatic reboots logind was asked for within the last `span` microseconds, a day or a week.

    Reboots in the future, issued while the clock ran ahead, count too.
    """
    return sum(reboot.automatic and reboot.issued > now - span + _EARLIER for reboot in ledger.reboots)


def comes_again(cause: str, ledger: Ledger, boot: Boot, now: int) -> str:
    """Returns why a cause must not reboot the machine again, as a sentence; "" where it may."""
    last = next((reboot for reboot in ledger.reboots if reboot.state == "verified"), None)
    if last is None or last.id <= ledger.forgiven or last.cause != cause:
        return ""
    if last.led_to != boot.id or now - boot.at >= RIGHT_AFTER:
        return ""
    ago = format_duration(max(0, now - boot.at) // 1_000_000 * 1_000_000)
    return f"reboot {last.id} did not help: the same cause came again {ago} after the boot"


def sentence(blockers: Iterable[Blocker]) -> str:
    """Returns the blockers as one text."""
    return "; ".join(blocker.why for blocker in blockers)
