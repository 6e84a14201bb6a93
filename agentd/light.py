"""Keeps out of the idle daemon what libraries import and can do without, before anything else imports those libraries.

- OpenSSL, 4.7 MiB: asyncio and hashlib would load it at once. agentd hashes a few bytes, which built-in code does as
  well, and speaks TLS only to a fleet: `import ssl` works later as ever.
- typing_extensions, 0.6 MiB: msgspec prefers it to the same names of Python's own typing.
"""

import sys
from typing import Any

_blocked = [name for name in ("ssl", "_hashlib", "typing_extensions") if name not in sys.modules]
_modules: dict[str, Any] = sys.modules
_modules.update(dict.fromkeys(_blocked))  # None: an import raises ImportError, with which all four can deal

import asyncio  # noqa: E402, F401
import hashlib  # noqa: E402, F401
import hmac  # noqa: E402, F401

import msgspec  # noqa: E402, F401

for _name in _blocked:
    del _modules[_name]
