"""Fixtures of the unit tests."""

from tests.unit.agentctl_fake import bus, ctl, daemon, surroundings

__all__ = ["bus", "ctl", "daemon", "surroundings"]
