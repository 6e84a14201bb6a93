"""Notices, plugged in: what couriers get, what the core is told of them, and what callers are answered."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest
from msgspec.structs import replace

from agentd.core.jobs.model import Notified, Run, RunChanged
from agentd.core.notices.model import BeatWanted, Check, Message, Pinged, Saved, State
from agentd.core.notices.notices import Notices, Slice
from agentd.core.notices.settings import Heartbeat, NoticeSettings, Route
from agentd.core.part import Refused
from agentd.core.quantities import SECOND
from agentd.notices import part
from agentd.notices.api import Api
from agentd.notices.part import Reach, Shell, stuck, unheard
from agentd.part import Host
from tests.unit.notices.outside import pinging
from tests.unit.notices.person import BERLIN, NOW, channels, failed


class FakeHost:
    """A daemon that stores nothing and tells the test what it was to tell."""

    def __init__(self) -> None:
        self.defects: list[BaseException] = []
        self.signals: list[tuple[Any, ...]] = []
        self.refusal = ""
        self.server = self

    def now(self) -> int:
        return NOW

    def hear(self, _part: str, deed: Callable[[], object]) -> None:
        deed()

    def defect(self, _where: str, error: BaseException) -> None:
        self.defects.append(error)

    def emit(self, *signal: Any) -> None:
        self.signals.append(signal)

    def changed(self, *names: str) -> None:
        self.signals.append(names)

    def ready(self) -> None:
        if self.refusal:
            raise Refused("StoreUnavailable", self.refusal)

    async def settle(self) -> None:
        self.signals.append(("settled",))

    async def ask(self, question: Callable[..., Any], **_wanted: Any) -> Any:
        return [] if question.__name__ == "list_messages" else None


class Life:
    """A core of notices, its shell and its interface. `starts` is what a courier does; `printed` what runs said."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.host = FakeHost()
        self.settings = NoticeSettings(channels=channels(*names))
        self.core = Notices(Slice(notices=self.settings, jobs={}, zone=BERLIN), Saved(), NOW)
        self.printed: dict[str, str] = {}
        self.handed = ""
        self.starts: Callable[[Path], str] = lambda _: ""
        reach = Reach(folder=folder, start=self._start, lines=self._lines, job_of=self._job_of, doubt=lambda _: "")
        self.shell = Shell(cast("Host", self.host), self.core, reach)
        self.api = Api(cast("Host", self.host), self.core, self._job_of)

    async def _start(self, credential: str, folder: Path) -> str:
        self.handed = (folder / f"{credential}.json").read_text()
        return self.starts(folder)

    async def _lines(self, run_id: str) -> str:
        return self.printed.get(run_id, "")

    @staticmethod
    def _job_of(run_id: str) -> str:
        return {"backup.3": "backup"}.get(run_id, "")

    def carry_out(self) -> None:
        """Carries the effects of the core out, until there are none."""

        async def go() -> None:
            does = self.shell.does()
            while effects := [effect for effect in self.core.effects() if type(effect) in does]:
                for effect in effects:
                    if (done := does[type(effect)](effect)) is not None:
                        await asyncio.wait([cast("asyncio.Task[None]", done)])

        asyncio.run(go())

    def call(self, answer: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run(answer)


@pytest.fixture
def life(tmp_path: Path) -> Life:
    return Life(tmp_path, "phone", "team")


def sends(folder: Path) -> str:
    (folder / "phone.told").write_text('{"id": 1, "became": "sent"}\n')
    return ""


def told(folder: Path, outcome: str) -> str:
    """Tells what became of the first message."""
    (folder / "phone.told").write_text(f'{{"id": 1, {outcome}}}\n')
    return ""


# Couriers


def test_a_message_has_the_last_lines_of_its_run_and_listeners_hear_of_it(life: Life) -> None:
    life.printed["backup.3"] = "copying\ndisk full"
    life.starts = sends
    life.core.happen(failed(text="To see the output", run_id="backup.3"), NOW)
    life.carry_out()
    assert r'"body":"To see the output\n\nthe last lines of its output:\ncopying\ndisk full"' in life.handed
    changed = ("Notices", "NoticeChanged", 1, "phone", "sent", "backup failed: exit code 3", "")
    assert life.host.signals == [changed, ("Notices.Waiting",)]
    assert life.core.waiting() == []


def test_a_run_that_printed_nothing_leaves_the_text_as_it_is(life: Life) -> None:
    life.core.happen(failed(text="To see the output", run_id="backup.3"), NOW)
    life.carry_out()
    assert '"body":"To see the output"' in life.handed


def raising(error: Exception) -> Callable[[Path], str]:
    def start(_: Path) -> str:
        raise error

    return start


@pytest.mark.parametrize(
    ("starts", "why"),
    [
        (lambda _: "the courier ended with 1", "the courier ended with 1"),
        (lambda _: "", "the courier said nothing"),
        (raising(FileNotFoundError(2, "No such file or directory", "setpriv")), "setpriv: No such file or directory"),
        (raising(BlockingIOError(11, "Resource temporarily unavailable")), "the courier: Resource temporarily unavail"),
        (raising(ZeroDivisionError()), "a defect of agentd's own, which the log names"),
    ],
)
def test_whatever_becomes_of_a_courier_its_message_waits_with_the_reason(
    life: Life, starts: Callable[[Path], str], why: str
) -> None:
    life.starts = starts
    life.core.happen(failed(), NOW)
    life.carry_out()
    (message,) = life.core.waiting()
    assert message.why.startswith(why)
    assert (message.attempts, message.again_at > NOW) == (1, True)
    assert [type(error) for error in life.host.defects] == ([ZeroDivisionError] if "defect" in why else [])
    life.starts = sends
    life.core.tick(message.again_at)
    life.carry_out()
    assert life.core.waiting() == [], "the channel is not held by what failed"


def test_what_does_not_get_through_is_a_warning_after_some_attempts() -> None:
    def waits(identity: int, channel: str, attempts: int) -> Message:
        return Message(id=identity, channel=channel, made=1, title="x", attempts=attempts, why="down")

    assert stuck([waits(1, "team", 3), waits(2, "phone", 2), waits(3, "team", 0), waits(4, "team", 7)]) == [
        "nothing gets through to the channel team since 3 attempts: down"
    ]
    assert stuck([]) == []


def test_what_a_person_has_to_mend_is_a_warning_after_the_first_attempt(life: Life) -> None:
    why = '"why": "there is no credential phone", "after": 600, "mend": true'
    life.starts = lambda folder: told(folder, f'"became": "again", {why}')
    life.core.happen(failed(), NOW)
    life.carry_out()
    assert life.host.signals[-1] == ("Notices.Waiting", "Manager.Warnings"), "listeners hear of the warning"
    warning = "nothing gets through to the channel phone since 1 attempt: there is no credential phone"
    assert stuck(life.core.waiting()) == [warning]
    (message,) = life.core.waiting()
    life.starts = lambda folder: told(folder, '"became": "again", "why": "the server is down"')
    life.core.tick(message.again_at)
    life.carry_out()
    (message,) = life.core.waiting()
    assert message.attempts == 2
    assert stuck([message]) == [], "that may pass by itself"


def test_listeners_hear_that_a_warning_is_over(life: Life) -> None:
    life.core.happen(failed(), NOW)
    life.starts = lambda folder: told(folder, '"became": "again", "why": "there is no credential phone", "mend": true')
    life.carry_out()
    (message,) = life.core.waiting()
    life.starts = lambda folder: told(folder, '"became": "sent"')
    life.core.tick(message.again_at)
    life.carry_out()
    assert life.host.signals[-1] == ("Notices.Waiting", "Manager.Warnings")
    assert stuck(life.core.waiting()) == []


@pytest.mark.parametrize(
    ("state", "why", "words"),
    [
        ("waiting", "down", "waits: down"),
        ("failed", "too long", "failed: too long"),
        ("dropped", "", "is dropped"),
        ("sent", "", "is sent"),
    ],
)
def test_each_state_of_a_message_is_told_in_words(state: State, why: str, words: str) -> None:
    assert part._state(Message(id=7, channel="phone", made=1, title="x", state=state, why=why)) == words


# Checks outside


class Watched(Life):
    """A job that pings a check, and a heartbeat."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        jobs = {"backup": pinging("backup")}
        settings = NoticeSettings(heartbeat=Heartbeat(credential="alive"))
        self.core.configure(Slice(notices=settings, jobs=jobs, zone=BERLIN), NOW)
        self.letters: list[dict[str, Any]] = []
        self.starts = self.takes

    def takes(self, folder: Path) -> str:
        """Does what a courier does, with each letter."""
        fresh = json.loads(self.handed)["messages"]
        self.letters += fresh
        (file,) = folder.glob("*.json")
        lines = "".join(json.dumps({"id": one["id"], "became": "sent"}) + "\n" for one in fresh)
        file.with_suffix(".told").write_text(lines)
        return ""

    def runs(self, seq: int) -> None:
        run = Run(seq=seq, job="backup", due=NOW, cause="manual", state="running", started=NOW)
        self.core.heard([RunChanged("started", run)], NOW)
        self.carry_out()
        run = replace(run, state="ended", result="exit-code", exit_code=3)
        self.core.heard([RunChanged("finished", run), Notified("failure", run, "x", pinging("backup"))], NOW)
        self.carry_out()


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_a_ping_has_the_uuid_of_its_run_and_at_the_end_the_last_lines(watched: Watched) -> None:
    watched.printed |= {"backup.3": "disk full", "backup.4": ""}
    watched.runs(3)
    watched.runs(4)
    start, end, *other = watched.letters
    assert (start["ping"], start["body"]) == ("start", "backup.3 started")
    assert (end["ping"], end["body"]) == (
        3, "backup.3 failed: exit code 3\n\nthe last lines of its output:\ndisk full",
    )  # fmt: skip
    assert start["run"] == end["run"] == str(UUID(start["run"]))
    assert {one["run"] for one in other}.isdisjoint({start["run"]})
    assert len({one["id"] for one in watched.letters}) == 4
    assert all(one["id"] < 0 for one in watched.letters), "no message has such a number"
    (_, backup) = watched.call(watched.api.ListPings())
    assert {key: one.value for key, one in backup.items()} == {
        "kind": "ping", "name": "backup", "credential": "backup-check", "waiting": 0, "failed": 0, "sent": NOW,
        "trouble": "",
    }  # fmt: skip


def test_the_run_of_another_agentd_has_another_uuid(tmp_path: Path) -> None:
    found = []
    for origin in ("one", "two", "one"):
        watched = Watched(tmp_path)
        watched.shell._reach = replace(watched.shell._reach, origin=origin)
        watched.runs(3)
        found.append(watched.letters[0]["run"])
    assert found[0] == found[2] != found[1]


def test_the_heartbeat_is_a_success_of_no_run_and_no_text(watched: Watched) -> None:
    watched.core.tick(NOW)
    watched.carry_out()
    (beat,) = watched.letters
    assert (beat["ping"], beat["run"], beat["body"]) == ("success", "", "")
    (heart, _) = watched.call(watched.api.ListPings())
    assert (heart["kind"].value, heart["sent"].value) == ("heartbeat", NOW)


def test_a_beat_that_waited_until_nothing_could_be_stored_is_not_sent(watched: Watched) -> None:
    watched.core.tick(NOW)
    (late,) = (effect for effect in watched.core.effects() if isinstance(effect, BeatWanted))
    watched.core.storable("the disk is full", NOW)
    assert watched.shell.does()[BeatWanted](late) is None
    assert watched.letters == []


@pytest.mark.parametrize(
    ("starts", "why"),
    [
        (lambda _: "the courier ended with 1", "the courier ended with 1"),
        (lambda _: "", "the courier said nothing"),
        (raising(FileNotFoundError(2, "No such file or directory", "setpriv")), "setpriv: No such file or directory"),
        (raising(ZeroDivisionError()), "a defect of agentd's own, which the log names"),
    ],
)
def test_whatever_becomes_of_a_courier_a_ping_waits_and_a_beat_does_not(
    watched: Watched, starts: Callable[[Path], str], why: str
) -> None:
    watched.starts = starts
    watched.runs(3)
    watched.core.tick(NOW)
    watched.carry_out()
    heart, backup = watched.core.pings.listed()
    assert (heart.check.why, heart.waiting, heart.check.failed) == (why, 0, 1)
    assert (backup.check.why, backup.waiting, backup.check.failed) == (why, 2, 1)
    watched.starts = watched.takes
    watched.core.tick(NOW + 60 * SECOND)
    watched.carry_out()
    assert [one["ping"] for one in watched.letters] == ["start", 3]


def test_a_check_to_which_nothing_gets_through_is_a_warning_after_some_attempts() -> None:
    def pinged(failed: int) -> Pinged:
        return Pinged("ping", "backup", Check(credential="backup-check", failed=failed, why="down"))

    assert unheard([pinged(2), pinged(3)]) == [
        "nothing gets through to the check that backup pings since 3 attempts: down"
    ]


# Callers


def test_a_text_is_told_by_its_first_line_and_a_run_by_its_job(life: Life) -> None:
    assert life.call(life.api.Tell("", "late\n3 of 12\n", {})) == [1]
    assert life.call(life.api.Tell("backup.3", "late", {"title": "Work", "priority": "high", "to": "team"})) == [2]
    assert life.call(life.api.Tell("", "all of it", {"title": "  "})) == [3]
    first, second, third = life.core.waiting()
    assert (first.title, first.text, first.channel, first.priority) == ("late", "3 of 12", "phone", "normal")
    assert (second.title, second.text, second.channel, second.priority) == ("backup: Work", "late", "team", "high")
    assert third.title == "all of it"
    assert life.host.signals == [("settled",)] * 3, "an id is told once the message is stored"


def test_routes_for_jobs_choose_what_a_run_says_and_not_what_a_person_says(life: Life) -> None:
    settings = replace(life.settings, routes=(Route(jobs="back*", to=("team",)),))
    life.core.configure(Slice(notices=settings, jobs={}, zone=BERLIN), NOW)
    life.call(life.api.Tell("backup.3", "late", {}))
    life.call(life.api.Tell("", "by hand", {}))
    assert [(one.title, one.channel) for one in life.core.waiting()] == [("backup: late", "team"), ("by hand", "phone")]


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (("backup.4", "x", {}), "NoSuchRun", "the run backup.4 is not under way"),
        (("", " \n\t", {}), "InvalidArgument", "the message is empty: expected a text"),
        (("", "x", {"priority": "urgent"}), "InvalidArgument", '"urgent" is no priority: expected low, normal, high'),
        (("", "x", {"to": "fone"}), "NoSuchChannel", 'there is no channel "fone" (did you mean phone?)'),
        (("", "x", {"to": ""}), "NoSuchChannel", 'there is no channel ""'),
        (("", "x", {"for": "me"}), "InvalidArgument", "for"),
        (("", "x", {"title": 7}), "InvalidArgument", "title"),
    ],
)
def test_what_cannot_be_told_is_refused_with_a_sentence(
    life: Life, call: tuple[Any, ...], error: str, sentence: str
) -> None:
    with pytest.raises(Refused) as refused:
        life.call(life.api.Tell(*call))
    assert refused.value.name == error
    assert sentence in str(refused.value)
    assert life.core.waiting() == []


def test_nothing_is_promised_while_nothing_can_be_stored(life: Life) -> None:
    life.host.refusal = "the disk is full"
    for answer in (life.api.Tell("", "x", {}), life.api.Drop([])):
        with pytest.raises(Refused, match="the disk is full"):
            life.call(answer)
    assert life.core.waiting() == []


def test_without_a_channel_a_caller_is_told_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"notices\.channels") as refused:
        asyncio.run(Life(tmp_path).api.Tell("", "x", {}))
    assert refused.value.name == "Unsupported"


def test_either_all_numbers_are_dropped_or_none(life: Life) -> None:
    for text in ("one", "two", "three"):
        life.call(life.api.Tell("", text, {}))
    with pytest.raises(Refused, match="no message 9 waits"):
        life.call(life.api.Drop([1, 9]))
    assert len(life.core.waiting()) == 3
    with pytest.raises(Refused):
        life.call(life.api.Drop([0]))
    assert life.call(life.api.Drop([1])) == 1
    assert life.call(life.api.Drop([2, 2, 3])) == 2
    assert life.call(life.api.Drop([])) == 0


def test_the_same_message_is_as_it_is_now_though_the_disk_knows_less(life: Life) -> None:
    life.call(life.api.Tell("", "late", {}))
    assert life.call(life.api.GetNotice(1))["state"].value == "waiting"
    with pytest.raises(Refused, match=r"there is no message 2 \(agentctl notices lists them\)"):
        life.call(life.api.GetNotice(2))
    with pytest.raises(Refused, match='"lost" is no state: expected one of waiting, sent, failed, dropped'):
        life.call(life.api.ListNotices({"state": "lost"}))
