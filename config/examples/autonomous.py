"""An autonomous task in steps, each told to agentd: shown by agentctl status, kept with the run."""

import shutil
import subprocess
import time

STEPS = ("reading what is new", "planning", "doing it", "writing down what was learned")


def report(text: str) -> None:
    """Tells agentd how far this run is; run by hand, prints it instead."""
    program = shutil.which("agentctl")
    if program is None or subprocess.run([program, "progress", text], check=False).returncode != 0:
        print(text)


for number, step in enumerate(STEPS, 1):
    report(f"{number} of {len(STEPS)}: {step}")
    time.sleep(0.5)
print("nothing left to do")
