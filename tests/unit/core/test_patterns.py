"""Patterns for names mean what the shell means, and are quick whatever they are."""

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.core.patterns import matcher

# Without "-" in sets: fnmatch reads ranges that run backwards in a way of its own.
PATTERNS = st.text("ab*?[]!c", max_size=10)


@given(PATTERNS, st.text("abc[]!", max_size=10))
def test_a_pattern_means_what_fnmatch_means(pattern: str, name: str) -> None:
    assert matcher(pattern)(name) == fnmatch.fnmatchcase(name, pattern)


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("backup-[0-9a-c]", ["backup-0", "backup-9", "backup-b"], ["backup-d", "backup-"]),
        ("[!a-c]*", ["d", "zebra"], ["a", "abc", ""]),
        ("[]-]x", ["]x", "-x"], ["ax"]),
        ("a[b", ["a[b"], ["ab"]),
        ("*", ["", "anything"], []),
    ],
)
def test_sets_and_ranges(pattern: str, matching: list[str], other: list[str]) -> None:
    assert [name for name in [*matching, *other] if matcher(pattern)(name)] == matching


@pytest.mark.parametrize("pattern", ["?*" * 50, "*a" * 50, "*a?" * 33 + "b", "*" + "a" * 50 + "b", "*[a-b]" * 16])
def test_the_work_is_bounded_by_the_product_of_the_lengths(pattern: str) -> None:
    looked = 0

    class Counting(str):
        __slots__ = ()

        def __getitem__(self, key: object) -> str:
            nonlocal looked
            looked += 1
            return super().__getitem__(key)  # type: ignore[index] # an index, as the matcher has it

    matcher(pattern)(Counting("a" * 99 + "c"))
    assert looked <= 100 * 100
