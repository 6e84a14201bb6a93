"""The judgement of chaos, with forged records: each lie is found, and no fault's own consequence is taken for one."""

from pathlib import Path

import pytest

from tests.chaos import damage, truth
from tests.chaos.faults import FAULTS
from tests.chaos.profiles import JOB, PROFILES
from tests.chaos.truth import Counts, Decision, Deed, Finding, Known, Recorded, Start

KNOWN = {"a": Known(1), "slow": Known(4, timeout=1.0), "litter": Known(1, lingers=True)}


def lag(begin: float, end: float) -> float:
    return 0.0


def slow(begin: float, end: float) -> float:
    return 0.2


def start(
    run_id: str, at: float, end: float = 0.0, word: str = "E", code: int = 0, due: str = "", pid: int = 7
) -> Start:
    return Start(run_id, due or run_id, 1, pid, at, end, word if end else "", code)


def row(run_id: str, result: str = "success", code: int | None = 0, began: float = 10.0, **more: str) -> Recorded:
    state = more.get("state", "ended")
    return Recorded(
        run_id, run_id, began, 1, more.get("cause", "schedule"), state, began, result, code, more.get("reason", "")
    )


def deed(begin: float, *kinds: str, end: float = 0.0, pids: tuple[int, ...] = ()) -> Deed:
    return Deed(4, begin, end or begin + 2, frozenset(kinds), frozenset(pids))


def ends(
    starts: list[Start], rows: list[Recorded], deeds: list[Deed], stopped: tuple[str, ...] = ()
) -> tuple[list[Finding], Counts]:
    return truth.untrue_ends(starts, {one.run_id: one for one in rows}, deeds, frozenset(stopped), KNOWN, lag)


def test_the_notes_of_the_jobs_are_read() -> None:
    text = "S a.1 D1 1 50 3.14 \nS b.2 D1 2 51 3.2 \nO b.2 D1 2 51 3.2 b.1\nC b.2 D1 2 51 3.3 60\nE a.1 D1 1 50 4.5 3\n"
    (first, second), odd = truth.read(f"{text}T b.2 D1 2 51 5.0 \n")
    assert odd == []
    assert (first.job, first.due, first.attempt, first.word, first.end, first.code) == ("a", "D1", 1, "E", 4.5, 3)
    assert (second.beside, second.children, second.word, second.attempt) == ("b.1", [60], "T", 2)


@pytest.mark.parametrize("text", ["nonsense\n", "E a.1 D 1 50 4.5 0\n"])
def test_an_odd_note_is_told(text: str) -> None:
    assert len(truth.read(text)[1]) == 1


def test_a_run_that_started_twice_is_found() -> None:
    (found,) = truth.runs_doubled([start("a.1", 1), start("a.2", 2), start("a.1", 3, pid=9)])
    assert (found.kind, found.key) == ("a run started twice", "a.1")
    assert found.sentence == "the run a.1 started twice, 2.0 s apart (processes 7, 9)"


def test_a_due_time_that_ran_twice_is_found_and_another_attempt_of_it_is_none() -> None:
    again = Start("a.3", "noon", 2, 8, 4)
    (found,) = truth.dues_doubled([start("a.1", 1, due="noon"), again, start("a.2", 2, due="noon")])
    assert found.sentence == "a started twice for noon: a.1 and a.2, attempt 1"


def test_a_start_beside_itself_and_an_unrecorded_one_are_found() -> None:
    one = start("a.1", 1)
    one.beside = "a.0"
    assert [found.sentence for found in truth.beside_themselves([one, start("a.2", 2)], KNOWN)] == [
        "a.1 began while a.0 was alive"
    ]
    assert truth.beside_themselves([one], {"a": Known(abreast=2)}) == []
    assert [found.key for found in truth.unrecorded([one, start("a.2", 2)], {"a.2": row("a.2")})] == ["a.1"]


@pytest.mark.parametrize(
    ("begun", "recorded"),
    [
        (start("a.1", 10, 11), row("a.1")),
        (start("a.1", 10, 11, code=3), row("a.1", "exit-code", 3)),
        (start("slow.1", 10, 11, "T", 143), row("slow.1", "timeout", None)),
        (start("slow.1", 10), row("slow.1", "timeout", None)),  # SIGKILL: no last word
        (start("a.1", 10), row("a.1", "running", None, state="running")),
    ],
)
def test_what_is_true_is_not_found(begun: Start, recorded: Recorded) -> None:
    assert ends([begun], [recorded], [])[0] == []


