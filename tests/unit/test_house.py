"""The house stays as the design draws it: who may import whom, and how large a room gets."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PURE_LIBRARIES = {"cronsim", "msgspec"}  # no clock, no I/O: the core may use them
IMPURE = {"asyncio", "time", "os", "subprocess", "socket", "sqlite3", "logging", "threading", "random", "pathlib"}
ONLY_IN = {
    "dbus_next": {"agentd/bus.py"},
    "psutil": {"agentd/kpis.py"},
    "numpy": {"agentd/train.py"},
    "sklearn": {"agentd/train.py"},
    "jeepney": {"agentctl/client.py"},
    "structlog": {"agentd/log.py"},
    "systemd": {"agentd/log.py", "agentd/service.py"},
    "sqlite3": {"agentd/store.py", "agentd/storing.py", "agentd/__main__.py"},  # the last two for its errors
}
# Peers and leaves know the core and what they are made of, not each other.
MAY_IMPORT = {
    "config": {"nodes"},
    "nodes": {"mistakes"},
    "mistakes": set(),
    "store": set(),
    "bus": set(),
    "log": set(),
    "linux": set(),
    "supervisor": set(),
    "service": set(),
    "spool": set(),
    "peer": set(),
    "fleet": {"peer"},
    "storing": {"linux", "log", "store"},
    "standalone": {"linux", "supervisor"},
    "systemd": {"bus", "linux", "spool"},
    "polkit": {"bus", "systemd"},
    "api": {"bus"},
    "api_reboot": {"api", "bus"},
    "logind": {"bus"},
    "machine": set(),
    "rebooter": {"api_reboot", "bus", "fleet", "linux", "log", "logind", "machine"},
}
SOURCES = sorted(
    file.relative_to(ROOT).as_posix() for top in ("agentd", "agentctl") for file in (ROOT / top).rglob("*.py")
)


def imports(source: str) -> set[str]:
    """The full names of what a source file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / source).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize("source", [source for source in SOURCES if source.startswith("agentd/core/")])
def test_the_core_is_pure(source: str) -> None:
    tops = {name.partition(".")[0] for name in imports(source)}
    assert tops - sys.stdlib_module_names - PURE_LIBRARIES == {"agentd"} & tops
    assert tops & IMPURE == set()
    assert {name for name in imports(source) if name.startswith("agentd") and not name.startswith("agentd.core")} <= {
        "agentd"
    }


@pytest.mark.parametrize("source", SOURCES)
def test_a_library_is_imported_only_where_it_belongs(source: str) -> None:
    tops = {name.partition(".")[0] for name in imports(source)}
    assert [library for library, places in ONLY_IN.items() if library in tops and source not in places] == []


@pytest.mark.parametrize("module", sorted(MAY_IMPORT))
def test_leaves_and_peers_import_the_core_and_little_else(module: str) -> None:
    inside = {name.split(".")[1] for name in imports(f"agentd/{module}.py") if name.startswith("agentd.")}
    modules = {Path(source).stem for source in SOURCES if source.startswith("agentd/")} - {"core"}
    assert (inside & modules) - {"__init__"} <= MAY_IMPORT[module]


@pytest.mark.parametrize("source", [source for source in SOURCES if source.startswith("agentctl/")])
def test_agentctl_imports_nothing_of_the_daemon(source: str) -> None:
    assert {name for name in imports(source) if name.partition(".")[0] == "agentd"} == set()


def test_the_daemon_never_loads_what_is_heavy() -> None:
    code = (
        "import agentd.daemon, agentd.__main__, sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    heavy = {"numpy", "sklearn", "apprise", "mcp", "textual", "httpx", "requests", "pydantic", "jeepney", "click"}
    assert heavy & set(done.stdout.split()) == set()
    code = "import agentd.daemon, sys; print(sys.modules.get('rich'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "None\n"


def test_the_supervisor_needs_the_standard_library_alone() -> None:
    tops = {name.partition(".")[0] for name in imports("agentd/supervisor.py")}
    assert tops <= sys.stdlib_module_names
    assert tops & {"asyncio", "pathlib", "subprocess", "logging"} == set()
