"""Starting a process: its environment, its user, its limits, and the sentence where that fails."""

import errno
import grp
import os
import pwd
import resource

from agentd.jobs.supervisor import tree
from agentd.jobs.supervisor.child import Child, Order, close
from agentd.jobs.supervisor.lean import NoReturn, signal

Environment = dict[bytes, bytes]
# The signals that this process or Python handles in its own way, and that a job must find as usual.
_TO_DEFAULT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ)
FOR_ANYBODY = (b"PATH", b"LANG", b"TZ")
"""The variables that a job of another user gets from this process: others may be secrets of this user."""


class CannotStart(Exception):
    """A process that was not started; the text says why, as a sentence."""


class Starter:
    """Starts processes for orders, each the leader of its own session."""

    def __init__(self) -> None:
        self._environment = dict(os.environb)  # os.environ decodes every value at every look
        self._environment.pop(b"OLDPWD", None)  # the folder in which a person was who started agentd is no job's
        self._null = os.open("/dev/null", os.O_RDWR)
        self._files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]  # how many files a job may have open
        self._pid = os.getpid()
        limit_files(None)

    def start(self, order: Order) -> Child:
        """Starts the process of an order. Raises CannotStart."""
        errors = failed = -1
        try:
            pipe, write = os.pipe2(os.O_CLOEXEC)
        except OSError as error:
            raise CannotStart(f"no process could be started: {error.strerror}") from None
        try:
            if order["user"] or order["group"] or order["op"] == "keep":
                errors, failed = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
                # A signal that comes at once waits until the new process handles it as a job does.
                signal.pthread_sigmask(signal.SIG_BLOCK, _TO_DEFAULT)
                pid = os.fork() or self._become(order, write, failed)
            else:
                pid = self._spawn(order, write)
        except (OSError, ValueError, CannotStart) as error:
            close(pipe, errors)
            raise CannotStart(_sentence(order, error)) from None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            close(write, failed)
        os.set_blocking(pipe, False)
        return Child(order, pid, pipe, errors)

    def _spawn(self, order: Order, output: int) -> int:
        """Starts a process as this user: nothing is copied for it, which takes a third of the time of a fork."""
        environment = {**self._environment, **_encoded(order["env"])}
        _enter(order["cwd"])  # the child's; this process has no use for a folder of its own
        limit_files(self._files)  # the child's too; nothing below opens a file in this process
        try:
            return os.posix_spawn(
                _program(order["argv"][0], environment),
                order["argv"],
                environment,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, source, to) for to, source in enumerate((self._null, output, output))
                ],
                setsid=True,
                setsigmask=(),
                setsigdef=_TO_DEFAULT,
            )
        finally:
            limit_files(None)

    def _become(self, order: Order, output: int, failed: int) -> NoReturn:
        """Becomes the job as another user, or a program that ends with this process; in a forked process. Tells why
        not."""
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            for number in _TO_DEFAULT:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            limit_files(self._files)
            for to, source in enumerate((self._null, output, output)):
                os.dup2(source, to)
            environment = {**self._change_user(order["user"], order["group"]), **_encoded(order["env"])}
            if order["op"] == "keep":
                tree.on_death_of_parent(signal.SIGTERM)
                if os.getppid() != self._pid:  # it ended before the kernel was asked
                    os._exit(127)
            _enter(order["cwd"])
            os.execve(_program(order["argv"][0], environment), order["argv"], environment)
        except (OSError, ValueError, CannotStart) as error:
            os.write(failed, _sentence(order, error).encode(errors="replace"))
        finally:
            os._exit(127)

    def _change_user(self, user: str | None, group: str | None) -> Environment:
        """Becomes the user; returns the environment that goes with it. Raises CannotStart."""
        if not (user or group):
            return self._environment
        entry = _user(user) if user else pwd.getpwuid(os.getuid())
        gid = _group(group) if group else entry.pw_gid
        own = entry.pw_uid == os.getuid()
        try:
            if os.getuid() == 0:
                os.initgroups(entry.pw_name, gid)
            if os.getgid() != gid:
                os.setgid(gid)
            if not own:
                os.setuid(entry.pw_uid)
        except OSError as error:
            whom = " ".join(f"{kind} {name}" for kind, name in (("user", user), ("group", group)) if name)
            raise CannotStart(f"cannot change to {whom}: {error.strerror}") from None
        kept = self._environment if own else {name: self._environment.get(name) for name in FOR_ANYBODY}
        theirs = {"USER": entry.pw_name, "LOGNAME": entry.pw_name, "HOME": entry.pw_dir, "SHELL": entry.pw_shell}
        return {**{name: value for name, value in kept.items() if value is not None}, **_encoded(theirs)}


