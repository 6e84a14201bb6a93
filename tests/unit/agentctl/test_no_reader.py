"""Output that nobody reads any more, as after `| head`, is no error of agentctl's."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_agentctl_ends_as_other_programs_do_when_nobody_reads_on() -> None:
    command = [sys.executable, "-m", "agentctl", "completion", "bash"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert (process.stderr.read(), process.wait(30)) == (b"", 141)
