"""The timer of the wall clock at its end."""

import asyncio

from agentd.linux import WallTimer, now


def test_a_timer_that_was_closed_is_armed_no_more() -> None:
    """The last reports of runs may come after that, and each has the timer set."""
    calls: list[str] = []

    async def scenario() -> None:
        timer = WallTimer(lambda: calls.append("time"), lambda _: calls.append("step"))
        timer.close()
        timer.set(now())
        await asyncio.sleep(0)

    asyncio.run(scenario())
    assert calls == []
