"""CPython's own tests, a task for each of its modules."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

from task import Task


def tasks() -> Iterator[Task]:
    """A task for every test module or package of the running Python."""
    found = importlib.util.find_spec("test.regrtest")
    if found is None or found.origin is None:
        return
    directory = Path(found.origin).parent
    names = {path.stem for path in directory.glob("test_*.py")}
    names |= {path.name for path in directory.glob("test_*") if (path / "__init__.py").exists()}
    for name in sorted(names):
        command = (sys.executable, "-m", "test", "--timeout", "300", "--tempdir", ".", name)
        yield Task("cpython", name, command, plain_first=False, timeout=420)
