"""Keeps out of the idle daemon what libraries import and hardly ever use, before anything else imports those libraries.

- OpenSSL, 4.7 MiB: asyncio and hashlib would load it at once. agentd hashes a few bytes, which built-in code does as
  well, and speaks TLS only to a fleet: `import ssl` works later as ever.
- typing_extensions, 0.6 MiB: msgspec prefers it to the same names of Python's own typing.
- The modules in _LATE and _NAMED, 2 MiB: each is loaded when something in it is asked for.
"""

import sys
import urllib  # noqa: F401 - the package, which is empty itself
from importlib import import_module
from types import ModuleType
from typing import Any

_ZONES = "/usr/share/zoneinfo:/usr/lib/zoneinfo:/usr/share/lib/zoneinfo:/etc/zoneinfo"
"""Where Python looks for time zones unless its builder named other places; $PYTHONTZPATH still does."""
_LATE: dict[str, dict[str, Any]] = {
    "asyncio.sslproto": {},
    "calendar": {},
    "dbus_next.glib": {},
    "ipaddress": {},
    "json": {},  # which msgspec 0.19 needs
    "locale": {},
    "msgspec.inspect": {},
    "pickle": {"PicklingError": RuntimeError},  # structlog raises it, where somebody pickles a logger
    "shutil": {},  # with lzma and bz2
    "structlog.threadlocal": {},
    "urllib.parse": {},  # Python 3.11 itself needs it for its paths
}
"""The modules, and what stands for their names until then. None may be one that something is derived from."""
_NAMED: dict[str, dict[str, Any]] = {
    "ast": {"NodeVisitor": object},  # inspect derives a class from it, which looks for the source of another
    "decimal": {"Decimal": type("Decimal", (), {})},  # msgspec: no value of agentd's is one
    "sysconfig": {"get_config_var": {"TZPATH": _ZONES}.get},  # zoneinfo, which would read all settings of the build
}
"""The modules of which libraries take a name as they are imported, and what they get; then these are as in _LATE."""
_modules: dict[str, Any] = sys.modules


class _Late(ModuleType):
    """A module that is not loaded yet."""

    def __getattr__(self, name: str) -> Any:
        """Loads the module, and returns what it has of this name."""
        if name == "__path__":  # asked for by each `from MODULE import NAME`, which finds the name if it is known
            raise AttributeError(name)
        if _modules.get(self.__name__) is self:
            del _modules[self.__name__]
        value = getattr(import_module(self.__name__), name)
        # Not asked for again by those who hold this one: that was an eighth of the reading of a catalogue.
        if callable(value):
            vars(self)[name] = value
        return value


def _put_off(name: str, known: dict[str, Any]) -> None:
    """Lets an import of the module load nothing yet."""
    module = _modules.setdefault(name, _Late(name))
    if isinstance(module, _Late):
        vars(module).update(known)


for _name, _known in (*_LATE.items(), *_NAMED.items()):
    _put_off(_name, _known)

_blocked = [name for name in ("ssl", "_hashlib", "typing_extensions") if name not in _modules]
_modules.update(dict.fromkeys(_blocked))  # None: an import raises ImportError, with which all four can deal

import asyncio  # noqa: E402, F401
import hashlib  # noqa: E402, F401
import hmac  # noqa: E402, F401
import zoneinfo  # noqa: E402, F401

import msgspec  # noqa: E402, F401

for _name in _blocked:
    del _modules[_name]
for _name, _known in _NAMED.items():
    if isinstance(_modules[_name], _Late):
        for _one in _known:
            delattr(_modules[_name], _one)
for _name in _LATE:
    _package, _, _own = _name.rpartition(".")
    if _package in _modules:  # as an import does, for whoever writes `import urllib.parse`
        setattr(_modules[_package], _own, _modules[_name])
