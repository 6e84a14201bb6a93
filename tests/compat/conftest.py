"""What is compared with agentd 0.1.0: see record.py."""

import json
from pathlib import Path
from typing import Any

import pytest

RECORDED = Path(__file__).parent / "recorded"


@pytest.fixture(scope="session")
def recorded() -> dict[str, Any]:
    """The recorded files of JSON by name."""
    return {file.stem: json.loads(file.read_text()) for file in RECORDED.glob("*.json")}
