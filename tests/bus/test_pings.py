"""The outside view, as a check hears it: a real agentd, its couriers, and a server of checks."""

import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from uuid import UUID

import pytest

from tests.bus.checks import SECRET, Checks
from tests.bus.harness import Agentd
from tests.bus.test_room import Disk
from tests.examples import examples

CONFIG = """
timezone: UTC
jobs:
  backup: {run: 'cat FOLDER/said; exit $(cat FOLDER/code)', ping: {credential: backup-check}}
  twice: {run: 'exit 4', retries: {count: 1, backoff: 10ms}, ping: {credential: twice-check}}
  long: {run: 'exec sleep 600', ping: {credential: long-check}}
  killed: {run: 'kill -9 $$', ping: {credential: killed-check}}
  quiet: {run: 'exit 3'}
"""
BEATS = "notices: {heartbeat: {credential: alive, every: 1s}}\n"
KILLS = int(os.environ.get("AGENTD_KILLS", examples(6)))


@pytest.fixture
def checks(agentd: Agentd) -> Iterator[Checks]:
    """A server of checks to which all credentials lead, while agentd is not yet started."""
    checks = Checks()
    for name in ("backup-check", "twice-check", "long-check", "killed-check", "alive"):
        checks.credential(agentd, name)
    agentd.program = ("tests.bus.hasty", "--standalone")
    (agentd.folder / "said").write_text("".join(f"line {number}\n" for number in range(20)))
    (agentd.folder / "code").write_text("0")
    agentd.config.write_text(CONFIG.replace("FOLDER", str(agentd.folder)))
    yield checks
    checks.open.set()
    checks.down()


@pytest.fixture
def disk(agentd: Agentd) -> Iterator[Disk]:
    disk = Disk(agentd)
    yield disk
    disk.close()


def run(agentd: Agentd, job: str) -> str:
    run_id = str(agentd.call("Jobs.RunJob", "sa{sv}", job, {}))
    agentd.until(
        lambda: [one for one in agentd.runs(run_id=("s", run_id)) if one["state"] == "ended"], f"{run_id} to end"
    )
    return run_id


def hears(agentd: Agentd, checks: Checks, check: str, *says: str) -> None:
    agentd.until(lambda: len(checks.said(check)) >= len(says), f"{check} to hear {says}", 30)
    assert checks.said(check) == list(says)


def trouble(agentd: Agentd) -> str:
    """What is wrong with the first check that is listed."""
    return str(agentd.ctl_json("notices", "channels")[0]["trouble"])


def test_a_check_hears_of_each_run_with_its_id_and_its_last_lines(agentd: Agentd, checks: Checks) -> None:
    agentd.start()
    first = run(agentd, "backup")
    hears(agentd, checks, "backup-check", "start", "")
    (agentd.folder / "code").write_text("3")
    second = run(agentd, "backup")
    hears(agentd, checks, "backup-check", "start", "", "start", "3")
    begun, done, again, failed = checks.of("backup-check")
    said = "\n".join(f"line {number}" for number in range(10, 20))
    assert begun.body == f"{first} started"
    assert done.body == f"{first} succeeded\n\nthe last lines of its output:\n{said}"
    assert failed.body.startswith(f"{second} failed: exit code 3\n")
    assert failed.body.endswith(f"\n\nthe last lines of its output:\n{said}")
    assert begun.rid == done.rid == str(UUID(begun.rid))
    assert again.rid == failed.rid != begun.rid
    run(agentd, "quiet")
    run(agentd, "killed")
    hears(agentd, checks, "killed-check", "start", "fail")
    assert checks.of("killed-check")[-1].body.endswith("failed: killed by SIGKILL")
    assert {ping.check for ping in checks.got} == {"backup-check", "killed-check"}


def test_an_attempt_that_is_tried_again_and_a_run_that_is_stopped_are_no_failures(
    agentd: Agentd, checks: Checks
) -> None:
    agentd.start()
    run(agentd, "twice")
    hears(agentd, checks, "twice-check", "start", "log", "start", "4")
    agentd.call("Jobs.RunJob", "sa{sv}", "long", {})
    hears(agentd, checks, "long-check", "start")
    assert agentd.ctl("stop", "long").returncode == 0
    hears(agentd, checks, "long-check", "start", "log")
    assert "was stopped" in checks.of("long-check")[-1].body


def test_an_outage_is_told_and_once_it_is_over_the_newest_run_is_heard(agentd: Agentd, checks: Checks) -> None:
    agentd.start()
    checks.down()
    run(agentd, "backup")
    agentd.until(lambda: trouble(agentd), "the trouble to be told")
    (agentd.folder / "code").write_text("3")
    run(agentd, "backup")
    agentd.until(
        lambda: any("that backup pings since" in text for text in agentd.property("Manager.Warnings")), "a warning", 30
    )
    backup, *others = agentd.ctl_json("notices", "channels")
    assert (backup["kind"], backup["name"], backup["credential"]) == ("ping", "backup", "backup-check")
    assert (backup["waiting"], backup["sent"]) == (2, None)
    assert backup["trouble"] == "127.0.0.1 refuses connections"
    assert [one["trouble"] for one in others] == [""] * len(others)
    assert "ping of backup: 127.0.0.1 refuses connections" in agentd.ctl("notices").stdout
    checks.up()
    hears(agentd, checks, "backup-check", "start", "3")
    agentd.until(lambda: not agentd.ctl_json("notices", "channels")[0]["waiting"], "agentd to know")
    (backup, *_) = agentd.ctl_json("notices", "channels")
    assert (backup["trouble"], backup["sent"] is not None) == ("", True)
    log = agentd.log.read_text()
    assert log.count("the check backup-check does not hear of agentd: 127.0.0.1 refuses connections") == 1
    assert log.count("the check backup-check answers again") == 1
    assert not agentd.property("Manager.Warnings")


