"""The checks of jobs: systemd answers, and reads for each job the unit that the configuration asks for."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from agentd.bus.connection import CallFailed
from agentd.core.config import Config
from agentd.core.jobs import unitfile
from agentd.core.jobs.settings import Job
from agentd.jobs.checks import checks
from agentd.part import CheckFailed, CheckSkipped
from agentd.peers.systemd import MANAGER, Systemd
from tests.unit.bus.conftest import address, connected

__all__ = ["address"]

CONFIG = Config(
    jobs={
        "a": Job(name="a", run=("/bin/true",)),
        "b": Job(name="b", run=("/bin/echo", "100%"), concurrency=2),
    }
)
STANDALONE = "agentd runs standalone here: its jobs are processes of its own, and no units of systemd"


async def canary() -> str:
    return "a run began and ended"


class Bus:
    """systemd's answers: the files that it reads, by their paths, or an error."""

    def __init__(self, files: Sequence[Path] | CallFailed) -> None:
        self.files = files
        self.asked: list[Any] = []

    async def call(self, remote: Any, member: str, signature: str, *body: Any) -> list[Any]:
        self.asked.append((remote, member, signature, *body))
        if isinstance(self.files, CallFailed):
            raise self.files
        return [[[str(file), "generated"] for file in self.files]]

    async def get(self, remote: Any, name: str) -> int:
        assert (remote, name) == (MANAGER, "NFailedUnits")
        return 2


def look(name: str, bus: Any, config: Config = CONFIG) -> str:
    """Returns what a check found, "failed: " before it where it failed, "skipped: " where it does not apply."""
    return asyncio.run(looked(name, bus, config))


async def looked(name: str, bus: Any, config: Config = CONFIG) -> str:
    systemd = None if bus is None else Systemd(bus, lambda _: None, lambda *_: None)
    (check,) = [one for one in checks(systemd, canary, lambda: config) if one.name == name]
    try:
        return await check.look()
    except CheckFailed as failed:
        return f"failed: {failed}"
    except CheckSkipped as skipped:
        return f"skipped: {skipped}"


@pytest.fixture
def generated(tmp_path: Path) -> list[Path]:
    """The files that the generator wrote, and that of the package which has such a name too."""
    for name, text in unitfile.units(CONFIG.jobs):
        (tmp_path / name).write_text(text)
    (tmp_path / unitfile.KEEP).write_text("[Unit]\n")
    return sorted(tmp_path.iterdir())


def test_units_as_the_configuration_says_pass_and_are_asked_for_at_once(generated: list[Path]) -> None:
    bus = Bus(generated)
    assert look("units", bus) == "systemd has the units that the configuration asks for (3)"
    assert bus.asked == [
        (MANAGER, "ListUnitFilesByPatterns", "asas", [], ["agentd-job@*.service", "agentd-restart@*.service"])
    ]


def test_a_unit_that_was_written_over_fails(generated: list[Path]) -> None:
    generated[1].write_text(generated[1].read_text().replace("/bin/true", "/bin/false"))
    assert look("units", Bus(generated)) == f"failed: {generated[1]} is not as the configuration says"


def test_a_unit_that_another_file_hides_fails_also_where_that_masks_it(generated: list[Path], tmp_path: Path) -> None:
    mask = tmp_path / "etc" / "agentd-job@a.service"
    mask.parent.mkdir()
    mask.symlink_to("/dev/null")
    files = [mask, *(file for file in generated if file.name != mask.name)]
    assert look("units", Bus(files)) == f"failed: {mask} is not as the configuration says"


def test_units_that_systemd_does_not_have_fail_and_the_first_are_named(generated: list[Path]) -> None:
    config = Config(jobs={name: Job(name=name, run=("/bin/true",)) for name in ("a", "c", "d", "e", "f")})
    found = look("units", Bus(generated), config)
    first = "; ".join(f"systemd has no agentd-job@{name}.service" for name in ("c", "d", "e"))
    assert found == f"failed: {first}; and 1 more"


def test_a_unit_that_may_be_restarted_no_more_fails(generated: list[Path], tmp_path: Path) -> None:
    surplus = tmp_path / "agentd-restart@web.service.service"
    surplus.write_text("[Unit]\n")
    found = look("units", Bus([*generated, surplus]))
    assert found == f"failed: {surplus} is there, and the configuration asks for none"


def test_a_unit_that_is_no_text_or_gone_fails(generated: list[Path]) -> None:
    generated[1].write_bytes(b"\xff")
    generated[2].unlink()
    found = look("units", Bus(generated))
    assert found.count("is not as the configuration says") == 2


def test_a_unit_of_a_job_that_is_no_more_is_no_fault(generated: list[Path]) -> None:
    config = Config(jobs={"a": CONFIG.jobs["a"]})  # as of one that still runs
    assert look("units", Bus(generated), config) == "systemd has the units that the configuration asks for (1)"


def test_a_systemd_that_answers_passes_and_one_that_refuses_does_not(generated: list[Path]) -> None:
    assert look("systemd", Bus(generated)) == "systemd answers (2 units failed)"
    refused = Bus(CallFailed("org.freedesktop.DBus.Error.AccessDenied", "not you"))
    assert look("units", refused) == "failed: systemd does not say which units there are: not you"


def test_on_a_bus_without_systemd_both_checks_fail(address: str) -> None:
    async def scenario() -> list[str]:
        async with connected(address) as bus:
            return [await looked(name, bus) for name in ("systemd", "units")]

    answers, units = asyncio.run(scenario())
    assert answers.startswith("failed: systemd does not answer: ")
    assert units.startswith("failed: systemd does not say which units there are: ")


def test_standalone_jobs_need_no_systemd() -> None:
    units_of_systemd = [check for check in checks(None, canary, Config) if check.name != "canary"]
    assert {look(check.name, None) for check in units_of_systemd} == {f"skipped: {STANDALONE}"}


def test_each_check_names_a_command() -> None:
    for check in checks(None, canary, Config):
        assert check.name == check.name.lower()
        assert ": " in check.remedy
