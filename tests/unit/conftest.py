"""Fixtures of the unit tests."""

import os

from hypothesis import HealthCheck, settings

from tests.examples import examples
from tests.unit.agentctl.fake import bus, ctl, daemon, stranger, surroundings

__all__ = ["bus", "ctl", "daemon", "stranger", "surroundings"]

# No test is judged by the speed of the machine, and what decides whether a change lands does not throw dice.
settings.register_profile(
    "any machine",
    max_examples=examples(100),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize="CI" in os.environ,
)
settings.load_profile("any machine")
