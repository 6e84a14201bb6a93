"""What collects the tests of all folders."""

import gc
import os
from collections.abc import Generator
from itertools import groupby
from pathlib import Path

import pytest

WAITING = Path(__file__).with_name("bus")
"""Where the tests are that wait more than they work: for a real agentd."""
LONGEST = ("crash", "room", "reboot", "secrets", "notices", "pings", "learning", "growth", "autonomous", "readme")
"""The files among them that take longest come first: one that began last kept a worker busy for half a minute after the
others."""


def pytest_configure(config: pytest.Config) -> None:
    """Keeps each worker, and whatever its tests start, on one processor where AGENTD_PINNED is set.

    Processes that answer each other wake another processor each time otherwise, which is dear in a virtual machine:
    about a fifth of the processor time of all. make test does so; the build of the package does not, so that what
    happens at once is tried there.
    """
    worker = getattr(config, "workerinput", {}).get("workerid", "")
    if worker and os.environ.get("AGENTD_PINNED"):
        processors = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {processors[int(worker.removeprefix("gw")) % len(processors)]})


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Has what is collected not looked through for cycles meanwhile: each worker makes 7,900 tests, more than a million
    objects, which all stay. (gc.freeze() would hide them for good, but from hypothesis 6.130 as well.)"""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Weaves the files of tests that wait evenly among those that compute.

    Each worker begins with a part of the list, and so they have both at any time: one kind after the other left two
    processors idle for a third of the time.
    """
    waiting = [test for test in items if WAITING in test.path.parents]
    names = [f"test_{name}" for name in LONGEST]
    waiting.sort(key=lambda test: names.index(test.path.stem) if test.path.stem in names else len(names))
    computing = [test for test in items if WAITING not in test.path.parents]
    woven: list[pytest.Item] = []
    placed = taken = 0
    for _, file in groupby(waiting, key=lambda test: test.path):
        before = placed * len(computing) // len(waiting)
        tests = list(file)
        woven += [*computing[taken:before], *tests]
        taken, placed = before, placed + len(tests)
    items[:] = [*woven, *computing[taken:]]
