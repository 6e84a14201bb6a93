"""agentctl's entry point: what is called most often goes straight to its command, all else goes by click."""

import os
import sys

from agentctl import quick
from agentctl.client import ExitCode, Failure, safe
from agentctl.show import echo


def main(arguments: list[str] | None = None) -> int:
    """Runs agentctl and returns its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        # A terminal that is not UTF-8 must not end us: what it cannot show becomes an escape.
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")
    try:
        if asked := quick.read(arguments):
            return quick.run(asked)
        from agentctl import commands

        return commands.run(arguments)
    except Failure as failed:
        # The sentence may quote text of others: no control characters but line ends reach the terminal.
        echo("agentctl: " + "\n".join(safe(line) for line in str(failed).splitlines()), err=True)
        return failed.code
    except OSError as error:
        # A full disk behind stdout, most likely; what is still buffered must not be tried again at exit.
        echo(f"agentctl: the output could not be written: {error.strerror}", err=True)
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - stays open to the end
        return ExitCode.ERROR


if __name__ == "__main__":
    sys.exit(main())
