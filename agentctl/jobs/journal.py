"""The output of a run in system mode, from the journal, for those who may read that."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator

from agentctl.client import Client, Failure
from agentctl.jobs.calls import LIST_RUNS

POLL_SECONDS = 0.5


def output(client: Client, run_id: str, to_end: bool) -> Iterator[bytes]:
    """Yields the output of a run, piece by piece: up to now, or to the run's end. Raises Failure."""
    journalctl = shutil.which("journalctl")
    if journalctl is None:
        raise Failure("the output is in the journal, and journalctl is not installed")
    with tempfile.NamedTemporaryFile(prefix="agentctl-") as cursor:
        over = False
        while True:
            ((run,),) = client.call(LIST_RUNS, {"run_id": run_id})
            if invocation := run.get("invocation"):
                command = [journalctl, "-o", "cat", "--no-pager", f"--cursor-file={cursor.name}"]
                found = subprocess.run(
                    [*command, f"_SYSTEMD_INVOCATION_ID={invocation}"], stdout=subprocess.PIPE, check=False
                )
                if found.stdout:
                    yield found.stdout
            if over or not to_end:
                return
            over = run.get("state") == "ended"  # the last lines may still be on their way into the journal
            time.sleep(POLL_SECONDS)
