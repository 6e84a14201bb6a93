"""Messages to people on a real machine: the courier is a unit of its own, and it alone has the secret address."""

import json
import re
import shlex
from pathlib import Path

import pytest

from tests.vm.agentd import agentctl, answer, call, configure, found, note, run
from tests.vm.machine import Machine

README = (Path(__file__).parents[2] / "README.md").read_text()
UNIT = "agentd-courier@ntfy.service"
SECRET = "topic-that-nobody-may-see"
GOT = "/var/tmp/got"
PINGS = "/var/tmp/pings"
HELD = "/var/tmp/hold"
"""While this file is there, the server keeps its answers back."""
SERVER = f"""
import http.server, os, time
class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass  # the address is not for the journal
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.startswith("/check/"):
            with open("{PINGS}", "a") as file:
                said = self.path.partition("?")[0].removeprefix("/check/{SECRET}")
                print(said, body.decode().split()[1:2], file=file)
        else:
            with open("{GOT}", "ab") as file:
                file.write(body + b"\\n")
        while os.path.exists("{HELD}"):
            time.sleep(0.2)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{{}}")
http.server.ThreadingHTTPServer(("127.0.0.1", 8099), Handler).serve_forever()
"""
CONFIGURATION = """
jobs:
  backup: {run: 'echo "copying /home"; echo "no space left"; exit 3', when: {every: 12h}}
notices: {channels: {phone: {credential: ntfy}}}
"""


@pytest.fixture(scope="module")
def told(machine: Machine) -> Machine:
    """A machine with a server that takes messages, its address in an encrypted credential, and a job that fails."""
    machine.write("/usr/local/bin/server.py", SERVER)
    machine.sh(f": >{GOT}; : >{PINGS}")
    machine.run("systemd-run", "--quiet", "--unit=server", "python3", "/usr/local/bin/server.py")
    (typed,) = (block for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) if "systemd-creds" in block)
    encrypt, test = typed.splitlines()
    for name, address in (
        ("ntfy", f"ntfy://127.0.0.1:8099/{SECRET}"),
        ("check", f"http://127.0.0.1:8099/check/{SECRET}"),
    ):
        words = [word.replace("ntfy", name) for word in shlex.split(encrypt)]
        machine.run(*words, input=f"{address}\n".encode(), timeout=90)
        assert SECRET.encode() not in machine.read_bytes(words[-1])
    machine.write("/root/secret", SECRET, 0o600)  # what is searched for must not stand in the arguments of the search
    configure(machine, CONFIGURATION)
    shown = machine.run(*shlex.split(test), timeout=150).out
    assert re.fullmatch(r"message \d+ is sent to phone\n", shown), "as the README says"
    assert "agentd: a test" in machine.read(GOT)
    machine.sh(f": >{GOT}")
    return machine


def got(machine: Machine, count: int, timeout: float = 150) -> list[dict[str, str]]:
    """The messages that the server took, once there are so many."""

    def enough() -> list[dict[str, str]]:
        lines = machine.read(GOT).splitlines()
        return [json.loads(line) for line in lines] if len(lines) >= count else []

    return machine.wait_until(enough, timeout, f"{count} messages")


def test_a_failed_jobs_message_has_the_last_lines_of_the_journal(told: Machine) -> None:
    assert run(told, "backup")["exit_code"] == 3
    (message,) = got(told, 1)
    assert message["title"] == "backup failed: exit code 3"
    assert message["message"].endswith("copying /home\nno space left")
    sent, _ = answer(told, "notices", "--state", "sent")  # the other one was the README's
    assert (sent["channel"], sent["title"], sent["event"]) == ("phone", message["title"], "failure")


def test_the_courier_alone_has_the_secret(told: Machine) -> None:
    told.sh(f": >{HELD}")
    call(told, "Notices", "Tell", "ssa{sv}", "", "wait for it", "0")
    got(told, 2)
    here = told.run("systemctl", "show", "-P", "ActiveState", UNIT).out.strip()
    assert here == "activating"
    # Whoever is agentd reads nothing of the credential, neither with the courier nor where root keeps it.
    for path in (f"/run/credentials/{UNIT}/agentd.notice.ntfy", "/etc/credstore.encrypted/agentd.notice.ntfy"):
        assert told.run("test", "-e", path, check=False).code == 0, path
        tried = told.run("setpriv", "--reuid=agentd", "--regid=agentd", "--clear-groups", "cat", path, check=False)
        assert tried.code, path
        assert "ermission denied" in tried.err, path
    pid = told.run("systemctl", "show", "-P", "MainPID", "agentd").out.strip()
    assert told.sh(f"ls /proc/{pid}/root/run/credentials/agentd.service 2>/dev/null || :").split() == []
    # Nor does it stand where anybody reads: of all processes, the courier's memory apart.
    assert told.sh("grep -aslFf /root/secret /proc/[0-9]*/cmdline /proc/[0-9]*/environ || :") == ""
    told.run("rm", HELD)
    told.wait_until(lambda: call(told, "Notices", "ListNotices", "a{sv}", "0")[0]["state"] == "sent", 90, "the message")


