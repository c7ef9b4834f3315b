"""The house's one-way imports, held by reading every file's syntax tree, and by importing the rooms.

``locustfile → scenarios → load → wire → ledger``, ``load → web → judge → ledger``, ``analysis → judge →
ledger``; ``target`` stands apart. A room that does not exist yet has no files, and so breaks no rule.
"""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

REPOSITORY: Final = Path(__file__).parents[1]

ROOMS: Final[dict[str, frozenset[str]]] = {
    # room: the rooms that it may import, besides itself
    "wsoak.ledger": frozenset(),
    "wsoak.judge": frozenset({"wsoak.ledger"}),
    "wsoak.wire": frozenset({"wsoak.ledger"}),
    "wsoak.web": frozenset({"wsoak.judge", "wsoak.ledger"}),
    "wsoak.load": frozenset({"wsoak.wire", "wsoak.web", "wsoak.judge", "wsoak.ledger"}),
    "wsoak.commands": frozenset({"wsoak.load", "wsoak.wire", "wsoak.web", "wsoak.judge", "wsoak.ledger"}),
    "wsoak.__main__": frozenset({"wsoak.commands", "wsoak.judge"}),
    # a re-export here would load its room into every other
    "wsoak": frozenset(),
    "scenarios": frozenset({"wsoak.load", "wsoak.wire", "wsoak.ledger"}),
    "locustfile": frozenset({"scenarios", "wsoak.load", "wsoak.wire", "wsoak.ledger"}),
    "analysis": frozenset({"wsoak.judge", "wsoak.ledger"}),
    "target": frozenset(),
}

DRAWING: Final = frozenset({"pandas", "matplotlib"})
LOAD_ENGINE: Final = frozenset({"gevent", "locust"})

BANNED: Final[dict[str, frozenset[str]]] = {
    # room: third-party packages that it must not import
    "wsoak": LOAD_ENGINE | DRAWING,
    "wsoak.commands": DRAWING,
    "wsoak.__main__": LOAD_ENGINE | DRAWING,
    "wsoak.ledger": LOAD_ENGINE | DRAWING,
    "wsoak.judge": LOAD_ENGINE | DRAWING,
    "wsoak.wire": frozenset({"locust"}) | DRAWING,
    "wsoak.web": DRAWING,
    "wsoak.load": DRAWING,
    "scenarios": DRAWING,
    "locustfile": DRAWING,
    "analysis": LOAD_ENGINE,
    "target": LOAD_ENGINE | DRAWING,
}

LISTENER: Final = "wsoak.load.hooks"
"""The only module that subscribes to Locust's events."""


def room_of(module: str) -> str | None:
    """The room that a module lies in; ``None`` for what is not ours, and for tests and bench."""
    parts = module.split(".")
    for length in (2, 1):
        room = ".".join(parts[:length])
        if room in ROOMS and (room != "wsoak" or len(parts) == 1):
            return room
    # a room of wsoak's that this table does not know is judged by the table's strictest row
    return "wsoak" if parts[0] == "wsoak" else None


def imported(tree: ast.AST, package: str) -> Iterator[tuple[int, str]]:
    """Line and dotted name of each import in a file of ``package``, wherever in the file it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            # ``from wsoak import ledger`` imports a module too
            yield from ((node.lineno, f"{source}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            named = [arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant)]
            yield from ((node.lineno, name) for name in named if isinstance(name, str))


def violations(source: str, module: str, is_package: bool = False) -> list[str]:
    """What this source breaks if it is the module of this name, as ``line: sentence``."""
    room = room_of(module)
    if room is None:
        return []
    tree = ast.parse(source)
    found = []
    for line, name in imported(tree, module if is_package else module.rpartition(".")[0]):
        other, top = room_of(name), name.split(".")[0]
        if other not in {None, room, *ROOMS[room]} and name not in ("wsoak", "wsoak.__version__"):
            found.append(f"{line}: {room} imports {name}")
        if top in BANNED[room]:
            found.append(f"{line}: {room} imports {name}")
        if top in ("tests", "bench"):
            found.append(f"{line}: {room} imports {name}")
    if module != LISTENER:
        found += [
            f"{node.lineno}: {module} subscribes to Locust's events"
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and node.attr == "add_listener"
        ]
    return found


def our_modules() -> Iterator[tuple[str, Path, bool]]:
    """Name and path of every module of the house's rooms, and whether it is a package."""
    tops = {room.split(".")[0] for room in ROOMS}
    for top in sorted(tops):
        for path in [*REPOSITORY.glob(f"{top}.py"), *(REPOSITORY / top).rglob("*.py")]:
            parts = path.relative_to(REPOSITORY).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            yield ".".join(parts[:-1] if is_package else parts), path, is_package


MODULES: Final = list(our_modules())


