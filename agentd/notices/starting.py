"""A courier as a child process, where there is no systemd."""

import asyncio
import contextlib
import sys
from pathlib import Path

from agentd.notices.couriers import MOST_SECONDS


async def as_child(credential: str, folder: Path) -> str:
    """Runs a courier as a process of its own, at a low priority; returns why that failed, as a sentence, or ""."""
    child = await asyncio.create_subprocess_exec(
        # Where agentd is killed, its messages are handed out again: two couriers would send them twice.
        *("nice", "-n", "10", "setpriv", "--pdeathsig", "KILL", "--"),
        *(sys.executable, "-P", "-m", "agentd.notices.courier", credential, "--folder", str(folder)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(MOST_SECONDS):
            _, said = await child.communicate()
    except TimeoutError:
        return f"the courier is not over after {MOST_SECONDS:.0f} s, and was ended"
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
    if not child.returncode:
        return ""
    words = said[-400:].decode(errors="replace").strip().splitlines()[-1:]
    return "".join(words) or f"the courier ended with {child.returncode}"
