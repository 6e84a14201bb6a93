"""A daemon that works for long has no more memory than before: what made it grow in steps was measured, and would come
back unseen."""

import subprocess
import sys

from tests.bus.harness import ROOT, Agentd

WATCHED = """
import os, signal, sys, threading, time
from agentd import __main__ as entry, private

interned = []

def intern(text, intern=sys.intern):
    interned.append(text)
    return intern(text)

def watch(output):
    while not output.exists() or oldest(output) < 2:  # until as many runs are kept as may be
        time.sleep(0.1)
    begin, before = time.monotonic(), oldest(output)
    sys.intern = intern
    while oldest(output) < before + 100 and time.monotonic() < begin + 30:
        time.sleep(0.1)
    found = interned.copy()
    print(oldest(output) - before, *found, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)

def oldest(output):
    return min((int(name.split(".")[1]) for name in os.listdir(output)), default=0)

def publish(bus, publish=private.PrivateBus.publish):
    publish(bus)
    threading.Thread(target=watch, args=(bus._state / "output",)).start()

private.PrivateBus.publish = publish
sys.exit(entry.main(sys.argv[1:]))
"""
JOBS = "history: {runs: 100}\njobs:\n" + "".join(
    f"  j{number}: {{run: [echo, x], when: {{every: 1s}}}}\n" for number in range(40)
)


def test_a_run_comes_and_goes_without_a_name_that_is_interned(agentd: Agentd) -> None:
    """Python's table of interned names, which a Path adds to, grows with each new name, also where none is left."""
    agentd.config.write_text(JOBS)
    options = ["--standalone", "--config", str(agentd.config), "--state-dir", str(agentd.state)]
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *options],
        capture_output=True, text=True, env=agentd.environment, cwd=ROOT, check=True, timeout=60,
    )  # fmt: skip
    forgotten, *interned = done.stdout.split()
    assert int(forgotten) >= 100
    assert len(interned) < 25, interned
    assert not [name for name in interned if name.startswith("j")]
