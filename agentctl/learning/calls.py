"""The methods of org.agentd1.Learning that agentctl calls."""

from agentctl.client import Call, Client, Failure, Record
from agentctl.jobs.calls import all_jobs

LEARNING = "org.agentd1.Learning"

_LEARNERS = {"name": "s", "after": "s", "savings": "b"}
_LONGEST_ESTIMATE = 300.0  # seconds for the savings of 1,000 jobs

LIST_LEARNERS = Call(LEARNING, "ListLearners", "a{sv}", free=True, options=_LEARNERS, patience=_LONGEST_ESTIMATE)
EXPLAIN = Call(LEARNING, "Explain", "s", free=True)
SET_PREFERENCE = Call(LEARNING, "SetPreference", "si")
TRAIN = Call(LEARNING, "Train")
LIST_NETWORKS = Call(LEARNING, "ListNetworks", free=True)
ROLLBACK = Call(LEARNING, "Rollback")


def all_learners(client: Client) -> list[Record]:
    """Returns the records of all adaptive jobs with their savings, ordered by name: page by page, as the daemon gives
    them. Raises Failure."""
    return [learner for page in client.pages(LIST_LEARNERS, "name", savings=True) for learner in page]


def learner(client: Client, job: str) -> Record | None:
    """Returns the record of an adaptive job; None where there is none, with an agentd that does not learn, and where
    that part of it is shut off. Raises Failure."""
    try:
        (found,) = client.call(LIST_LEARNERS, {"name": job})
    except Failure as failed:
        if failed.error in {"UnknownInterface", "UnknownMethod", "PartFailed"}:
            return None
        raise
    return dict(found[0]) if found else None


def adaptive_names(client: Client) -> list[str]:
    """Returns the names of the adaptive jobs. Raises Failure."""
    return [job["name"] for job in all_jobs(client) if job.get("adaptive")]
