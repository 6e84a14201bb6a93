"""The files of couriers: what is handed over, what is taken back, and what an agentd that was killed left behind."""

import asyncio
import json
import os
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from agentd.core.notices.model import Outcome
from agentd.core.quantities import SECOND
from agentd.notices.bag import Letter
from agentd.notices.couriers import Couriers
from agentd.tasks import Threads

LATER = Outcome("again", "the server is down", 5 * SECOND)


def message(identity: int) -> Letter:
    return Letter(identity, f"title {identity}", f"text {identity}", sort="trouble")


def line(identity: int, became: str = "sent", **more: Any) -> bytes:
    return json.dumps({"id": identity, "became": became, **more}).encode() + b"\n"


class Box:
    """A folder, and couriers that write what the test says; `handed` is what each of them got."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.handed: list[dict[str, Any]] = []
        self.writes: bytes | None = b""
        self.failed = ""
        self.outcomes: list[tuple[int, Outcome]] = []
        self.while_away: Callable[[], Awaitable[object]] | None = None
        self.afresh()

    def afresh(self) -> None:
        """Has another agentd use the folder, which remembers nothing."""
        self.couriers = Couriers(self.folder, Threads(), self._start)

    @property
    def told(self) -> Path:
        return self.folder / "ntfy.told"

    async def _start(self, credential: str, folder: Path) -> str:
        assert (credential, folder) == ("ntfy", self.folder)
        self.handed.append(json.loads((folder / "ntfy.json").read_bytes()))
        if self.while_away is not None:
            await self.while_away()
        if self.writes is not None:
            self.told.write_bytes(self.writes or b"".join(line(one["id"]) for one in self.handed[-1]["messages"]))
        return self.failed

    def ids(self) -> list[list[int]]:
        """The ids that each courier got."""
        return [[one["id"] for one in batch["messages"]] for batch in self.handed]

    def deliver(self, *letters: Letter, channel: str = "phone") -> str:
        return asyncio.run(self.delivering(*letters, channel=channel))

    async def delivering(self, *letters: Letter, channel: str = "phone") -> str:
        return await self.couriers.deliver(
            "ntfy", channel, letters, lambda identity, outcome: self.outcomes.append((identity, outcome))
        )


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def test_messages_go_in_their_order_and_what_became_of_each_comes_back(box: Box) -> None:
    box.writes = line(1) + line(2, "refused", why="too long") + line(3, "again", why="the server is down", after=5)
    assert box.deliver(message(1), message(2), message(3)) == ""
    (batch,) = box.handed
    assert (batch["version"], batch["channel"]) == (1, "phone")
    assert batch["messages"][0] == {
        "id": 1, "title": "title 1", "body": "text 1", "priority": "normal", "sort": "trouble", "ping": None, "run": "",
        "dry": False,
    }  # fmt: skip
    assert box.ids() == [[1, 2, 3]]
    assert box.outcomes == [(1, Outcome("sent")), (2, Outcome("refused", "too long")), (3, LATER)]
    assert list(box.folder.iterdir()) == [], "nothing is left to be read a second time"


def test_nobody_else_may_read_what_is_handed_over(box: Box) -> None:
    modes: list[int] = []

    async def look() -> None:
        modes.append(stat.S_IMODE((box.folder / "ntfy.json").stat().st_mode))

    box.while_away = look
    before = os.umask(0)
    try:
        box.deliver(message(1))
    finally:
        os.umask(before)
    assert modes == [0o640]


def test_what_was_told_to_an_agentd_that_was_killed_is_read_before_anything_is_handed_out_again(box: Box) -> None:
    box.told.write_bytes(line(1) + line(2, "refused", why="too long"))
    assert box.deliver(message(1), message(2), message(3)) == ""
    assert box.ids() == [[3]]
    assert box.outcomes == [(1, Outcome("sent")), (2, Outcome("refused", "too long")), (3, Outcome("sent"))]


def test_no_courier_goes_where_all_was_told_already(box: Box) -> None:
    box.told.write_bytes(line(1))
    assert box.deliver(message(1)) == ""
    assert box.handed == []
    assert box.outcomes == [(1, Outcome("sent"))]


def test_what_comes_after_a_message_that_goes_again_waits_for_it(box: Box) -> None:
    box.told.write_bytes(line(1) + line(2, "again", why="the server is down", after=5))
    assert box.deliver(message(1), message(2), message(3)) == ""
    assert box.handed == [], "message 3 would arrive before message 2"
    assert box.outcomes == [(1, Outcome("sent")), (2, LATER)]
    assert box.deliver(message(2), message(3)) == ""
    assert box.ids() == [[2, 3]]


def test_what_was_told_of_another_channel_with_the_same_credential_is_kept_for_it(box: Box) -> None:
    box.told.write_bytes(line(1) + line(2))
    assert box.deliver(message(3), channel="team") == ""
    assert box.outcomes == [(3, Outcome("sent"))]
    assert box.deliver(message(1), message(2), message(4)) == ""
    assert box.ids() == [[3], [4]], "messages 1 and 2 have arrived long ago"
    assert box.outcomes[1:] == [(1, Outcome("sent")), (2, Outcome("sent")), (4, Outcome("sent"))]


def test_a_courier_that_only_looks_gets_no_message_and_says_what_a_person_has_to_mend(box: Box) -> None:
    assert asyncio.run(box.couriers.try_out("ntfy")) == ""
    (bag,) = box.handed
    assert [(one["id"], one["dry"], one["title"], one["ping"]) for one in bag["messages"]] == [(0, True, "", None)]
    assert asyncio.run(box.couriers.try_out("ntfy", ping=True)) == ""
    assert box.handed[-1]["messages"][0]["ping"] == "success"
    box.writes = line(0, "again", why="there is no credential ntfy", mend=True)
    assert asyncio.run(box.couriers.try_out("ntfy")) == "there is no credential ntfy"
    box.writes = None
    assert asyncio.run(box.couriers.try_out("ntfy")) == "the courier said nothing"
    box.failed = "the courier ended with 1"
    assert asyncio.run(box.couriers.try_out("ntfy")) == "the courier ended with 1"
    assert box.outcomes == []


def test_what_was_told_before_a_look_is_kept_for_its_channel(box: Box) -> None:
    box.told.write_bytes(line(1) + line(0, "again", why="of a look before a kill"))
    assert asyncio.run(box.couriers.try_out("ntfy")) == ""
    box.deliver(message(1), message(2))
    assert box.ids() == [[0], [2]]
    assert box.outcomes == [(1, Outcome("sent")), (2, Outcome("sent"))]


def test_one_courier_goes_at_a_time_with_a_credential(box: Box) -> None:
    at_work = 0

    async def alone() -> None:
        nonlocal at_work
        at_work += 1
        await asyncio.sleep(0)
        assert at_work == 1
        at_work -= 1

    async def both() -> None:
        await asyncio.gather(box.delivering(message(1)), box.delivering(message(2), channel="team"))

    box.while_away = alone
    asyncio.run(both())
    assert sorted(box.ids()) == [[1], [2]]


@pytest.mark.parametrize(
    "damaged",
    [
        b'{"id": 1, "became": "se',
        b'{"id": 1, "became": "sent"',
        b"\0" * 4096,
        b"\xff\xfe",
        b'{"id": 1, "became": "sent", "why": "\xff"}',
        b'{"id": 1, "became": ' + b"[" * 100_000,
        b'{"id": 1, "became": "sent", "more": ' + b"[" * 60_000,
        b'{"id": 1, "became": "lost"}',
        b'{"id": 1, "became": ["sent"]}',
        b'{"id": "1", "became": "sent"}',
        b'{"id": 1, "became": "again", "after": 1e999}',
        b'{"id": 1, "became": "again", "after": NaN}',
        b'[1, "sent"]',
        b"7",
        b"",
    ],
    ids=range(15),
)
def test_a_line_that_is_damaged_tells_nothing_and_the_others_do(box: Box, damaged: bytes) -> None:
    box.writes = damaged + b"\n" + (line(2) if len(damaged) < 60_000 else b"")
    box.deliver(message(1), message(2))
    assert box.outcomes == ([(2, Outcome("sent"))] if len(damaged) < 60_000 else [])
    assert not box.told.exists(), "the next agentd does not fall over it"


@pytest.mark.parametrize(("after", "pause"), [(-5, 0), (1e30, 86_400 * SECOND), (0.5, SECOND // 2)])
def test_a_pause_lies_within_a_day_and_a_reason_is_not_longer_than_a_sentence(
    box: Box, after: float, pause: int
) -> None:
    box.writes = line(1, "again", why="x" * 5000, after=after, mend=True)
    box.deliver(message(1))
    assert box.outcomes == [(1, Outcome("again", "x" * 500, pause, mend=True))]


def test_a_courier_that_says_nothing_is_told_and_one_that_failed_says_why(box: Box) -> None:
    box.writes = None
    assert box.deliver(message(1)) == "the courier said nothing"
    box.failed = "the courier ended with 1"
    assert box.deliver(message(1)) == "the courier ended with 1"
    box.writes = line(1)
    assert box.deliver(message(1), message(2)) == "the courier ended with 1"
    assert box.outcomes == [(1, Outcome("sent"))], "what it told before it failed counts"


@pytest.mark.parametrize("kind", ["link", "folder"])
def test_what_is_no_file_in_the_place_of_told_is_not_followed(box: Box, kind: str) -> None:
    secret = box.folder / "secret"
    secret.write_bytes(line(1))
    box.told.symlink_to(secret) if kind == "link" else box.told.mkdir()
    with pytest.raises(OSError, match=r"symbolic links|directory"):
        box.deliver(message(1))
    assert (box.handed, box.outcomes) == ([], [])
    assert secret.read_bytes() == line(1)


def test_a_pipe_in_the_place_of_told_holds_nothing_up(box: Box) -> None:
    os.mkfifo(box.told)
    box.deliver(message(1))
    assert box.outcomes == [(1, Outcome("sent"))]


def test_half_a_file_that_was_to_be_handed_over_is_written_anew(box: Box) -> None:
    (box.folder / ".ntfy.part").write_text('{"version": 1, "mess')
    (box.folder / "ntfy.json").write_text("old")
    assert box.deliver(message(1)) == ""
    assert box.ids() == [[1]]


def test_what_a_folder_that_is_gone_makes_of_a_message_is_an_error_of_the_system(box: Box) -> None:
    box.folder.rmdir()
    with pytest.raises(FileNotFoundError):
        box.deliver(message(1))
