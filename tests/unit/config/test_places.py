"""An error inside a list is told at its own line and column, in its own file, whatever the list is part of."""

from pathlib import Path

import pytest

from tests.unit.config.bad_configs import EVENTS
from tests.unit.config.texts import errors, write

LISTS: dict[str, tuple[str, list[str]]] = {
    "a word of a command": (
        'jobs:\n  a:\n    run:\n      - x\n      - "a\\0b"\n',
        ["5:9: jobs.a.run[1]: has a NUL character, which no argument can have"],
    ),
    "a word of a command that is a list": (
        "jobs:\n  a:\n    run:\n      - x\n      - [y]\n",
        ["5:9: jobs.a.run[1]: expected a text: the program or one of its arguments"],
    ),
    "an event to notify": (
        "jobs:\n  a:\n    run: x\n    notify:\n      - start\n      - end\n",
        [f'6:9: jobs.a.notify[1]: "end" is not one of {EVENTS}'],
    ),
    "a time": (
        'jobs:\n  a:\n    run: x\n    when:\n      at:\n        - "02:30"\n        - "24:30"\n',
        ['7:11: jobs.a.when.at[1]: "24:30" is not a time of day (try "02:30" or "23:15:00")'],
    ),
    "a time beside days": (
        'jobs:\n  a:\n    run: x\n    when: {at: {time: ["02:30",\n      noon], days: mon}}\n',
        ['5:7: jobs.a.when.at.time[1]: "noon" is not a time of day (try "02:30" or "23:15:00")'],
    ),
    "a day of a job": (
        'jobs:\n  a:\n    run: x\n    when: {at: {time: "02:30", days: [mon,\n      tue, wen]}}\n',
        ['5:12: jobs.a.when.at.days[2]: "wen" does not name weekdays (try mon-fri, or sat,sun)'],
    ),
    "a setting of systemd": (
        'jobs:\n  a:\n    run: x\n    systemd:\n      ReadOnlyPaths:\n        - /etc\n        - "/srv\\n"\n',
        ["7:11: jobs.a.systemd.ReadOnlyPaths[1]: expected a text of one line"],
    ),
    "a day of a window": (
        "reboot:\n  nightly:\n    days:\n      - mon\n      - [tue]\n",
        ["5:9: reboot.nightly.days[1]: expected weekdays such as mon-fri"],
    ),
    "a date": (
        "reboot:\n  nightly:\n    except:\n      - 2026-12-24\n      - 2026-12-32\n",
        ['5:9: reboot.nightly.except[1]: "2026-12-32" is not a date (try 2026-12-24, or 2026-12-24/2027-01-02)'],
    ),
    "a date of a window in a list": (
        "reboot:\n  windows:\n    - {hour: 2}\n    - hour: 3\n      except: [2026-12-24,\n        x]\n",
        ['6:9: reboot.windows[1].except[1]: "x" is not a date (try 2026-12-24, or 2026-12-24/2027-01-02)'],
    ),
    "a date of a window with a name": (
        "reboot:\n  windows:\n    noon:\n      hour: 3\n      except: [2026-12-24,\n        x]\n",
        ['6:9: reboot.windows.noon.except[1]: "x" is not a date (try 2026-12-24, or 2026-12-24/2027-01-02)'],
    ),
    "a warning": (
        "reboot:\n  warnings:\n    - 10min\n    - 1\n",
        ['4:7: reboot.warnings[1]: "1" has no unit (try 1s, 1min, 1h)'],
    ),
    "a URL of etcd": (
        "reboot:\n  fleet:\n    etcd:\n      - https://a.example\n      - ftp://b.example\n",
        [
            (
                "5:9: reboot.fleet.etcd[1]: the URL must begin with http:// or https:// and hold no spaces or "
                "characters beyond ASCII"
            )
        ],
    ),
    "windows that contradict themselves": (
        'reboot:\n  windows:\n    - at: "01:00"\n    - {at: "02:00", minute: 3}\n    - at: "03:00"\n      jitter: 2h\n',
        [
            "4:7: reboot.windows[1]: has both at and hour or minute: say it once",
            "5:7: reboot.windows[2]: has a jitter that is not shorter than its window",
        ],
    ),
    "windows with names that contradict themselves": (
        'reboot:\n  windows:\n    one: {at: "01:00"}\n    two:\n      at: "02:00"\n      minute: 3\n',
        ["5:7: reboot.windows.two: has both at and hour or minute: say it once"],
    ),
}


@pytest.mark.parametrize(("text", "sentences"), LISTS.values(), ids=LISTS)
def test_an_error_inside_a_list_has_its_own_place(file: Path, text: str, sentences: list[str]) -> None:
    assert errors(write(file, text)) == [f"{file}:{sentence}" for sentence in sentences]


@pytest.mark.parametrize(("text", "sentences"), LISTS.values(), ids=LISTS)
def test_an_error_inside_a_list_has_its_own_place_beside_drop_ins(file: Path, text: str, sentences: list[str]) -> None:
    write(file, text)
    write(file.parent / "conf.d/10.yaml", "watch: no\njobs: {b: {run: x}}\nreboot: {grace: 5min}\n")
    assert errors(file.parent) == [f"{file}:{sentence}" for sentence in sentences]


@pytest.mark.parametrize(("text", "sentences"), LISTS.values(), ids=LISTS)
def test_an_error_inside_a_list_of_a_drop_in_is_told_in_the_drop_in(
    file: Path, text: str, sentences: list[str]
) -> None:
    write(file, "jobs: {a: {run: x, notify: [start]}}\nreboot: {nightly: {hour: 1}, windows: [{hour: 5}]}\n")
    drop_in = write(file.parent / "conf.d/10.yaml", text)
    assert errors(file.parent) == [f"{drop_in}:{sentence}" for sentence in sentences]


def test_windows_of_a_list_that_a_drop_in_adds_to_keep_their_places(file: Path) -> None:
    write(file, "reboot:\n  windows:\n    - hour: 2\n    - hour: 3\n      days: [mon,\n        never]\n")
    drop_in = write(file.parent / "conf.d/10.yaml", "reboot:\n  windows:\n    noon: {hour: 12, minute: 61}\n")
    assert errors(file.parent) == [
        f'{file}:6:9: reboot.windows.2.days[1]: "never" does not name weekdays (try mon-fri, or sat,sun)',
        f'{drop_in}:3:30: reboot.windows.noon.minute: "61" must lie between 0 and 59',
    ]


def test_a_window_that_a_drop_in_makes_contradict_itself_is_told_in_the_drop_in(file: Path) -> None:
    write(file, 'reboot:\n  windows:\n    noon: {at: "12:00"}\n')
    drop_in = write(file.parent / "conf.d/10.yaml", "reboot:\n  windows:\n    noon:\n      hour: 12\n")
    assert errors(file.parent) == [f"{drop_in}:4:7: reboot.windows.noon: has both at and hour or minute: say it once"]


def test_a_key_that_comes_twice_in_a_window_of_a_list_is_not_hidden_by_a_drop_in(file: Path) -> None:
    write(file, "reboot:\n  windows:\n    - hour: 2\n      hour: 3\n")
    write(file.parent / "conf.d/10.yaml", "reboot: {windows: []}\n")
    assert errors(file.parent) == [f'{file}:4:7: reboot.windows[0]: "hour" is there twice (first in line 3)']
