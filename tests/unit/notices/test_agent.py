"""An autonomous job, as people hear of it: its start, the tools that it uses, and its end with what it found."""

from typing import Any

import pytest

from agentd.core.jobs.jobs import Jobs
from agentd.core.jobs.model import Outcome, RunStarts
from agentd.core.jobs.model import Saved as SavedJobs
from agentd.core.notices.model import Message
from agentd.core.quantities import HOUR, MINUTE, SECOND
from tests.unit.notices.person import NOW, Person, channels, job

SUCCESS = Outcome(result="success", tail="3 of 12 assignments look late")
FAILURE = Outcome(result="exit-code", exit_code=3, tail="no model answers")
WANTED = ("start", "tool", "success", "failure")


class Agent:
    """A job that works alone, and the person who is told of it."""

    def __init__(self, *wanted: Any) -> None:
        self.person = Person(jobs=("agent",))
        self.jobs = Jobs({"agent": job("agent", notify=wanted or WANTED)}, SavedJobs(), NOW)
        self.run_id = ""

    def pump(self) -> None:
        effects = self.jobs.effects()
        self.person.core.heard(effects, self.person.now)
        self.person.go_on()
        self.run_id = next((one.run.run_id for one in effects if isinstance(one, RunStarts)), self.run_id)

    def starts(self) -> None:
        self.jobs.run("agent", self.person.now)
        self.pump()
        self.jobs.started(self.run_id, self.person.now)
        self.pump()

    def uses(self, tool: str, text: str = "") -> None:
        self.jobs.progress(self.run_id, text, self.person.now, tool)
        self.pump()

    def says(self, text: str) -> None:
        self.jobs.progress(self.run_id, text, self.person.now)
        self.pump()

    def ends(self, outcome: Outcome) -> None:
        self.jobs.ended(self.run_id, outcome, self.person.now)
        self.pump()

    def messages(self) -> list[tuple[str, str]]:
        """The titles of the messages, each with the id of the run whose last lines stand below it."""
        return [(message.title, message.run_id) for _, message in self.person.got]


def test_a_run_is_told_with_its_start_its_tools_and_what_it_found() -> None:
    agent = Agent()
    agent.starts()
    agent.uses("web-search", "looking for the date of the exam")
    agent.says("half")
    agent.uses("calendar")
    agent.ends(SUCCESS)
    assert agent.messages() == [
        ("agent started", ""),
        ("agent uses web-search: looking for the date of the exam", ""),
        ("agent uses calendar", ""),
        ("agent succeeded", "agent.1"),
    ]
    assert [message.priority for _, message in agent.person.got] == ["low", "low", "low", "normal"]


def test_a_recovery_that_is_told_as_such_says_what_the_run_found_too() -> None:
    agent = Agent(*WANTED, "recovered")
    for outcome in (FAILURE, FAILURE, SUCCESS, SUCCESS):
        agent.starts()
        agent.ends(outcome)
        agent.person.wait(HOUR)
    assert [message for message in agent.messages() if message[0] != "agent started"] == [
        ("agent failed: exit code 3", "agent.1"),
        ("agent succeeded (over after 2h)", "agent.3"),
        ("agent succeeded", "agent.4"),
    ]


def test_a_reminder_of_what_comes_and_goes_has_no_output_of_a_run_that_succeeded() -> None:
    agent = Agent("failure", "recovered")
    agent.person.reload(channels=channels("phone"), remind=20 * MINUTE)
    for outcome in (FAILURE, SUCCESS) * 3:
        agent.starts()
        agent.ends(outcome)
    agent.person.wait(2 * HOUR)
    told = dict(agent.messages())
    assert told["still: agent failed: exit code 3"] == ""
    assert agent.messages()[-1] == ("agent succeeded (over after a moment)", "agent.6")


@pytest.mark.parametrize(("pause", "most"), [(0, 12), (SECOND, 15), (20 * SECOND, 36)])
@pytest.mark.parametrize(("outcome", "end"), [(SUCCESS, "agent succeeded"), (FAILURE, "agent failed: exit code 3")])
def test_hundreds_of_tools_are_a_few_messages_and_the_end_is_one_of_its_own_at_once(
    pause: int, most: int, outcome: Outcome, end: str
) -> None:
    agent = Agent()
    agent.starts()
    for number in range(300):
        agent.uses("web-search", f"page {number}")
        agent.person.wait(pause)
    agent.ends(outcome)
    ended = agent.person.now
    assert agent.messages()[-1] == (end, "agent.1")
    assert len(agent.person.got) <= most
    told: list[Message] = [message for _, message in agent.person.got]
    assert sum(message.count for message in told) == 302, "each of them, and what came before the end before it"
    assert [message.id for message in told] == sorted(message.id for message in told)
    assert agent.person.got[-1][0] == ended
    digest = told[-2]
    assert digest.priority == "low"
    assert digest.title.endswith(": agent uses web-search: page 9") or pause
    agent.person.wait(2 * HOUR)
    assert agent.messages()[-1] == (end, "agent.1")
