"""Every Python package that a checkout installs is locked, with hashes, and no older than Debian 13's."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[3]
LOCKS = sorted((ROOT / ".ci/locked").glob("*.txt"))
ENTRY = re.compile(r"^(?P<requirement>[^\s#\\][^\\]*?) *\\?\n(?P<hashes>(?: +--hash=\S+(?: \\)?\n)*)", re.MULTILINE)


def entries(name: str) -> list[tuple[Requirement, list[str]]]:
    """What a lock file has: each requirement with its hashes."""
    text = (ROOT / f".ci/locked/{name}.txt").read_text()
    return [(Requirement(found["requirement"]), found["hashes"].split()[::2]) for found in ENTRY.finditer(text)]


def versions(name: str) -> dict[str, list[str]]:
    """The versions of each package; several where they depend on the Python."""
    locked: dict[str, list[str]] = {}
    for requirement, _ in entries(name):
        (specifier,) = requirement.specifier
        assert specifier.operator == "=="
        locked.setdefault(canonicalize_name(requirement.name), []).append(specifier.version)
    return locked


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def wanted(name: str) -> list[Requirement]:
    """What pyproject.toml asks for in this lock file."""
    said = project()
    extras = [text for extra in said["project"]["optional-dependencies"].values() for text in extra]
    groups = said["dependency-groups"]
    texts = {
        "run": [*said["project"]["dependencies"], *said["project"]["optional-dependencies"]["notices"]],
        "build": said["build-system"]["requires"] + groups["build"],
        "develop": [*said["project"]["dependencies"], *extras, *groups["build"]],
        "uv": groups["lock"],
    }
    return [Requirement(text) for text in texts[name]]


@pytest.mark.parametrize("name", ["build", "develop", "run", "uv"])
def test_what_the_project_asks_for_is_locked_and_no_older(name: str) -> None:
    locked = versions(name)
    for requirement in wanted(name):
        found = locked[canonicalize_name(requirement.name)]
        assert all(requirement.specifier.contains(version) for version in found), requirement


@pytest.mark.parametrize("file", LOCKS, ids=lambda file: file.stem)
def test_each_entry_has_a_version_and_hashes(file: Path) -> None:
    found = entries(file.stem)
    assert found
    for requirement, hashes in found:
        assert [specifier.operator for specifier in requirement.specifier] == ["=="], requirement
        assert hashes, requirement
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", one) for one in hashes), requirement


@pytest.mark.parametrize("file", LOCKS, ids=lambda file: file.stem)
def test_nothing_but_entries_and_comments_stands_in_a_lock_and_no_host(file: Path) -> None:
    text = file.read_text()
    assert "://" not in text
    assert not re.search(r"^ *(-|\S+ @ )", re.sub(r"^ +--hash=\S+", "", text, flags=re.MULTILINE), re.MULTILINE)
    rest = ENTRY.sub("", text).splitlines()
    assert [line for line in rest if line.strip() and not line.lstrip().startswith("#")] == []


def test_a_package_has_the_same_version_in_each_lock() -> None:
    everything = versions("develop")
    for name in ("build", "run"):
        for package, found in versions(name).items():
            assert everything[package] == found


def test_only_what_agentd_runs_with_is_installed_to_run_it() -> None:
    tools = {"pytest", "hypothesis", "ruff", "mypy", "apscheduler", "scikit-learn", "numpy", "uv"}
    assert tools & {*versions("run"), *versions("build")} == set()


INSTALLERS = (ROOT / "Makefile", *(file for file in sorted((ROOT / ".ci").iterdir()) if file.is_file()))


def installs(file: Path) -> list[str]:
    """The lines of a script that make pip, or what stands for it there, install something."""
    text = re.sub(r"\\\n\s*", " ", file.read_text())
    return re.findall(r"(?:\bpip install\b|\$\(PIP\)) +(-.*)", text)


@pytest.mark.parametrize("file", INSTALLERS, ids=lambda file: file.name)
def test_what_is_installed_is_in_the_lock_or_the_checkout_itself(file: Path) -> None:
    if file.name == "test-newest":
        return  # what the lock does not have is what it is for
    for line in installs(file):
        if line.startswith("--quiet"):
            continue  # what $(PIP) is
        from_lock = "--require-hashes" in line and ("--requirement $(LOCKED)/" in line or '"$locked/' in line)
        assert from_lock or line == "--no-index --no-deps --no-build-isolation --editable .", line


def test_the_makefile_installs_each_lock() -> None:
    lines = installs(ROOT / "Makefile")
    assert {name for name in ("build", "run", "develop") if any(f"/{name}.txt" in line for line in lines)} == {
        "build",
        "run",
        "develop",
    }
    assert len(installs(ROOT / ".ci/lock")) == 1


def test_a_changed_lock_is_installed() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"^\$\(VENV\)/run:.* \$\(LOCKED\)/build.txt \$\(LOCKED\)/run.txt", makefile, re.MULTILINE)
    assert re.search(r"^\$\(VENV\)/develop:.* \$\(LOCKED\)/develop.txt", makefile, re.MULTILINE)
