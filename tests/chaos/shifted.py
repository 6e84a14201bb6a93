"""Runs agentd, and its supervisors, with a clock that can be set: shifted.py -m MODULE ..., or shifted.py PROGRAM ...

The file $CHAOS_CLOCK holds by how many nanoseconds the clock differs from the machine's, in 8 bytes; each look at the
clock reads it. SIGRTMIN tells the timer of agentd that the clock was set, as the kernel does with one that really was.
Jobs have the machine's own time. The standard library alone is needed, as supervisors have no other.
"""

import asyncio
import os
import runpy
import signal
import sys
import time
from collections.abc import Callable
from functools import partial

PYTHON = "CHAOS_PYTHON"
CLOCK = "CHAOS_CLOCK"


def main() -> None:
    """Becomes the program."""
    clock = os.open(os.environ[CLOCK], os.O_RDONLY)
    real = time.time_ns

    def shift() -> int:
        return int.from_bytes(os.pread(clock, 8, 0), "little", signed=True)

    time.time_ns = lambda: real() + shift()
    time.time = lambda: time.time_ns() / 1e9
    arguments = [word for word in sys.argv[1:] if word not in {"-I", "-S"}]
    if arguments[0] == "-m":
        sys.executable = os.environ[PYTHON]  # which has supervisors come here as well
        sys.argv = arguments[1:]
        _be_told(shift)
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")


def _be_told(shift: Callable[[], int]) -> None:
    """Has the timer of the wall clock follow the shift, and notice when it is another."""
    from agentd.linux import WallTimer

    made, armed = WallTimer.__init__, WallTimer.set
    timers: list[tuple[asyncio.AbstractEventLoop, WallTimer]] = []

    def make(self: WallTimer, on_time: Callable[[], None], on_step: Callable[[int], None]) -> None:
        made(self, on_time, on_step)
        timers.append((asyncio.get_running_loop(), self))

    def arm(self: WallTimer, when: int | None) -> None:
        armed(self, None if when is None else when - shift() // 1000)
        self._armed, self._step = when, 0  # the kernel itself goes by its own clock alone

    def tell(*_: object) -> None:
        for loop, timer in timers:
            loop.call_soon_threadsafe(partial(timer._report, told=True))

    WallTimer.__init__ = make  # type: ignore[method-assign] # this is the one place that means to
    WallTimer.set = arm  # type: ignore[method-assign] # the same
    signal.signal(signal.SIGRTMIN, tell)


if __name__ == "__main__":
    main()
