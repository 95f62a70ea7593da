"""The plan of the house: which room may import which."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "bcshopper"
FLOORS = [
    {"_version", "_secret", "_models", "_outcomes", "errors", "events", "_inputs"},  # plain data
    {"_quota"},
    {"_transport"},
    {"_listing", "_batch"},
    {"_customers"},
    {"_profiles"},
    {"_segments"},
    {"_session"},
    {"bcshopper"},
    {"otel"},
    {"sandbox"},
    {"_cli"},
    {"fleet"},
    {"__main__"},
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def rooms_imported(code):
    """The room that each import of the package's own names, at run time or not, leads to."""
    for node in ast.walk(ast.parse(code)):
        names = [node.module] if isinstance(node, ast.ImportFrom) else []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            head, _, rest = (name or "").partition(".")
            if head == "bcshopper" and rest:
                yield rest.split(".")[0]
            elif head == "bcshopper" and isinstance(node, ast.ImportFrom):
                yield from (a.name if a.name in FLOOR else "bcshopper" for a in node.names)


def room_of(path):
    first = path.relative_to(PACKAGE).parts[0]
    return "bcshopper" if first == "__init__.py" else first.removesuffix(".py")


def arrows_up(room, code):
    """The imports that do not lead down: plain data and a room's own files aside."""
    below = FLOOR[room]
    return [
        other
        for other in rooms_imported(code)
        if other != room and FLOOR[other] >= below and not FLOOR[other] == below == 0
    ]


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_only_point_down(path):
    """A room knows the rooms below it, and none beside or above."""
    assert arrows_up(room_of(path), path.read_text()) == []


def test_an_arrow_up_would_be_seen():
    """The test above can fail."""
    assert arrows_up("_quota", "def f():\n    from bcshopper._transport import Request")
    assert arrows_up("_listing", "import bcshopper._batch")
    assert not arrows_up("_listing", "from bcshopper._transport import Request")


def test_rooms_take_from_each_other_only_what_is_offered():
    """What a room's `__init__` names, not what its files hold; but for what is imported late."""
    inside = re.compile(r"^from bcshopper\.(_[a-z]+)\.", re.MULTILINE)
    assert [
        (str(path.relative_to(PACKAGE)), room)
        for path in FILES
        for room in inside.findall(path.read_text())
        if room != room_of(path)
    ] == []


def test_one_file_knows_aiohttp():
    """The sandbox, which is a server, and the type of `Session(http=)` aside."""
    knowing = [path for path in FILES if "import aiohttp" in path.read_text()]
    rest = {str(p.relative_to(PACKAGE)) for p in knowing if room_of(p) != "sandbox"}
    assert rest == {"_session.py", "_transport/http.py"}


def test_the_top_level_is_small():
    """A newcomer sees the rooms, not a heap of files."""
    assert len(list(PACKAGE.glob("*.py"))) <= 14
