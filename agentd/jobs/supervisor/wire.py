"""The things that the daemon and its supervisors agree upon, and the socket between them as both read it."""

from agentd.jobs.supervisor.lean import socket

LARGEST_MESSAGE = 1 << 20
NOT_BEGUN = "not-begun"
"""The result of what was not due yet when the daemon, or its supervisor, went away."""
PATIENCE = 1.0
"""Seconds that all else may wait while more and more starts are overdue."""
GRACE_AFTER_CRASH = 2.0
"""Seconds between SIGTERM and SIGKILL for runs whose daemon is gone."""


def receive(sock: socket.socket) -> bytes | None:
    """Returns the next message; None where there is none yet, b"" when the other side is gone and all was read."""
    for _ in range(2):
        try:
            # The length is asked first: for each message, room for the largest would be taken from the system, 1 MiB.
            length = sock.recv_into(bytearray(1), 1, socket.MSG_PEEK | socket.MSG_TRUNC)
            return sock.recv(min(length, LARGEST_MESSAGE))
        except BlockingIOError:
            return None
        except ConnectionError:
            # The other side died with messages of ours unread, which the kernel says first; its own come after that.
            continue
    return b""
