"""How much of what is drawn at random is tried."""

import os

SHARE = int(os.environ.get("AGENTD_EXAMPLES", "100"))
"""Percent. debian/rules asks for fewer: make test has tried all of them, and draws the same (CI)."""


def examples(number: int) -> int:
    """Returns how many examples of so many are to be tried, at least one."""
    return max(1, number * SHARE // 100)
