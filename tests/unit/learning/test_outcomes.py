"""Whether a run was of use: what of an output counts as a change, and what files and codes say."""

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.core.jobs.model import Run
from agentd.core.learning import outcomes
from agentd.core.learning.outcomes import MOST, Watch, mark_of_output, masked, watch
from agentd.learning import looking

SAME = [
    ("2026-11-25 10:11:12 ok", "2026-11-26 08:00:01 ok"),
    ("2026-11-25T10:11:12.123Z ok", "2026-11-25T10:11:13.9+01:00 ok"),
    ("Wed Nov 25 10:11:12 UTC 2026", "Thu Nov 26 09:11:12 UTC 2026"),
    ("25 Nov 2026 up to date", "26 Nov 2026 up to date"),
    ("checked at 25.11.2026", "checked at 1.12.2026"),
    ("at 1764064000 nothing", "at 1764067600.5 nothing"),
    ("took 12 ms", "took 0.3 s"),
    ("finished in 1.2s, 3 files", "finished in 0.9s, 3 files"),
    ("last change 5 minutes ago", "last change 2 hours ago"),
    ("sshd[1234]: ready", "sshd[99]: ready"),
    ("pid 12 runs", "pid 99431 runs"),
    ("object at 0x7f00deadbeef", "object at 0x55d0c0ffee00"),
    ("id 123e4567-e89b-12d3-a456-426614174000", "id 00000000-e89b-12d3-a456-426614174fff"),
    ("from 10.0.0.1:51234", "from 10.0.0.1:40001"),
    ("run #17 ok", "run #18 ok"),
    ("attempt 1: ok", "attempt: 3: ok"),
    ("uptime 12 days\nok  ", "uptime 13 days\nok"),
    ("ok\n\n", "ok"),
]
DIFFERENT = [
    ("3 new mails", "4 new mails"),
    ("version 1.2.3", "version 1.2.4"),
    ("host 10.0.0.1", "host 10.0.0.2"),
    ("disk 91%", "disk 92%"),
    ("ok", "failed"),
    ("temperature 31.5", "temperature 32.0"),
    ("commit 3f2a9c1", "commit 3f2a9c2"),
    ("port 8080 open", "port 8081 open"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_times_durations_addresses_and_counters_are_no_change(one: str, other: str) -> None:
    assert mark_of_output(one.encode()) == mark_of_output(other.encode())


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_means_something_is_a_change(one: str, other: str) -> None:
    assert mark_of_output(one.encode()) != mark_of_output(other.encode())


@given(st.text(max_size=300))
def test_an_output_is_masked_whatever_is_in_it_and_only_once(text: str) -> None:
    assert masked(masked(text)) == masked(text)


def test_any_bytes_are_an_output_and_only_its_beginning_counts() -> None:
    assert mark_of_output(b"\xff\xfe\0") != mark_of_output(b"ok")
    assert mark_of_output(b"x" * MOST + b"1") == mark_of_output(b"x" * MOST + b"2")


@pytest.mark.parametrize(
    ("useful", "expected"),
    [
        ("output", Watch("output")),
        ("exit-code", Watch("exit-code")),
        ("exit-code:10,11", Watch("exit-codes", codes=(10, 11))),
        ("file:/var/lib/x", Watch("file", path="/var/lib/x")),
        ("reported", Watch("reported")),
    ],
)
def test_a_setting_names_what_is_watched(useful: str, expected: Watch) -> None:
    assert watch(useful) == expected


def test_a_file_is_told_by_its_content(tmp_path: Path) -> None:
    file = tmp_path / "x"
    assert looking.mark_of_file(file) == looking.mark_of_file(file / "below") == "absent"
    file.write_text("one")
    before = looking.mark_of_file(file)
    os.utime(file, (1, 1))
    assert looking.mark_of_file(file) == before != "absent"
    file.write_text("two")
    assert looking.mark_of_file(file) != before


def test_a_large_file_is_told_by_size_and_time_and_a_pipe_is_not_opened(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"x" * (MOST + 1))
    os.utime(file, (1, 1))
    before = looking.mark_of_file(file)
    os.utime(file, (2, 2))
    assert looking.mark_of_file(file) != before
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert looking.mark_of_file(pipe) == looking.mark_of_file(pipe)


def test_a_pipe_that_takes_the_place_of_a_file_holds_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe, file = tmp_path / "pipe", tmp_path / "file"
    os.mkfifo(pipe)
    file.write_text("small")
    seen = file.stat()
    monkeypatch.setattr(Path, "stat", lambda _self: seen)
    assert looking.mark_of_file(pipe) == outcomes.mark(b"")


def test_the_output_of_a_run_is_read_from_its_file(tmp_path: Path) -> None:
    run = Run(seq=3, job="feed", due=0, cause="schedule")
    kept = [True]
    read = looking.from_files(tmp_path, lambda _: kept[0])

    def seen() -> str:
        return asyncio.run(looking.mark(run, Watch("output"), read))

    assert seen() == mark_of_output(b"")
    (tmp_path / "feed.3.log").write_bytes(b"took 3 s\nnews")
    assert seen() == mark_of_output(b"took 9 s\nnews")
    (tmp_path / "feed.3.log").write_bytes(b"feed.3: news")
    assert seen() == mark_of_output(b"feed.77: news", "feed.77")
    kept[0] = False
    with pytest.raises(OSError, match="the disk was too full to keep it"):
        seen()


@pytest.mark.parametrize("took", ["9 ms", "10 ms", "1234 ms"])
def test_a_long_line_is_the_same_wherever_a_counter_moves_the_rest_of_it(took: str) -> None:
    """One line of JSON, say, that has a duration at its beginning and times all along."""
    entries = ", ".join(
        f'{{"at": "2026-11-27T03:{number % 60:02}:00Z", "name": "n{number % 7}"}}' for number in range(900)
    )
    assert masked(f"took {took}: [{entries}]") == masked(f"took 1 ms: [{entries}]")


@given(
    st.lists(
        st.sampled_from(("12:30:01", "2026-11-27", " ", "x" * 300, "7 min ago", "pid 12", "1.", "é", "=")), max_size=80
    )
)
def test_pieces_make_no_difference(parts: list[str]) -> None:
    line = "".join(parts)
    assert masked(line * 9) == outcomes._masks().sub("~", line * 9).strip()
