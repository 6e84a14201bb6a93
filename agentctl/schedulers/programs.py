"""A command that runs while something of agentd's is held for it."""

import subprocess
from collections.abc import Sequence

from agentctl.client import ExitCode, Failure


def ended(program: Sequence[str], *, to_stderr: bool = False) -> int:
    """Runs a command to its end; returns its exit status as shells have it, 130 after Ctrl-C. Raises Failure."""
    try:
        code = subprocess.run(program, check=False, stdout=2 if to_stderr else None).returncode
    except OSError as error:
        raise Failure(f"{program[0]} cannot be run: {error.strerror}", ExitCode.USAGE) from None
    except KeyboardInterrupt:
        return 130
    return code if code >= 0 else 128 - code
