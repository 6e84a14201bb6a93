"""The methods of org.agentd1.Jobs that agentctl calls."""

from agentctl.client import Call, Client, Record

JOBS = "org.agentd1.Jobs"

_RUNS = {"job": "s", "run_id": "s", "failed": "b", "since": "t", "before": "t", "limit": "u", "tail": "b"}

LIST_JOBS = Call(JOBS, "ListJobs", "a{sv}", free=True, options={"after": "s"})
GET_JOB = Call(JOBS, "GetJob", "s", free=True)
RUN_JOB = Call(JOBS, "RunJob", "sa{sv}")
STOP_JOB = Call(JOBS, "StopJob", "s")
INCREASE = Call(JOBS, "Increase", "s")
DECREASE = Call(JOBS, "Decrease", "s")
SET_INTERVAL = Call(JOBS, "SetInterval", "st")
SET_ENABLED = Call(JOBS, "SetEnabled", "sb")
RESET = Call(JOBS, "Reset", "s")
NEXT_TIMES = Call(JOBS, "NextTimes", "stu", free=True)
LIST_RUNS = Call(JOBS, "ListRuns", "a{sv}", free=True, options=_RUNS)
# Manager has the decisions of all parts; an agentd without that member has these.
LIST_DECISIONS = Call(JOBS, "ListDecisions", "a{sv}", free=True, options={"job": "s", "limit": "u"})
READ_OUTPUT = Call(JOBS, "ReadOutput", "st", free=True)
REPORT_PROGRESS = Call(JOBS, "ReportProgress", "ss")
REPORT = Call(JOBS, "Report", "ssa{sv}", options={"tool": "s"})
REPORT_CHANGE = Call(JOBS, "ReportChange", "s")


def all_jobs(client: Client) -> list[Record]:
    """Returns the records of all jobs, ordered by name: page by page, as the daemon gives them. Raises Failure."""
    return [job for page in client.pages(LIST_JOBS, "name") for job in page]
