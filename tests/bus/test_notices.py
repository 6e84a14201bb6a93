"""Notices, as people meet them: a real agentd, its couriers, and a server that takes what they bring."""

import contextlib
import json
import os
import random
import re
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.bus.harness import ROOT, Agentd, children_of
from tests.bus.phone import SECRET, Phone
from tests.bus.services import services
from tests.examples import examples

AGENTCTL = f"PYTHONPATH={ROOT} {sys.executable} -m agentctl"
CONFIG = """
timezone: UTC
notices: {channels: {phone: {credential: ntfy}, team: {credential: team}}}
jobs:
  backup: {run: 'cat FOLDER/said; exit $(cat FOLDER/code)'}
  speaker: {run: 'AGENTCTL tell "3 of 12 look late" --title Assignments --priority high --to team'}
  whisper: {run: 'AGENTCTL tell "nothing to do"'}
"""
KILLS = int(os.environ.get("AGENTD_KILLS", examples(10)))
"""The kills that notices have to live through; with 50 they take two minutes or three."""


@pytest.fixture
def phone(agentd: Agentd) -> Iterator[Phone]:
    """A server to which both channels lead, while agentd is not yet started."""
    phone = Phone()
    for name in ("ntfy", "team"):
        phone.credential(agentd, name)
    (agentd.folder / "said").write_text("".join(f"line {number}\n" for number in range(20)))
    (agentd.folder / "code").write_text("3")
    agentd.config.write_text(CONFIG.replace("FOLDER", str(agentd.folder)).replace("AGENTCTL", AGENTCTL))
    yield phone
    phone.open.set()
    phone.down()


def run(agentd: Agentd, job: str) -> None:
    run_id = agentd.call("Jobs.RunJob", "sa{sv}", job, {})
    agentd.until(
        lambda: [one for one in agentd.runs(run_id=("s", run_id)) if one["state"] == "ended"], f"{run_id} to end"
    )


def settled(agentd: Agentd) -> None:
    agentd.until(lambda: agentd.property("Notices.Waiting") == 0, "all messages to be sent", 60)


def courier(agentd: Agentd) -> int:
    """The process of the only courier that is at work."""
    assert agentd.process is not None
    (pid,) = (pid for pid in children_of(agentd.process.pid) if b"courier" in Path(f"/proc/{pid}/cmdline").read_bytes())
    return pid


def self_tested(agentd: Agentd) -> Any:
    """The results of the self-test, whether checks failed or not."""
    return json.loads(agentd.ctl("self-test", "--json").stdout)


def test_a_job_that_fails_is_told_once_with_its_last_lines_and_its_recovery_once(agentd: Agentd, phone: Phone) -> None:
    agentd.start()
    run(agentd, "backup")
    agentd.until(lambda: phone.got, "the failure to be told")
    run(agentd, "backup")
    (agentd.folder / "code").write_text("0")
    run(agentd, "backup")
    run(agentd, "backup")
    # The order of a channel is kept: what was to come before this message has come.
    assert agentd.ctl("tell", "--title", "The end", "of the test").returncode == 0
    agentd.until(lambda: "The end" in phone.titles(), "the last message")
    failed, recovered, end = phone.got
    assert failed["title"] == "backup failed: exit code 3"
    assert failed["topic"] == f"{SECRET}-ntfy"
    said = "\n".join(f"line {number}" for number in range(10, 20))
    assert failed["message"].endswith(f"the last lines of its output:\n{said}")
    assert "To see the output: agentctl log backup." in failed["message"]
    assert recovered["title"].startswith("backup succeeded (over after ")
    assert recovered["message"].startswith("2 times since ")
    assert end["message"] == "of the test"
    settled(agentd)

    last, middle, first = agentd.ctl_json("notices")
    assert [one["state"] for one in (first, middle, last)] == ["sent"] * 3
    assert (first["title"], first["event"], first["about"]) == (failed["title"], "failure", "backup")
    assert (middle["event"], middle["sort"], last["event"], last["sort"]) == ("recovered", "over", "message", "news")
    assert agentd.ctl_json("notices", "--channel", "team") == []
    usual, team = agentd.ctl_json("notices", "channels")
    assert (usual["name"], usual["default"], usual["waiting"]) == ("phone", True, 0)
    assert usual["sent"]
    assert (team["name"], team["default"], team["sent"]) == ("team", False, None)
    assert agentd.ctl_json("notices", "show", str(last["id"]))["text"] == "of the test"
    shown = agentd.ctl("notices", "show", str(first["id"])).stdout
    assert "backup failed: exit code 3" in shown
    unknown = agentd.ctl("notices", "show", "99")
    assert unknown.returncode != 0
    assert "there is no message 99" in unknown.stderr


