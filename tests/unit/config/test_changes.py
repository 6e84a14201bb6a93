"""What a reload tells: every setting that is another, by its place and its values."""

from pathlib import Path

import pytest

from agentd.config import files
from agentd.config.changes import changes
from agentd.core.config import Config

PLAIN = "timezone: UTC\n"


def read(folder: Path, text: str) -> Config:
    file = folder / "agentd.yaml"
    file.write_text(PLAIN + text)
    return files.load(file).config


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("", "concurrency: 7\n", ["concurrency: 7 (was 100)"]),
        ("", "watch: false\n", ["watch: false (was true)"]),
        ("", "history: {keep: 2d, output: 3M}\n", ["history.keep: 2d (was 90d)", "history.output: 3M (was 1M)"]),
        (
            "",
            'reboot: {nightly: {at: "03:00", days: mon-fri, window: 2h}, grace: 5min}\n',
            ["reboot.nightly: added: 03:00 mon-fri, for 2h", "reboot.grace: 5min (was 10min)"],
        ),
        (
            'reboot: {nightly: {at: "03:00"}}\n',
            'reboot: {nightly: {at: "04:00"}}\n',
            ["reboot.nightly: 04:00, for 1h (was 03:00, for 1h)"],
        ),
        ('reboot: {nightly: {at: "03:00"}}\n', "", ["reboot.nightly: removed"]),
        (
            'reboot: {windows: {a: {at: "03:00"}, b: {at: "03:00"}}}\n',
            'reboot: {windows: {b: {at: "05:00"}, c: {at: "06:00"}}}\n',
            [
                "window a: removed",
                "window b: 05:00, for 1h (was 03:00, for 1h)",
                "window c: added: 06:00, for 1h",
            ],
        ),
        ("", "reboot: {warnings: [5min]}\n", ["reboot.warnings: [5min] (was [10min, 1min])"]),
        ("", "reboot: {wait_for: {users: 30min}}\n", ["reboot.wait_for.users: 30min (was window)"]),
        ("", "reboot: {fleet: {fleetlock: 'https://a.example'}}\n", ["reboot.fleet: added"]),
        ("", "llm: {url: 'http://127.0.0.1:8080'}\n", ["llm: added"]),
        (
            "",
            "learning: {mode: off, aim: 5min}\n",
            ["learning.mode: off (was shadow)", "learning.aim: 5min (was 10min)"],
        ),
        ("", "sampling: {every: 10s}\n", ["sampling.every: 10s (was 5s)"]),
        ("", "scheduler: {default: scx_bpfland}\n", ["scheduler.default.name: scx_bpfland (was none)"]),
        (
            "jobs: {a: {run: x}}\n",
            "jobs: {a: {run: x}}\nkpis: {Gpu: {job: a}}\n",
            ["KPI Gpu: added"],
        ),
        (
            "notices: {channels: {phone: {credential: x}}}\n",
            'notices: {channels: {phone: {credential: x}}, quiet: {from: "22:00", to: "07:00"}, remind: no}\n',
            ["notices.quiet: added", "notices.remind: no (was 1d)"],
        ),
    ],
)
def test_a_change_is_told_by_its_place_and_its_values(tmp_path: Path, before: str, after: str, told: list[str]) -> None:
    assert changes(read(tmp_path, before), read(tmp_path, after)) == told


def test_what_parts_tell_by_name_is_told_once(tmp_path: Path) -> None:
    after = """
jobs: {a: {run: x}}
rules: {memory: {when: MemoryUsage > 90%, do: TriggerSelfTest}}
notices: {channels: {phone: {credential: x}}}
"""
    assert changes(read(tmp_path, ""), read(tmp_path, after)) == []
