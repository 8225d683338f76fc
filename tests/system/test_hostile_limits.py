"""The limits that docs/security.md promises are those of the code."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| .+ \| ([\d.]+)( [KMG]iB)? \| `([\w/.]+)` `(\w+)` \|$", re.MULTILINE)
UNITS = {"": 1, " KiB": 1 << 10, " MiB": 1 << 20, " GiB": 1 << 30}
LIMITS = ROW.findall((ROOT / "docs" / "security.md").read_text())


def value(file: str, name: str) -> float:
    """Of a constant, alone or in a tuple of them, in a Python file; or of an enumerator in a C file."""
    path = ROOT / file if file.startswith("native/") else ROOT / "src" / "heapwitness" / file
    text = path.read_text()
    if path.suffix in (".c", ".h"):
        found = re.search(rf"\b{name} = ([^,}}\n]+)", text)
        assert found is not None
        return number(ast.parse(found[1].strip(), mode="eval").body)
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign):
            (target,) = node.targets
            names = [one.id for one in getattr(target, "elts", [target]) if isinstance(one, ast.Name)]
            if name in names:
                values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
                return number(values[names.index(name)])
    raise AssertionError(f"{file} has no {name}")


def number(node: ast.expr) -> float:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.LShift):
        return int(number(node.left)) << int(number(node.right))
    assert isinstance(node, ast.Constant) and isinstance(node.value, int | float)
    return node.value


def test_the_page_has_its_limits() -> None:
    assert len(LIMITS) > 35


@pytest.mark.parametrize(("shown", "unit", "file", "name"), LIMITS)
def test_a_promised_limit_is_that_of_the_code(shown: str, unit: str, file: str, name: str) -> None:
    assert float(shown) * UNITS[unit] == value(file, name)
