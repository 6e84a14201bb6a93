"""Keeps OpenSSL out of the idle daemon: 4.7 MiB that asyncio and hashlib would load at once.

agentd hashes a few bytes, which built-in code does as well, and speaks TLS only to a fleet: `import ssl` works later as
ever. To be imported before anything that imports asyncio.
"""

import sys
from typing import Any

_blocked = [name for name in ("ssl", "_hashlib") if name not in sys.modules]
_modules: dict[str, Any] = sys.modules
_modules.update(dict.fromkeys(_blocked))  # None: an import raises ImportError, with which all three can deal

import asyncio  # noqa: E402, F401
import hashlib  # noqa: E402, F401
import hmac  # noqa: E402, F401

for _name in _blocked:
    del _modules[_name]