def test_a_credential_that_cannot_be_used_is_told_by_the_courier_and_by_roots_check(told: Machine) -> None:
    def looked() -> tuple[str, str]:
        results = call(told, "Rules", "SelfTest", "a{sv}", "0", timeout=300)
        (check,) = [one for one in results if one["name"] == "notices"]
        return check["result"], check["text"]

    told.sh(f": >{GOT}")
    assert looked() == ("passed", "couriers can use their credentials (the channel phone); nothing was sent")
    assert told.read(GOT) == ""
    call(told, "Notices", "Drop", "au", "0")
    configure(told, CONFIGURATION.replace("credential: ntfy", "credential: pager"))
    expected = "there is no credential pager: expected agentd.notice.pager "
    result, text = looked()
    assert result == "failed"
    assert f"nothing can be sent to the channel phone: {expected}of systemd" in text
    assert found(told, "Manager", "Warnings") == [], "agentd itself cannot know"
    call(told, "Notices", "Tell", "ssa{sv}", "", "nobody hears", "0")
    (warning,) = told.wait_until(lambda: found(told, "Manager", "Warnings"), 90, "a warning")
    assert warning.startswith(f"nothing gets through to the channel phone since 1 attempt: {expected}of systemd")
    checked = agentctl(told, "check").out
    places = "in /etc/credstore.encrypted or /etc/credstore"
    assert f"warning: notices.channels.phone: {expected}{places}" in checked
    assert expected not in told.run("agentctl", "check", user="agentd").out, "whoever may not look is told nothing"
    call(told, "Notices", "Drop", "au", "0")
    configure(told, CONFIGURATION)


def test_a_check_outside_hears_of_a_run_by_a_courier_of_its_own(told: Machine) -> None:
    configure(told, CONFIGURATION.replace("every: 12h}", "every: 12h}, ping: {credential: check}"))
    told.sh(f": >{PINGS}")
    assert run(told, "backup")["exit_code"] == 3

    def heard() -> list[str]:
        lines = told.read(PINGS).splitlines()
        return lines if len(lines) >= 2 else []

    assert told.wait_until(heard, 150, "the pings") == ["/start ['started']", "/3 ['failed:']"]
    (check,) = [one for one in answer(told, "notices", "channels") if one["kind"] == "ping"]
    assert (check["name"], check["credential"], check["trouble"] or "") == ("backup", "check", "")
    configure(told, CONFIGURATION)


def test_the_secret_stands_nowhere_when_a_channel_fails(told: Machine) -> None:
    told.run("systemctl", "stop", "server")
    call(told, "Notices", "Drop", "au", "0")  # what a test before left
    call(told, "Notices", "Tell", "ssa{sv}", "", "nobody hears", "0")

    def tried() -> str:
        newest = call(told, "Notices", "ListNotices", "a{sv}", "0")[0]
        return str(newest.get("why", ""))

    assert told.wait_until(tried, 150, "the message to fail") == "127.0.0.1 refuses connections"
    told.sh("journalctl --sync")
    places = "/var/lib/agentd /run/agentd-courier"
    assert told.sh("journalctl -o export | grep -aFf /root/secret || :") == ""
    assert told.sh(f"grep -raslFf /root/secret {places} || :") == ""
    assert told.run("sh", "-c", "agentctl notices --json | grep -Ff /root/secret", check=False).code == 1


def test_the_courier_is_shut_in(told: Machine) -> None:
    shown = told.run("systemd-analyze", "security", "--no-pager", UNIT).out.splitlines()[-1]
    exposure = float(re.findall(r": ([\d.]+)", shown)[0])
    note("exposure of the courier", exposure)
    assert exposure <= 2.0
    assert told.run("systemctl", "show", "-P", "User", UNIT).out.strip() == "agentd-courier"


def test_nobody_else_sends_in_agentds_name(told: Machine) -> None:
    words = ("busctl", "--allow-interactive-authorization=no", "call", "org.agentd1", "/org/agentd1")
    for member, *arguments in (("Tell", "ssa{sv}", "", "hello", "0"), ("Drop", "au", "0")):
        asked = told.run(*words, "org.agentd1.Notices", member, *arguments, user="user", check=False)
        assert asked.code
        assert "org.agentd1." in asked.err
    started = told.run("systemctl", "--no-ask-password", "start", UNIT, user="user", check=False)
    assert started.code
