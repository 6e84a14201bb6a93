"""An agent that works alone, as the README has it: what people are told by ntfy and Discord, and how it is switched."""

import os
import re
import shutil
from collections.abc import Iterator

import pytest

from tests.bus.harness import ROOT, Agentd
from tests.bus.phone import SECRET, Phone
from tests.bus.test_readme import README, tools
from tests.unit.notices.servers import Server, answers, by_proxy, certificate, proxy

MINUTE = 60_000_000
FREQUENCIES = {"15min": 15, "30min": 30, "1hour": 60, "3hours": 180, "6hours": 360, "12hours": 720, "24hours": 1440}
"""The presets that people choose from, in minutes."""
TOOLS = [
    "autonomous started",
    "autonomous uses disk: how full it is",
    "autonomous uses units: which of them failed",
    "autonomous uses memory: how the run before ended",
]
FOUND = re.compile(r"the disk is \d+% full, \d+ GiB are free\n(failed units: .+|systemd does not run here)\n(.+)")


@pytest.fixture(autouse=True)
def example(agentd: Agentd) -> None:
    """The examples as they are shipped, and the programs that they need."""
    agentd.environment["PATH"] = f"{tools(agentd.folder / 'bin')}:{os.environ['PATH']}"
    shutil.copytree(ROOT / "config/examples", agentd.folder, dirs_exist_ok=True)


@pytest.fixture
def phone(agentd: Agentd) -> Iterator[Phone]:
    """A server of ntfy, to which the channel phone leads."""
    phone = Phone()
    phone.credential(agentd, "ntfy")
    yield phone
    phone.down()


@pytest.fixture
def discord(agentd: Agentd, phone: Phone) -> Iterator[Server]:
    """A webhook endpoint of Discord, to which the channel team leads: a proxy takes couriers there."""
    phone.credential(agentd, "discord")
    file = agentd.folder / "home/.config/agentd/credentials/discord"
    file.write_text(f"discord://{'1' * 18}/{SECRET}\n")
    server = Server(answers(204, b""), tls=certificate(agentd.folder, "discord.com"))
    with proxy(server.port) as (port, _):
        agentd.environment |= by_proxy(port) | {"REQUESTS_CA_BUNDLE": str(agentd.folder / "cert")}
        yield server
    server.stop()


def works(agentd: Agentd) -> str:
    """Has the agent work once; returns what it printed, when all messages were sent."""
    agentd.ctl("run", "autonomous", "--wait")
    agentd.until(lambda: agentd.property("Notices.Waiting") == 0, "all messages to be sent", 60)
    return agentd.ctl("log", "autonomous").stdout.strip()


def test_people_are_told_of_each_run_by_ntfy_and_discord(agentd: Agentd, phone: Phone, discord: Server) -> None:
    _, _, section = README.partition("## An autonomous agent")
    (recipe,) = re.findall(r"```yaml\n(.*?)```", section.partition("\n## ")[0], re.DOTALL)
    agentd.start(recipe)
    found = works(agentd)
    assert (match := FOUND.fullmatch(found)) is not None
    assert match[2] == "this is the first run"
    with (agentd.folder / "autonomous.py").open("a") as agent:
        agent.write('raise SystemExit("no model answers")\n')
    failed = works(agentd)
    assert failed.endswith("\nthe run before ended with success\nno model answers")
    expected = [
        *((line, "") for line in TOOLS),
        ("autonomous succeeded", f"the last lines of its output:\n{found}"),
        *((line, "") for line in TOOLS),
        (
            "autonomous failed: exit code 1",
            f"To see the output: agentctl log autonomous.2\n\nthe last lines of its output:\n{failed}",
        ),
    ]
    # Of a message that is a title alone the text is the title.
    assert [
        (one.get("title") or one["message"], one["message"] if "title" in one else "") for one in phone.got
    ] == expected
    told = [request.json["content"].replace("\r\n", "\n") for request in discord.asked]
    assert told == ["\n".join(filter(None, message)) for message in expected]
    assert {one["state"] for one in agentd.ctl_json("notices")} == {"sent"}


def test_it_is_switched_and_changed_while_agentd_runs_and_that_outlives_restarts(agentd: Agentd) -> None:
    agentd.start()
    assert FOUND.fullmatch(works(agentd)) is not None
    assert agentd.ctl_json("notices") == [], "without a channel nobody is told"
    before = agentd.job("autonomous")
    assert (before["interval"], before["last_result"]) == (60 * MINUTE, "success")
    agentd.kill()
    agentd.start()
    assert agentd.job("autonomous") == before, "the last run and the next one"

    for frequency, minutes in FREQUENCIES.items():
        assert agentd.ctl("set", "autonomous", "--every", frequency).returncode == 0
        job = agentd.job("autonomous")
        assert (job["interval"], job["overridden"]) == (minutes * MINUTE, ["interval"])
        assert 0 < job["next"] - job["last_ended"] <= minutes * MINUTE
    agentd.kill()
    agentd.start()
    assert agentd.job("autonomous") == job

    assert agentd.ctl("disable", "autonomous").returncode == 0
    agentd.kill()
    agentd.start()
    assert (agentd.job("autonomous")["state"], agentd.job("autonomous")["next"]) == ("disabled", 0)
    assert agentd.ctl("enable", "autonomous").returncode == 0
    assert agentd.ctl("set", "autonomous", "--every", "1s").returncode == 0
    agentd.until(lambda: agentd.runs(job=("s", "autonomous"))[0]["cause"] == "schedule", "a run by itself")
    assert agentd.ctl("reset", "autonomous").returncode == 0
    assert agentd.job("autonomous")["interval"] == 60 * MINUTE
