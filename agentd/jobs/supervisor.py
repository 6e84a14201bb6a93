"""The process that starts, bounds and reaps the jobs of a standalone agentd.

The supervisor is a child of the daemon and adopts (PR_SET_CHILD_SUBREAPER) whatever its own children leave behind, so
that every process of every job is below it. When the daemon goes away, however suddenly, the socket between
the two ends, and everything below ends too: no job outlives its agentd. Run as a script, the supervisor needs the
standard library alone and stays small, which makes each fork cheap.

Both sides speak datagrams of JSON. To the supervisor: {"op": "start", "id", "argv", "env", "cwd", "user", "group",
"output", "cap", "timeout", "kill_after", "at"} (times in seconds, null for none, "at" of the monotonic clock),
{"op": "stop", "id", "result"} and {"op": "stored", "id"}: the end of that run is stored. To the daemon: {"ev":
"started", "id", "at"} and {"ev": "ended", "id", ...} with the fields of model.Outcome. Ends that the daemon did not
live to store are left in a file, a line each, for the next daemon.
"""

import contextlib
import ctypes
import errno
import gc
import grp
import heapq
import itertools
import json
import os
import pwd
import resource
import select
import signal
import socket
import sys
import time
from typing import Any, NoReturn

PR_SET_CHILD_SUBREAPER = 36
Order = dict[str, Any]
NOT_BEGUN = "not-begun"  # the result of what was not due yet when the daemon went away
TAIL_BYTES = 4096
GRACE_AFTER_CRASH = 2.0  # seconds between SIGTERM and SIGKILL when the daemon is gone
LARGEST_MESSAGE = 1 << 20
FLOOR = 64 << 20  # bytes of the disk that output leaves free; a twentieth of a small disk, half a MiB of a tiny one
PATIENCE = 1.0  # seconds that all else may wait in a burst of starts
# The signals that this process or Python handles in its own way, and that a job must find as usual.
_TO_DEFAULT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ)


def usec() -> int:
    return time.time_ns() // 1000


