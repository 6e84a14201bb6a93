"""Fixtures of the unit tests."""

from tests.unit.agentctl.fake import bus, ctl, daemon, surroundings

__all__ = ["bus", "ctl", "daemon", "surroundings"]
