"""The list of all jobs that learn, with what that brings."""

from agentctl.learning import calls, records
from agentctl.session import Session
from agentctl.show import print_json, print_line, print_table


def print_learners(session: Session) -> None:
    """Prints the adaptive jobs with what is known of each and what learning brought, and the total. Raises Failure."""
    learners = calls.all_learners(session.client)
    total = records.total(learners)
    if session.json:
        print_json({"jobs": [records.learner_json(one, savings=True) for one in learners], "total": total})
        return
    if learners:
        header, rows = records.table(learners)
        print_table(header, rows)
        for line in records.total_lines(total):
            print_line(line)
    for line in records.nothing(learners):
        print_line(line, "yellow")