@pytest.mark.parametrize(
    ("begun", "recorded", "why"),
    [
        (start("a.1", 10, 11, code=3), row("a.1"), "it ended with exit code 3 (recorded: 0)"),
        (start("a.1", 10, 11), row("a.1", "exit-code", 3), "it ended with exit code 0 (recorded: 3)"),
        (start("a.1", 10), row("a.1"), "it wrote of no end"),
        (start("a.1", 10, 11, "T", 143), row("a.1"), "it ended with exit code 143 (recorded: 0)"),
        (start("a.1", 10), row("a.1", "timeout", None), "it has no time-out"),
        (start("slow.1", 10, 10.4), row("slow.1", "timeout", None), "it ended by itself after 0.40 s"),
        (start("a.1", 10, 11, "T", 143), row("a.1", "stopped", None), "nobody stopped it"),
        (start("a.1", 10), row("a.1", "signal", None), "nobody sent it a signal"),
        (
            start("a.1", 10, 11),
            row("a.1", "interrupted", None),
            "nothing ended agentd, its supervisor or its bus after it began",
        ),
    ],
)
def test_an_untrue_end_is_found(begun: Start, recorded: Recorded, why: str) -> None:
    (found,) = ends([begun], [recorded], [deed(3, "daemon")])[0]
    assert found.sentence == f"{begun.run_id} is recorded as {recorded.result}, but {why}"


def test_a_job_without_files_has_no_last_word() -> None:
    rows = [row("a.1", "success")]
    assert len(ends([start("a.1", 10)], rows, [deed(3, "files")])[0]) == 1
    assert ends([start("a.1", 10)], rows, [deed(9, "files")])[0] == []


def test_a_run_that_a_death_cut_off_is_interrupted() -> None:
    begun = [start("a.1", 10, 12.1, "T", 143), start("a.2", 10), start("a.3", 10, 12.5, code=3)]
    begun.append(start("a.4", 10, 12.1))  # had written its last word when it was asked to end, and ignored that
    rows = [row(one.run_id, "interrupted", None) for one in begun]
    found, counts = ends(begun, rows, [deed(12, "daemon")])
    assert (found, counts.cut_off) == ([], 4)


def test_an_end_that_only_the_killed_supervisor_knew_is_counted_with_its_distance() -> None:
    found, counts = ends([start("a.1", 10, 11.5)], [row("a.1", "interrupted", None)], [deed(12, "supervisor")])
    assert (found, counts.unseen) == ([], [0.5])


@pytest.mark.parametrize("death", [deed(12, "daemon"), deed(13, "supervisor")])
def test_an_end_that_somebody_saw_is_not_interrupted(death: Deed) -> None:
    (found,) = ends([start("a.1", 10, 11.5)], [row("a.1", "interrupted", None)], [death])[0]
    assert "by itself with exit code 0" in found.sentence


def test_an_end_during_a_stop_is_known_to_nobody() -> None:
    deeds = [deed(11, "stopped", end=15.0), deed(15, "supervisor")]
    found, counts = ends([start("a.1", 10, 11.5)], [row("a.1", "interrupted", None)], deeds)
    assert (found, counts.frozen, counts.unseen) == ([], 1, [])


def test_a_run_that_never_began_is_interrupted_only_by_a_death_at_its_time() -> None:
    recorded = row("a.1", "interrupted", None, began=10.0)
    assert len(ends([], [recorded], [])[0]) == 1
    assert (
        len(ends([], [recorded], [deed(9.6, "daemon", end=9.7)])[0]) == 1
    )  # its supervisor knew that it had not begun
    found, counts = ends([], [recorded], [deed(9.6, "supervisor", end=9.7)])
    assert (found, counts.wordless) == ([], 1)
    assert ends([], [row("a.1", "cancelled", None)], [])[0] == []
    assert len(ends([], [row("a.1", "start-failed", None)], [])[0]) == 1
    assert ends([], [row("a.1", "start-failed", None)], [deed(9, "files")])[0] == []
    killed = row("a.1", "signal", None)
    assert len(ends([], [killed], [deed(3, "job")])[0]) == len(ends([], [killed], [deed(9, "daemon")])[0]) == 1
    assert ends([], [killed], [deed(9, "job")])[0] == []
    assert len(ends([], [row("a.1", "stopped", None)], [])[0]) == 1
    assert ends([], [row("a.1", "stopped", None)], [], stopped=("a.1",))[0] == []
    assert ends([], [recorded], [deed(9, "stopped", end=12.0), deed(12, "daemon")])[0] == []


