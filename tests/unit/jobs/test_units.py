"""What is asked of systemd while PID 1 executes itself anew; the rest is tested in a machine."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from agentd.bus.connection import CallFailed
from agentd.core.reboots.model import Boot
from agentd.jobs import units

ERROR = "org.freedesktop.DBus.Error."
GONE = CallFailed(f"{ERROR}NoReply", "Message recipient disconnected from message bus without replying")


class Bus:
    """Gives one answer after the other, whatever is asked."""

    def __init__(self, *answers: Any) -> None:
        self._answers: Iterator[Any] = iter(answers)

    async def get(self, _peer: Any, _name: str) -> Any:
        if isinstance(answer := next(self._answers), Exception):
            raise answer
        return answer


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "_AGAIN", 0)


def this_boot(*answers: Any) -> Boot:
    bus: Any = Bus(*answers)
    return asyncio.run(units.this_boot(bus, "abc"))


def test_systemd_is_asked_again_while_it_is_away() -> None:
    assert this_boot(GONE, GONE, 2, GONE, 1234) == Boot("abc+2", 1234)


@pytest.mark.parametrize("name", ["AccessDenied", "Timeout", "Disconnected"])
def test_systemd_is_not_asked_again_where_that_would_not_help(name: str) -> None:
    with pytest.raises(CallFailed, match="no"):
        this_boot(GONE, CallFailed(f"{ERROR}{name}", "no"), 2, 1234)


def test_a_systemd_that_stays_away_is_given_up() -> None:
    with pytest.raises(CallFailed, match="disconnected"):
        this_boot(*[GONE] * units._TRIES, 2, 1234)
