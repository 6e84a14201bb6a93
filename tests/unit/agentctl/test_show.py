"""Tables as agentctl writes them."""

import io
import sys
from collections import Counter
from types import FrameType
from typing import Any

import pytest

from agentctl import show


def test_a_table_is_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []

    class Counting(io.StringIO):
        encoding = "utf-8"

        def write(self, text: str) -> int:
            written.append(text)
            return len(text)

    monkeypatch.setattr(sys, "stdout", Counting())
    show.print_table(("JOB", "STATE"), [(f"job-{number}", "idle") for number in range(100)])
    (text,) = written
    assert text.splitlines()[::50] == ["JOB     STATE", "job-49  idle", "job-99  idle"]


def test_no_cell_of_a_table_is_laid_out_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    called: Counter[str] = Counter()

    def note(_: FrameType, event: str, function: Any) -> None:
        if event == "c_call":
            called[function.__name__] += 1

    rows = [("%s", "{}", "x" * (number % 5)) for number in range(100)]
    sys.setprofile(note)
    try:
        show.print_table(("A", "B", "C"), rows)
    finally:
        sys.setprofile(None)
    assert capsys.readouterr().out.splitlines()[3:5] == ["%s  {}  xx", "%s  {}  xxx"]
    # A line is one format of all its cells, and is cut once: to pad 40,000 cells one by one takes twice as long.
    assert called["rstrip"] == 101
    assert {"ljust", "format", "__format__", "write"} & {name for name in called if called[name] > 1} == set()