def test_a_due_time_without_a_run_needs_a_reason() -> None:
    rows = [row("a.1", began=10), row("a.2", began=11), row("a.3", began=14)]
    (found,) = truth.skipped_silently(rows, [], KNOWN)
    assert found.sentence == "a was due 2 times between a.2 and a.3; nothing says why not"
    assert truth.skipped_silently(rows, [Decision(12, "skip", "a", "", "because")], KNOWN) == []
    assert len(truth.skipped_silently(rows, [Decision(12, "skip", "b", "", "because")], KNOWN)) == 1
    told = [*rows[:2], row("a.3", began=14, reason="earlier due times were missed (missed: once)")]
    assert truth.skipped_silently(told, [], KNOWN) == []
    others = [row(one.run_id, began=one.began, cause="manual") for one in rows]
    assert truth.skipped_silently(others, [], KNOWN) == []


SKIP = "the run before was still under way (overlap: skip)"


def test_a_reason_must_be_true() -> None:
    said = [Decision(13, "skip", "a", "", SKIP)]
    assert truth.untrue_reasons(said, [start("a.1", 10, 12.8)], [], {}, KNOWN, lag, lag) == []
    assert truth.untrue_reasons(said, [start("a.1", 10)], [], {}, KNOWN, lag, lag) == []
    (found,) = truth.untrue_reasons(said, [start("a.1", 10, 12.02)], [], {}, KNOWN, lag, lag)
    assert found.sentence == f'a was skipped with "{SKIP}", 0.98 s after a.1 had ended'
    assert truth.untrue_reasons(said, [start("a.1", 10, 12)], [deed(11, "daemon")], {}, KNOWN, lag, lag) == []
    assert len(truth.untrue_reasons(said, [start("a.1", 10, 12)], [deed(11, "full")], {}, KNOWN, lag, lag)) == 1
    other = [Decision(13, "skip", "litter", "", SKIP)]
    assert truth.untrue_reasons(other, [start("litter.1", 10, 12)], [], {}, KNOWN, lag, lag) == []


def test_a_slow_machine_is_no_lie() -> None:
    said = [Decision(13, "skip", "a", "", SKIP)]
    many = [start(f"b.{number}", 12.5, 12.6) for number in range(40)]
    ended = start("a.1", 10, 12.02)
    assert len(truth.untrue_reasons(said, [ended, *many], [], {}, KNOWN, lag, lag)) == 1
    assert truth.untrue_reasons(said, [ended, *many], [], {}, KNOWN, lag, slow) == []
    late = {"a.2": row("a.2", began=12.9)}  # a run that was due, and whose process came later
    assert truth.untrue_reasons(said, [ended, start("a.2", 13.5, 14)], [], late, KNOWN, lag, lag) == []
    assert truth.untrue_reasons(said, [start("a.1", 10, 12.02)], [], {}, KNOWN, slow, lag) == []


def test_every_profile_is_a_configuration_without_errors(tmp_path: Path) -> None:
    from agentd.config import files

    for profile in PROFILES:
        file = tmp_path / f"{profile.name}.yaml"
        file.write_text(profile.text(tmp_path, {}))
        loaded = files.load(file)
        assert set(loaded.config.jobs) == set(profile.jobs)
        assert "metronome" in profile.jobs
        for name, job in profile.jobs.items():
            read = loaded.config.jobs[name]
            assert (read.timeout or 0) / 1e6 == job.known.timeout
            assert (read.trigger.interval or 0) / 1e6 == job.known.interval
    assert JOB.exists()


def test_every_fault_has_a_world_and_a_name_of_its_own() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert all(any(fault.suits(profile.name) for profile in PROFILES) for fault in FAULTS)


def test_damage_is_the_same_for_a_seed(tmp_path: Path) -> None:
    from random import Random

    results = []
    for _ in range(2):
        file = tmp_path / "agentd.db"
        file.write_bytes(bytes(20_000))
        how = [damage.database(tmp_path, Random(seed)) for seed in range(8)]
        results.append((how, file.read_bytes() if file.exists() else b""))
    assert results[0] == results[1]
    assert len(set(results[0][0])) > 2
