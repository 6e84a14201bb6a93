"""An agent that works alone, in small: looks around with three tools, and prints what it found.

Before each use of a tool the agent tells agentd, which shows that (agentctl status) and tells people who want to hear
of it (notify: [tool]). The last lines that the agent prints stand in the message of its end. An agent of your own does
the same with one line, `agentctl progress --tool NAME TEXT`, in whatever it runs before it uses a tool.
"""

import json
import os
import shutil
import subprocess

JOB = os.environ.get("AGENTD_JOB", "autonomous")


def output(*command: str) -> str | None:
    """Returns what a program prints; None where there is no such program, or it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None


def disk() -> str:
    """Looks how full the disk is."""
    usage = shutil.disk_usage("/")
    return f"the disk is {usage.used / usage.total:.0%} full, {usage.free >> 30} GiB are free"


def units() -> str:
    """Looks for services that failed."""
    listed = output("systemctl", "list-units", "--failed", "--plain", "--no-legend")
    if listed is None:
        return "systemd does not run here"
    failed = [line.split()[0] for line in listed.splitlines()]
    return f"failed units: {', '.join(failed) or 'none'}"


def memory() -> str:
    """Looks how the run before ended."""
    runs = json.loads(output("agentctl", "history", JOB, "-n", "10", "--json") or "[]")
    ended = [run["result"] for run in runs if run["state"] == "ended"]
    return f"the run before ended with {ended[0]}" if ended else "this is the first run"


for tool, why in ((disk, "how full it is"), (units, "which of them failed"), (memory, "how the run before ended")):
    if "AGENTD_RUN_ID" in os.environ:  # run by hand, there is nobody to tell
        output("agentctl", "progress", "--tool", tool.__name__, why)
    print(tool())
