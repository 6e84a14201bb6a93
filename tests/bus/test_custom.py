"""Schedulers of one's own, verified and used over D-Bus: a real agentd on a machine that is made of files."""

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jeepney.io.blocking import open_dbus_connection

from agentd.core.schedulers.custom import STEPS, digest, ops_name
from agentd.core.schedulers.sources import LARGEST
from tests.bus.harness import Agentd, CallError
from tests.bus.scheduling import show
from tests.bus.test_schedulers import current, status, switch, world
from tests.unit.schedulers.custom_fakes import FIFO

__all__ = ["world"]

SOURCE = FIFO.encode()
CONFIG = "timezone: UTC\n"


@pytest.fixture(autouse=True)
def places(world: Agentd) -> Agentd:
    """A machine on which root allowed schedulers of one's own, with the folders of a verification."""
    for name in ("requests", "handed", "compiled", "tried"):
        (world.folder / name).mkdir()
    (world.folder / "allowed").touch()
    return world


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: one[1] if isinstance(one, tuple) else one for key, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list | tuple) else value


def verify(world: Agentd, name: str = "fifo", source: bytes = SOURCE, **options: Any) -> Any:
    """The report and the states of the steps."""
    report, steps = plain(world.call("Scheduler.Verify", "saya{sv}", name, source, options))
    assert [step["name"] for step in steps] == list(STEPS)
    return report, [step["state"] for step in steps]


def listed(world: Agentd) -> Any:
    return plain(world.call("Scheduler.ListCustom"))


class Trial:
    """A verification that another client has asked for, whose trial lasts until it is let go."""

    def __init__(self, world: Agentd) -> None:
        self.world = world
        (world.folder / "hold").touch()
        self.other = Agentd.__new__(Agentd)
        self.other.address, self.other._bus = world.address, None
        self.answers: list[Any] = []
        self.thread = threading.Thread(target=self._verify)
        self.thread.start()
        world.until(lambda: "custom:fifo is tried" in status(world)["waits"], "the trial to begin")
        world.until(lambda: status(world)["state"] == "enabled", "the kernel's word")

    def _verify(self) -> None:
        try:
            self.answers.append(verify(self.other))
        except Exception as error:  # noqa: BLE001 - whatever it is, the test looks at it
            self.answers.append(error)

    def end(self) -> Any:
        (self.world.folder / "hold").unlink(missing_ok=True)
        self.thread.join()
        self.other.disconnect()
        return self.answers[0]


def test_a_scheduler_is_verified_listed_started_and_removed(world: Agentd) -> None:
    world.start(CONFIG)
    report, states = verify(world, summary=("s", "in order"), use_cases=("as", ["tests"]))
    assert (report["name"], report["ok"], states) == ("custom:fifo", True, ["ok"] * 6)
    assert (report["source"], report["compiler"]) == (digest(SOURCE), "clang 19")
    (own,) = listed(world)
    assert (own["name"], own["summary"], own["use_cases"]) == ("custom:fifo", "in order", ["tests"])
    assert (own["usable"], own["why"], own["runs"]) == (True, "", False)
    assert world.call("Scheduler.GetCustomSource", "s", "fifo") == SOURCE
    (shown,) = plain(world.call("Scheduler.ListSchedulers", "a{sv}", {"name": ("s", "custom:*")}))
    assert (shown["installed"], shown["obstacles"], shown["readiness"]) == (True, [], "experimental")
    switch(world, "custom:fifo", keep=True)
    assert current(world) == "custom:fifo"
    assert status(world)["ops"].startswith(ops_name("fifo", digest(SOURCE)))
    assert (world.folder / "requests/custom:fifo.bpf.o").read_bytes() == SOURCE
    with pytest.raises(CallError, match="custom:fifo runs: first agentctl sched stop"):
        world.call("Scheduler.RemoveCustom", "s", "custom:fifo")
    world.call("Scheduler.Stop", "a{sv}", {"keep": ("b", True)})
    world.call("Scheduler.RemoveCustom", "s", "custom:fifo")
    assert listed(world) == []
    for member in ("GetCustomSource", "RemoveCustom"):
        with pytest.raises(CallError, match="agentctl sched custom") as refused:
            world.call(f"Scheduler.{member}", "s", "fifo")
        assert refused.value.name.endswith(".NoSuchScheduler")
    with pytest.raises(CallError, match="there is no scheduler"):
        switch(world, "custom:fifo")


def test_a_source_that_does_not_compile_is_told_and_nothing_is_kept(world: Agentd) -> None:
    world.start(CONFIG)
    report, states = verify(world, source=b"error")
    assert (report["ok"], states) == (False, ["ok", "failed", *["skipped"] * 4])
    assert report["sentence"] == "custom:fifo is not verified: compile: an error stands in it"
    assert listed(world) == []
    assert list((world.folder / "handed").iterdir()) == []


