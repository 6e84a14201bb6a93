"""A process that has loaded what each agentd loads, and becomes one agentd after another: most of a start is loading.

    python -m tests.bus.loaded agentd SOCKET

The socket brings orders, each with the file for standard error: the module to run, its arguments and its environment.
For each this process forks, and the child goes on as `python -m MODULE` does once its libraries are there. The child's
number comes back, and its exit code once the child has ended. Nothing is loaded here that an idle agentd has not (a
test in test_light.py sees to that), and the command line names agentd, as that of each agentd does.
"""

from agentd import light  # noqa: F401, I001 - before asyncio, as in agentd itself

import marshal
import os
import runpy
import select
import signal
import socket
import sys
import time

import agentd.__main__
import agentd.assembly
import agentd.jobs.children
import agentd.private
import agentd.reboots.absent

LARGEST = 1 << 18  # bytes of a message
# That module runs anew in each child, as __main__, and is not to be there before.
del sys.modules["agentd.__main__"], agentd.__main__


def main(orders: socket.socket) -> None:
    """Carries orders out until whoever gives them is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests, which end what they started
    poll = select.poll()
    poll.register(orders, select.POLLIN)
    alive: dict[int, int] = {}  # the children by descriptors that tell of their end
    while True:
        for descriptor, _ in poll.poll():
            if descriptor in alive:
                pid = alive.pop(descriptor)
                poll.unregister(descriptor)
                os.close(descriptor)
                orders.send(marshal.dumps((pid, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))))
                continue
            order, files, _, _ = socket.recv_fds(orders, LARGEST, 1)
            if not order:
                return
            (errors,) = files
            pid = os.fork()
            if not pid:
                for one in alive:
                    os.close(one)
                orders.close()
                become(errors, *marshal.loads(order))
            os.close(errors)
            child = os.pidfd_open(pid)
            alive[child] = pid
            poll.register(child, select.POLLIN)
            orders.send(marshal.dumps((pid, None)))


def become(errors: int, module: str, arguments: list[str], environment: dict[str, str]) -> None:
    """Runs a module with these arguments, in this process, as `python -m` does."""
    os.dup2(errors, 2)
    os.close(errors)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    sys.exit(0)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[2])))
