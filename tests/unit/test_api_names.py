"""What `heapwitness` and `heapwitness.liteos` name is there, and says its units, its errors and its source."""

import ast
import builtins
import inspect
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import heapwitness
import heapwitness.liteos

ROOT = Path(__file__).parents[2]
MODULES = (heapwitness, heapwitness.liteos)
NAMES = [(module, name) for module in MODULES for name in module.__all__]
UNITS = re.compile(r"\b(bytes?|bits?|granules?|address(es)?|offsets?|nodes?|numbers?|counts?|log2|tasks?|modules?)\b")
PAGE = re.compile(r"\bdocs/[a-z-]+\.md\b")


def members(thing: Any) -> Iterator[tuple[str, Any]]:
    """The name's own functions: itself, or of a class its public methods and properties."""
    if not inspect.isclass(thing):
        yield thing.__name__, thing
        return
    for name, member in vars(thing).items():
        function = inspect.unwrap(getattr(member, "__func__", member.fget if isinstance(member, property) else member))
        if not name.startswith("_") and inspect.isfunction(function):
            yield name, function


def raised(function: Any) -> set[str]:
    """The exceptions that its own statements raise."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    calls = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise) and node.exc is not None]
    names = [call.func for call in calls if isinstance(call, ast.Call)]
    return {name.id for name in names if isinstance(name, ast.Name)}


def takes_numbers(function: Any) -> bool:
    given = inspect.get_annotations(function, eval_str=False)
    return any(re.search(r"\bint\b", str(getattr(kind, "__name__", kind))) for kind in given.values())


@pytest.mark.parametrize(("module", "name"), NAMES, ids=[f"{one.__name__}.{name}" for one, name in NAMES])
def test_a_public_name_has_units_errors_and_source(module: Any, name: str) -> None:
    thing = getattr(module, name)
    text = inspect.getdoc(thing) or ""
    is_error = inspect.isclass(thing) and issubclass(thing, Exception)

    assert text
    assert is_error or [page for page in PAGE.findall(text) if (ROOT / page).is_file()], "its docstring names no page"
    for own, function in members(thing):
        said = (inspect.getdoc(function) or "") + (text if function is not thing else "")
        assert inspect.getdoc(function), f"{own} has no docstring"
        assert not takes_numbers(function) or UNITS.search(said), f"{own} does not say its units"
        assert [one for one in raised(function) if one not in said and not hasattr(builtins, one)] == [], own


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_the_names_are_those_that_editors_and_type_checkers_see(module: Any) -> None:
    assert set(module.__all__) <= set(dir(module))
    with pytest.raises(AttributeError, match="nothing_of_this_name"):
        module.nothing_of_this_name  # noqa: B018


def test_a_name_is_the_same_whatever_was_imported_before() -> None:
    """The function `diagnose` has the name of a folder."""
    code = (
        "import heapwitness.liteos.diagnose.damage\nfrom heapwitness.liteos import diagnose\nprint(callable(diagnose))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    assert (done.stdout, done.stderr) == ("True\n", "")


def test_importing_the_package_imports_nothing_that_takes_time() -> None:
    code = "import sys, heapwitness\nprint([name for name in sys.modules if name.split('.')[0] in sys.argv])"
    heavy = ["msgspec", "ctypes", "rich", "elftools", "click", "drgn"]

    done = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, timeout=60)

    assert done.stdout == "[]\n"


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_pages_import_only_what_may_be_relied_upon(page: Path) -> None:
    imports = re.findall(r"\bfrom (heapwitness[.\w]*) import ([\w, ]+)", page.read_text())

    allowed = {module.__name__: set(module.__all__) for module in MODULES}
    assert [(home, names) for home, names in imports if not set(names.split(", ")) <= allowed.get(home, set())] == []
