"""Which part may use which: imports lead down the lists of stages below, and never in a circle."""

import ast
import graphlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "src" / "heapwitness"

# From the ground up.
STAGES: tuple[str, ...] = (
    "errors",
    "workers",
    "regular",
    "named",
    "replacing",
    "outputs",
    "native",
    "findings",
    "around",
    "inside",
    "numpy",
    "memory",
    "layout",
    "heap",
    "pool",
)
STAGES += ("diagnose", "survey", "symbols", "report", "accept", "supervise", "liteos", "cli", "integrations")
STAGES += ("__main__",)
LITEOS: tuple[str, ...] = (
    "errors",
    "image",
    "config",
    "layout",
    "firmware",
    "heap",
    "find",
    "diagnose",
    "kernel",
    "pool",
    "dump",
)
LITEOS += ("simulate",)


def modules() -> dict[str, Path]:
    """All modules of the package by name."""
    found = {}
    for file in SOURCES.rglob("*.py"):
        parts = file.relative_to(SOURCES.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports(known: dict[str, Path], name: str) -> set[str]:
    """The modules of the package that one imports, anywhere in it and for types, too."""
    used = set()
    for node in ast.walk(ast.parse(known[name].read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            used |= {inner if (inner := f"{node.module}.{one.name}") in known else node.module for one in node.names}
        elif isinstance(node, ast.Import):
            used |= {one.name for one in node.names}
    return {one for one in used if one in known and one != name}


def upward(arrows: Iterator[tuple[str, str]], stages: Sequence[str], depth: int) -> list[tuple[str, str]]:
    """Those that lead from a stage to a higher one, or to none of these; a stage is the name's part at a depth."""

    def height(name: str) -> int:
        return stages.index(name.split(".")[depth])

    return [(one, other) for one, other in arrows if height(other) > height(one)]


@pytest.fixture(scope="module")
def arrows() -> dict[str, set[str]]:
    known = modules()
    return {name: imports(known, name) for name in known}


def test_no_import_leads_in_a_circle(arrows: dict[str, set[str]]) -> None:
    ordered = tuple(graphlib.TopologicalSorter(arrows).static_order())

    assert set(ordered) == set(arrows)


def test_imports_lead_down_the_stages(arrows: dict[str, set[str]]) -> None:
    pairs = ((one, other) for one, used in arrows.items() for other in used if "." in one and "." in other)

    assert upward(pairs, STAGES, 1) == []


def test_imports_of_liteos_lead_down_its_stages(arrows: dict[str, set[str]]) -> None:
    deep = {name for name in arrows if name.startswith("heapwitness.liteos.")}
    pairs = ((one, other) for one in deep for other in arrows[one] if other in deep)

    assert upward(pairs, LITEOS, 2) == []


def test_nothing_of_liteos_takes_its_names_from_its_own_surface(arrows: dict[str, set[str]]) -> None:
    inside = [name for name in arrows if name.startswith("heapwitness.liteos.")]

    assert [name for name in inside if "heapwitness.liteos" in arrows[name]] == []


# The engine's rooms, from the ground up. The fast path of release and resize is a header, which its slow path includes.
ROOMS = (("core",), ("os",), ("stacks",), ("arena",), ("tell",), ("heap", "traps"), ("life",), ("preload",))
NATIVE = ROOT / "native"


def includes() -> Iterator[tuple[str, str]]:
    """Each source of the engine with each header that it includes, by room and name."""
    for file in (*NATIVE.glob("core/*.[ch]"), *NATIVE.glob("host/*/*.[ch]"), *NATIVE.glob("preload/*.[ch]")):
        room = f"{file.parent.name}/{file.name}"
        for header in re.findall(r'#include "([^"]+)"', file.read_text()):
            yield room, header if "/" in header else f"{file.parent.name}/{header}"


def test_includes_of_the_engine_lead_down_its_rooms() -> None:
    heights = {room: height for height, rooms in enumerate(ROOMS) for room in rooms}
    heights["heapwitness"] = heights["core"]

    found = [(file, header, heights[file.split("/")[0]] - heights[header.split("/")[0]]) for file, header in includes()]

    assert len(found) > 100
    assert [(file, header) for file, header, down in found if down < 0] == []
