"""The Debian package is built with the tests, all of them, and with what they need."""

import re
from pathlib import Path

import pytest

from tests.unit.ci.test_lock import project

ROOT = Path(__file__).parents[3]
CONTROL = (ROOT / "debian/control").read_text()
NAMES = {"pyyaml": "python3-yaml", "systemd-python": "python3-systemd", "dbus-next": "python3-dbus-next"}


def build_depends() -> dict[str, str]:
    """What the package is built with: the names, with what stands after them."""
    (field,) = re.findall(r"^Build-Depends:\n((?: .*\n)+)", CONTROL, re.MULTILINE)
    return dict(re.findall(r"^ (\S+?)(?:,| (.*),)$", field, re.MULTILINE))


def test_the_tests_are_left_out_only_where_that_is_asked_for() -> None:
    script = (ROOT / ".ci/build-deb").read_text()
    assert "DEB_BUILD_OPTIONS=${DEB_BUILD_OPTIONS-} " in script
    assert not re.search(r"nocheck", re.sub(r"^#.*", "", script, flags=re.MULTILINE))
    rules = (ROOT / "debian/rules").read_text()
    assert re.search(r"^\tpython3 -m pytest .*tests/bus tests/compat tests/unit$", rules, re.MULTILINE)


@pytest.mark.parametrize("package", ["dbus-daemon", "etcd-server", "openssl", "python3-pytest-xdist"])
def test_what_the_tests_start_is_there_when_the_package_is_built(package: str) -> None:
    assert build_depends()[package] == "<!nocheck>"


def test_what_agentd_and_its_tests_import_is_there_when_the_package_is_built() -> None:
    said = project()["project"]
    for text in said["dependencies"] + said["optional-dependencies"]["test"]:
        name = re.split(r"[<>=]", text)[0].lower()
        assert NAMES.get(name, f"python3-{name}") in build_depends(), name


def field(name: str) -> list[str]:
    """The packages that a field of the binary package names."""
    (found,) = re.findall(rf"^{name}:\n((?: .*\n)+)", CONTROL, re.MULTILINE)
    return [line.split()[0].rstrip(",") for line in found.splitlines()]


def test_the_package_pulls_nothing_that_only_some_use() -> None:
    assert field("Recommends") == ["dbus-daemon"]
    assert field("Depends") == [
        "default-dbus-system-bus",
        "polkitd",
        "systemd",
        "${misc:Depends}",
        "${python3:Depends}",
    ]


def test_a_package_that_is_only_suggested_is_named_where_it_is_missed_and_in_the_manual() -> None:
    source = "".join(file.read_text() for file in (ROOT / "agentd").rglob("*.py"))
    manual = (ROOT / "units/man/agentd.8.scd").read_text().partition("# PACKAGES\n")[2].partition("\n# ")[0]
    for package in field("Recommends") + field("Suggests"):
        assert f"_{package}_" in manual, package
        # Of a power profile nothing is missed: whoever has none has no profile.
        named = re.search(rf"install [a-z0-9 -]*\b{package}\b", source)
        assert named or package == "power-profiles-daemon", package
