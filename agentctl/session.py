"""The session of one call of agentctl: the values of the global options, and the connection to the daemon."""

import time
from functools import cached_property

from agentctl.client import Client


class Session:
    """The values of the global options, and the connection, made when a command first needs it."""

    def __init__(self) -> None:
        self.address: str | None = None
        self.state_dir: str | None = None
        self.json = False

    @cached_property
    def client(self) -> Client:
        return Client.connect(self.address, self.state_dir)

    def close(self) -> None:
        """Ends the connection, where one was made."""
        if "client" in self.__dict__:
            self.client.close()


def now() -> int:
    """Returns this instant in microseconds since 1970."""
    return time.time_ns() // 1000