class Child:
    """A run's leading process, its process group and its output."""

    def __init__(self, order: Order, pid: int, pipe: int, errors: int) -> None:
        self.id: str = order["id"]
        self.pid = pid
        self.pipe = pipe
        self.errors = errors
        self.started = usec()
        self.kill_after: float = order["kill_after"]
        self.verdict = ""  # why it was ended, where it did not end by itself
        self.outcome: Order | None = None  # once the leader is reaped
        self._path: str | None = order["output"]
        self._cap: int = order["cap"]
        self._file = -1
        self._written = 0
        self._tail = b""
        self._notice = ""

    def signal(self, number: int) -> bool:
        """Sends a signal to the whole group; False when there is nobody left."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return False
        except PermissionError:  # a member changed its user: the others have it, this one is adopted and killed last
            return True
        return True

    def read(self) -> int:
        """Takes what the run wrote; returns 0 at its end, -1 when there is nothing yet. The file holds the beginning,
        the tail the end."""
        try:
            data = os.read(self.pipe, 65536)
        except BlockingIOError:
            return -1
        self._tail = (self._tail + data)[-TAIL_BYTES:]
        room = self._cap - self._written
        self._written += len(data)
        if data and self._path is not None and room >= 0:
            self._keep(data[:room], full=len(data) > room)
        return len(data)

    def _keep(self, data: bytes, *, full: bool) -> None:
        try:
            if self._file < 0:
                self._file = os.open(str(self._path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            if is_short(os.fstatvfs(self._file)):
                raise OSError(errno.ENOSPC, "the disk is almost full")
            os.write(self._file, data)
            if full:
                os.write(self._file, b"\n[agentd keeps no more of this output; the last lines are in the history]\n")
        except OSError as error:  # a full disk must not stop the job
            self._path = None
            self._notice = f"\n[agentd keeps no more of this output: {error.strerror}]\n"

    def tail(self) -> str:
        """Returns the last lines, whole ones where they fit, and why the file has no more of them."""
        text = self._tail.decode(errors="replace")
        whole = text.partition("\n")[2] if len(self._tail) == TAIL_BYTES and "\n" in text[:-1] else text
        return whole + self._notice

    def close(self) -> None:
        _close(self.pipe, self.errors, self._file)


class Supervisor:
    """The loop over the daemon's socket, the runs' pipes, ended processes and deadlines."""

    def __init__(self, sock: socket.socket, spool: str) -> None:
        self.sock = sock
        self.spool = spool
        self.children: dict[str, Child] = {}
        self.leaders: dict[int, Child] = {}
        self.pipes: dict[int, Child] = {}
        self.lingering: set[str] = set()
        self.deadlines: list[tuple[float, str, str]] = []
        self.planned: list[tuple[float, int, Order]] = []  # orders to start something later, soonest first
        self.counter = itertools.count()
        self.outbox: list[Order] = []
        self.ended: dict[str, Order] = {}  # reports that the daemon has not stored yet
        self.poll = select.epoll()
        self.files = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (self.files[1], self.files[1]))
        self.environment = dict(os.environb)  # os.environ decodes every value at every look
        self.null = os.open("/dev/null", os.O_RDWR)
        self.wake, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # the daemon decides when to end
        sock.setblocking(False)
        self.wanted = select.EPOLLIN
        self.poll.register(sock, self.wanted)
        self.poll.register(self.wake, select.EPOLLIN)

    def run(self) -> None:
        """Serves until the daemon is gone, then ends everything below."""
        alive = True
        while alive:
            # Unlike epoll_wait, select is precise to less than a millisecond.
            select.select([self.poll], [], [], self._patience())
            self._start_planned()
            for descriptor, _ in self.poll.poll(0):
                if descriptor == self.sock.fileno():
                    alive = self._orders() and alive
                elif descriptor == self.wake:
                    self._drain_wakeups()
                    self._reap()
                elif descriptor in self.pipes and self.pipes[descriptor].read() == 0:
                    self._unwatch(descriptor)
            self._expire()
            self._flush()
        self._end_everything()

    def _patience(self) -> float | None:
        first = [entries[0][0] for entries in (self.deadlines, self.planned) if entries]
        return max(0.0, min(first) - time.monotonic()) if first else None

    def _drain_wakeups(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self.wake, 4096):
                pass

    # Orders and reports

    def _orders(self) -> bool:
        """Carries out what the daemon asks; False when it is gone."""
        latest = time.monotonic() + PATIENCE
        while time.monotonic() < latest:
            try:
                data = self.sock.recv(LARGEST_MESSAGE)
            except BlockingIOError:
                return True
            except ConnectionError:
                return False
            if not data:
                return False
            order = json.loads(data)
            if order["op"] == "start":
                heapq.heappush(self.planned, (order["at"] or 0.0, next(self.counter), order))
            elif order["op"] == "stored":
                self.ended.pop(order["id"], None)
            elif order["id"] in self.children:
                self._end(self.children[order["id"]], order["result"])
            else:
                self._take_back(order["id"], order["result"])
        return True

    def _start_planned(self) -> None:
        """Starts what is due. Reports and orders wait a moment for the end of a burst: dealt with at once, they
        would wake the daemon, which competes with the processes that are being started."""
        now = time.monotonic()
        latest = now + PATIENCE
        while self.planned and self.planned[0][0] <= now < latest:
            self._start(heapq.heappop(self.planned)[2])
            now = time.monotonic()

    def _take_back(self, name: str, result: str) -> None:
        """Gives up a start that is not due yet."""
        for entry in self.planned:
            if entry[2]["id"] == name:
                self.planned.remove(entry)
                heapq.heapify(self.planned)
                self._refuse(entry[2], "it had not begun yet", result)
                return

    def _report(self, **report: object) -> None:
        self.outbox.append(report)
        if report["ev"] == "ended":
            self.ended[str(report["id"])] = report

    def _flush(self) -> None:
        sent = 0
        wanted = select.EPOLLIN
        try:
            for report in self.outbox:
                self.sock.send(json.dumps(report).encode())
                sent += 1
        except BlockingIOError:
            wanted |= select.EPOLLOUT
        except ConnectionError:
            sent = len(self.outbox)  # the daemon is gone; the loop notices by itself
        if wanted != self.wanted:
            self.wanted = wanted
            self.poll.modify(self.sock, wanted)
        del self.outbox[:sent]

    # Processes

    def _start(self, order: Order) -> None:
        errors = failed = -1
        try:
            pipe, write = os.pipe2(os.O_CLOEXEC)
        except OSError as error:
            self._refuse(order, f"no process could be started: {error.strerror}")
            return
        try:
            if order["user"] or order["group"]:
                errors, failed = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
                pid = os.fork() or self._become(order, write, failed)
            else:
                pid = self._spawn(order, write)
        except OSError as error:
            _close(pipe, errors)
            what = "change to the folder" if error.filename == order["cwd"] else "run"
            self._refuse(order, f"cannot {what} {error.filename or order['argv'][0]}: {error.strerror}")
            return
        finally:
            _close(write, failed)
        os.set_blocking(pipe, False)
        child = Child(order, pid, pipe, errors)
        self.children[child.id] = self.leaders[pid] = self.pipes[pipe] = child
        self.poll.register(pipe, select.EPOLLIN)
        if order["timeout"] is not None:
            heapq.heappush(self.deadlines, (time.monotonic() + order["timeout"], child.id, "timeout"))
        self._report(ev="started", id=child.id, at=child.started)

    def _refuse(self, order: Order, reason: str, result: str = "start-failed") -> None:
        now = usec()
        self._report(ev="ended", id=order["id"], result=result, started=now, ended=now, reason=reason)

    def _spawn(self, order: Order, output: int) -> int:
        """Starts a process as this user: nothing is copied for it, which takes a third of the time of a fork."""
        environment = {**self.environment, **_encoded(order["env"])}
        os.chdir(order["cwd"] or "/")  # the child's; this process has no use for a folder of its own
        # The soft limit is the child's too; nothing below opens a file in this process.
        resource.setrlimit(resource.RLIMIT_NOFILE, self.files)
        try:
            return os.posix_spawn(
                _program(order["argv"][0], os.fsdecode(environment.get(b"PATH", os.defpath))),
                order["argv"],
                environment,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, source, to) for to, source in enumerate((self.null, output, output))
                ],
                setsid=True,
                setsigmask=(),
                setsigdef=_TO_DEFAULT,
            )
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (self.files[1], self.files[1]))

    def _become(self, order: Order, output: int, failed: int) -> NoReturn:
        """Becomes the job as another user, in a forked process, or tells why not."""
        stage = "start"
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            for number in _TO_DEFAULT:
                signal.signal(number, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_NOFILE, self.files)
            for to, source in enumerate((self.null, output, output)):
                os.dup2(source, to)
            stage = "change to user " + (order["user"] or "") + (f" group {order['group']}" * bool(order["group"]))
            environment = {
                **self.environment,
                **_encoded({**_change_user(order["user"], order["group"]), **order["env"]}),
            }
            stage = f"change to the folder {order['cwd']}"
            os.chdir(order["cwd"] or "/")
            stage = f"run {order['argv'][0]}"
            path = os.fsdecode(environment.get(b"PATH", os.defpath))
            os.execve(_program(order["argv"][0], path), order["argv"], environment)
        except (OSError, KeyError, ValueError) as error:
            what = error.strerror if isinstance(error, OSError) else f"there is no {error}"
            os.write(failed, f"cannot {stage}: {what}".encode())
        finally:
            os._exit(127)

    def _end(self, child: Child, verdict: str) -> None:
        """Sends SIGTERM now, and SIGKILL when the job's patience is over."""
        if not child.verdict:
            child.verdict = verdict
            child.signal(signal.SIGTERM)
            child.signal(signal.SIGCONT)
            heapq.heappush(self.deadlines, (time.monotonic() + child.kill_after, child.id, "kill"))

    def _expire(self) -> None:
        now = time.monotonic()
        while self.deadlines and self.deadlines[0][0] <= now:
            _, name, what = heapq.heappop(self.deadlines)
            child = self.children.get(name)
            if child is None:
                continue
            if what == "kill":
                child.signal(signal.SIGKILL)
                if child.outcome is not None:
                    self._finish(child)
            elif child.outcome is None:
                self._end(child, "timeout")

    def _reap(self) -> bool:
        """Takes ended processes, jobs' and adopted ones; False when there is no process left."""
        alive = True
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                pid, alive = 0, False
            if pid == 0:
                break
            child = self.leaders.pop(pid, None)
            if child is not None:
                child.outcome = _outcome(child, status, usage)
                # As systemd does when a service's main process ends: the rest of the group ends too.
                if child.signal(signal.SIGTERM):
                    child.signal(signal.SIGCONT)
                    self.lingering.add(child.id)
                    heapq.heappush(self.deadlines, (time.monotonic() + child.kill_after, child.id, "kill"))
                else:
                    self._finish(child)
        for name in [name for name in self.lingering if not self.children[name].signal(0)]:
            self._finish(self.children[name])
        return alive

    def _finish(self, child: Child) -> None:
        self.lingering.discard(child.id)
        del self.children[child.id]
        if child.pipe in self.pipes:
            for _ in range(16):  # at most what a pipe holds: somebody in another session may write for ever
                if child.read() <= 0:
                    break
            self._unwatch(child.pipe)
        reason = _read_all(child.errors) if child.errors >= 0 else ""
        outcome = child.outcome or {}
        if reason:
            outcome.update(result="start-failed", exit_code=None, reason=reason)
        elif child.verdict and (child.verdict, outcome["result"]) != ("interrupted", "success"):
            outcome["result"] = child.verdict
        self._report(ev="ended", id=child.id, tail=child.tail(), **outcome)
        child.close()

    def _unwatch(self, pipe: int) -> None:
        self.poll.unregister(pipe)
        del self.pipes[pipe]

    def _end_everything(self) -> None:
        """Ends every process below, as the daemon is gone; then notes the ends that the daemon did not store."""
        for child in self.children.values():
            child.verdict = child.verdict or "interrupted"
            child.signal(signal.SIGTERM)
            child.signal(signal.SIGCONT)
        deadline = time.monotonic() + GRACE_AFTER_CRASH
        while self._reap():
            if time.monotonic() >= deadline:
                for below in descendants(os.getpid()):
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(below, signal.SIGKILL)
            select.select([self.wake], [], [], 0.1)
            self._drain_wakeups()
            self.outbox.clear()
        for child in list(self.children.values()):
            self._finish(child)
        for _, _, order in self.planned:
            self._refuse(order, "", NOT_BEGUN)
        if self.ended:
            with open(f"{self.spool}.part", "wb") as file:
                file.write("\n".join(map(json.dumps, self.ended.values())).encode())
                file.flush()
                os.fsync(file.fileno())
            os.replace(f"{self.spool}.part", self.spool)


