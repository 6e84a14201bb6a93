"""What collects the tests of all folders."""

import gc
from collections.abc import Generator

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Has what is collected not looked through for cycles meanwhile: each worker makes 7,900 tests, more than a million
    objects, which all stay. (gc.freeze() would hide them for good, but from hypothesis 6.130 as well.)"""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
