"""Mappings by name: a drop-in adds to them, changes one thing in them, and a list without names is read as before."""

from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from agentd.config import files
from agentd.core.config import Config
from agentd.core.quantities import HOUR, MINUTE
from agentd.core.reboots.policy import Window
from agentd.core.reboots.windows import occurrences
from tests.unit.config.texts import errors, layers, write

THREE = 'reboot:\n  windows:\n    monday: {at: "01:00", days: mon}\n    tuesday: {at: "02:00", days: tue, window: 2h}\n'
THREE += '    sunday: {at: "03:00", days: sun}\n'
LIST = 'reboot: {windows: [{at: "01:00"}, {at: "02:00", window: 2h}, {at: "03:00"}]}\n'


def begins(config: Config) -> dict[str, int]:
    """The hours at which the windows begin, by name."""
    return {name: window.begin // 3600 for name, window in config.reboot.windows.items()}


def test_a_drop_in_with_a_window_of_another_name_adds_it(tmp_path: Path) -> None:
    loaded = layers(tmp_path, THREE, x='reboot:\n  windows:\n    extra: {at: "05:00"}\n')
    assert begins(loaded) == {"monday": 1, "tuesday": 2, "sunday": 3, "extra": 5}
    assert len(loaded.reboot.all_windows) == 4


def test_a_drop_in_with_a_window_of_the_same_name_changes_the_settings_that_it_names(tmp_path: Path) -> None:
    loaded = layers(tmp_path, THREE, x='reboot:\n  windows:\n    tuesday: {at: "05:00"}\n')
    assert begins(loaded) == {"monday": 1, "tuesday": 5, "sunday": 3}
    assert loaded.reboot.windows["tuesday"] == Window(at=5 * 3600, days=(1,), window=2 * HOUR)


def test_a_drop_in_switches_a_window_off(tmp_path: Path) -> None:
    loaded = layers(tmp_path, THREE, x="reboot: {windows: {tuesday: {enabled: false}}}\n")
    assert [window.begin // 3600 for window in loaded.reboot.all_windows] == [1, 3]


def test_an_empty_mapping_in_a_drop_in_changes_nothing(tmp_path: Path) -> None:
    assert layers(tmp_path, THREE, x="reboot: {windows: {}}\n") == layers(tmp_path, THREE, x="")


def test_a_list_names_its_windows_by_position(tmp_path: Path) -> None:
    loaded = layers(tmp_path, LIST)
    assert begins(loaded) == {"1": 1, "2": 2, "3": 3}
    assert loaded.reboot.windows["2"].window == 2 * HOUR


def test_one_window_alone_needs_no_list(tmp_path: Path) -> None:
    assert begins(layers(tmp_path, 'reboot: {windows: {at: "12:30", days: sun}}\n')) == {"1": 12}


def test_a_mapping_in_a_drop_in_adds_to_a_list_and_changes_one_by_its_position(tmp_path: Path) -> None:
    loaded = layers(tmp_path, LIST, x='reboot: {windows: {"2": {at: "04:00"}, extra: {at: "05:00"}}}\n')
    assert begins(loaded) == {"1": 1, "2": 4, "3": 3, "extra": 5}
    assert loaded.reboot.windows["2"].window == 2 * HOUR


@pytest.mark.parametrize("below", [THREE, LIST], ids=["over names", "over a list"])
@pytest.mark.parametrize("windows", ['[{at: "05:00"}]', '{at: "05:00"}'], ids=["list", "alone"])
def test_a_list_in_a_drop_in_replaces_all_windows(tmp_path: Path, below: str, windows: str) -> None:
    assert begins(layers(tmp_path, below, x=f"reboot: {{windows: {windows}}}\n")) == {"1": 5}


def test_drop_ins_upon_drop_ins_add_and_change(tmp_path: Path) -> None:
    loaded = layers(
        tmp_path,
        LIST,
        _10='reboot: {windows: {late: {at: "22:00", window: 10min}}}\n',
        _20='reboot: {windows: {late: {at: "23:00"}, "1": {enabled: no}}}\n',
    )
    assert begins(loaded) == {"1": 1, "2": 2, "3": 3, "late": 23}
    assert loaded.reboot.windows["late"].window == 10 * MINUTE
    assert not loaded.reboot.windows["1"].enabled


def test_sections_of_reboots_are_laid_over_each_other_down_to_their_last_key(tmp_path: Path) -> None:
    loaded = layers(
        tmp_path,
        'reboot: {nightly: {at: "02:00", window: 2h}, wait_for: {jobs: 5min, users: 1h}}\n',
        _10="reboot: {nightly: {window: 3h}, wait_for: {users: 2h}}\n",
    ).reboot
    assert loaded.nightly == Window(at=2 * 3600, window=3 * HOUR)
    assert (loaded.wait_for.jobs, loaded.wait_for.users) == (5 * MINUTE, 2 * HOUR)


@pytest.mark.parametrize(
    ("windows", "sentence"),
    [
        (
            "{-x: {hour: 1}}",
            (
                '1:20: reboot.windows: "-x" is not a window name (1 to 100 letters, digits, _ . : - and none of . : - '
                "first)"
            ),
        ),
        (
            "daily",
            (
                "1:19: reboot.windows: expected a mapping of window names to windows, or a list of windows (with no "
                "window: {})"
            ),
        ),
        ("{noon: 12}", '1:26: reboot.windows.noon: expected a mapping of settings, got "12"'),
        ("{noon: {hours: 12}}", '1:27: reboot.windows.noon: unknown key "hours" (did you mean hour?)'),
        ("{at: noon}", '1:24: reboot.windows.at: "noon" is not a time of day (try "02:30" or "23:15:00")'),
        ("[{hours: 12}]", '1:21: reboot.windows[0]: unknown key "hours" (did you mean hour?)'),
        ("[12]", '1:20: reboot.windows[0]: expected a mapping of settings, got "12"'),
    ],
)
def test_windows_that_are_none(file: Path, windows: str, sentence: str) -> None:
    assert errors(write(file, f"reboot: {{windows: {windows}}}\n")) == [f"{file}:{sentence}"]


def test_jobs_are_no_list(file: Path) -> None:
    assert errors(write(file, "jobs: [{run: x}]\n")) == [
        f"{file}:1:7: jobs: expected a mapping of job names to jobs (with no job: {{}})"
    ]


def test_the_keys_of_occurrences_do_not_depend_on_names(tmp_path: Path) -> None:
    """The ledger of an installed agentd holds these keys: tonight's window must not come again after an upgrade."""
    named = (
        'reboot: {nightly: {hour: 0}, windows: {a: {at: "01:00"}, b: {at: "02:00", window: 2h}, c: {at: "03:00"}}}\n'
    )
    unnamed = LIST.replace("reboot: {", "reboot: {nightly: {hour: 0}, ")

    def keys(text: str) -> list[str]:
        policy = files.load(write(tmp_path / "agentd.yaml", text)).config.reboot
        coming = occurrences(policy, ZoneInfo("UTC"), "host", 1_767_225_600_000_000)  # 2026-01-01
        return [next(coming).key for _ in range(5)]

    assert keys(named) == keys(unnamed)
    assert keys(unnamed) == [
        "2026-01-01 00:00",
        "2026-01-01 01:00",
        "2026-01-01 02:00",
        "2026-01-01 03:00",
        "2026-01-02 00:00",
    ]
