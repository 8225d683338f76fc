"""Where a document goes: to a file that has either all of it or what it had before, or to stdout."""

import sys
from pathlib import Path

from heapwitness.errors import HeapwitnessError
from heapwitness.outputs import STDOUT
from heapwitness.replacing import write_whole


def put(data: bytes, path: Path, option: str) -> None:
    """Write a document to a file, which has either all of it or what it had before, or to stdout.

    Raises:
        HeapwitnessError: it could not be written; says why.
    """
    if path == STDOUT:
        try:
            sys.stdout.flush()
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        except OSError as error:
            raise HeapwitnessError(f"the output could not be written: {error.strerror or error}.") from error
        return
    try:
        write_whole(path, data)
    except OSError as error:
        raise HeapwitnessError(
            f"the report could not be written to {path}: {error.strerror or error}. Nothing was left there; "
            f"choose another place with --{option}."
        ) from error