def test_a_configuration_that_is_refused_is_told_once_and_that_one_is_taken_again(agentd: Agentd, phone: Phone) -> None:
    agentd.start()
    sound = agentd.config.read_text()
    agentd.config.write_text(f"{sound}concurency: 3\n")
    assert agentd.ctl("reload").returncode == 2
    agentd.until(lambda: phone.got, "the errors to be told")
    assert agentd.ctl("reload").returncode == 2
    agentd.config.write_text(sound)
    assert agentd.ctl("reload").returncode == 0
    agentd.until(lambda: len(phone.got) > 1, "the end to be told")
    refused, taken = phone.got
    assert refused["title"] == "the configuration has errors: the one before stays in force"
    assert 'unknown key "concurency"' in refused["message"]
    assert taken["title"].startswith("the configuration is taken (over after ")


def test_people_and_runs_speak_and_a_run_is_named(agentd: Agentd, phone: Phone) -> None:
    agentd.start()
    for job in ("speaker", "whisper"):
        run(agentd, job)
    assert agentd.ctl("tell", "by hand").returncode == 0
    settled(agentd)
    told = dict(zip(phone.titles(), phone.got, strict=True))
    assert set(told) == {"speaker: Assignments", "whisper: nothing to do", "by hand"}
    assert told["speaker: Assignments"]["message"] == "3 of 12 look late"
    assert told["speaker: Assignments"]["topic"] == f"{SECRET}-team"
    assert told["by hand"]["topic"] == f"{SECRET}-ntfy"
    for words in (("tell", "x", "--to", "phon"), ("notices", "test", "phon")):
        wrong = agentd.ctl(*words)
        assert (wrong.returncode != 0, wrong.stdout) == (True, "")
        assert 'there is no channel "phon" (did you mean phone?)' in wrong.stderr
    agentd.environment["AGENTD_RUN_ID"] = "backup.99"
    wrong = agentd.ctl("tell", "x")
    assert wrong.returncode != 0
    assert "the run backup.99 is not under way" in wrong.stderr


def test_a_server_that_is_down_is_told_and_tried_at_once_where_a_person_asks(agentd: Agentd, phone: Phone) -> None:
    agentd.start()
    phone.down()
    run(agentd, "backup")
    failed = agentd.ctl("notices", "test")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "127.0.0.1 refuses connections" in failed.stderr
    (usual, _) = agentd.ctl_json("notices", "channels")
    assert usual["trouble"] == "127.0.0.1 refuses connections"
    assert usual["waiting"] == 2
    assert "127.0.0.1 refuses connections" in agentd.ctl("notices").stdout
    phone.up()
    assert agentd.ctl("notices", "test").returncode == 0
    assert phone.titles() == ["backup failed: exit code 3", "agentd: a test", "agentd: a test"], "in their order"
    settled(agentd)


def test_what_waits_can_be_dropped(agentd: Agentd, phone: Phone) -> None:
    agentd.start()
    phone.down()
    run(agentd, "backup")
    assert agentd.ctl("notices", "test", "team").returncode == 1

    def tried() -> dict[str, int]:
        found = agentd.ctl_json("notices", "--state", "waiting")
        return {one["channel"]: one["id"] for one in found if one.get("attempts")}

    agentd.until(lambda: len(tried()) == 2, "both couriers to come back")
    waiting = tried()
    assert set(waiting) == {"phone", "team"}
    assert agentd.ctl_json("notices", "drop", str(waiting["team"])) == {"dropped": 1}
    again = agentd.ctl("notices", "drop", str(waiting["team"]))
    assert again.returncode != 0
    assert "waits" in again.stderr
    assert agentd.ctl_json("notices", "drop", "--all") == {"dropped": 1}
    assert agentd.property("Notices.Waiting") == 0
    assert [one["state"] for one in agentd.ctl_json("notices")] == ["dropped"] * 2
    phone.up()
    assert agentd.ctl("notices", "test", "team").returncode == 0
    assert phone.titles() == ["agentd: a test"]


