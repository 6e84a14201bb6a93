"""A standalone agentd under measurement: its checkout, its life, its answers over the bus, what its processes cost."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

HERE = Path(__file__).parent
HELD = (str(HERE / "held.py"),)
"""The program that runs agentd with a clock on its loop."""
FILE, ASK = "AGENTD_BENCH_HELD", signal.SIGRTMIN  # as held.py has them, which imports all of agentd
PAGE = 1000  # the contract's limit for one answer
PATIENCE = 60.0  # seconds until a daemon that does not answer is given up
_KIB = 1024


class Checkout:
    """The agentd of one folder of sources, run by the interpreter that runs this program.

    `commit` names one whose sources were taken out of git."""

    def __init__(self, root: Path, commit: str = "") -> None:
        self.root = root.resolve()
        self.commit = commit
        # What the caller's own session says of buses and of another agentd must not reach this one; and a Python that
        # writes no byte code would be measured compiling.
        kept = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("AGENTD_", "DBUS_", "XDG_")) and key != "PYTHONDONTWRITEBYTECODE"
        }
        self.environment = {**kept, "PYTHONPATH": str(self.root)}

    def compile(self) -> None:
        """Has the byte code there before anything is timed, as it is where agentd is installed."""
        command = [sys.executable, "-m", "compileall", "-q", "agentd", "agentctl"]
        subprocess.run(command, check=True, capture_output=True, cwd=self.root, env=self.environment)

    def revision(self) -> str:
        """Which agentd this is; with a + when its code was changed since that commit."""
        if self.commit:
            return self.commit
        command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
        done = subprocess.run(command, cwd=self.root, capture_output=True, text=True, check=False)
        return done.stdout.strip() or "unknown"


class Agentd:
    """One daemon with a state and a runtime folder of its own; `with Agentd(checkout, yaml) as daemon`."""

    def __init__(self, checkout: Checkout, configuration: str, program: Sequence[str] = ("-m", "agentd")) -> None:
        self._checkout = checkout
        self._program = program
        self._folder = tempfile.TemporaryDirectory(prefix="agentd-bench-")
        self.folder = Path(self._folder.name)
        self.config = self.folder / "agentd.yaml"
        self.config.write_text(configuration)
        self._log = self.folder / "log"
        self._connection: Any = None
        self.environment = {**checkout.environment, "XDG_RUNTIME_DIR": str(self.folder)}
        self._held = self.folder / "held"
        self.environment[FILE] = str(self._held)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._folder.cleanup()

    def start(self) -> None:
        """Starts the daemon and waits until it answers on its bus."""
        command = [sys.executable, *self._program, "--standalone", "--config", str(self.config)]
        with self._log.open("wb") as log:
            spawned = time.monotonic()
            self._process = subprocess.Popen(
                [*command, "--state-dir", str(self.folder / "state"), "--log-level", "warning"],
                cwd=self._checkout.root,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self._wait_for_answer(spawned + PATIENCE)
            self.ready_after = time.monotonic() - spawned
        except BaseException:
            self.stop()
            raise

    def _wait_for_answer(self, deadline: float) -> None:
        from jeepney.io.blocking import open_dbus_connection

        while self._connection is None:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"agentd did not start:\n{self._said()}")
            with contextlib.suppress(OSError):
                # One file; an older checkout's has another name, and "address.PID" while it is written.
                for published in (self.folder / "agentd").glob("address*"):
                    self._connection = open_dbus_connection(bus=published.read_text().splitlines()[0])
            time.sleep(0.002)
        self.facts()

    def stop(self) -> None:
        """Ends the daemon; its state stays until the end of `with`."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._process.poll() is None:
            for number, patience in ((signal.SIGTERM, 60.0), (signal.SIGKILL, 10.0)):
                self._process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(patience)
                    break

    @property
    def pid(self) -> int:
        return self._process.pid

    # Questions

    def facts(self) -> dict[str, Any]:
        """The Manager's properties."""
        from jeepney import DBusAddress, Properties

        (values,) = self._ask(Properties(DBusAddress("/org/agentd1", "org.agentd1", "org.agentd1.Manager")).get_all())
        return {name: value for name, (_, value) in values.items()}

    def held(self) -> float:
        """How many milliseconds the loop was held longest since the last call, where `program` is HELD."""
        self._held.unlink(missing_ok=True)
        self._process.send_signal(ASK)
        deadline = time.monotonic() + PATIENCE
        while not self._held.exists():
            if time.monotonic() > deadline:
                raise RuntimeError("agentd does not tell how long its loop was held")
            time.sleep(0.01)
        return float(self._held.read_text())

    def jobs(self) -> list[dict[str, Any]]:
        """The jobs by name."""
        return self._records("ListJobs", {})

    def runs(self, **options: tuple[str, object]) -> list[dict[str, Any]]:
        """The history, oldest first, with the end of the runs' output: page by page, where agentd gives pages."""
        found: list[dict[str, Any]] = []
        wanted: dict[str, tuple[str, object]] = {"limit": ("u", 10_000), "tail": ("b", True), **options}
        while True:
            try:
                page = self._records("ListRuns", wanted)
            except RuntimeError:
                if "before" in wanted:  # before there were pages: what came was all, and as much as a page by chance
                    return found[::-1]
                raise
            found += page
            if len(page) != PAGE:  # before there were pages all came at once
                return found[::-1]
            wanted["before"] = ("t", int(page[-1]["run_id"].rpartition(".")[2]))

    def _records(self, member: str, options: dict[str, tuple[str, object]]) -> list[dict[str, Any]]:
        from jeepney import DBusAddress, new_method_call

        jobs = DBusAddress("/org/agentd1", "org.agentd1", "org.agentd1.Jobs")
        (records,) = self._ask(new_method_call(jobs, member, "a{sv}", (options,)))
        return [{name: value for name, (_, value) in record.items()} for record in records]

    def ended_runs(self, wanted: Callable[[dict[str, Any]], bool], count: int) -> list[dict[str, Any]]:
        """The runs that are wanted, once `count` of them are over; looks seldom, so that it disturbs little."""
        deadline = time.monotonic() + PATIENCE
        while True:
            runs = [run for run in self.runs() if wanted(run)]
            if sum(run["state"] == "ended" for run in runs) >= count:
                return runs
            if time.monotonic() > deadline:
                raise RuntimeError(f"only {len(runs)} of {count} runs came to their end")
            time.sleep(0.5)

    def _ask(self, message: Any) -> tuple[Any, ...]:
        try:
            reply = self._connection.send_and_get_reply(message, timeout=PATIENCE)
        except OSError as error:
            raise RuntimeError(f"agentd does not answer: {error}\nits log: {self._said()}") from None
        body: tuple[Any, ...] = reply.body
        if reply.header.message_type.name == "error":
            raise RuntimeError(f"agentd answered with an error: {body}")
        return body

    def _said(self) -> str:
        """The end of its log, without folders of this machine."""
        said = self._log.read_text(errors="replace")[-3000:]
        return said.replace(str(self.folder), "FOLDER").replace(str(self._checkout.root), "CHECKOUT")

    # Costs

    def processes(self) -> dict[str, int]:
        """The processes that agentd consists of, by what they are."""
        found = {"daemon": self.pid}
        for child in _children(self.pid):
            found.setdefault("supervisor", child)  # a burst has a second one for a moment
            for below in _children(child):
                if Path(f"/proc/{below}/comm").read_text().startswith("dbus"):
                    found["bus"] = below
        return found


