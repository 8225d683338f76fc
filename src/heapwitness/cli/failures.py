"""What goes wrong on the way to a command and in it, as errors of ours."""

import contextlib
import os
from collections.abc import Iterator

from heapwitness.errors import HeapwitnessError


@contextlib.contextmanager
def telling() -> Iterator[None]:
    """What the system refuses is one of our errors; click would end the process where nobody reads its output."""
    try:
        yield
    except OSError as error:
        named = error.filename is not None and not isinstance(error.filename, int)
        what = f"{os.fsdecode(error.filename)} cannot be used" if named else "the output could not be written"
        raise HeapwitnessError(f"{what}: {error.strerror or error}.") from error