def test_what_a_courier_has_when_it_is_dropped_is_told_as_sent_once_it_arrives(agentd: Agentd, phone: Phone) -> None:
    agentd.start()
    phone.open.clear()
    run(agentd, "backup")
    agentd.until(lambda: phone.asked, "the courier to be at the server")
    assert agentd.ctl_json("notices", "drop", "--all") == {"dropped": 1}
    assert [one["state"] for one in agentd.ctl_json("notices")] == ["dropped"]
    phone.open.set()
    agentd.until(lambda: agentd.ctl_json("notices")[0]["state"] == "sent", "the message to be told as sent")
    (told,) = agentd.ctl_json("notices")
    assert told["why"] == "a courier had the message already: dropped by hand"
    assert phone.titles() == ["backup failed: exit code 3"]


def test_without_a_channel_that_is_told(agentd: Agentd) -> None:
    agentd.start("jobs: {backup: {run: 'exit 3'}}\n")
    run(agentd, "backup")
    assert "no channel is configured" in agentd.ctl("notices").stdout
    for words in (("tell", "x"), ("notices", "test")):
        assert agentd.ctl(*words).returncode == 1
    assert agentd.ctl_json("notices") == []


def test_a_credential_that_cannot_be_used_is_told_before_anything_is_to_be_sent(agentd: Agentd, phone: Phone) -> None:
    folder = agentd.folder / "home/.config/agentd/credentials"
    (folder / "team").unlink()
    (folder / "ntfy").chmod(0o644)
    expected = "expected agentd.notice.team of systemd, or the file ~/.config/agentd/credentials/team"
    warnings = [
        f"the credential ntfy cannot be used: others may open {folder}/ntfy (chmod 600 {folder}/ntfy)",
        f"there is no credential team: {expected}",
    ]
    checked = agentd.ctl("check", str(agentd.config))
    assert checked.returncode == 0, "a credential may come later"
    assert f"warning: notices.channels.phone: {warnings[0]}" in checked.stdout
    # Whoever may not look where systemd keeps credentials is told of the user's own file alone.
    own = "there is no file ~/.config/agentd/credentials/team, which an agentd that runs standalone expects"
    assert any(f"warning: notices.channels.team: {text}" in checked.stdout for text in (warnings[1], own))
    agentd.start()
    told = [
        f"nothing gets through to the channel {name}: {text}"
        for name, text in zip(("phone", "team"), warnings, strict=True)
    ]
    assert agentd.property("Manager.Warnings") == told
    assert all(f"warning: {text}" in agentd.ctl("status").stdout for text in told)
    assert agentd.log.read_text().count("nothing gets through to the channel") == 2
    (check,) = [one for one in self_tested(agentd) if one["name"] == "notices"]
    assert check["result"] == "failed"
    assert all(text in check["text"] for text in warnings)
    for name in ("ntfy", "team"):
        phone.credential(agentd, name)
        (folder / name).chmod(0o600)
    assert agentd.ctl("reload").returncode == 0
    assert agentd.property("Manager.Warnings") == []
    (check,) = [one for one in self_tested(agentd) if one["name"] == "notices"]
    assert check["result"] == "passed"
    assert check["text"] == (
        "couriers can use their credentials (the channel phone, the channel team); nothing was sent"
    )
    assert phone.asked == []


# Deaths


def test_a_message_in_the_hands_of_a_courier_survives_the_death_of_agentd(agentd: Agentd, phone: Phone) -> None:
    agentd.start()
    phone.open.clear()
    run(agentd, "backup")
    agentd.until(lambda: phone.asked, "a courier to ask the server")
    pid = courier(agentd)
    agentd.kill()
    agentd.until(lambda: not Path(f"/proc/{pid}").exists(), "the courier to end with agentd")
    phone.open.set()
    agentd.start()
    settled(agentd)
    assert set(phone.titles()) == {"backup failed: exit code 3"}
    assert len(phone.got) <= 2
    (one,) = agentd.ctl_json("notices")
    assert one["state"] == "sent"


def test_a_courier_ends_with_an_agentd_that_is_stopped_and_that_is_no_failed_attempt(
    agentd: Agentd, phone: Phone
) -> None:
    agentd.start()
    phone.open.clear()
    run(agentd, "backup")
    agentd.until(lambda: phone.asked, "a courier to ask the server")
    pid = courier(agentd)
    assert agentd.stop() == 0
    agentd.until(lambda: not Path(f"/proc/{pid}").exists(), "the courier to end with agentd")
    phone.open.set()
    agentd.start()
    settled(agentd)
    (one,) = agentd.ctl_json("notices")
    assert (one["state"], one["attempts"]) == ("sent", 1)
    assert agentd.log.read_text().count("warning: message") == 0


