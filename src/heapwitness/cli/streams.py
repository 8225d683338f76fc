"""Output that a program shares with heapwitness, and may have changed for both."""

import io
import select
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class PatientFile(io.FileIO):
    """A file to which all is written, as if it waited for room itself.

    Whether it does is a property of what is open, not of who has it open: a program that asks for the contrary (Node.js
    does so with pipes) asks for it for heapwitness, too.
    """

    def write(self, data: "ReadableBuffer") -> int:
        """Write all of it; see `io.RawIOBase.write`."""
        left = memoryview(data).cast("B")
        length = len(left)
        while left:
            written = super().write(left)
            if written is None:
                waits = select.poll()
                waits.register(self, select.POLLOUT)
                waits.poll()
            left = left[written or 0 :]
        return length


def patient(stream: TextIO) -> TextIO:
    """A standard stream that waits for room; any other, one of a test say, is given back as it is."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    unbuffered = isinstance(stream.buffer, io.FileIO)
    if not unbuffered and not isinstance(getattr(stream.buffer, "raw", None), io.FileIO):
        return stream
    stream.flush()
    file = PatientFile(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        file if unbuffered else io.BufferedWriter(file),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
