"""What a run says is known at once, stored and told once a second; no last word is lost, and no use of a tool."""

from agentd.core.jobs.model import Notified, Run, RunChanged, RunSaved
from agentd.core.quantities import HOUR, SECOND
from tests.unit.jobs.test_jobs import NOW, Host, job, only

AT = NOW + HOUR


def running(*notify: str) -> tuple[Host, Run]:
    host = Host(job(notify=notify))
    run = only(host.tick(AT))
    host.engine.started(run.run_id, AT)
    host.take()
    host.log.clear()
    return host, run


def told(host: Host) -> list[str]:
    return [effect.run.progress for effect in host.of(RunChanged) if effect.event == "progress"]


def stored(host: Host) -> list[str]:
    return [effect.run.progress for effect in host.of(RunSaved) if effect.run.state == "running"]


def test_a_thousand_words_in_a_second_are_stored_and_told_twice() -> None:
    host, run = running("progress")
    for number in range(1000):
        host.engine.progress(run.run_id, f"{number}", AT + number * 999)
    assert (only(host.engine.running())).progress == "999"  # known at once
    assert (told(host), stored(host)) == (["0"], ["0"])
    assert host.engine.wakeup() == AT + SECOND
    host.engine.tick(AT + SECOND)
    assert (told(host), stored(host)) == (["0", "999"], ["0", "999"])
    assert [effect.text for effect in host.of(Notified)] == ["0", "999"]
    host.engine.tick(AT + 5 * SECOND)
    assert told(host) == ["0", "999"]  # nothing was said since
    host.engine.progress(run.run_id, "later", AT + 9 * SECOND)
    assert told(host) == ["0", "999", "later"]


def test_what_is_stored_late_is_the_run_as_it_is_by_then() -> None:
    host = Host(job())
    run = only(host.tick(AT))
    host.engine.progress(run.run_id, "one", AT)
    host.engine.progress(run.run_id, "two", AT)
    host.engine.started(run.run_id, AT + 7, "invocation")
    host.engine.tick(AT + SECOND)
    saved = host.saved(run)
    assert (saved.progress, saved.started, saved.invocation) == ("two", AT + 7, "invocation")


def test_the_last_word_is_told_before_the_end_and_kept_with_the_run() -> None:
    host, run = running("progress")
    host.engine.progress(run.run_id, "first", AT)
    host.engine.progress(run.run_id, "last", AT + 1)
    host.end(run, AT + 2)
    events = [(effect.event, effect.run.progress) for effect in host.of(RunChanged)]
    assert events == [("progress", "first"), ("progress", "last"), ("finished", "last")]
    assert [effect.text for effect in host.of(Notified) if effect.event == "progress"] == ["first", "last"]
    assert host.saved(run).progress == "last"
    assert host.engine.wakeup() == NOW + 2 * HOUR  # nothing is left to be told


def test_the_last_word_is_stored_when_agentd_stops_and_told_while_it_waits() -> None:
    host, run = running()
    host.engine.progress(run.run_id, "first", AT)
    host.engine.progress(run.run_id, "second", AT + 1)
    host.engine.drain()
    assert host.saved(run).progress == "second"
    host.engine.progress(run.run_id, "third", AT + 2)
    assert host.engine.wakeup() == AT + SECOND
    host.engine.tick(AT + SECOND)
    assert host.saved(run).progress == "third"


def test_each_use_of_a_tool_is_told_to_people_and_the_disk_is_asked_once() -> None:
    host, run = running("progress", "tool")
    for number in range(50):
        host.engine.progress(run.run_id, f"{number}", AT + number, "web-search")
    host.engine.progress(run.run_id, "half done", AT + 60)
    host.engine.progress(run.run_id, "", AT + 61, "calendar")
    host.engine.tick(AT + SECOND)
    tools = [effect.text for effect in host.of(Notified) if effect.event == "tool"]
    assert tools == [*(f"web-search: {number}" for number in range(50)), "calendar"]
    assert stored(host) == ["web-search: 0", "calendar"]
    assert [effect.text for effect in host.of(Notified) if effect.event == "progress"] == []


def test_a_second_is_counted_by_elapsed_time_whatever_the_clock_is_set_to() -> None:
    host, run = running()
    host.engine.progress(run.run_id, "one", AT)
    host.engine.progress(run.run_id, "two", AT + 1)
    host.engine.clock_stepped(-60 * SECOND, AT - 60 * SECOND)
    assert host.engine.wakeup() == AT - 59 * SECOND
    host.engine.tick(AT - 59 * SECOND)
    assert told(host) == ["one", "two"]
