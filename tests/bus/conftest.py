"""Fixtures of the tests that run a real agentd."""

import contextlib
from collections.abc import Iterator

import pytest

from tests.bus.harness import Agentd
from tests.bus.machine import Machine


@pytest.fixture
def agentd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agentd]:
    """An agentd that is not yet started; whatever is left of it ends with the test."""
    daemon = Agentd(tmp_path_factory.mktemp("a"))
    yield daemon
    _end(daemon)


@pytest.fixture
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine that agentd may reboot, before agentd is started there."""
    machine = Machine(tmp_path_factory.mktemp("m"))
    yield machine
    _end(machine)
    machine.close()


def _end(daemon: Agentd) -> None:
    daemon.disconnect()
    if daemon.process is not None and daemon.process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            daemon.process.kill()
        daemon.process.wait()
