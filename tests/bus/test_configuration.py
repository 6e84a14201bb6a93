"""The configuration that is written is the one that is read, by a daemon that lives and by one that is started anew."""

import os
import signal
import stat
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from agentd.config.kept import NAME as KEPT
from agentd.core.quantities import HOUR, SECOND
from tests.bus.harness import ROOT, Agentd, children_of
from tests.bus.machine import Machine

NOON = "jobs:\n  noon: {run: [true], when: {at: '12:00'}}\n  fixed: {run: [true], timezone: UTC}\n"


def names(agentd: Agentd) -> set[str]:
    return {job["name"][1] for job in agentd.call("Jobs.ListJobs", "a{sv}", {})}


def jobs(*these: str) -> str:
    return "jobs:\n" + "".join(f"  {name}: {{run: [true]}}\n" for name in these)


def swap(link: Path, target: Path) -> None:
    new = link.with_name("new")
    new.symlink_to(target)
    new.rename(link)


def refused(agentd: Agentd, *arguments: str) -> tuple[int, str]:
    """How an agentd ended that must not start."""
    command = [sys.executable, "-m", "agentd", "--standalone", "--state-dir", str(agentd.state), *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, env=agentd.environment, cwd=ROOT, check=False, timeout=120
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("pause", [0.29, 0.3, 0.305, 0.31, 0.315, 0.32, 0.33, 0.35])
def test_of_two_changes_in_a_third_of_a_second_the_second_is_read_too(agentd: Agentd, pause: float) -> None:
    many = [f"j{number}" for number in range(40)]
    agentd.start(jobs(*many))
    for name in ("first", "second"):
        agentd.config.write_text(jobs(*many, name))
        time.sleep(pause)  # that of the recipe: it is what is tested
    agentd.until(lambda: "second" in names(agentd), "the second change")


def test_a_file_and_a_folder_behind_links_are_read_when_their_targets_change(agentd: Agentd) -> None:
    repo, conf = agentd.folder / "repo", agentd.folder / "conf"
    for folder in ("one", "two"):
        (repo / folder).mkdir(parents=True)
        (repo / folder / "jobs.yaml").write_text(jobs(folder))
    (agentd.folder / "etc/conf.d").mkdir(parents=True)
    (agentd.folder / "etc/agentd.yaml").symlink_to(repo / "one/jobs.yaml")
    conf.symlink_to("etc")
    agentd.config = conf
    agentd.start()
    assert names(agentd) == {"one"}
    (repo / "one/jobs.yaml").write_text(jobs("changed"))
    agentd.until(lambda: names(agentd) == {"changed"}, "the target's change")
    swap(agentd.folder / "etc/agentd.yaml", repo / "two/jobs.yaml")
    agentd.until(lambda: names(agentd) == {"two"}, "the link's change")
    (repo / "two/jobs.yaml").write_text(jobs("again"))
    agentd.until(lambda: names(agentd) == {"again"}, "the new target's change")
    (agentd.folder / "other").mkdir()
    (agentd.folder / "other/agentd.yaml").write_text(jobs("other"))
    swap(conf, agentd.folder / "other")
    agentd.until(lambda: names(agentd) == {"other"}, "the folder's change")
    (agentd.folder / "other/agentd.yaml").write_text(jobs("last"))
    agentd.until(lambda: names(agentd) == {"last"}, "a change in the new folder")


def test_a_bad_file_and_a_crash_leave_the_last_good_configuration_in_force(agentd: Agentd) -> None:
    agentd.start(jobs("good"))
    agentd.config.write_text(jobs("good", "better"))
    agentd.until(lambda: "better" in names(agentd), "the change")
    loaded = agentd.property("Manager.ConfigurationLoadedUSec")
    agentd.config.write_text("jobs: {bad: {run: [true], when: {every: 5x}}}\n")
    agentd.until(lambda: agentd.property("Manager.ConfigurationError"), "the error")
    agentd.kill()
    agentd.start()
    assert names(agentd) == {"good", "better"}
    error = agentd.property("Manager.ConfigurationError")
    assert error.startswith(f"{agentd.config}:1:")
    assert 'jobs.bad.when.every: "5x" is not a duration' in error
    assert abs(agentd.property("Manager.ConfigurationLoadedUSec") - loaded) < 1_000_000
    assert agentd.property("Manager.ConfigurationFiles") == [str(agentd.config)]
    assert "agentd goes on with the one that was accepted" in agentd.log.read_text()
    shown = agentd.ctl("status").stdout
    assert "configuration error: " in shown
    assert error in shown
    check = agentd.ctl("check", str(agentd.config))
    assert (check.returncode, check.stderr) == (2, f"{error}\n1 error\n")
    assert agentd.call("Jobs.RunJob", "sa{sv}", "better", {}) == "better.1"
    agentd.config.write_text(jobs("mended"))
    agentd.until(lambda: names(agentd) == {"mended"}, "the mended file")
    assert agentd.property("Manager.ConfigurationError") == ""


def test_a_reading_that_is_killed_is_told_and_leaves_what_is_in_force(agentd: Agentd) -> None:
    conf = agentd.folder / "conf"
    (conf / "conf.d").mkdir(parents=True)
    (conf / "agentd.yaml").write_text(jobs("good"))
    agentd.config = conf
    agentd.start()

    def reader() -> list[int]:
        assert agentd.process
        below = children_of(agentd.process.pid)
        return [pid for pid in below if b"agentd.config.apart" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    pipe = conf / "conf.d/endless.yaml"
    os.mkfifo(pipe)  # nobody writes: whoever reads waits
    agentd.until(reader, "the process that reads")
    assert names(agentd) == {"good"}
    pipe.unlink()
    (pid,) = reader()
    os.kill(pid, signal.SIGKILL)
    why = "cannot be read: the process that reads it was ended by a signal (Killed); try again"
    agentd.until(lambda: f"{conf}: {why}" in agentd.log.read_text(), "the sentence")
    agentd.until(lambda: agentd.property("Manager.ConfigurationError") == "", "the next reading")
    (conf / "conf.d/more.yaml").write_text(jobs("more"))
    agentd.until(lambda: names(agentd) == {"good", "more"}, "the next change")
    assert "Traceback" not in agentd.log.read_text()


def test_a_removed_file_and_a_crash_leave_the_last_good_configuration_in_force(agentd: Agentd) -> None:
    agentd.start(jobs("good"))
    agentd.kill()
    agentd.config.unlink()
    agentd.start()
    assert names(agentd) == {"good"}
    assert "cannot be read: no such file" in agentd.property("Manager.ConfigurationError")


def test_without_a_last_good_configuration_of_its_own_a_bad_one_starts_nothing(agentd: Agentd) -> None:
    agentd.config.write_text("jobs: [")
    code, said = refused(agentd, "--config", str(agentd.config))
    assert (code, said.splitlines()[-1]) == (2, "agentd: not started: the configuration has errors")
    agentd.start(jobs("good"))
    agentd.stop()
    other = agentd.folder / "other.yaml"
    other.write_text("jobs: [")
    assert refused(agentd, "--config", str(other))[0] == 2


def test_the_zone_of_the_machine_is_shown_and_its_change_is_noticed(agentd: Agentd) -> None:
    localtime = agentd.folder / "localtime"
    localtime.symlink_to("/usr/share/zoneinfo/Europe/Berlin")
    agentd.environment["TZ"] = f":{localtime}"
    agentd.start(f"watch: false\n{NOON}")
    assert "time zone Europe/Berlin" in agentd.log.read_text()
    assert agentd.ctl("status").stdout.splitlines()[0].endswith("time zone Europe/Berlin")
    assert agentd.ctl_json("status")["daemon"]["timezone"] == "Europe/Berlin"
    before = agentd.job("noon")["next"]
    agentd.config.write_text(jobs("half", "done"))  # not to be read: `watch` says so
    swap(localtime, Path("/usr/share/zoneinfo/Asia/Tokyo"))
    agentd.until(lambda: agentd.property("Manager.TimeZone") == "Asia/Tokyo", "the other zone")
    assert names(agentd) == {"noon", "fixed"}
    assert agentd.job("noon")["timezone"] == "Asia/Tokyo"
    assert agentd.job("fixed")["timezone"] == "UTC"
    assert (agentd.job("noon")["next"] - before) % (24 * HOUR) in {17 * HOUR, 16 * HOUR}
    told = "time zone is now Asia/Tokyo (was Europe/Berlin); due times were worked out anew"
    assert told in agentd.log.read_text()


def test_windows_for_reboots_follow_the_zone_of_the_machine(machine: Machine) -> None:
    localtime = machine.folder / "localtime"
    localtime.symlink_to("/usr/share/zoneinfo/Europe/Berlin")
    machine.environment["TZ"] = f":{localtime}"
    machine.config.write_text('reboot: {nightly: {enabled: true, at: "03:00", window: 2h}}\n')
    machine.up()

    def begins(zone: str) -> tuple[int, int]:
        begin = machine.call("Reboot.GetStatus")["next_begin"][1]
        local = datetime.fromtimestamp(begin / SECOND, ZoneInfo(zone))
        return local.hour, local.minute

    assert begins("Europe/Berlin") == (3, 0)
    swap(localtime, Path("/usr/share/zoneinfo/Asia/Tokyo"))
    machine.until(lambda: machine.property("Manager.TimeZone") == "Asia/Tokyo", "the other zone")
    assert begins("Asia/Tokyo") == (3, 0)


def test_a_reload_tells_the_zone_by_name_and_no_job_without_a_reason(agentd: Agentd) -> None:
    agentd.start(f"watch: false\ntimezone: Europe/Berlin\n{NOON}")
    agentd.config.write_text(f"watch: false\ntimezone: America/New_York\n{NOON}")
    assert agentd.call("Manager.Reload") == ["time zone is now America/New_York (was Europe/Berlin)"]
    assert agentd.job("noon")["timezone"] == "America/New_York"


def test_a_zone_that_cannot_be_told_is_a_warning_everywhere(agentd: Agentd) -> None:
    agentd.environment["TZ"] = "Europe/Berln"
    agentd.start(NOON)
    (warning,) = agentd.property("Manager.Warnings")
    assert warning.startswith('the time zone of this machine cannot be told: TZ is "Europe/Berln"')
    assert "(did you mean Europe/Berlin?); UTC is used: write" in warning
    assert f"warning: {warning}" in agentd.log.read_text()
    assert f"warning: {warning}" in agentd.ctl("status").stdout
    check = agentd.ctl("check", str(agentd.config))
    assert check.returncode == 0
    assert f"warning: {warning}" in check.stdout
    assert agentd.ctl_json("check", str(agentd.config))["warnings"] == [warning]


def test_a_copy_of_a_zones_file_is_that_zone(agentd: Agentd) -> None:
    localtime = agentd.folder / "localtime"
    localtime.write_bytes(Path("/usr/share/zoneinfo/Asia/Tokyo").read_bytes())
    agentd.environment["TZ"] = f":{localtime}"
    agentd.start(NOON)
    assert agentd.job("noon")["timezone"] == "Asia/Tokyo"
    assert agentd.property("Manager.Warnings") == []


def test_nothing_in_a_state_directory_is_for_others_and_a_job_has_its_users_umask(agentd: Agentd) -> None:
    agentd.state.mkdir(mode=0o755)
    (agentd.state / "bus.log").write_text("of an agentd before")
    (agentd.state / "bus.log").chmod(0o644)
    agentd.environment["TZ"] = "UTC"
    made = agentd.folder / "made"
    before = os.umask(0o022)
    try:
        agentd.start(f"jobs:\n  make: {{run: 'echo secret; touch {made}'}}\n")
    finally:
        os.umask(before)
    agentd.call("Jobs.RunJob", "sa{sv}", "make", {})
    agentd.until(lambda: agentd.job("make").get("last_result") == "success", "the run")
    assert stat.S_IMODE(made.stat().st_mode) == 0o644
    there = {file.name: stat.S_IMODE(file.lstat().st_mode) & 0o077 for file in agentd.state.iterdir()}
    assert {name: mode for name, mode in there.items() if mode} == {}
    assert there.keys() >= {"agentd.db", "agentd.db-wal", "bus.log", "lock", "output", KEPT}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make folders of somebody else")
def test_a_state_directory_that_a_stranger_made_is_refused_and_its_links_are_not_followed(agentd: Agentd) -> None:
    precious = agentd.folder / "precious"
    precious.write_text("my precious keys")
    agentd.config.write_text(jobs("a"))
    agentd.state.mkdir()
    agentd.state.chmod(0o777)
    (agentd.state / "lock").symlink_to(precious)
    os.chown(agentd.state, 65534, 65534)
    code, said = refused(agentd, "--config", str(agentd.config))
    assert code == 1
    assert f"{agentd.state} belongs to somebody else (uid 65534, and agentd runs as uid 0)" in said
    os.chown(agentd.state, 0, 0)
    assert "others may write" in refused(agentd, "--config", str(agentd.config))[1]
    agentd.state.chmod(0o755)
    assert "is a link" in refused(agentd, "--config", str(agentd.config))[1]
    assert precious.read_text() == "my precious keys"