def _children(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        yield from map(int, (task / "children").read_text().split())


def measured(
    command: list[str], checkout: Checkout | None = None, environment: dict[str, str] | None = None
) -> dict[str, float]:
    """What a program takes from its start to its end."""
    own = environment or (checkout.environment if checkout is not None else None)
    begin = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=own,
        cwd=None if checkout is None else checkout.root,
    )
    with process:
        assert process.stderr
        said = process.stderr.read().decode(errors="replace")
        _, code, spent = os.wait4(process.pid, 0)
        took = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(code)
    if process.returncode:
        raise RuntimeError(f"a program that was measured failed:\n{said}")
    return {"s": took, "cpu_s": spent.ru_utime + spent.ru_stime}


def memory(pid: int) -> dict[str, float]:
    """Resident, proportional and own memory in MiB."""
    status = _fields(Path(f"/proc/{pid}/status"))
    result = {"rss_mib": _kib(status["VmRSS"]), "peak_rss_mib": _kib(status["VmHWM"])}
    with contextlib.suppress(OSError):  # only for the owner
        rolled = _fields(Path(f"/proc/{pid}/smaps_rollup"))
        result["pss_mib"] = _kib(rolled["Pss"])
        result["uss_mib"] = _kib(rolled["Private_Clean"]) + _kib(rolled["Private_Dirty"])
    return result


def usage(pid: int) -> dict[str, float]:
    """CPU seconds by the scheduler's clock and by ticks, and context switches, of all threads so far; as `wakeups` the
    voluntary ones of the first thread alone, which has the loop."""
    ran, voluntary, forced, wakeups = 0, 0, 0, 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that ended meanwhile
            ran += int((task / "schedstat").read_text().split()[0])
            status = _fields(task / "status")
            voluntary += int(status["voluntary_ctxt_switches"])
            wakeups += int(status["voluntary_ctxt_switches"]) if task.name == str(pid) else 0
            forced += int(status["nonvoluntary_ctxt_switches"])
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return {
        "cpu_s": ran / 1e9,
        "cpu_ticks_s": sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"),
        "voluntary_switches": voluntary,
        "forced_switches": forced,
        "wakeups": wakeups,
    }


def _fields(file: Path) -> dict[str, str]:
    pairs = (line.partition(":") for line in file.read_text().splitlines())
    return {name: value.strip() for name, _, value in pairs}


def _kib(text: str) -> float:
    return int(text.split(maxsplit=1)[0]) / _KIB
