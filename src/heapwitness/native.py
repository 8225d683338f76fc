"""Where the compiled parts of this installation are."""

import os
from pathlib import Path

from heapwitness.errors import HeapwitnessError


def library(name: str) -> Path:
    """Path of a compiled library: "preload", "core" or "blocks".

    `HEAPWITNESS_LIBRARY_DIR` overrides the directory inside of the installed package.

    Raises:
        HeapwitnessError: the library was not built.

    Source: docs/run.md.
    """
    directory = os.environ.get("HEAPWITNESS_LIBRARY_DIR")
    base = Path(directory) if directory else Path(__file__).parent / "_lib"
    path = base / f"libheapwitness_{name}.so"
    if not path.exists():
        raise HeapwitnessError(f"{path} is missing: build it with `make build`.")
    return path
