"""The look at the schedulers of this machine: what it reads anew, and what not."""

from pathlib import Path

import pytest

from agentd.schedulers import catalogues
from agentd.schedulers.catalogues import Loaded
from agentd.schedulers.inventory import Inventory
from agentd.schedulers.own import PLACES, Own
from agentd.schedulers.programs import Programs

MINE = "scx_mine: {ops: mine, summary: One, algorithm: None, use_cases: [tests], readiness: test, language: c}\n"


def test_the_catalogue_is_read_anew_only_where_a_file_of_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    load = catalogues.load

    def reads(folder: Path) -> Loaded:
        read.append(folder)
        return load(folder=folder)

    monkeypatch.setattr(catalogues, "load", reads)
    folder = tmp_path / "etc/agentd/schedulers.d"
    inventory = Inventory(Programs(()), Own(Path("/nonexistent"), PLACES), "", tmp_path)

    def mine() -> object:
        found = inventory.look().catalogue.get("scx_mine")
        return found and found.summary

    assert [mine(), mine(), len(read)] == [None, None, 1]
    folder.mkdir(parents=True)
    (folder / "a.yaml").write_text(MINE)
    assert [mine(), mine(), len(read)] == ["One", "One", 2]
    (folder / "a.yaml").write_text(MINE.replace("One", "Two words"))
    assert [mine(), mine(), len(read)] == ["Two words", "Two words", 3]
    (folder / "a.yaml").unlink()
    assert [mine(), mine(), len(read)] == [None, None, 4]


def test_a_catalogue_with_errors_is_read_at_each_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = tmp_path / "schedulers.yaml"
    shipped.write_text("scx_mine: 5\n")
    monkeypatch.setattr(catalogues, "shipped", lambda: shipped)
    inventory = Inventory(Programs(()), Own(Path("/nonexistent"), PLACES), "", tmp_path)
    assert [len(inventory.look().warnings), len(inventory.look().warnings)] == [1, 1]
    shipped.write_text(MINE)
    assert [*inventory.look().catalogue] == ["scx_mine"]
