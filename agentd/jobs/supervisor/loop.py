"""The loop over the daemon's socket, the runs' pipes, ended processes and deadlines."""

import gc
import heapq
import itertools
import os
import select
import sys
import time

from agentd.jobs.supervisor import tree
from agentd.jobs.supervisor.child import Child, Order, usec
from agentd.jobs.supervisor.lean import decoded, encoded, signal, socket, suppress
from agentd.jobs.supervisor.notes import Note
from agentd.jobs.supervisor.starting import CannotStart, Starter
from agentd.jobs.supervisor.wire import GRACE_AFTER_CRASH, NOT_BEGUN, PATIENCE, receive

GRACE_OF_THE_KILLED = 1.0  # seconds that a run's end waits for processes that had their SIGKILL
SET_BACK = 5_000_000  # microseconds; a wall clock that was set back further is not waited for
FIRST_LOOK, LONGEST_LOOK = 0.05, 1.6  # seconds until a look at what runs have left; each is twice the one before


class Supervisor:
    """The runs below this process. `note` takes what the daemon did not live to store, `state` is the value of
    AGENTD_STATE in the environment of its runs."""

    def __init__(self, sock: socket.socket, note: Note, state: bytes) -> None:
        self.sock = sock
        self.note = note
        self.state = state
        self.children: dict[str, Child] = {}
        self.leaders: dict[int, Child] = {}
        self.pipes: dict[int, Child] = {}
        self.lingering: set[str] = set()  # runs whose leader ended and left processes
        self.orphans: dict[int, str] = {}  # the runs of adopted processes, as far as they are known
        self.signals: list[tuple[Child, int]] = []  # what all processes of a run are to be sent in this round
        self.deadlines: list[tuple[float, str, str]] = []
        self.planned: list[tuple[float, int, Order]] = []  # orders to start something later, soonest first
        self.look = 0.0  # seconds that the next look at what was left waits, or the last one waited
        self.look_at: float | None = None
        self.counter = itertools.count()
        self.outbox: list[Order] = []
        self.ended: dict[str, Order] = {}  # reports that the daemon has not stored yet
        self.kept: set[str] = set()  # programs that are no runs: nobody stores their end
        self.poll = select.epoll()
        self.starter = Starter()
        self.below = tree.Below()
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
            self._send_signals()
            self._flush()
        self._end_everything()

    def _patience(self) -> float | None:
        first = [entries[0][0] for entries in (self.deadlines, self.planned) if entries]
        first += [self.look_at] if self.look_at is not None else []
        return max(0.0, min(first) - time.monotonic()) if first else None

    def _drain_wakeups(self) -> None:
        with suppress(BlockingIOError):
            while os.read(self.wake, 4096):
                pass

    # Orders and reports

    def _orders(self) -> bool:
        """Carries out what the daemon asks; False when it is gone."""
        latest = time.monotonic() + PATIENCE
        while time.monotonic() < latest:
            data = receive(self.sock)
            if data is None:
                return True
            if not data:
                return False
            order = decoded(data)
            if order["op"] == "keep":
                self.kept.add(order["id"])
            if order["op"] in {"start", "keep"}:
                self._plan(order, order["at"] or 0.0)
            elif order["op"] == "stored":
                self.ended.pop(order["id"], None)
            elif order["id"] in self.children:
                self._end(self.children[order["id"]], order["result"])
            else:
                self._take_back(order["id"], order["result"])
        return True

    def _plan(self, order: Order, at: float) -> None:
        heapq.heappush(self.planned, (at, next(self.counter), order))

    def _start_planned(self) -> None:
        """Starts what is due. Reports and orders wait a moment for the end of a burst: dealt with at once, they
        would wake the daemon, which competes with the processes that are being started.

        The wall clock is looked at once more: slewed or set back since the order came, it would show a start before
        its due time. One of 28 bursts was seen to begin 2.4 ms early.
        """
        now = time.monotonic()
        latest = now + PATIENCE
        while self.planned and self.planned[0][0] <= now < latest:
            order = heapq.heappop(self.planned)[2]
            early = (order.get("due") or 0) - usec()
            if 0 < early <= SET_BACK:
                self._plan(order, time.monotonic() + early / 1_000_000)
            else:
                self._start(order)
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
        if report["ev"] == "ended" and report["id"] not in self.kept:
            self.ended[str(report["id"])] = report

    def _flush(self) -> None:
        sent = 0
        wanted = select.EPOLLIN
        try:
            for report in self.outbox:
                self.sock.send(encoded(report))
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
        try:
            child = self.starter.start(order)
        except CannotStart as error:
            self._refuse(order, str(error))
            return
        self.children[child.id] = self.leaders[child.pid] = self.pipes[child.pipe] = child
        self.poll.register(child.pipe, select.EPOLLIN)
        if order["timeout"] is not None:
            heapq.heappush(self.deadlines, (time.monotonic() + order["timeout"], child.id, "timeout"))
        self._report(ev="started", id=child.id, at=child.started)

    def _refuse(self, order: Order, reason: str, result: str = "start-failed") -> None:
        now = usec()
        self._report(ev="ended", id=order["id"], result=result, started=now, ended=now, reason=reason)

    def _end(self, child: Child, verdict: str) -> None:
        """Has SIGTERM sent now, and SIGKILL when the job's patience is over; not to a run whose leader has ended, which
        has its result and whose rest is being ended."""
        if not child.verdict and child.outcome is None:
            child.verdict = verdict
            self._ask_to_end(child)

    def _ask_to_end(self, child: Child) -> None:
        self.signals.append((child, signal.SIGTERM))
        self._kill_in(child, child.kill_after)

    def _kill_in(self, child: Child, seconds: float) -> None:
        heapq.heappush(self.deadlines, (time.monotonic() + seconds, child.id, "kill"))

    def _expire(self) -> None:
        now = time.monotonic()
        if self.look_at is not None and self.look_at <= now:
            self._look_again()
        while self.deadlines and self.deadlines[0][0] <= now:
            _, name, what = heapq.heappop(self.deadlines)
            child = self.children.get(name)
            if child is not None and what == "kill":
                self.signals.append((child, signal.SIGKILL))
            elif child is not None and child.outcome is None:
                self._end(child, "timeout")

    def _send_signals(self) -> None:
        """Sends what runs are to be sent: to their groups, to all below them, and to what of theirs was adopted. A run
        whose leader has ended is over with its SIGKILL."""
        if not self.signals:
            return
        signals, self.signals = self.signals, []
        self._adopt()
        processes = tree.Snapshot()  # one look for all that are to be ended
        members = {child.id: self._members(child, processes) for child, _ in signals}
        for child, number in signals:
            others = [pid for pid in members[child.id] if processes.group(pid) != child.pid]
            if number == signal.SIGTERM:
                self._terminate(child, others)
                continue
            child.signal(number)
            tree.send(others, number)
            child.killed = True
            if child.outcome is not None and child.id in self.children:
                self._finish(child)

    def _terminate(self, child: Child, others: list[int]) -> None:
        """Sends SIGTERM to the group and the other processes of a run, once each; also to those that are stopped."""
        if child.pid not in child.asked:
            child.signal(signal.SIGTERM)
            child.signal(signal.SIGCONT)
        tree.send([pid for pid in others if pid not in child.asked], signal.SIGTERM, signal.SIGCONT)
        child.asked.update((child.pid, *others))

    def _members(self, child: Child, processes: tree.Snapshot) -> list[int]:
        """Returns the processes of a run, but for its leader."""
        adopted = self._adopted(child)
        roots = adopted if child.outcome is not None else [child.pid, *adopted]
        return [*adopted, *processes.below(*roots)]

    # Ends

    def _reap(self) -> bool:
        """Takes ended processes, jobs' and adopted ones; False when there is no process left."""
        alive = True
        ended = []
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                pid, alive = 0, False
            if pid == 0:
                break
            self.orphans.pop(pid, None)
            child = self.leaders.pop(pid, None)
            if child is not None:
                child.ends(status, usage)
                ended.append(child)
        if alive and (ended or self.lingering or self.orphans):
            self._adopt()
        for child in ended:
            self._leader_ended(child)
        over = [name for name in self.lingering if not self._left(self.children[name])]
        if over and "" in self.orphans.values():  # of one of these, perhaps, and becoming another program
            self._look_within(FIRST_LOOK)
        else:
            for name in over:
                self._finish(self.children[name])
        if ended and (self.lingering or "" in self.orphans.values()):
            self._look_in(FIRST_LOOK)
        return alive

    def _leader_ended(self, child: Child) -> None:
        """Ends the rest of the run, as systemd does when a service's main process ends."""
        if self.orphans and not (self.children.keys() - self.kept - {child.id}):
            # Nothing else runs: whatever hides behind another environment is of this run, or of one that is over.
            self.orphans = {pid: run or child.id for pid, run in self.orphans.items()}
        if not self._left(child):
            self._finish(child)
            return
        self.lingering.add(child.id)
        if child.killed:
            self._kill_in(child, GRACE_OF_THE_KILLED)
        else:
            self._ask_to_end(child)

    def _look_in(self, seconds: float) -> None:
        self.look, self.look_at = seconds, time.monotonic() + seconds

    def _look_within(self, seconds: float) -> None:
        if self.look_at is None or self.look_at > time.monotonic() + seconds:
            self._look_in(seconds)

    def _look_again(self) -> None:
        """Ends what ended runs have left that could not be seen, or was not there, at their end: a process that left
        its group just then, that was becoming another program, or that was started by one that ended.

        A process whose run cannot be told is looked at for some seconds, and again when another run ends.
        """
        self.look_at = None
        self._adopt()
        for name in list(self.lingering):
            child = self.children[name]
            if not self._left(child):
                self._finish(child)
            elif not child.killed:
                self.signals.append((child, signal.SIGTERM))
        if self.lingering or ("" in self.orphans.values() and self.look < LONGEST_LOOK):
            self._look_in(min(2 * self.look, LONGEST_LOOK))

    def _left(self, child: Child) -> bool:
        """Tells whether something of the run is left, once its leader has ended."""
        return child.signal(0) or bool(self.orphans and self._adopted(child))

    def _adopted(self, child: Child) -> list[int]:
        return [pid for pid, run in self.orphans.items() if run == child.id]

    def _adopt(self) -> None:
        """Looks for processes that lost their parent, and whose they are. The ones of runs that are over end."""
        stray = []
        for pid in self.below.pids():
            if pid in self.leaders:
                continue
            if not self.orphans.get(pid):  # one that is becoming another program shows no environment for a moment
                self.orphans[pid] = tree.run_of(pid, self.state)
            if self.orphans[pid] and self.orphans[pid] not in self.children:
                stray.append(pid)
        tree.send(stray, signal.SIGKILL)

    def _finish(self, child: Child) -> None:
        self.lingering.discard(child.id)
        del self.children[child.id]
        if child.pipe in self.pipes:
            for _ in range(16):  # at most what a pipe holds: somebody in another session may write for ever
                if child.read() <= 0:
                    break
            self._unwatch(child.pipe)
        self._report(**child.report())
        child.close()

    def _unwatch(self, pipe: int) -> None:
        self.poll.unregister(pipe)
        del self.pipes[pipe]

    def _end_everything(self) -> None:
        """Ends every process below, as the daemon is gone; then notes the ends that the daemon did not store."""
        for child in self.children.values():
            self._end(child, "interrupted")
        self._send_signals()
        tree.send([pid for pid, run in self.orphans.items() if not run], signal.SIGTERM, signal.SIGCONT)
        deadline = time.monotonic() + GRACE_AFTER_CRASH
        while self._reap():
            if time.monotonic() >= deadline:
                tree.send(tree.Snapshot().below(os.getpid()), signal.SIGKILL)
                tree.send(self.leaders, signal.SIGKILL)  # also where there was no descriptor to look around with
            select.select([self.wake], [], [], 0.1)
            self._drain_wakeups()
            self.signals.clear()
            self.outbox.clear()
        for child in list(self.children.values()):
            self._finish(child)
        for _, _, order in self.planned:
            self._refuse(order, "", NOT_BEGUN)
        self.note.write([*self.ended.values()])


def prepared() -> Supervisor:
    """Returns the supervisor that this process is to run: argv has the socket and the lock of the state directory, as
    numbers of open files, the file for ends that nobody stored, and the value of AGENTD_STATE. Raises OSError."""
    sock = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(sock.fileno(), False)
    os.set_inheritable(int(sys.argv[2]), False)  # the lock of the state directory: held until nothing runs any more
    tree.adopt_orphans()
    tree.on_death_of_parent(signal.SIGCONT)  # whoever stopped this process: without a daemon everything must end
    # Nothing here refers to itself in a circle for long: looking for such things would only delay starts.
    gc.freeze()
    gc.set_threshold(100_000)
    return Supervisor(sock, Note(sys.argv[3]), os.fsencode(sys.argv[4]))
