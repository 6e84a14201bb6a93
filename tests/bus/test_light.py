"""An idle agentd has in memory what it needs, and no more: each name here was measured, and would come back unseen."""

import subprocess
import sys

import pytest

from agentd import light
from tests.bus.harness import ROOT, Agentd

IDLE = """
import ctypes, gc, os, re, signal, sys, threading, time
from agentd import __main__ as entry, private

libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fopen.restype = ctypes.c_void_p
libc.malloc.argtypes, libc.free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]
libc.malloc_info.argtypes, libc.fclose.argtypes = [ctypes.c_int, ctypes.c_void_p], [ctypes.c_void_p]

def heap():
    told = os.memfd_create("heap")
    file = libc.fopen(b"/proc/self/fd/%d" % told, b"w")
    libc.malloc_info(0, file)
    libc.fclose(file)
    text = os.pread(told, 1 << 16, 0).decode()
    os.close(told)
    return text.count("<heap "), int(re.search('"mmap" count="([0-9]+)"', text)[1])

def tell():
    time.sleep(0.5)
    print(*(f"{name}={type(module).__name__}" for name, module in sys.modules.items()))
    print(gc.get_freeze_count(), len(gc.get_objects()))
    looked = threading.Event()
    gc.callbacks.append(lambda phase, how: phase == "stop" and how["generation"] == 2 and looked.set())
    os.kill(os.getpid(), signal.SIGHUP)
    looked.wait(20)
    time.sleep(0.1)
    print(gc.get_freeze_count(), len(gc.get_objects()))
    libc.free(libc.malloc(4 << 20))
    heaps, before = heap()
    large = libc.malloc(1 << 20)
    print(heaps, heap()[1] - before, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)

def publish(bus, publish=private.PrivateBus.publish):
    publish(bus)
    threading.Thread(target=tell).start()

private.PrivateBus.publish = publish
sys.exit(entry.main(sys.argv[1:]))
"""
JOBS = """
jobs:
  hourly: {run: [true], when: {every: 1h}}
  nightly: {run: [true], when: {cron: "15 3 * * *"}}
  learns: {run: [true], when: {adaptive: {start: 1h}}}
"""
ABSENT = {
    "yaml": 1.1, "agentd.config.layers": 0.1, "agentd.config.nodes": 0.1,  # of who reads the configuration
    "ssl": 1.8, "_ssl": 2.3, "_hashlib": 0.5, "typing_extensions": 0.6, "rich": 6.6,
    "agentd.reboots.part": 0.2, "agentd.core.reboots.reboots": 0.3,  # of system mode
    "argparse": 0.5, "gettext": 0.1, "lzma": 0.1, "bz2": 0.1,
    "dataclasses": 0.1, "platform": 0.1, "_uuid": 0.1, "_elementtree": 0.1,
}  # fmt: skip
"""MiB that a module costs which no idle agentd needs."""
LATE = {
    *("ast", "asyncio.sslproto", "calendar", "dbus_next.glib", "decimal", "ipaddress", "locale"),
    *("msgspec._json_schema", "msgspec.inspect", "ntpath", "pickle", "shutil", "structlog.dev", "structlog.stdlib"),
    *("structlog.threadlocal", "structlog.tracebacks", "sysconfig", "textwrap", "tokenize", "urllib.parse", "uuid"),
    "xml.etree.ElementTree",
}
"""The modules that libraries import and nobody uses: 3.3 MiB."""
OWN = {
    *("agentd.core.learning.story", "agentd.core.notices.words", "agentd.core.rules.grammar", "agentd.core.rules.llm"),
    *("agentd.core.rules.standing", "agentd.core.rules.story", "agentd.core.schedulers.choosing"),
    *("agentd.core.schedulers.endings", "agentd.core.schedulers.help", "agentd.core.schedulers.kernel"),
    *("agentd.core.schedulers.monitor", "agentd.core.schedulers.sound", "agentd.core.schedulers.story"),
    *("agentd.daemon.checks", "agentd.jobs.checks", "agentd.learning.api", "agentd.learning.savings"),
    *("agentd.notices.api", "agentd.notices.checks", "agentd.peers.llama", "agentd.peers.logind"),
    *("agentd.peers.polkit", "agentd.peers.profiles", "agentd.reboots.checks", "agentd.rules.api"),
    *("agentd.rules.checks", "agentd.rules.facts.groups", "agentd.rules.facts.processes", "agentd.schedulers.api"),
    *("agentd.schedulers.customs", "agentd.schedulers.power", "agentd.schedulers.readings", "agentd.schedulers.units"),
}
"""The modules of what is not configured, or only answers questions: 1.4 MiB, with what they alone import."""
ALONE = {"agentd.core.rules.evaluation", "agentd.core.rules.llm_engine", "agentd.core.schedulers.values"}
"""The modules that only those import."""


