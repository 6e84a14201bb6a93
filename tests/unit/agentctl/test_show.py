"""Tables as agentctl writes them."""

import io
import sys

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
