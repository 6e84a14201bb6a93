"""A training as a child process, where there is no systemd."""

import asyncio
import contextlib
import sys

from agentd.learning.networks import Networks

_PATIENCE = 900.0  # seconds
_NOTHING_BETTER = 3


async def as_child(files: Networks) -> str:
    """Trains a network by a process of its own, at the lowest priority; returns why that failed, or ""."""
    child = await asyncio.create_subprocess_exec(
        # Where agentd is killed, nobody is left who takes the result.
        *("nice", "-n", "19", "setpriv", "--pdeathsig", "KILL", "--"),
        *(sys.executable, "-P", "-m", "agentd.learning.train"),
        *(
            "--rows",
            str(files.rows),
            "--result",
            str(files.fresh),
            "--told",
            str(files.told),
            "--now-in-force",
            str(files.in_force),
        ),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(_PATIENCE):
            code = await child.wait()
    except TimeoutError:
        return f"the training is not over after {_PATIENCE:.0f} s, and was ended"
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
    return "" if code in (0, _NOTHING_BETTER) else f"the process ended with {code}"
