"""Fixtures of the unit tests."""

from hypothesis import HealthCheck, settings

from tests.unit.agentctl.fake import bus, ctl, daemon, surroundings

__all__ = ["bus", "ctl", "daemon", "surroundings"]

# No test is judged by the speed of the machine.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
