"""The status of all jobs, or of one: what scripts and prompts ask for. Nothing here needs click."""

from agentctl import times
from agentctl.client import Failure, Record
from agentctl.daemon import MANAGER, daemon_json, headline, troubles
from agentctl.jobs import calls, records
from agentctl.learning import calls as learning_calls
from agentctl.learning import records as learning_records
from agentctl.reboots import calls as reboot_calls
from agentctl.reboots import records as reboot_records
from agentctl.rules import calls as rule_calls
from agentctl.rules import records as rule_records
from agentctl.session import Session, now
from agentctl.show import echo, print_json, print_line, print_table


def status(session: Session, job: str | None = None) -> None:
    """Prints the status of all jobs, or of one JOB in detail. Raises Failure."""
    if job is not None:
        _one(session, job)
        return
    facts = session.client.properties(MANAGER)
    jobs = calls.all_jobs(session.client)
    gone = _removed(session, jobs)
    reboot, blockers = _reboot(session)
    firing, trouble = rule_calls.firing(session.client)
    if trouble:  # agentd itself has it among its warnings, most likely
        facts["Warnings"] = list(dict.fromkeys([*facts.get("Warnings", []), trouble]))
    if session.json:
        print_json(
            {
                "daemon": daemon_json(facts),
                "reboot": reboot_records.status_json(reboot) if reboot else None,
                "firing": firing,
                "jobs": [records.job_json(job) for job in jobs],
                "removed": [records.run_json(run) for run in gone],
            }
        )
        return
    at = now()
    print_line(headline(facts, jobs, at), bold=True)
    fires, warnings = rule_records.status_lines(firing or [], facts.get("Warnings", []))
    for line in fires:
        print_line(line, "red", bold=True)
    for line, colour in troubles({**facts, "Warnings": warnings}, at):
        print_line(line, colour, bold=True)
    if line := reboot_records.pending_line(reboot, blockers, at):
        print_line(line, "yellow", bold=True)
    echo()
    if not (jobs or gone):
        where = next(iter(facts.get("ConfigurationFiles", [])), "the configuration")
        print_line(f"There are no jobs yet: add some to {where}, then: agentctl reload")
        return
    rows = [records.job_row(job, at) for job in jobs]
    print_table(records.JOB_HEADER, [*rows, *(records.removed_row(run) for run in gone)])
    if note := records.changes(jobs):
        echo()
        print_line(note)


def _removed(session: Session, jobs: list[Record]) -> list[Record]:
    """Returns the runs under way of jobs that are not configured any more."""
    names = {job["name"] for job in jobs}
    try:
        running = session.client.properties(calls.JOBS).get("Running", [])
    except Failure as failed:
        if failed.error == "UnknownInterface":  # of an agentd that has no such property
            return []
        raise
    return [run for run in running if run.get("job") not in names]


def _reboot(session: Session) -> tuple[Record, list[Record]]:
    """Returns the status of reboots, empty where nothing of it is shown, and what is in the way of a pending one."""
    try:
        properties = session.client.properties(reboot_calls.REBOOT)
    except Failure as failed:
        if failed.error == "UnknownInterface":  # an older agentd
            return {}, []
        raise
    # The properties cost the daemon nothing. When no reboot is pending, a person is told no more than they tell.
    if not session.json and properties.get("State") in reboot_records.CALM:
        return {}, []
    (status,) = session.client.call(reboot_calls.GET_STATUS)
    return status, properties.get("Blockers", [])


def _one(session: Session, name: str) -> None:
    (job,) = session.client.call(calls.GET_JOB, name)
    (due,) = session.client.call(calls.NEXT_TIMES, name, 0, 3)
    (runs,) = session.client.call(calls.LIST_RUNS, {"job": name, "limit": 5})
    learner = learning_calls.learner(session.client, name) if job.get("adaptive") else None
    if session.json:
        print_json(
            {
                "daemon": daemon_json(session.client.properties(MANAGER)),
                "jobs": [records.job_json(job)],
                "next": [{"job": name, "due": times.iso(at)} for name, at in due],
                "runs": [records.run_json(run) for run in runs],
                "learning": learning_records.learner_json(learner) if learner else None,
            }
        )
        return
    print_line(name, bold=True)
    learning = learning_records.status_line(learner) if learner else ""
    for label, text in records.job_facts(job, [at for _, at in due], now(), learning):
        print_line(f"{label:>11}  {text}")
    if runs:
        echo()
        print_table(records.RUN_HEADER, [records.run_row(run, now()) for run in runs])
