"""A hundred years on machines where everything happens at the wrong moment: in each some 2,000 things happen."""

import os

import pytest

from agentd.core.quantities import DAY
from tests.unit.reboots.misfortune import Misfortune

YEARS = int(os.environ.get("AGENTD_YEARS", "9"))  # of each life; debian/rules asks for fewer


@pytest.mark.parametrize("forgetful", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 2, 4, 5, 6])  # in a year of each there is something of everything to judge
def test_whatever_happens_nobody_is_rebooted_away_and_nothing_is_lost(seed: int, forgetful: bool) -> None:
    machine = Misfortune(seed, forgetful=forgetful)
    machine.live(YEARS * 365 * DAY)
    counts = machine.counts  # that there was something to judge
    assert counts["nightly"], counts
    assert counts["other"] > 10 * YEARS, counts
    assert counts["asked, and deferred"] > YEARS, counts
    assert counts["stopped"], counts
    assert counts["lied"] > YEARS, counts
    assert counts["refused without a word"] == 0, counts
