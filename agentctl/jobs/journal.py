"""The output of a run in system mode, from the journal, for those who may read that."""

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator

from agentctl.client import Client, Failure, Record
from agentctl.jobs.calls import LIST_RUNS
from agentd.core.quantities import SECOND

POLL_SECONDS = 0.5


def output(client: Client, run_id: str, to_end: bool) -> Iterator[bytes]:
    """Yields the output of a run, piece by piece: up to now, or to the run's end. Raises Failure."""
    journalctl = shutil.which("journalctl")
    if journalctl is None:
        raise Failure("the output is in the journal, and journalctl is not installed")
    with tempfile.NamedTemporaryFile(prefix="agentctl-") as cursor:
        over = told = False
        while True:
            ((run,),) = client.call(LIST_RUNS, {"run_id": run_id})
            if invocation := run.get("invocation"):
                command = [journalctl, "-o", "cat", "--no-pager", f"--cursor-file={cursor.name}"]
                found = subprocess.run(
                    [*command, f"_SYSTEMD_INVOCATION_ID={invocation}"], stdout=subprocess.PIPE, check=False
                )
                if found.stdout:
                    told = True
                    yield found.stdout
            if over or not to_end:
                if invocation and not told and run.get("state") == "ended":
                    yield from unnamed(journalctl, run)
                return
            over = run.get("state") == "ended"  # the last lines may still be on their way into the journal
            time.sleep(POLL_SECONDS)


def unnamed(journalctl: str, run: Record) -> Iterator[bytes]:
    """Yields the lines of a run of which none says so, one by one.

    journald looks for the invocation when it takes the first line. By then a short run on a busy machine has ended, and
    the unit is all that is known of it. Where a job may have several runs at once, lines may be those of one beside it.
    """
    span = f"--since=@{run['started'] / SECOND:.6f}", f"--until=@{(run['ended'] + SECOND) / SECOND:.6f}"
    command = [journalctl, "-o", "json", "--no-pager", *span, f"SYSLOG_IDENTIFIER={run['job']}"]
    for line in subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout.splitlines():
        entry = json.loads(line)
        unit = str(entry.get("_SYSTEMD_UNIT"))
        if "_SYSTEMD_INVOCATION_ID" not in entry and unit.startswith(
            (f"agentd-job@{run['job']}.", f"agentd-job@{run['job']}@")
        ):
            message = entry.get("MESSAGE") or ""
            yield (message.encode() if isinstance(message, str) else bytes(message)) + b"\n"