def test_a_courier_that_is_killed_is_told_and_its_message_goes_again(agentd: Agentd, phone: Phone) -> None:
    agentd.start()
    phone.open.clear()
    run(agentd, "backup")
    agentd.until(lambda: phone.asked, "a courier to ask the server")
    os.kill(courier(agentd), signal.SIGKILL)
    agentd.until(lambda: agentd.ctl_json("notices")[0].get("attempts"), "agentd to notice")
    (one,) = agentd.ctl_json("notices")
    assert (one["state"], one["why"]) == ("waiting", "the courier ended with -9")
    phone.got.clear()
    phone.open.set()
    assert agentd.ctl("notices", "test").returncode == 0
    assert phone.titles()[-2:] == ["backup failed: exit code 3", "agentd: a test"]
    assert agentd.property("Manager.Warnings") == []


def couriers(agentd: Agentd) -> list[int]:
    """The processes of the couriers that are at work."""
    assert agentd.process is not None
    found = []
    for pid in children_of(agentd.process.pid):
        with contextlib.suppress(OSError):  # it ended meanwhile
            if b"courier" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def kill_some(agentd: Agentd, chance: random.Random) -> int:
    """Kills agentd, or one of its couriers while it is at work; returns whether anybody died."""
    if chance.random() < 0.5:
        agentd.kill()
        agentd.start()
        return 1
    deadline = time.monotonic() + 2
    while not couriers(agentd) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(chance.uniform(0, 1.2))  # most of it is the start
    for pid in couriers(agentd)[:1]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            return 1
    return 0


def test_kills_of_agentd_and_couriers_lose_no_failure_and_tell_at_most_one_more_each(agentd: Agentd) -> None:
    chance, kills = random.Random(16), 0
    # Each job has a channel of its own, so that nothing is gathered; channels share credentials.
    jobs = {f"job{number:03}": ("ntfy", "discord", "mail")[number % 3] for number in range(2 * KILLS)}
    channels = ", ".join(f"{job}: {{credential: {name}}}" for job, name in jobs.items())
    routes = ", ".join(f"{{jobs: {job}, to: [{job}]}}" for job in jobs)
    commands = ", ".join(f"{job}: {{run: 'exit 3'}}" for job in jobs)
    with services(agentd) as them:
        agentd.start(f"notices: {{channels: {{{channels}}}, routes: [{routes}]}}\njobs: {{{commands}}}\n")
        left = list(jobs)
        while kills < KILLS or left:
            # Random moments are the point; the clock is the machine's, because the kernel does the killing.
            for job in left[:2]:
                time.sleep(chance.uniform(0, 0.6))
                agentd.call("Jobs.RunJob", "sa{sv}", job, {})
            left = left[2:]
            time.sleep(chance.uniform(0, 1.5))
            kills += kill_some(agentd, chance) if kills < KILLS else 0
        agentd.until(lambda: all(one["state"] == "ended" for one in agentd.runs()), "the runs to end")
        for one in agentd.ctl_json("notices", "--state", "waiting", "-n", "1000"):  # not only after a minute
            agentd.call("Notices.Tell", "ssa{sv}", "", "again, please", {"to": ("s", one["channel"])})
        agentd.until(lambda: agentd.property("Notices.Waiting") == 0, "all messages to be sent", 60 + 6 * KILLS)
        told = {name: [one for one in texts if "again, please" not in one] for name, texts in them.told().items()}
    assert {one["job"] for one in agentd.runs()} == set(jobs)
    more = 0
    for service, texts in told.items():
        found = Counter(re.findall(r"job\d{3}", text)[0] for text in texts)
        assert set(found) == {job for job, name in jobs.items() if name == service}, "each is told where it is to"
        more += found.total() - len(found)
    print(f"{kills} kills, {len(jobs)} failures, {more} told twice")
    assert more <= kills
    with closing(sqlite3.connect(agentd.state / "agentd.db")) as database:
        rows = database.execute("SELECT channel, state FROM notices").fetchall()
        assert database.execute("SELECT count(*) FROM troubles").fetchone() == (len(jobs),)
    assert {state for _, state in rows} == {"sent"}
    assert {channel for channel, _ in rows} == set(jobs)