@pytest.fixture
def told(agentd: Agentd) -> list[list[str]]:
    """What an idle agentd tells of itself, the words of each line: its modules with their types; how many objects are
    looked through for cycles no more, and how many still are; the same after a reload; from how many heaps its threads
    take memory, and how many pieces came from the system itself for a large one."""
    return [line.split() for line in agentd.run_code(IDLE, JOBS).splitlines()]


def test_an_idle_agentd_has_loaded_only_what_it_needs(told: list[list[str]]) -> None:
    found = dict(word.split("=") for word in told[0])
    assert found["asyncio"] == "module"
    assert {name for name in found if found[name] != "NoneType"} & ABSENT.keys() == set()
    assert {name: found[name] for name in LATE | OWN} == dict.fromkeys(LATE | OWN, "_Late")
    assert found.keys() & ALONE == set()


def test_what_is_there_after_a_start_or_a_reload_is_not_looked_through_for_cycles(told: list[list[str]]) -> None:
    for line in told[1:3]:
        left_alone, looked_through = map(int, line)
        assert left_alone > 20_000
        assert looked_through < 3_000


def test_all_threads_share_one_heap_which_keeps_nothing_large(told: list[list[str]]) -> None:
    assert told[3] == ["1", "1"]


def test_what_is_put_off_works_as_ever_when_somebody_uses_it() -> None:
    code = """
from agentd import light
import ast, calendar, inspect, ipaddress, json, locale, urllib.parse
import asyncio.sslproto, msgspec
from agentd.core.rules import grammar
print(
    json.dumps([1]), ast.literal_eval("2"), inspect.signature(len), calendar.isleap(2028), locale.LC_ALL,
    ipaddress.ip_address("::1").is_loopback, urllib.parse.quote("a b"), msgspec.inspect.type_info(int).gt,
    asyncio.sslproto.SSLProtocol.__name__, grammar.parse.__name__, sep=";",
)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[1];2;(obj, /);True;6;True;a%20b;None;SSLProtocol;parse\n"


def test_what_tests_have_loaded_ahead_is_what_an_idle_agentd_has_loaded(told: list[list[str]]) -> None:
    """The process of which most agentds of tests are forks has nothing that a start does not bring."""
    code = (
        "from tests.bus import loaded; import sys; print(*(f'{n}={type(m).__name__}' for n, m in sys.modules.items()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    ahead = dict(word.split("=") for word in done.stdout.split())
    found = dict(word.split("=") for word in told[0])
    own = {"tests", "tests.bus", "tests.bus.loaded", "runpy", "pkgutil"}
    assert {name: kind for name, kind in ahead.items() if name not in own and found.get(name) != kind} == {}
    assert {"agentd.assembly", "agentd.daemon.daemon", "agentd.rules.part", "dbus_next.aio", "structlog"} <= set(ahead)
    assert "agentd.__main__" not in ahead


def test_what_is_late_becomes_a_module_as_any_other_in_the_place_where_everybody_has_it() -> None:
    code = """
