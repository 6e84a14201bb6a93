"""How the machine fares under a scheduler: from counters to figures, and from figures to a summary per scheduler."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.core.quantities import SECOND
from agentd.core.schedulers import monitor
from agentd.core.schedulers.monitor import UNITS, Reading, Recent, Series, Session, Stat, sample
from agentd.schedulers.readings import read
from agentd.schedulers.sysfs import Unreadable

TICKS = dict.fromkeys(("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"), 0)


def reading(at: float, ops: str = "", seq: int = 0, **counters: int) -> Reading:
    return Reading(at=at, instant=round(at * SECOND), ops=ops, seq=seq, counters={**TICKS, **counters})


def test_shares_of_the_processors_time_come_from_how_far_the_counters_rose() -> None:
    before = reading(10.0, user=1_000_000, iowait=500, idle=900)
    after = reading(12.0, user=1_000_030, nice=5, system=10, idle=930, iowait=515, irq=1, softirq=4, steal=5)
    figures = sample(before, after).figures
    assert figures == {"cpu_busy": 0.5, "cpu_iowait": 0.15, "cpu_steal": 0.05}


def test_who_waits_for_a_disk_is_not_busy() -> None:
    figures = sample(reading(0.0), reading(1.0, iowait=100)).figures
    assert (figures["cpu_busy"], figures["cpu_iowait"]) == (0.0, 1.0)


def test_slices_and_delays_come_from_differences_not_from_sums_since_the_boot() -> None:
    before = Reading(at=0.0, counters={"run": 9_000_000_000_000, "delay": 5_000_000_000_000, "slices": 77_000_000})
    after = Reading(at=2.0, counters={"run": 9_003_000_000_000, "delay": 5_001_000_000_000, "slices": 77_001_000})
    figures = sample(before, after).figures
    assert figures == {
        "run_delay": 0.25,
        "run_delay_mean": 0.001,
        "slices": 500.0,
        "slice_mean": 0.003,
    }


def test_pressure_is_a_share_of_the_time() -> None:
    before = Reading(at=0.0, counters={"cpu_some": 100, "cpu_full": 0, "io_some": 0})
    after = Reading(at=2.0, counters={"cpu_some": 500_100, "cpu_full": 0, "io_some": 2_000_900})
    assert sample(before, after).figures == {"cpu_some": 0.25, "cpu_full": 0.0, "io_some": 1.0}


def test_what_is_missing_is_missing_with_its_reason_and_never_zero() -> None:
    after = Reading(at=1.0, counters={}, missing={"run_delay": "this kernel keeps no /proc/schedstat"})
    found = sample(Reading(at=0.0), after)
    assert (found.figures, found.missing) == ({}, {"run_delay": "this kernel keeps no /proc/schedstat"})


def test_a_counter_that_goes_backwards_gives_no_figure() -> None:
    found = sample(reading(0.0, iowait=50, ctxt=9), reading(1.0, user=100, iowait=49, ctxt=10))
    assert found.figures == {"context_switches": 1.0}
    assert found.missing["cpu_iowait"] == found.missing["cpu_busy"] == "the kernel counted backwards"


def test_two_readings_at_one_instant_give_nothing() -> None:
    found = sample(reading(1.0), reading(1.0, user=5))
    assert (found.span, found.figures) == (0.0, {})


def test_where_no_task_ran_there_is_no_mean_slice() -> None:
    counters = {"run": 5, "delay": 5, "slices": 5}
    found = sample(Reading(at=0.0, counters=counters), Reading(at=1.0, counters=counters))
    assert found.figures == {"slices": 0.0}
    assert found.missing["slice_mean"] == "no task ran"


def test_a_group_has_figures_of_what_it_counts() -> None:
    before = {"a.slice": {"usage": 0, "throttled": 0, "some": 0}, "b.slice": {"usage": 5}}
    after = {"a.slice": {"usage": 3_000_000, "throttled": 500_000, "some": 9_000_000}, "c.slice": {"usage": 7}}
    found = sample(Reading(at=0.0, groups=before), Reading(at=2.0, groups=after))
    assert found.groups == {"a.slice": {"cpus": 1.5, "throttled": 0.25, "pressure": 1.0}}


def test_events_of_the_scheduler_are_counted() -> None:
    found = sample(
        Reading(at=0.0, events={"SCX_EV_A": 5, "SCX_EV_B": 1}),
        Reading(at=1.0, events={"SCX_EV_A": 9, "SCX_EV_B": 1, "SCX_EV_C": 2}),
    )
    assert found.events == {"SCX_EV_A": 4, "SCX_EV_C": 2}


def test_every_figure_has_a_unit() -> None:
    assert {*monitor._rates({}, set(), 1.0)} <= UNITS.keys()
    every = (
        "ctxt",
        "run",
        "delay",
        "slices",
        *(f"{of}_{kind}" for of in ("cpu", "memory", "io") for kind in ("some", "full")),
    )
    assert {*monitor._rates(dict.fromkeys((*TICKS, *every), 1), set(), 1.0)} < UNITS.keys()


# Sessions


def test_a_session_over_a_switch_has_a_summary_for_each_scheduler() -> None:
    session = Session()
    plan = [("", 0, 10), ("", 0, 20), ("simple", 1, 90), ("simple", 1, 80), ("simple", 1, 60), ("", 1, 10), ("", 1, 30)]
    user = idle = 0
    for at, (ops, seq, busy) in enumerate(plan):
        user, idle = user + busy, idle + 100 - busy
        session.add(reading(float(at), ops, seq, user=user, idle=idle))
    first, simple, last = session.summaries()
    assert [(one.ops, one.seq, one.since, one.until, one.samples) for one in (first, simple, last)] == [
        ("", 0, 0, 1 * SECOND, 1),
        ("simple", 1, 2 * SECOND, 4 * SECOND, 2),
        ("", 1, 5 * SECOND, 6 * SECOND, 1),
    ]
    assert simple.figures["cpu_busy"] == Stat(mean=0.7, max=0.8, p95=0.8)
    assert session.switches == 2


def test_a_scheduler_that_was_loaded_again_is_another() -> None:
    session = Session()
    for at, seq in enumerate((1, 1, 2, 2)):
        session.add(reading(float(at), "simple", seq))
    assert [one.seq for one in session.summaries()] == [1, 2]


def test_the_mean_is_over_time_not_over_samples() -> None:
    session = Session()
    for at, user, idle in ((0.0, 0, 0), (1.0, 100, 0), (4.0, 100, 300)):
        session.add(reading(at, user=user, idle=idle))
    (found,) = session.summaries()
    assert (found.figures["cpu_busy"].mean, found.seconds) == (0.25, 4.0)


def test_a_figure_that_comes_later_is_not_told_as_missing() -> None:
    session = Session()
    session.add(Reading(at=0.0, missing={"runnable": "not yet"}))
    session.add(Reading(at=1.0, missing={"runnable": "not yet", "io_some": "no"}))
    session.add(Reading(at=2.0, levels={"runnable": 3.0}, missing={"io_some": "no"}))
    (found,) = session.summaries()
    assert (found.figures["runnable"].mean, found.missing) == (3.0, {"io_some": "no"})


def test_a_group_that_comes_later_is_not_told_as_missing() -> None:
    session = Session()
    none = {"/a.slice": "there is none"}
    session.add(Reading(at=0.0, missing=none))
    session.add(Reading(at=1.0, missing=none | {"/b.slice": "there is none"}))
    session.add(Reading(at=2.0, groups={"a.slice": {"usage": 5}}, missing={"/b.slice": "there is none"}))
    assert session.summaries()[0].missing.keys() == {"/a.slice", "/b.slice"}
    session.add(Reading(at=3.0, groups={"a.slice": {"usage": 6}}, missing={"/b.slice": "there is none"}))
    assert session.summaries()[0].missing.keys() == {"/b.slice"}


def test_a_summary_has_the_name_that_became_known_last() -> None:
    session = Session()
    for at, name in enumerate(("", "flash_1", "scx_flash", "")):
        session.add(Reading(at=float(at), seq=1, ops="flash_1", name=name))
    assert [one.name for one in session.summaries()] == ["scx_flash"]


def test_of_very_many_schedulers_the_first_are_forgotten() -> None:
    session = Session()
    for seq in range(2 * monitor._MOST_STRETCHES):
        session.add(reading(2.0 * seq, "x", seq))
        session.add(reading(2.0 * seq + 1, "x", seq))
    assert len(session.summaries()) == monitor._MOST_STRETCHES
    assert session.forgotten == monitor._MOST_STRETCHES


@given(st.lists(st.tuples(st.floats(0, 1e9), st.floats(1e-3, 1e3)), min_size=1, max_size=500), st.integers(2, 20))
def test_a_series_is_bounded_and_its_summary_lies_within_its_samples(
    samples: list[tuple[float, float]], most: int
) -> None:
    series = Series(most)
    for value, span in samples:
        series.add(value, span)
        assert len(series._kept) < most
    found, values = series.stat(), [value for value, _ in samples]
    assert found.max == max(values)
    assert min(values) <= found.p95 <= max(values)
    mean = sum(value * span for value, span in samples) / sum(span for _, span in samples)
    assert found.mean == pytest.approx(mean)


def test_ninety_five_of_a_hundred_samples_do_not_exceed_the_percentile() -> None:
    series = Series()
    for value in range(1, 101):
        series.add(float(value), 1.0)
    assert series.stat() == Stat(50.5, 100.0, 95.0)


# Guards


def test_guards_see_the_last_seconds_of_this_scheduler_alone() -> None:
    recent = Recent(10.0)
    assert recent.add(reading(0.0, "a", 1)) is None
    assert recent.add(reading(1.0, "b", 2)) is None
    for at in range(2, 30):
        found = recent.add(reading(float(at), "b", 2, user=100 * at))
    assert found is not None
    assert found.span == 10.0
    assert len(recent._readings) == 11


# From the kernel's files


def machine(root: Path, **files: str) -> Path:
    """A /proc and a /sys of a machine with two processors, and other text for some files."""
    texts = {
        "proc/stat": "cpu  10 1 5 80 2 0 1 1 0 0\ncpu0 5 0 2 40 1 0 0 0 0 0\nintr 99 1\nctxt 4711\nprocs_running 3\n",
        "proc/meminfo": "MemTotal: 1000 kB\nMemFree: 100 kB\nMemAvailable: 250 kB\n",
        "proc/pressure/cpu": "some avg10=0.00 avg60=0.00 avg300=0.00 total=500\nfull avg10=0.00 total=20\n",
        "proc/pressure/memory": "some avg10=0.00 avg60=0.00 avg300=0.00 total=7\nfull avg10=0.00 total=6\n",
        "proc/pressure/io": "some avg10=0.00 avg60=0.00 avg300=0.00 total=9\n",
        "proc/schedstat": "version 17\ncpu0 0 0 0 0 0 0 1000 200 30\ndomain0 MC 3 0\ncpu1 0 0 0 0 0 0 500 100 20\n",
        "sys/fs/cgroup/system.slice/cpu.stat": "usage_usec 900\nuser_usec 1\nnr_throttled 4\nthrottled_usec 40\n",
        "sys/fs/cgroup/system.slice/cpu.pressure": "some avg10=0.00 total=70\nfull avg10=0.00 total=1\n",
        "sys/fs/cgroup/init.scope/cpu.stat": "usage_usec 5\n",
        "sys/fs/cgroup/dev-hugepages.mount/cpu.stat": "usage_usec 5\n",
        "sys/kernel/sched_ext/state": "enabled\n",
        "sys/kernel/sched_ext/enable_seq": "3\n",
        "sys/kernel/sched_ext/switch_all": "1\n",
        "sys/kernel/sched_ext/root/ops": "simple\n",
        "sys/kernel/sched_ext/root/events": "SCX_EV_X 12\n",
        **files,
    }
    for name, text in texts.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def test_a_reading_has_what_the_kernel_tells(tmp_path: Path) -> None:
    found = read(5.0, machine(tmp_path))
    assert (found.at, found.seq, found.ops, found.events) == (5.0, 3, "simple", {"SCX_EV_X": 12})
    ticks = {"user": 10, "nice": 1, "system": 5, "idle": 80, "iowait": 2, "irq": 0, "softirq": 1, "steal": 1}
    waits = {"cpu_some": 500, "cpu_full": 20, "memory_some": 7, "memory_full": 6, "io_some": 9}
    assert found.counters == {**ticks, **waits, "ctxt": 4711, "run": 1500, "delay": 300, "slices": 50}
    assert found.levels == {"runnable": 3.0, "memory_used": 0.75}
    assert found.missing == {"io_full": 'this kernel tells no "full" of io'}
    assert found.groups == {"init.scope": {"usage": 5}, "system.slice": {"usage": 900, "throttled": 40, "some": 70}}


def test_the_groups_that_are_wanted_are_looked_at_and_no_other(tmp_path: Path) -> None:
    deep = {"sys/fs/cgroup/system.slice/ssh.service/cpu.stat": "usage_usec 77\n"}
    found = read(0.0, machine(tmp_path, **deep), ("system.slice/ssh.service", "init.scope", "x.slice"))
    assert found.groups == {"system.slice/ssh.service": {"usage": 77}, "init.scope": {"usage": 5}}
    assert found.missing["/x.slice"] == "the kernel has no control group of that name"


@pytest.mark.parametrize("name", ["../outside", "system.slice/../../outside", "..", ".", "", "/", "a\0b", "cpu.stat"])
def test_no_name_of_a_group_leads_out_of_the_control_groups(tmp_path: Path, name: str) -> None:
    outside = {"sys/fs/outside/cpu.stat": "usage_usec 1\n", "sys/fs/cgroup/cpu.stat": "usage_usec 1\n"}
    found = read(0.0, machine(tmp_path, **outside), (name,))
    assert found.groups == {}
    assert f"/{name}" in found.missing


def test_each_file_that_is_not_there_is_a_reason(tmp_path: Path) -> None:
    found = read(0.0, tmp_path)
    assert found.counters == {}
    assert found.missing["run_delay"] == "this kernel keeps no /proc/schedstat (CONFIG_SCHEDSTATS)"
    assert found.missing["cpu_some"] == "the kernel keeps no /proc/pressure (psi=1 on its command line)"
    assert found.missing["cpu_busy"] == "/proc/stat cannot be read: No such file or directory"
    assert found.groups == {}


@pytest.mark.parametrize(
    ("file", "text", "figure"),
    [
        ("proc/stat", "cpu  a b c\n", "cpu_busy"),
        ("proc/stat", "", "context_switches"),
        ("proc/meminfo", "MemTotal: 10 kB\n", "memory_used"),
        ("proc/meminfo", "MemTotal\n", "memory_used"),
        ("proc/pressure/cpu", "some total=\n", "cpu_some"),
        ("proc/schedstat", "cpu0 1 2\n", "slices"),
    ],
)
def test_a_file_that_reads_like_none_of_the_kernels_is_a_reason(
    tmp_path: Path, file: str, text: str, figure: str
) -> None:
    found = read(0.0, machine(tmp_path, **{file: text}))
    assert found.missing[figure] == f"/{file} is not written as the kernel writes it"


def test_counters_of_an_unknown_scheduler_are_of_no_use(tmp_path: Path) -> None:
    more: dict[str, Any] = {"sys/kernel/sched_ext/state": "dreaming\n"}
    with pytest.raises(Unreadable):
        read(0.0, machine(tmp_path, **more))


def test_this_machine_can_be_measured() -> None:
    session = Session()
    session.add(read(1.0))
    found = session.add(read(2.0))
    assert found is not None
    assert "cpu_busy" in {*found.figures, *found.missing}  # both looks may lie within one tick of the clock
    assert 0 <= found.figures.get("cpu_busy", 0) <= 1
    assert not found.figures.keys() & found.missing.keys()
