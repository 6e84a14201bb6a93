"""A daemon that works for long has no more memory than before: the cause of the steps that it grew by stays away."""

from tests.bus.harness import Agentd

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
    forgotten, *interned = agentd.run_code(WATCHED, JOBS).split()
    assert int(forgotten) >= 100
    assert len(interned) < 25, interned
    assert not [name for name in interned if name.startswith("j")]