def test_what_nobody_could_verify_is_refused_at_once(world: Agentd) -> None:
    world.start(CONFIG)
    for name, source, options, says in (
        ("Fifo", b"x", {}, "at most 15 characters"),
        ("../../etc", b"x", {}, "at most 15 characters"),
        ("fifo", b"x" * (LARGEST + 1), {}, "at most 60 KiB"),
        ("fifo", b"x", {"limits": ("ai", [1])}, "list of texts"),
        ("fifo", b"x", {"limits": ("as", ["x"] * 30)}, "at most 20 limits"),
        ("fifo", b"x", {"summary": ("s", "\x1b[2J")}, "printable text"),
        ("fifo", b"x", {"owner": ("s", "x")}, '"owner" is not an option'),
    ):
        with pytest.raises(CallError, match=says) as refused:
            verify(world, name, source, **options)
        assert refused.value.name.endswith(".InvalidArgument")
    with pytest.raises(CallError, match="more than 64 KiB"):
        verify(world, "fifo", b"x" * (70 << 10))


def test_steps_are_told_as_they_come(world: Agentd) -> None:
    world.start(CONFIG)
    from jeepney import DBusAddress, MatchRule, message_bus, new_method_call

    rule = MatchRule(type="signal", interface="org.agentd1.Scheduler", member="VerificationStep")
    with open_dbus_connection(bus=world.address) as bus, bus.filter(rule, bufsize=100) as told:
        bus.send_and_get_reply(message_bus.AddMatch(rule))
        address = DBusAddress("/org/agentd1", "org.agentd1", "org.agentd1.Scheduler")
        bus.send_and_get_reply(new_method_call(address, "Verify", "saya{sv}", ("fifo", SOURCE, {})), timeout=20)
        found = [signal.body for signal in told]
    assert [(step, state) for _, step, state, _ in found] == [
        ("compile", "running"),
        *((step, "ok") for step in STEPS[:3]),
        ("trial", "running"),
        ("load", "ok"),
        ("trial", "ok"),
    ]
    assert {name for name, *_ in found} == {"custom:fifo"}


def test_wishes_wait_during_a_trial_and_are_served_after_it(world: Agentd) -> None:
    world.start(CONFIG + "jobs: {render: {run: sleep 1000, scheduler: scx_rusty}}\n")
    trial = Trial(world)
    world.call("Jobs.RunJob", "sa{sv}", "render", {})
    assert (status(world)["loaded_by"], current(world)[:12]) == ("", "custom_fifo_")
    assert status(world)["waits"] == "custom:fifo is tried in the kernel: nothing else is started until that is over"
    with pytest.raises(CallError, match="custom:fifo is being verified: try again when that is over"):
        verify(world, "other")
    report, states = trial.end()
    assert (report["ok"], states) == (True, ["ok"] * 6)
    world.until(lambda: current(world) == "scx_rusty", "the job's scheduler")
    names = [one["name"] for one in plain(world.call("Scheduler.ListTenures", "a{sv}", {}))]
    assert names == ["scx_rusty"]


def test_there_is_no_trial_while_a_scheduler_is_on(world: Agentd) -> None:
    world.start(CONFIG)
    switch(world, "simple", keep=True)
    report, states = verify(world)
    assert states == ["ok", "ok", "ok", "failed", "skipped", "skipped"]
    assert "load: scx_simple is on, and only one scheduler can be: first agentctl sched stop" in report["sentence"]
    assert current(world) == "scx_simple"


def test_an_agentd_that_is_killed_during_a_trial_takes_that_for_nobodys(world: Agentd) -> None:
    world.start(CONFIG + "scheduler: {default: scx_rusty}\n")
    world.until(lambda: current(world) == "scx_rusty", "the default")
    world.call("Scheduler.Stop", "a{sv}", {"keep": ("b", True)})
    trial = Trial(world)
    world.kill()
    assert isinstance(trial.end(), Exception)
    world.start()
    assert "custom:fifo is tried" in status(world)["waits"]
    world.call("Scheduler.Restore")
    world.until(lambda: status(world)["wanted"] == "scx_rusty", "the default to be wanted")
    assert (status(world)["loaded_by"], status(world)["state"]) == ("", "enabled")
    show(world.folder / "root", "disabled")
    (world.folder / "trying").unlink()
    world.until(lambda: current(world) == "scx_rusty", "the default to begin after the trial")
    assert {one["loaded_by"] for one in plain(world.call("Scheduler.ListTenures", "a{sv}", {}))} == {"agentd"}


