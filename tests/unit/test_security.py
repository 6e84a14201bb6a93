"""What SECURITY.md promises is tested: each promise names tests, and these are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "SECURITY.md").read_text()
_, PROMISED, REST = re.split(r"^## What is (?:not )?promised$", TEXT, flags=re.MULTILINE)
TEST = re.compile(r"`(tests/[a-z_/]+\.py)::(test_[a-z0-9_]+)`")


@pytest.mark.parametrize(("file", "name"), TEST.findall(TEXT))
def test_a_test_that_a_promise_names_is_there(file: str, name: str) -> None:
    assert re.search(rf"^def {name}\(", (ROOT / file).read_text(), re.MULTILINE), f"{file} has no {name}"


def test_each_promise_names_a_test() -> None:
    promises = PROMISED.split("\n- ")[1:]
    assert len(promises) > 5
    assert [promise for promise in promises if not TEST.search(promise)] == []


def test_every_word_that_looks_like_a_test_is_read_as_one() -> None:
    assert len(TEST.findall(TEXT)) == TEXT.count("::")


def test_it_is_one_page_and_names_who_to_write_to() -> None:
    assert len(TEXT.splitlines()) < 90
    assert "debian/control" in REST
    assert re.search(r"^Maintainer: .+ <.+@.+>$", (ROOT / "debian/control").read_text(), re.MULTILINE)
