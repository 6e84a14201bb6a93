"""Messages of an ordinary user on the system bus, which passes 32 MiB on to anybody: agentd stays, and goes on."""

from datetime import datetime
from itertools import pairwise
from pathlib import Path

from tests.vm.agentd import configure, history, note, restarts
from tests.vm.machine import Machine

STRANGER = Path(__file__).parents[1] / "bus" / "stranger.py"
PROGRAM = "/usr/local/lib/stranger.py"
ATTACKS = (
    *(("big_signal", 2), ("wrong_call", 2), ("long_name", 2), ("long_path", 1), ("patterns", 5), ("many_values", 5)),
    *(("unwanted_runs", 3), ("unwanted_status", 1), ("unread_jobs", 2), ("introspection", 2), ("noise", 2)),
)
# Prints how many milliseconds the slowest of root's calls took while the attack went on.
WHILE = """
python=$1 attack=$2 goes=$3
setpriv --reuid=nobody --regid=nogroup --clear-groups \
    python3 "$python" unix:path=/run/dbus/system_bus_socket "$attack" "$goes" & attacker=$!
slowest=0
while kill -0 $attacker 2>/dev/null; do
    began=$(date +%s%3N)
    busctl call org.agentd1 /org/agentd1 org.agentd1.Jobs GetJob s tick >/dev/null
    took=$(($(date +%s%3N) - began))
    [ $took -le $slowest ] || slowest=$took
    sleep 0.2
done
wait $attacker
echo $slowest
"""


def shown(machine: Machine, name: str) -> str:
    return machine.run("systemctl", "show", "-P", name, "agentd").out.strip()


def test_nobody_ends_or_stalls_agentd_with_messages(machine: Machine) -> None:
    configure(machine, "jobs: {tick: {run: [/bin/true], when: {every: 5s}}}\n")
    machine.write(PROGRAM, STRANGER.read_text())
    process, before = shown(machine, "MainPID"), restarts(machine)
    idle = int(machine.sh(WHILE, PROGRAM, "pings", "1", timeout=120))
    slowest = {
        attack: int(machine.sh(WHILE, PROGRAM, attack, str(goes), timeout=300).split()[-1]) for attack, goes in ATTACKS
    }
    note("milliseconds of root's slowest call while nobody attacks", {"pings": idle, **slowest})
    assert (shown(machine, "MainPID"), restarts(machine)) == (process, before)
    assert int(shown(machine, "MemoryPeak")) < 200 << 20
    starts = [datetime.fromisoformat(run["started"]) for run in history(machine, "tick") if run["started"]]
    assert max((later - earlier).total_seconds() for earlier, later in pairwise(starts)) < 30
    assert max(slowest.values()) < 20_000
    assert "defect" not in machine.journal("-u", "agentd")
