"""Every command that the README and agentctl's man page show, typed as written, against the sample jobs."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.bus.harness import ROOT, Agentd
from tests.bus.phone import SECRET, Phone

README = (ROOT / "README.md").read_text()


def commands(text: str, kind: str = "console") -> list[tuple[str, list[str]]]:
    """The commands of the blocks of a kind, each with what is shown below it."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def tools(folder: Path) -> Path:
    """A folder with agentctl and python3 as the virtual environment of `make run` has them."""
    folder.mkdir()
    for name, command in (("agentctl", "-m agentctl"), ("python3", "")):
        program = folder / name
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {command} "$@"\n')
        program.chmod(0o755)
    return folder


def words(line: str) -> list[str]:
    """What must come again: words without the digits of times, run numbers and durations."""
    return [word for word in line.split() if not re.search(r"\d|now|ago|in$", word)]


def test_the_tour_of_the_readme(agentd: Agentd) -> None:
    agentd.environment["PATH"] = f"{tools(agentd.folder / 'bin')}:{os.environ['PATH']}"
    agentd.environment["XDG_CACHE_HOME"] = str(agentd.folder / "cache")
    agentd.config = ROOT / "config/examples"
    agentd.start()
    agentd.until(lambda: {"sample1", "sample2"} <= {run["job"] for run in agentd.runs()}, "the samples to run")
    tour = commands(README)
    assert len(tour) > 10
    for command, shown in tour:
        if command.startswith("export PATH"):
            continue  # the tools above stand for it
        done = subprocess.run(
            ["sh", "-c", f"{command} 2>&1"],
            stdout=subprocess.PIPE,
            text=True,
            env=agentd.environment,
            cwd=ROOT,
            check=False,
        )
        assert (command, done.returncode) == (command, 0), done.stdout
        if command == "agentctl status":
            assert done.stdout.splitlines()[2].split() == shown[2].split()
            assert [line.split()[0] for line in done.stdout.splitlines()[3:]] == [line.split()[0] for line in shown[3:]]
        elif shown and "status" not in command:
            assert words(shown[0]) == words(done.stdout.splitlines()[0]), command


def test_people_are_told_as_the_readme_says(agentd: Agentd) -> None:
    phone = Phone()
    for name in ("ntfy", "discord"):  # the team's as well leads to this server
        phone.credential(agentd, name)
    typed_in = agentd.folder / "home/.config/agentd/credentials/ntfy"
    address = typed_in.read_text()
    typed_in.unlink()
    agentd.environment["PATH"] = f"{tools(agentd.folder / 'bin')}:{os.environ['PATH']}"
    _, _, section = README.partition("## Being told")
    settings, *_ = re.findall(r"```yaml\n(.*?)```", section.partition("\n## ")[0], re.DOTALL)
    agentd.start(f"{settings}jobs: {{backup: {{run: 'echo the disk is full; exit 3'}}}}\n")
    typed = commands(README, "console standalone")
    assert [len(shown) for _, shown in typed] == [1, 1]
    for command, shown in typed:
        keys, expected = (address, "") if command.startswith("install") else ("", shown[0])
        done = subprocess.run(
            ["sh", "-c", command],
            input=keys,
            capture_output=True,
            text=True,
            env=agentd.environment,
            check=False,
        )
        assert (done.stdout.strip(), done.stderr, done.returncode) == (expected, "", 0), command
    assert [(one["title"], one["topic"]) for one in phone.got] == [("agentd: a test", f"{SECRET}-ntfy")]
    assert agentd.ctl("run", "backup", "--wait").returncode == 6
    agentd.until(lambda: len(phone.got) == 3, "phone and team to be told")
    assert {one["topic"] for one in phone.got[1:]} == {f"{SECRET}-ntfy", f"{SECRET}-discord"}
    assert {one["title"] for one in phone.got[1:]} == {"backup failed: exit code 3"}
    assert all(one["message"].endswith("the last lines of its output:\nthe disk is full") for one in phone.got[1:])
    phone.down()


def test_the_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"`?make ([a-z-]+)`?", README))
    assert {"run", "test", "lint", "bench"} <= targets
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []


def test_the_readmes_jobs_are_sound(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 9
    texts = [""]
    for block in blocks:  # as one file where they can be: two sections of one name cannot
        keys = re.findall(r"^[a-z]+:", block, re.MULTILINE)
        if any(re.search(rf"^{key}", texts[0], re.MULTILINE) for key in keys):
            texts.append(block)
        else:
            texts[0] += block
    for text in texts:
        file = tmp_path / "my.yaml"
        file.write_text(text)
        done = subprocess.run(
            [sys.executable, "-m", "agentd", "--check", str(file)],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