def limit_files(most: int | None) -> None:
    """Sets how many files this process may have open; None: as many as it may. Somebody may have changed the hard
    limit meanwhile, so that is asked for each time. Raises OSError, ValueError."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if most is None else min(most, hard), hard))


def _user(name: str) -> pwd.struct_passwd:
    """Returns the user of that name or number. Raises CannotStart."""
    try:
        return pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except (KeyError, OverflowError):
        raise CannotStart(f"there is no user {name}") from None


def _group(name: str) -> int:
    """Returns the number of the group of that name or number. Raises CannotStart."""
    try:
        return (grp.getgrgid(int(name)) if name.isdecimal() else grp.getgrnam(name)).gr_gid
    except (KeyError, OverflowError):
        raise CannotStart(f"there is no group {name}") from None


def _enter(folder: str | None) -> None:
    """Works in a folder from now on. Raises CannotStart."""
    try:
        os.chdir(folder or "/")
    except OSError as error:
        raise CannotStart(f"cannot change to the folder {folder}: {error.strerror}") from None


def _program(name: str, environment: Environment) -> str:
    """Returns where the program is, by the PATH of the job. Raises FileNotFoundError."""
    if "/" in name:
        return name
    for folder in os.fsdecode(environment.get(b"PATH", os.fsencode(os.defpath))).split(os.pathsep):
        candidate = os.path.join(folder or ".", name)
        if os.access(candidate, os.X_OK) and not os.path.isdir(candidate):
            return candidate
    raise FileNotFoundError(errno.ENOENT, "there is no such program in PATH", name)


def _sentence(order: Order, error: Exception) -> str:
    """Returns why a process was not started."""
    program = order["argv"][0]
    if not isinstance(error, OSError):
        return str(error) if isinstance(error, CannotStart) else f"cannot run {program}: {error}"
    where = os.fsdecode(error.filename or program)
    return f"cannot run {where}: {_reason(where, error)}"


def _reason(program: str, error: OSError) -> str:
    """Returns why a program cannot be run, where the kernel's word for it is about another file."""
    if error.errno == errno.EACCES and os.path.isdir(program):
        return "that is a folder"
    if error.errno == errno.ENOENT and os.path.exists(program):
        if interpreter := _interpreter(program):
            windows = "; the file has the line ends of Windows" if interpreter.endswith("\r") else ""
            shown = repr(interpreter)[1:-1]
            return f'its first line names the interpreter "{shown}", which does not exist{windows}'
        return "the loader that the file names does not exist; was it built for another system?"
    return error.strerror or str(error)


def _interpreter(program: str) -> str:
    """Returns the interpreter that a script names, as the kernel reads it; "" where the file is no script."""
    try:
        with open(program, "rb") as file:
            line = file.read(256).partition(b"\n")[0]
    except OSError:
        return ""
    words = line[2:].strip(b" \t").replace(b"\t", b" ").partition(b" ")
    return words[0].decode(errors="replace") if line.startswith(b"#!") else ""


def _encoded(environment: dict[str, str]) -> Environment:
    return {os.fsencode(name): os.fsencode(value) for name, value in environment.items()}
