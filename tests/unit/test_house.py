"""The house stays as the design draws it: who may import whom, and how large a room gets."""

import ast
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PURE_LIBRARIES = {"cronsim", "msgspec"}  # no clock, no I/O: the core may use them
IMPURE = {"asyncio", "time", "os", "subprocess", "socket", "sqlite3", "logging", "threading", "random", "pathlib"}
ONLY_IN = {
    "dbus_next": {
        f"agentd/bus/{name}.py" for name in ("__init__", "connection", "reading", "server", "wire", "writing")
    },
    "psutil": {"agentd/rules/facts/host.py"},
    "numpy": {"agentd/learning/fitting.py"},
    "sklearn": {"agentd/learning/fitting.py"},
    "apprise": {"agentd/notices/posting.py"},
    "requests": {"agentd/notices/posting.py"},
    "smtplib": {"agentd/notices/posting.py", "agentd/notices/verdicts.py"},
    "jeepney": {"agentctl/signals.py"},
    "structlog": {"agentd/log.py"},
    "systemd": {
        *("agentd/log.py", "agentd/sdnotify.py", "agentd/peers/journal.py", "agentd/learning/looking.py"),
        "agentd/schedulers/journal.py",
    },
    "sqlite3": {
        *(f"agentd/daemon/{name}.py" for name in ("store", "storing", "reading", "upkeep", "damage", "room")),
        *("agentd/part.py", "agentd/__main__.py", "agentd/jobs/output.py", "agentd/jobs/blocks.py"),
    },
}
PARTS = ("jobs", "reboots", "schedulers", "rules", "learning", "tuning", "notices", "approvals")
"""The order of parts: a core may build on those before it."""
SHARED = {"core", "part", "tasks", "bus", "peers", "linux", "log"}
"""What the shell of a part may import beside its own room."""
MAY_IMPORT = {
    "bus": {"core", "tasks", "log", "light"},
    "peers": {"core", "bus", "tasks", "linux", "log"},
    "config": {"core"},
    "daemon": {"core", "part", "tasks", "bus", "config", "linux", "log"},
    "part": {"core", "bus"},
    "tasks": set(),
    "linux": set(),
    "log": {"light"},
    "light": set(),
    "sdnotify": set(),
    "private": set(),
}
"""What a room beside the parts may import of the others; assembly and __main__ may import all."""
MORE = {
    "agentd/jobs/generator.py": {"config"},
    "agentd/rules/replaying.py": {"config"},
    "agentd/schedulers/catalogues.py": {"config"},
    "agentd/schedulers/inventory.py": {"config"},
    "agentd/schedulers/launcher.py": {"config"},
}
"""What reads YAML: systemd's generator and the replay of samples, which run by themselves, and the catalogue."""
SOURCES = sorted(
    file.relative_to(ROOT).as_posix() for top in ("agentd", "agentctl") for file in (ROOT / top).rglob("*.py")
)


class Documented(NamedTuple):
    """What has a docstring in a source file."""

    is_function: bool
    is_property: bool
    text: str


class Contents(NamedTuple):
    """What the laws look at in a source file: the full names of what it imports, wherever, and its docstrings."""

    imports: frozenset[str]
    documented: tuple[Documented, ...]


