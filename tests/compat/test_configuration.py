"""A configuration of agentd 0.1.0 means what it meant."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.fixture(scope="module")
def decoded() -> dict[str, Any]:
    command = [sys.executable, str(HERE / "decoded.py"), str(ROOT)]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def lost(wanted: Any, found: Any, where: str = "") -> Iterator[str]:
    """What of the recording is missing or another value; what a later version adds is not told."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key in wanted:
            if key in found:
                yield from lost(wanted[key], found[key], f"{where}/{key}")
            else:
                yield f"{where}/{key} is missing"
    elif wanted != found:
        yield f"{where}: {wanted!r} is now {found!r}"


def test_every_setting_is_decoded_to_the_same_value(decoded: dict[str, Any], recorded: dict[str, Any]) -> None:
    wrong = [*lost(recorded["configuration"]["decoded"], decoded["decoded"])]
    assert not wrong, "\n".join(wrong)
    for name, configuration in recorded["configuration"]["decoded"].items():
        assert decoded["decoded"][name]["jobs"].keys() == configuration["jobs"].keys()
        assert len(configuration["reboot"]["windows"]["coming"]) == 40


def test_check_says_the_same(decoded: dict[str, Any], recorded: dict[str, Any]) -> None:
    assert not [*lost(recorded["configuration"]["check"], decoded["check"])]


def test_every_setting_of_0_1_0_is_recorded_with_a_value_that_is_no_default(recorded: dict[str, Any]) -> None:
    full, little = recorded["configuration"]["decoded"].values()
    default = full["jobs"]["defaults"]
    for key in default.keys() - {"name", "run"}:
        assert any(job[key] != default[key] for job in full["jobs"].values()), key
    assert {job["when"]["key"] for job in full["jobs"].values()} == {
        "every", "cron", "at", "boot", "adaptive", "after", "manual",
    }  # fmt: skip
    for part in ("", "history", "reboot"):
        one, other = (full[part], little[part]) if part else (full, little)
        assert not [key for key in one if one[key] == other[key]]
    for part in ("wait_for", "limits", "hooks"):
        one, other = full["reboot"][part], little["reboot"][part]
        assert [key for key in one if one[key] == other[key]] == (["inhibitors"] if part == "wait_for" else [])
