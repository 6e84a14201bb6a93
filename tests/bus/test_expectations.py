"""What is expected of jobs, as people meet it: in the status, in the decisions, and on the phone."""

from collections.abc import Iterator

import pytest

from tests.bus.harness import Agentd
from tests.bus.phone import Phone

CONFIG = """
timezone: UTC
notices: {channels: {phone: {credential: ntfy}}}
jobs:
  copy: {run: 'until [ -e go ]; do sleep 0.05; done', working_directory: FOLDER, expect: {at_most: 1s}}
  every: {run: 'until [ -e go ]; do sleep 0.05; done', working_directory: FOLDER, when: {every: 2s},
    expect: {start_within: 1s}}
"""


@pytest.fixture
def phone(agentd: Agentd) -> Iterator[Phone]:
    phone = Phone()
    phone.credential(agentd, "ntfy")
    yield phone
    phone.open.set()
    phone.down()


def test_what_takes_too_long_or_is_late_stands_in_the_status_and_on_the_phone_until_it_is_over(
    agentd: Agentd, phone: Phone
) -> None:
    agentd.start(CONFIG.replace("FOLDER", str(agentd.folder)))
    run_id = agentd.call("Jobs.RunJob", "sa{sv}", "copy", {})
    agentd.until(lambda: len(phone.got) == 2, "both to be told", 60)
    assert set(phone.titles()) == {"copy takes too long", "every is late"}
    shown = {job["name"]: job for job in agentd.ctl_json("status")["jobs"]}
    sentence = f"{run_id} is under way for 1s (at_most)"
    assert shown["copy"]["unmet"] == {"too-long": sentence}
    assert "the run before is not over: every." in shown["every"]["unmet"]["late"]
    lines = agentd.ctl("status").stdout
    assert "running, too-long" in lines
    assert "running, late" in lines
    assert f"too-long  {sentence}" in agentd.ctl("status", "copy").stdout
    decided = agentd.ctl_json("history", "--decisions", "copy")
    assert [one["reason"] for one in decided if one["kind"] == "too-long"] == [sentence]

    (agentd.folder / "go").touch()
    agentd.until(lambda: len(agentd.ctl_json("notices")) == 4, "both ends to be on their way")  # gathered for a minute
    over = sorted(one["title"] for one in agentd.ctl_json("notices") if one["sort"] == "over")
    assert over[0].startswith(f"{run_id} ended after ")
    assert over[1].startswith("every began")
    assert all(" (over after " in title for title in over)
    agentd.until(lambda: not any("unmet" in agentd.job(name) for name in ("copy", "every")), "all to be well")


def test_what_is_not_as_expected_is_remembered_and_not_told_again(agentd: Agentd, phone: Phone) -> None:
    agentd.start(
        "notices: {channels: {phone: {credential: ntfy}}}\njobs: {quick: {run: 'true', expect: {at_least: 1h}}}\n"
    )
    run_id = agentd.call("Jobs.RunJob", "sa{sv}", "quick", {})
    agentd.until(lambda: phone.got, "it to be told")
    agentd.until(lambda: agentd.property("Notices.Waiting") == 0, "the courier to say so")
    sent = ("a{sv}", {"state": ("s", "sent")})
    agentd.until(lambda: agentd.call("Notices.ListNotices", *sent), "that to be stored, or it would be told again")
    agentd.kill()
    agentd.start()
    (unmet,) = (job["unmet"] for job in agentd.ctl_json("status")["jobs"])
    assert unmet["too-short"].startswith(f"{run_id} succeeded after ")
    assert agentd.ctl("tell", "the end").returncode == 0
    agentd.until(lambda: len(phone.got) == 2, "the last message")
    assert phone.titles() == ["quick was suspiciously quick", "the end"]