from agentd import light
import shutil, sys, threading
from agentd.core.rules import story
held = {name: sys.modules[name] for name in ("shutil", "agentd.core.rules.story")}
kinds = [type(one).__name__ for one in held.values()]
got = []
threads = [threading.Thread(target=lambda: got.append(story.lines)) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
shutil.which
from agentd.core.rules.story import lines
print(kinds, [type(one).__name__ for one in held.values()], all(sys.modules[name] is held[name] for name in held))
print(got == [lines] * 8, story is sys.modules["agentd.core.rules"].story, story.__spec__.name, hasattr(story, "no"))
"""
    assert said(code) == [
        "['_Late', '_Late'] ['module', 'module'] True",
        "True True agentd.core.rules.story False",
    ]


def test_a_late_module_that_cannot_be_loaded_says_why_each_time() -> None:
    code = """
from agentd import light
import sys
broken = light._Late("agentd.nothing")
sys.modules["agentd.nothing"] = broken
for _ in range(2):
    try:
        broken.name
    except ImportError as error:
        print(error)
"""
    assert said(code) == ["No module named 'agentd.nothing'"] * 2


def test_a_late_module_that_failed_to_load_is_loaded_the_next_time_into_the_same_place() -> None:
    code = """
from agentd import light
import importlib.machinery, sys
from agentd.core.rules import story
real = importlib.machinery.SourceFileLoader.get_code
def fail(loader, name):
    raise OSError(24, "Too many open files")
importlib.machinery.SourceFileLoader.get_code = fail
for _ in range(2):
    try:
        story.lines
    except OSError as error:
        print(error.strerror)
importlib.machinery.SourceFileLoader.get_code = real
print(callable(story.lines), story is sys.modules["agentd.core.rules.story"], type(story).__name__)
"""
    assert said(code) == ["Too many open files"] * 2 + ["True True module"]


def test_what_libraries_took_of_modules_that_were_not_loaded_works_as_ever() -> None:
    code = """
import io, sys
from agentd import log
import structlog
from agentd import bus
import dbus_next.introspection, pathlib, uuid, msgspec, xml.etree.ElementTree as ET
out = io.StringIO()
structlog.wrap_logger(structlog.PrintLogger(out)).info("unconfigured")
print("unconfigured" in out.getvalue(), isinstance(structlog.dev.ConsoleRenderer, type))
print(structlog.processors.JSONRenderer()(None, "info", {"a": 1}))
try:
    1 / 0
except ZeroDivisionError as error:
    print(structlog.processors.dict_tracebacks(None, "error", {"exc_info": error})["exception"][0]["exc_type"])
node = dbus_next.introspection.Node.parse("<node><interface name='a.b'><method name='C'/></interface></node>")
print(node.interfaces[0].methods[0].name, "<method" in node.tostring(), ET.Element("a").tag)
from dbus_next._private.address import parse_address
print(parse_address("unix:path=/a%20b"), pathlib.Path("/a b").as_uri(), uuid.UUID(int=1).hex[-1])
print(msgspec.json.schema(int), structlog.stdlib.BoundLogger.__name__)
"""
    assert said(code) == [
        "True True",
        '{"a": 1}',
        "ZeroDivisionError",
        "C True a",
        "[('unix', {'path': '/a b'})] file:///a%20b 1",
        "{'type': 'integer'} BoundLogger",
    ]


def test_what_stands_for_a_function_may_be_called_as_soon_as_a_library_has_it() -> None:
    code = """
from agentd import light
with light.named({"colorsys": {"rgb_to_hsv": light.later("colorsys", "rgb_to_hsv")}}):
    from colorsys import rgb_to_hsv
    print(rgb_to_hsv(1, 1, 1))
import colorsys
print(rgb_to_hsv(0, 0, 0), colorsys.rgb_to_hsv is not rgb_to_hsv, type(colorsys).__name__)
"""
    assert said(code) == ["(0.0, 0.0, 1)", "(0.0, 0.0, 0) True module"]


def said(code: str) -> list[str]:
    """Returns the lines that a program prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout.splitlines()


def test_every_module_that_is_late_is_there() -> None:
    assert set(light._OWN) == OWN | {"agentd.reboots.api"}  # of system mode
    assert [name for name in light._OWN if not (ROOT / f"{name.replace('.', '/')}.py").exists()] == []
