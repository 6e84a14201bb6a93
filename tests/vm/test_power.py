"""The power is cut at random moments: the first five of ten times. Another worker does the others meanwhile."""

from tests.vm.machine import Machine
from tests.vm.power import cut_power


def test_after_ten_power_cuts_nothing_is_doubled_and_missed_runs_follow_their_policy(machine: Machine) -> None:
    cut_power(machine, range(5))
