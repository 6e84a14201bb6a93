"""The figures of the guards: what is measured is the scheduler's own, and what is not known breaks nothing."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from agentd.core.schedulers.model import Figures
from agentd.schedulers.guarding import Guarding
from agentd.schedulers.units import SLICE, unit_of
from agentd.tasks import Threads
from tests.unit.schedulers.test_monitor import machine

NAME = "scx_simple"
STAT = f"sys/fs/cgroup/{SLICE}/{unit_of(NAME)}/cpu.stat"
UNIT = Path(__file__).parents[3] / "units/agentd-scx@.service"


def looked(root: Path, between: Callable[[], object] = lambda: None) -> list[Figures]:
    """The figures at two looks, and what happens between them."""

    async def look() -> list[Figures]:
        threads = Threads()
        guarding = Guarding(threads, root)
        first = await guarding.figures(NAME)
        between()
        second = await guarding.figures(NAME)
        threads.close()
        return [first, second]

    return asyncio.run(look())


@pytest.mark.parametrize(("usage", "busy"), [(500, False), (1_000_000_000, True)])
def test_what_the_program_takes_of_a_processor_is_known_from_the_second_look_on(
    tmp_path: Path, usage: int, busy: bool
) -> None:
    machine(tmp_path, **{STAT: "usage_usec 500\n"})
    first, second = looked(tmp_path, lambda: (tmp_path / STAT).write_text(f"usage_usec {usage}\n"))
    assert first.program is None
    assert second.program is not None
    assert (second.program > 1) == busy


def test_a_program_without_a_control_group_breaks_no_bound(tmp_path: Path) -> None:
    machine(tmp_path)
    assert looked(tmp_path)[1].program is None


def test_the_unit_is_where_its_program_is_measured() -> None:
    assert f"Slice={SLICE}" in UNIT.read_text().splitlines()