@pytest.mark.parametrize(("module", "path", "is_package"), MODULES, ids=[name for name, _, _ in MODULES])
def test_a_module_imports_only_what_its_room_may(module: str, path: Path, is_package: bool) -> None:
    assert violations(path.read_text(encoding="utf-8"), module, is_package) == []


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_every_room_has_a_row_in_both_tables(room: str) -> None:
    assert room in BANNED
    assert ROOMS[room] <= ROOMS.keys()


def test_the_rules_have_no_circle() -> None:
    assert set(graphlib.TopologicalSorter(ROOMS).static_order()) == set(ROOMS)


BROKEN: Final = [
    ("wsoak.ledger.x", "import gevent"),
    ("wsoak.ledger.x", "import pandas as pd"),
    ("wsoak.ledger.x", "from wsoak.wire.frames import Frame"),
    ("wsoak.ledger.x", "from wsoak import wire"),
    ("wsoak.ledger.x", "from ..wire import frames"),
    ("wsoak.ledger.x", "from .. import wire"),
    ("wsoak.ledger.x", "def late():\n    import locust.env"),
    ("wsoak.ledger.x", "if TYPE_CHECKING:\n    from gevent.event import Event"),
    ("wsoak.ledger.x", "importlib.import_module('gevent')"),
    ("wsoak.ledger.x", "__import__('wsoak.wire')"),
    ("wsoak.ledger.x", "from tests.ledger import samples"),
    ("wsoak.judge.x", "from wsoak.load import user"),
    ("wsoak.judge.x", "import matplotlib.pyplot"),
    ("wsoak.wire.x", "import locust"),
    ("wsoak.wire.x", "import wsoak.judge"),
    ("wsoak.web.x", "from wsoak.load import options"),
    ("wsoak.web.x", "from analysis import report"),
    ("wsoak.load.x", "from scenarios.echo import EchoUser"),
    ("wsoak.load.x", "from pandas import DataFrame"),
    ("wsoak.load.x", "environment.events.init.add_listener(f)"),
    ("wsoak.load.x", "@events.quitting.add_listener\ndef f(**_): ..."),
    ("wsoak.unheard_of.x", "from wsoak.ledger import books"),
    ("wsoak", "from wsoak.load.user import WebSocketUser"),
    ("scenarios.echo", "import target"),
    ("scenarios.echo", "from wsoak.judge import rules"),
    ("scenarios.echo", "from locust import events\nevents.init.add_listener(f)"),
    ("locustfile", "from analysis import report"),
    ("analysis.report", "from wsoak.wire import frames"),
    ("analysis.report", "import gevent.monkey"),
    ("analysis", "from .x import y\nfrom wsoak.load import z"),
    ("target.app", "from wsoak.ledger import outcomes"),
    ("target.app", "import scenarios"),
]

ALLOWED: Final = [
    ("wsoak.ledger.x", "import numpy\nfrom wsoak.ledger.units import NS_PER_S\nfrom . import records"),
    ("wsoak.wire.x", "import gevent\nimport websocket\nfrom wsoak.ledger import recorder"),
    ("wsoak.web.x", "from flask import request\nfrom wsoak.judge import rules"),
    ("wsoak.load.x", "import locust\nfrom wsoak.wire import frames\nfrom ..web import routes"),
    ("wsoak.load.hooks", "from locust import events\nevents.init.add_listener(f)"),
    ("wsoak.judge.x", "from wsoak import __version__"),
    ("wsoak.judge.x", "import wsoak"),
    ("scenarios.echo", "from locust import task\nfrom wsoak.load.user import WebSocketUser"),
    ("locustfile", "from scenarios.echo import EchoUser"),
    ("analysis.report", "import pandas\nfrom wsoak.judge import rules\nfrom analysis import charts"),
    ("target.app", "import starlette\nfrom target import faults"),
    ("tests.wire.x", "import locust, pandas, wsoak.wire"),
]


@pytest.mark.parametrize(("module", "source"), BROKEN)
def test_a_breach_is_seen(module: str, source: str) -> None:
    assert violations(source, module, is_package="." not in module and module != "locustfile")


@pytest.mark.parametrize(("module", "source"), ALLOWED)
def test_what_is_allowed_is_not_called_a_breach(module: str, source: str) -> None:
    assert violations(source, module) == []


@pytest.mark.parametrize(
    "room", sorted(room for room in ROOMS if room not in ("wsoak.__main__", "locustfile"))
)
def test_importing_a_room_loads_nothing_that_it_must_not(room: str) -> None:
    """Also by way of a third-party package: the syntax trees show only direct imports."""
    modules = [name for name, _, _ in MODULES if room_of(name) == room and not name.endswith("__main__")]
    if not modules:
        return
    program = f"import sys, {', '.join(modules)}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert BANNED[room] & set(loaded.stdout.split()) == set()