def is_short(disk: os.statvfs_result) -> bool:
    """Tells whether so little of a disk is free that no output is kept: what is decided must find room there."""
    floor = max(FLOOR // 128, min(FLOOR, disk.f_blocks * disk.f_frsize // 20))
    return disk.f_bavail * disk.f_frsize < floor


def adopt_orphans() -> None:
    """Makes this process the parent of whatever its children leave behind."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants(of: int) -> list[int]:
    """Returns the processes below a process."""
    parents: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                parent = int(file.read().rpartition(b")")[2].split()[1])
                parents.setdefault(parent, []).append(int(name))
    found: list[int] = []
    todo = [of]
    while todo:
        below = parents.get(todo.pop(), [])
        found += below
        todo += below
    return found


def _program(name: str, path: str) -> str:
    """Returns where the program is, by the PATH of the job. Raises FileNotFoundError."""
    if "/" in name:
        return name
    for folder in path.split(os.pathsep):
        candidate = os.path.join(folder or ".", name)
        if os.access(candidate, os.X_OK) and not os.path.isdir(candidate):
            return candidate
    raise FileNotFoundError(errno.ENOENT, "there is no such program in PATH", name)


def _change_user(user: str | None, group: str | None) -> dict[str, str]:
    """Becomes the user; returns the environment that goes with it. Raises KeyError, OSError."""
    entry = pwd.getpwnam(user) if user else pwd.getpwuid(os.getuid())
    gid = grp.getgrnam(group).gr_gid if group else entry.pw_gid
    if os.getuid() == 0:
        os.initgroups(entry.pw_name, gid)
    if os.getgid() != gid:
        os.setgid(gid)
    if os.getuid() != entry.pw_uid:
        os.setuid(entry.pw_uid)
    return {"USER": entry.pw_name, "LOGNAME": entry.pw_name, "HOME": entry.pw_dir, "SHELL": entry.pw_shell}


def _outcome(child: Child, status: int, usage: resource.struct_rusage) -> Order:
    outcome: dict[str, object] = {
        "started": child.started,
        "ended": usec(),
        "cpu_usec": round((usage.ru_utime + usage.ru_stime) * 1_000_000),
        # Of the largest single process. Linux counts the process that it was forked from: this one is the floor.
        "peak_memory": usage.ru_maxrss * 1024,
    }
    if os.WIFEXITED(status):
        code = os.WEXITSTATUS(status)
        return {**outcome, "result": "exit-code" if code else "success", "exit_code": code}
    number = os.WTERMSIG(status)
    known = number in signal.Signals._value2member_map_  # the real-time signals have no names
    name = signal.Signals(number).name if known else f"signal {number}"
    return {**outcome, "result": "core-dump" if os.WCOREDUMP(status) else "signal", "signal": name}


def _encoded(environment: dict[str, str]) -> dict[bytes, bytes]:
    return {os.fsencode(name): os.fsencode(value) for name, value in environment.items()}


def _close(*descriptors: int) -> None:
    """Closes the descriptors that are open."""
    for descriptor in descriptors:
        if descriptor >= 0:
            os.close(descriptor)


def _read_all(descriptor: int) -> str:
    with contextlib.suppress(BlockingIOError):
        return os.read(descriptor, 4096).decode(errors="replace")
    return ""


def main() -> None:
    sock = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(sock.fileno(), False)
    os.set_inheritable(int(sys.argv[2]), False)  # the lock of the state directory: held until nothing runs any more
    adopt_orphans()
    # Nothing here refers to itself in a circle for long: looking for such things would only delay starts.
    gc.freeze()
    gc.set_threshold(100_000)
    Supervisor(sock, sys.argv[3]).run()


if __name__ == "__main__":
    main()
