"""Keeps out of the idle daemon what is hardly ever used, before anything else imports it.

- OpenSSL, 4.7 MiB: asyncio and hashlib would load it at once. agentd hashes a few bytes, which built-in code does as
  well, and speaks TLS only to a fleet: `import ssl` works later as ever.
- typing_extensions, 0.6 MiB: msgspec prefers it to the same names of Python's own typing.
- The modules in _LATE, _NAMED and _OWN, 4 MiB: whoever imports one gets the module as ever, and it is loaded into that
  same object when something in it is asked for. That is late only where all who import it ask for nothing meanwhile:
  agentd's own are imported as `from agentd.core.rules import story`, not `from agentd.core.rules.story import ...`.
"""

import sys
import threading
import urllib  # noqa: F401 - the package, which is empty itself
import xml.etree  # noqa: F401 - likewise
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any, ClassVar

Names = Mapping[str, Mapping[str, Any]]
"""Modules, and what stands for their names as long as they are not loaded."""


def later(module: str, name: str) -> Callable[..., Any]:
    """Returns what stands for a function of a module that is not loaded: the first call loads the module."""

    def call(*given: Any, **more: Any) -> Any:
        found = import_module(module)
        # Where it is not loaded yet, what it has of that name may be this very function.
        function = found.__getattr__(name) if isinstance(found, _Late) else getattr(found, name)
        return function(*given, **more)

    return call


_ZONES = "/usr/share/zoneinfo:/usr/lib/zoneinfo:/usr/share/lib/zoneinfo:/etc/zoneinfo"
"""Where Python looks for time zones unless its builder named other places; $PYTHONTZPATH still does."""
_LATE: Names = {
    "asyncio.sslproto": {},
    "calendar": {},
    "dbus_next.glib": {},
    "ipaddress": {},
    "json": {},  # which msgspec 0.19 needs
    "locale": {},
    "msgspec.inspect": {},
    "ntpath": {},
    "pickle": {"PicklingError": RuntimeError},  # structlog raises it, where somebody pickles a logger
    "shutil": {},  # with lzma and bz2
    "structlog.stdlib": {},
    "structlog.threadlocal": {},
    "textwrap": {},
    "tokenize": {},
    "xml.etree.ElementTree": {},
}
"""The modules of libraries. None may be one that something is derived from."""
_NAMED: Names = {
    "ast": {"NodeVisitor": object},  # inspect derives a class from it, which looks for the source of another
    "decimal": {"Decimal": type("Decimal", (), {})},  # msgspec: no value of agentd's is one
    "msgspec._json_schema": {name: later("msgspec._json_schema", name) for name in ("schema", "schema_components")},
    "sysconfig": {"get_config_var": {"TZPATH": _ZONES}.get},  # zoneinfo, which would read all settings of the build
    "urllib.parse": {"quote_from_bytes": later("urllib.parse", "quote_from_bytes")},  # Python 3.11: pathlib, for URLs
    "uuid": {"UUID": type("UUID", (), {}), "SafeUUID": type("SafeUUID", (), {"unknown": None})},  # as decimal
}
"""The modules of which libraries take a name as they are imported, and what they get; then these are as in _LATE."""
_OWN = (
    # Of what may be configured.
    *("agentd.core.learning.story", "agentd.core.notices.words", "agentd.core.rules.grammar", "agentd.core.rules.llm"),
    *("agentd.core.rules.standing", "agentd.core.rules.story", "agentd.core.schedulers.choosing"),
    *("agentd.core.schedulers.endings", "agentd.core.schedulers.help", "agentd.core.schedulers.kernel"),
    *("agentd.core.schedulers.monitor", "agentd.core.schedulers.sound", "agentd.core.schedulers.story"),
    *("agentd.peers.llama", "agentd.peers.logind", "agentd.peers.polkit", "agentd.peers.profiles"),
    *("agentd.rules.facts.groups", "agentd.rules.facts.processes", "agentd.schedulers.power"),
    *("agentd.schedulers.readings", "agentd.schedulers.units"),
    # Of what may be asked.
    *("agentd.daemon.checks", "agentd.jobs.checks", "agentd.learning.api", "agentd.learning.savings"),
    *("agentd.notices.api", "agentd.notices.checks", "agentd.reboots.api", "agentd.reboots.checks"),
    *("agentd.rules.api", "agentd.rules.checks", "agentd.schedulers.api", "agentd.schedulers.customs"),
)
"""The modules of agentd itself: an agentd where none of that is needs none of them."""
_modules: dict[str, Any] = sys.modules
_begins = threading.Lock()


class _Late(ModuleType):
    """A module that is not loaded yet."""

    def __getattr__(self, name: str) -> Any:
        """Loads the module, and returns what it has of this name."""
        if name in {"__path__", "__file__", "__cached__"}:  # Python asks for these as it imports something
            raise AttributeError(name)
        with _begins:
            if self.__spec__ is None:  # nobody has begun to load it
                _modules.pop(self.__name__, None)
        import_module(self.__name__)  # where another thread has begun, this waits for it
        return ModuleType.__getattribute__(self, name)


class _Loader(SourceFileLoader):
    """Loads a module into the object that there is of it."""

    def __init__(self, late: _Late, path: str) -> None:
        super().__init__(late.__name__, path)
        self._late = late

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Returns the module that was imported when it was not loaded."""
        del spec
        return self._late

    def exec_module(self, module: ModuleType) -> None:
        """Loads the module, which is as any other from then on. A module that cannot be loaded stays late, as where no
        descriptor is left."""
        try:
            super().exec_module(module)
        except BaseException:
            module.__spec__ = None
            _Finder.late[self._late.__name__] = self._late
            raise
        module.__class__ = ModuleType


class _Finder:
    """Finds the modules that were put off, as one of sys.meta_path."""

    late: ClassVar[dict[str, _Late]] = {}

    @classmethod
    def find_spec(cls, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Returns how a module is loaded that was put off; None for any other, which others find."""
        if name not in cls.late:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(cls.late.pop(name), spec.origin)
        return spec


def _put_off(modules: Names) -> None:
    """Lets imports of modules load nothing yet."""
    for name, known in modules.items():
        module = _modules.setdefault(name, _Late(name))
        if isinstance(module, _Late):
            _Finder.late[name] = module
            vars(module).update(known)


def _settle(modules: Names) -> None:
    """Makes modules the attributes of their packages, as an import does, for whoever writes `import urllib.parse`."""
    for name in modules:
        package, _, own = name.rpartition(".")
        if package in _modules:
            setattr(_modules[package], own, _modules[name])


@contextmanager
def named(modules: Names) -> Iterator[None]:
    """Lets libraries that are imported within take names of modules that are not loaded for it, and get what stands for
    them; then these modules are late as any other."""
    _put_off(modules)
    try:
        yield
    finally:
        for name, known in modules.items():
            if isinstance(module := _modules[name], _Late):
                for one in known:
                    delattr(module, one)
        _settle(modules)


_put_off(_LATE)
_put_off({name: {} for name in _OWN})
sys.meta_path.insert(0, _Finder)
_blocked = [name for name in ("ssl", "_hashlib", "typing_extensions") if name not in _modules]
_modules.update(dict.fromkeys(_blocked))  # None: an import raises ImportError, with which all four can deal

with named(_NAMED):
    import asyncio  # noqa: F401
    import hashlib  # noqa: F401
    import hmac  # noqa: F401
    import pathlib  # noqa: F401
    import zoneinfo  # noqa: F401

    import msgspec  # noqa: F401

for _name in _blocked:
    del _modules[_name]
_settle(_LATE)
