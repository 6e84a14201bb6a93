"""A file to write a configuration to, and what loads one."""

from pathlib import Path
from typing import Any

import pytest

from agentd.config import files
from agentd.core.config import Config
from agentd.core.jobs.settings import Job
from tests.unit.config.texts import write


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "agentd.yaml"


@pytest.fixture
def read(file: Path) -> Any:
    """Loads a text as a configuration file."""

    def load(text: str) -> Config:
        return files.load(write(file, text)).config

    return load


@pytest.fixture
def job(read: Any) -> Any:
    """Loads a configuration of one job with some settings beside `run: x`."""

    def load(*settings: str) -> Job:
        lines = "".join(f"    {setting}\n" for setting in settings)
        result: Job = read(f"timezone: UTC\njobs:\n  one:\n    run: x\n{lines}").jobs["one"]
        return result

    return load
