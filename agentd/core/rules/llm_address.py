"""The address of a llama.cpp server."""

import re
from urllib import parse

from msgspec import Struct

_LONGEST_PATH = 107  # bytes of a UNIX socket's path, see unix(7)


class Place(Struct, frozen=True):
    """The place where a server listens: at the UNIX socket `path`, or else at `host` and `port`. All of its paths
    begin with `prefix`."""

    host: str = "localhost"
    port: int = 80
    prefix: str = ""
    path: str = ""


def place(url: str) -> Place:
    """Returns where the server of a URL listens: "http://HOST:PORT", "unix:///PATH" or "/PATH". Raises ValueError with
    a sentence."""
    wrong = ValueError(f'"{url}" is not the address of an LLM (try http://127.0.0.1:8080 or unix:///PATH)')
    try:
        parts = parse.urlsplit(url)
        port = parts.port
    except ValueError:  # brackets around what is no address; a port that is no number
        raise wrong from None
    if url.startswith("/") or parts.scheme == "unix":
        path = url if url.startswith("/") else parts.path
        if parts.netloc or not path.startswith("/") or not 1 < len(path.encode()) <= _LONGEST_PATH or "\0" in path:
            raise ValueError(f'"{url}" is not a UNIX socket (try unix:///run/llama/llama.sock)')
        return Place(path=path)
    if parts.username is not None:
        raise ValueError("the URL of the LLM has a user or password in it; the key is given as a credential")
    plain = re.fullmatch("[!-~]+", url) and not parts.query and not parts.fragment
    if parts.scheme != "http" or not parts.hostname or not plain:
        raise wrong
    return Place(parts.hostname, 80 if port is None else port, parts.path.rstrip("/"))
