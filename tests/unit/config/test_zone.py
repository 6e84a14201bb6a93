"""The machine's time zone: told by name wherever the C library knows it, and never guessed without a word."""

import os
import shutil
import zoneinfo
from pathlib import Path

import pytest

from agentd.config import zone
from agentd.config.zone import Zone, local
from agentd.core.times import timezone

DATABASE = next((Path(folder) for folder in zoneinfo.TZPATH if Path(folder).is_dir()), None)
pytestmark = pytest.mark.skipif(DATABASE is None, reason="the machine has no time zone database")
NAMES = sorted(zoneinfo.available_timezones() - {"localtime", "Factory"})


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for what is /etc elsewhere; TZ is not set."""
    monkeypatch.delenv("TZ", raising=False)
    monkeypatch.setattr(zone, "LOCALTIME", tmp_path / "localtime")
    monkeypatch.setattr(zone, "TIMEZONE", tmp_path / "timezone")
    return tmp_path


def file_of(name: str) -> Path:
    assert DATABASE is not None
    return DATABASE / name


def content(name: str) -> bytes:
    return file_of(name).read_bytes()


def test_every_zone_is_recognised_by_a_link_a_path_and_its_name(etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        zone.LOCALTIME.unlink(missing_ok=True)
        zone.LOCALTIME.symlink_to(file_of(name))
        monkeypatch.delenv("TZ", raising=False)
        assert local() == Zone(name)
        for given in (name, f":{name}", str(file_of(name)), f":{file_of(name)}", f":{zone.LOCALTIME}"):
            monkeypatch.setenv("TZ", given)
            assert local() == Zone(name), given


def test_every_zone_is_recognised_by_a_copy_of_its_file(etc: Path) -> None:
    for name in NAMES:
        shutil.copy(file_of(name), zone.LOCALTIME)
        found = local()
        assert (content(found.name), found.warning) == (content(name), ""), name


def test_of_zones_that_are_alike_the_one_that_is_noted_comes_first_then_one_of_today(etc: Path) -> None:
    shutil.copy(file_of("Europe/Berlin"), zone.LOCALTIME)
    assert local() == Zone("Europe/Berlin")
    zone.TIMEZONE.write_text("Europe/Stockholm\n")
    alike = content("Europe/Stockholm") == content("Europe/Berlin")
    assert local() == Zone("Europe/Stockholm" if alike else "Europe/Berlin")
    zone.TIMEZONE.write_text("Asia/Tokyo\n")  # out of date: the file counts
    assert local() == Zone("Europe/Berlin")


def test_links_are_followed_from_one_to_the_next(etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (etc / "one").symlink_to("sub/two")
    (etc / "sub").mkdir()
    (etc / "sub/two").symlink_to("../three")
    (etc / "three").symlink_to(file_of("Europe/Stockholm"))
    zone.LOCALTIME.symlink_to("one")
    assert local() == Zone("Europe/Stockholm")  # as it was written, not what that in turn is a link to
    monkeypatch.setenv("TZ", f":{etc}/one")
    assert local() == Zone("Europe/Stockholm")


def test_a_database_behind_a_link_and_its_copies_with_other_clocks_are_the_database(etc: Path) -> None:
    (etc / "data").symlink_to(file_of("."))
    for target in (Path("data/Asia/Tokyo"), file_of("right/Asia/Tokyo")):
        zone.LOCALTIME.unlink(missing_ok=True)
        zone.LOCALTIME.symlink_to(target)
        assert local() == Zone("Asia/Tokyo")


@pytest.mark.parametrize("given", ["", ":", "UTC", ":UTC", "UTC0", "GMT0", "GMT-0", "<UTC>0", "UTC0:00"])
def test_utc_by_any_name_is_no_guess(etc: Path, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    zone.LOCALTIME.symlink_to(file_of("Europe/Berlin"))
    monkeypatch.setenv("TZ", given)
    found = local()
    assert (content(found.name), found.warning) == (content("UTC").replace(b"UTC", found.name[:3].encode()), "")


def test_without_localtime_the_machine_is_in_utc_as_the_c_library_has_it(etc: Path) -> None:
    assert local() == Zone("UTC")


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("CET-1CEST,M3.5.0,M10.5.0/3", ""),
        ("Europe/Berln", " (did you mean Europe/Berlin?)"),
        (":/not/there", ""),
        ("/dev/zero", ""),
        ("/etc/passwd", ""),
        ("../../etc/passwd", ""),
    ],
)
def test_a_tz_that_names_no_zone_is_told(etc: Path, monkeypatch: pytest.MonkeyPatch, given: str, hint: str) -> None:
    zone.LOCALTIME.symlink_to(file_of("Europe/Berlin"))
    monkeypatch.setenv("TZ", given)
    assert local() == guessed(f'TZ is "{given}", which names no time zone of the database{hint}', "UTC")


def guessed(why: str, name: str) -> Zone:
    write = 'write "timezone: NAME" into the configuration, such as timezone: Europe/Berlin'
    return Zone(name, f"the time zone of this machine cannot be told: {why}; {name} is used: {write}")


def test_a_localtime_that_is_no_zone_is_told_and_what_is_noted_is_used(etc: Path) -> None:
    zone.LOCALTIME.symlink_to("/usr/share/zoneinfo/Europe/Berln")
    why = f"{zone.LOCALTIME} leads to /usr/share/zoneinfo/Europe/Berln, which is no zone of the database"
    assert local() == guessed(why, "UTC")
    zone.LOCALTIME.unlink()
    zone.LOCALTIME.write_bytes(content("Asia/Tokyo") + b"of another year\n")
    why = f"{zone.LOCALTIME} is a file that is like no zone of the database"
    assert local() == guessed(why, "UTC")
    zone.TIMEZONE.write_text("Asia/Tokyo\n")
    assert local() == guessed(f"{why}, but {zone.TIMEZONE} names Asia/Tokyo", "Asia/Tokyo")


def test_a_localtime_that_leads_to_itself_or_is_no_file_is_told(etc: Path) -> None:
    zone.LOCALTIME.symlink_to("localtime")
    assert local().warning
    zone.LOCALTIME.unlink()
    os.mkfifo(zone.LOCALTIME)
    assert local().warning


def test_the_files_that_tell_the_zone_are_known(etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert zone.places() == [zone.LOCALTIME, zone.TIMEZONE]
    for given, places in {"UTC": [], "": [], ":/some/where": [Path("/some/where")]}.items():
        monkeypatch.setenv("TZ", given)
        assert zone.places() == places


def test_a_file_of_the_database_that_is_no_zone_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "Broken").write_text("TZif2 of nobody")
    zoneinfo.reset_tzpath([tmp_path])
    try:
        with pytest.raises(ValueError, match='"Broken" is not a time zone'):
            timezone("Broken")
    finally:
        zoneinfo.reset_tzpath()