def test_no_sentence_and_no_file_has_the_address_of_a_check(agentd: Agentd, checks: Checks) -> None:
    agentd.start()
    said = ""
    run(agentd, "backup")
    hears(agentd, checks, "backup-check", "start", "")
    for status in (500, 302, 404):
        checks.status = status
        run(agentd, "backup")
        agentd.until(lambda: f"(status {checks.status})" in trouble(agentd), f"status {status} to be told", 30)
        said += trouble(agentd)
        for words in (("notices",), ("notices", "channels"), ("notices", "channels", "--json"), ("status",)):
            said += agentd.ctl(*words).stdout
    assert "127.0.0.1 knows no such address (status 404): correct the credential" in said
    assert agentd.stop() == 0
    assert SECRET not in said
    files = [file for file in agentd.folder.rglob("*") if file.is_file() and "credentials" not in file.parts]
    assert agentd.state / "agentd.db" in files
    assert [file for file in files if SECRET.encode() in file.read_bytes()] == []


def test_kills_lose_no_end_of_a_run_and_repeat_at_most_one_ping_each(agentd: Agentd, checks: Checks) -> None:
    chance = random.Random(16)
    jobs = [f"job{number}" for number in range(2 * KILLS)]
    for job in jobs:
        checks.credential(agentd, job)
    commands = ", ".join(f"{job}: {{run: 'exit 3', ping: {{credential: {job}}}}}" for job in jobs)
    agentd.start(f"jobs: {{{commands}}}\n")
    left = iter(jobs)
    for _ in range(KILLS):
        # Random moments are the point; the clock is the machine's, because the kernel does the killing.
        for job in (next(left), next(left)):
            time.sleep(chance.uniform(0, 0.5))
            agentd.call("Jobs.RunJob", "sa{sv}", job, {})
        time.sleep(chance.uniform(0, 1))
        agentd.kill()
        agentd.start()
    agentd.until(lambda: all(one["state"] == "ended" for one in agentd.runs()), "the runs to end")
    agentd.until(
        lambda: not any(one["waiting"] for one in agentd.ctl_json("notices", "channels")), "all pings to be sent", 60
    )
    ends = {job: [says for says in checks.said(job) if says != "start"] for job in jobs}
    assert {job for job, said in ends.items() if not said} == set(), "of these the end was lost"
    assert all(set(said) <= {"3", "fail"} for said in ends.values()), "a kill of agentd may cut a run off"
    counts = Counter((ping.check, ping.says, ping.rid) for ping in checks.got)
    assert sum(counts.values()) - len(counts) <= 2 * KILLS, "one for each courier that was at work"


# The heartbeat


def test_the_heart_beats_and_is_heard_no_more_once_agentd_is_gone(agentd: Agentd, checks: Checks) -> None:
    agentd.start(BEATS)
    agentd.until(lambda: len(checks.of("alive")) > 2, "some beats")
    assert {ping[1:] for ping in checks.of("alive")} == {("", "", "")}
    (heart,) = agentd.ctl_json("notices", "channels")
    assert (heart["kind"], heart["name"], heart["trouble"]) == ("heartbeat", "agentd", "")
    assert heart["sent"]
    assert agentd.stop() == 0
    stood = len(checks.of("alive"))
    time.sleep(2)
    assert len(checks.of("alive")) == stood


def test_the_heart_stands_still_while_nothing_can_be_stored_and_goes_on_after(
    agentd: Agentd, checks: Checks, disk: Disk
) -> None:
    agentd.start(BEATS + "jobs: {other: {run: 'true', when: {every: 1s}, missed: skip}}\n")
    agentd.until(lambda: len(checks.of("alive")) > 1, "some beats")
    disk.fill()
    agentd.until(
        lambda: any("cannot be stored" in text for text in agentd.property("Manager.Warnings")), "the trouble", 60
    )
    time.sleep(1)  # what a courier had before
    stood = len(checks.of("alive"))
    time.sleep(4)
    assert len(checks.of("alive")) == stood
    disk.free()
    agentd.until(lambda: not agentd.property("Manager.Warnings"), "room on the disk", 60)
    before = time.monotonic()
    agentd.until(lambda: len(checks.of("alive")) > stood + 2, "the heart to go on", 30)
    assert len(checks.of("alive")) - stood <= time.monotonic() - before + 5, "nothing is made up for"


def test_a_check_that_is_down_is_told_and_no_beat_is_sent_later(agentd: Agentd, checks: Checks) -> None:
    checks.down()
    agentd.start(BEATS)
    agentd.until(
        lambda: any("that agentd pings since" in text for text in agentd.property("Manager.Warnings")), "a warning", 30
    )
    (heart,) = agentd.ctl_json("notices", "channels")
    assert (heart["trouble"], heart["waiting"]) == ("127.0.0.1 refuses connections", 0)
    before = time.monotonic()
    checks.up()
    agentd.until(lambda: len(checks.of("alive")) > 1, "the next beats")
    assert len(checks.of("alive")) <= time.monotonic() - before + 2
    agentd.until(lambda: not agentd.property("Manager.Warnings"), "the end of the warning")
