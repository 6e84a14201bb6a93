"""The output of a run in system mode: what the journal has of it, for those who may read it there."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator

from agentctl.client import Client, Failure

POLL_SECONDS = 0.5


def output(client: Client, run_id: str, to_end: bool) -> Iterator[bytes]:
    """The output of a run, piece by piece: up to now, or to the run's end."""
    journalctl = shutil.which("journalctl")
    if journalctl is None:
        raise Failure("the output is in the journal, and journalctl is not installed")
    with tempfile.NamedTemporaryFile(prefix="agentctl-") as cursor:
        over = False
        while True:
            (run,) = client.runs(run_id=run_id)
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