def test_where_root_takes_its_word_back_nothing_of_ones_own_starts(world: Agentd) -> None:
    world.start(CONFIG)
    verify(world)
    (world.folder / "allowed").unlink()
    with pytest.raises(CallError, match="custom:fifo cannot be had: root has not allowed") as refused:
        switch(world, "custom:fifo")
    assert refused.value.name.endswith(".Unavailable")
    (own,) = listed(world)
    assert (own["usable"], own["why"][:20]) == (False, "root has not allowed")


def test_a_failure_of_the_version_before_does_not_count_after_a_verification(world: Agentd) -> None:
    world.start(CONFIG)
    verify(world)
    (world.folder / "does/custom:fifo").write_text("refuses")
    with pytest.raises(CallError, match=r"custom:fifo does not run: .*was told so"):
        switch(world, "custom:fifo")
    assert [one["name"] for one in status(world)["quarantines"]] == ["custom:fifo"]
    (world.folder / "does/custom:fifo").unlink()  # the wish is still held, and counts again at once
    verify(world, source=SOURCE + b"/* another */")
    world.until(lambda: not status(world)["quarantines"], "the failure to be forgotten")
    switch(world, "custom:fifo")
    assert current(world) == "custom:fifo"


def test_one_that_was_verified_on_another_kernel_or_is_damaged_is_told_and_not_started(world: Agentd) -> None:
    world.start(CONFIG)
    verify(world)
    folder = world.state / "custom/fifo"
    metadata = json.loads((folder / "metadata.json").read_text())
    (folder / "metadata.json").write_text(json.dumps({**metadata, "kernel": "1.2.3"}))
    with pytest.raises(CallError, match=r"custom:fifo was verified on 1\.2\.3, and this kernel is .*: verify it again"):
        switch(world, "custom:fifo")
    (folder / "metadata.json").write_text(json.dumps(metadata))
    (folder / "object.bpf.o").write_bytes(b"another")
    with pytest.raises(CallError, match=r"object\.bpf\.o is not what was verified: verify custom:fifo again"):
        switch(world, "custom:fifo")
    shutil.copy(folder / "object.bpf.o", folder / "metadata.json")
    (own,) = listed(world)
    assert (own["name"], own["usable"]) == ("custom:fifo", False)
    assert "verify custom:fifo again, or remove it" in own["why"]
    world.call("Scheduler.RemoveCustom", "s", "fifo")
    assert listed(world) == []


def test_a_person_verifies_starts_and_removes_one_by_commands(world: Agentd) -> None:
    world.start(CONFIG)
    file = world.folder / "fifo.bpf.c"
    file.write_text("error")
    failed = world.ctl("sched", "verify", "fifo", str(file))
    assert (failed.returncode, failed.stderr) == (1, "")
    assert failed.stdout.endswith("custom:fifo is not verified: compile: an error stands in it\n")
    file.write_text(FIFO)
    done = world.ctl("sched", "verify", "fifo", str(file), "--summary", "in order")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("to start it: agentctl sched start custom:fifo\n")
    assert "in order" in world.ctl("sched", "custom").stdout
    assert world.ctl("sched", "source", "fifo").stdout == FIFO
    assert world.ctl("sched", "start", "custom:fifo").stdout.startswith("custom:fifo runs, says the kernel")
    assert "custom:fifo: in order" in world.ctl("sched", "info", "custom:fifo").stdout
    assert world.ctl("sched", "remove", "fifo").returncode == 1
    world.ctl("sched", "stop")
    assert world.ctl("sched", "remove", "fifo").stdout == "fifo is removed\n"


def test_the_default_may_be_one_of_ones_own(world: Agentd) -> None:
    world.start(CONFIG)
    verify(world)
    world.stop()
    world.start(CONFIG + "scheduler: {default: custom:fifo}\n")
    world.until(lambda: current(world) == "custom:fifo", "the default")


def test_alone_agentd_verifies_nothing(world: Agentd, tmp_path: Path) -> None:
    del tmp_path
    world.program = ("agentd", "--standalone")
    world.start(CONFIG)
    with pytest.raises(CallError, match="it verifies none"):
        verify(world)
    assert listed(world) == []


@pytest.fixture(autouse=True)
def let_go(world: Agentd) -> Iterator[None]:
    """No trial is left that waits for ever."""
    yield
    (world.folder / "hold").unlink(missing_ok=True)


def test_an_agentd_that_is_stopped_during_a_trial_does_not_wait_for_its_end(world: Agentd) -> None:
    world.start(CONFIG)
    trial = Trial(world)
    assert world.stop() == 0
    assert isinstance(trial.end(), Exception)
    assert (world.folder / "trying").read_text() == "fifo"
    assert "Traceback" not in world.log.read_text()