@cache
def contents(source: str) -> Contents:
    """Takes a source file apart, once for all laws; the tree is not kept."""
    found, documented = set[str](), list[Documented]()
    for node in ast.walk(ast.parse((ROOT / source).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            decorators = {ast.unparse(name) for name in getattr(node, "decorator_list", ())}
            if text := ast.get_docstring(node):
                is_property = bool(decorators & {"property", "cached_property"})
                is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                documented.append(Documented(is_function, is_property, text))
    return Contents(frozenset(found), tuple(documented))


def imports(source: str) -> frozenset[str]:
    """The full names of what a source file imports, wherever in it."""
    return contents(source).imports


@pytest.mark.parametrize("source", [source for source in SOURCES if source.startswith("agentd/core/")])
def test_the_core_is_pure(source: str) -> None:
    tops = {name.partition(".")[0] for name in imports(source)}
    assert tops - sys.stdlib_module_names - PURE_LIBRARIES == {"agentd"} & tops
    assert tops & IMPURE == set()
    assert {name for name in imports(source) if name.startswith("agentd") and not name.startswith("agentd.core")} <= {
        "agentd"
    }


@cache
def rooms(source: str) -> frozenset[tuple[str, ...]]:
    """The rooms of agentd that a source file imports: ("bus",), ("core", "jobs") and so on."""
    found = set[tuple[str, ...]]()
    for name in imports(source):
        words = name.split(".")
        if words[0] == "agentd" and len(words) > 1:
            is_room = (ROOT / "agentd" / words[1]).is_dir() or (ROOT / f"agentd/{words[1]}.py").exists()
            deep = words[1] == "core" and len(words) > 2 and (ROOT / "agentd/core" / words[2]).is_dir()
            if is_room:
                found.add(tuple(words[1:3]) if deep else (words[1],))
    return frozenset(found)


@pytest.mark.parametrize("source", [source for source in SOURCES if source.startswith("agentd/core/")])
def test_a_core_builds_only_on_the_cores_before_it(source: str) -> None:
    room = source.split("/")[2]
    before = PARTS[: PARTS.index(room) + 1] if room in PARTS else PARTS if source == "agentd/core/config.py" else ()
    assert {words[1] for words in rooms(source) if len(words) == 2} <= set(before)
    if room in PARTS:  # a part's slice of the configuration is handed to it
        assert "agentd.core.config" not in imports(source)


@pytest.mark.parametrize("part", [part for part in PARTS if (ROOT / "agentd" / part).is_dir()])
def test_a_part_has_two_rooms_and_knows_no_other_part(part: str) -> None:
    assert (ROOT / "agentd/core" / part).is_dir()
    assert (ROOT / "agentd" / part / "part.py").exists()
    for source in SOURCES:
        if source.startswith(f"agentd/{part}/"):
            assert {words[0] for words in rooms(source)} <= SHARED | {part} | MORE.get(source, set()), source


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_the_rooms_beside_the_parts_know_no_part(room: str) -> None:
    own = [source for source in SOURCES if source.startswith(f"agentd/{room}/") or source == f"agentd/{room}.py"]
    assert own
    for source in own:
        assert {words[0] for words in rooms(source)} <= MAY_IMPORT[room] | {room}, source
        if room == "daemon":
            assert {words for words in rooms(source) if len(words) == 2} == set(), source


def test_only_the_assembly_knows_the_parts() -> None:
    shells = {part for part in PARTS if (ROOT / "agentd" / part).is_dir()}
    inside = {f"agentd/{part}/" for part in shells}
    knows = {
        source
        for source in SOURCES
        if source.startswith("agentd/")
        and not any(source.startswith(folder) for folder in inside)
        and {words[0] for words in rooms(source)} & shells
    }
    assert knows == {"agentd/assembly.py"}


@pytest.mark.parametrize("source", SOURCES)
def test_a_library_is_imported_only_where_it_belongs(source: str) -> None:
    tops = {name.partition(".")[0] for name in imports(source)}
    wrong = {library for library, places in ONLY_IN.items() if library in tops and source not in places}
    if source.endswith("/tables.py"):  # a part's own tables
        wrong.discard("sqlite3")
    assert wrong == set()


@pytest.mark.parametrize("source", [source for source in SOURCES if source.startswith("agentctl/")])
def test_agentctl_imports_nothing_of_the_daemon(source: str) -> None:
    found = {name for name in imports(source) if name.partition(".")[0] == "agentd"}
    assert {name for name in found if f"{name}.".startswith("agentd.core.quantities.")} == found


def test_the_daemon_never_loads_what_is_heavy() -> None:
    code = "import agentd.assembly, sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    heavy = {"numpy", "sklearn", "apprise", "mcp", "textual", "httpx", "requests", "pydantic", "jeepney", "click"}
    assert heavy & set(done.stdout.split()) == set()
    code = "import agentd.assembly, sys; print(sys.modules.get('rich'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "None\n"


@pytest.mark.parametrize("source", [source for source in SOURCES if source.startswith("agentd/jobs/supervisor/")])
def test_the_supervisor_needs_the_standard_library_and_its_own_room_alone(source: str) -> None:
    tops = {name.partition(".")[0] for name in imports(source)}
    assert tops <= sys.stdlib_module_names | {"agentd"}
    assert tops & {"asyncio", "pathlib", "subprocess", "logging"} == set()
    own = {name for name in imports(source) if name.startswith("agentd")}
    assert all(name.startswith("agentd.jobs.supervisor") for name in own)


PRONOUN = re.compile(
    "(It|They|What|Who|Whom|Whose|Which|That|This|These|Those|Whatever|Whoever|Whether|How|When|Why|Where|One)"
)
"""A word that stands for a thing instead of naming it. A property may tell a fact, which begins with "Whether"."""


@pytest.mark.parametrize("source", SOURCES)
def test_a_docstring_begins_with_a_verb_or_the_noun_of_the_thing(source: str) -> None:
    found = []
    for is_function, is_property, text in contents(source).documented:
        first = text.split(maxsplit=1)[0].rstrip(",.:;")
        is_verb = first.endswith("s") and first.isalpha()  # of the third person: "Returns", "Tells", "Lets"
        is_pronoun = PRONOUN.fullmatch(first) and not (is_property and first == "Whether")
        if is_pronoun or (is_function and not is_property and not is_verb):
            found.append(text.splitlines()[0])
    assert found == []


def test_openssl_stays_out_of_the_daemon_until_a_fleet_wants_it() -> None:
    code = (
        "import sys, agentd.__main__, agentd.assembly\n"
        "mapped = lambda: 'libcrypto' in open('/proc/self/maps').read()\n"
        "print(mapped(), 'ssl' in sys.modules)\n"
        "from agentd.reboots.fleet.connect import connect\n"
        "import http.client, ssl\n"
        "print(mapped(), ssl.create_default_context().verify_mode.name, hasattr(http.client, 'HTTPSConnection'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines() == ["False False", "True CERT_REQUIRED True"]


def test_the_bus_lets_callers_reach_every_interface() -> None:
    policy = (ROOT / "units/org.agentd1.conf").read_text()
    interfaces = [file.stem for file in (ROOT / "agentd").glob("*/org.agentd1.*.xml")]
    assert len(interfaces) >= 5
    assert [name for name in interfaces if f'send_interface="{name}"' not in policy] == []


def test_the_bus_lets_agentd_alone_have_the_name_of_scx_loader_and_callers_reach_it() -> None:
    policies = ET.parse(ROOT / "units/org.agentd1.scx-loader.conf").getroot()  # beside scx_loader's own file
    (contract,) = ET.parse(ROOT / "agentd/schedulers/org.scx.Loader.xml").getroot().iter("interface")
    name = contract.attrib["name"]
    by = [(policy.attrib, rule.tag, rule.attrib) for policy in policies for rule in policy]
    assert ({"user": "agentd"}, "allow", {"own": name}) in by
    assert ({"context": "default"}, "allow", {"send_destination": name, "send_interface": name}) in by
    assert {tag for _, tag, _ in by} == {"allow"}
    assert {rule.get("own", rule.get("send_destination")) for _, _, rule in by} == {name}
