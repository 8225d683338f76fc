"""The memory of a process that died, from its ELF core file."""

from pathlib import Path

from heapwitness.errors import HeapwitnessError
from heapwitness.memory.protocol import READ_LIMIT, Unreadable


class CoreMemory:
    """Memory as an ELF core file of a process holds it; the file is mapped, not loaded.

    Raises:
        HeapwitnessError: the file cannot be opened or is no core file.

    Source: the core file, read by drgn; what pools in it look like is in docs/format.md.
    """

    def __init__(self, path: Path) -> None:
        # Takes a tenth of a second to load, and only cores need it.
        import drgn

        self._faults = (drgn.FaultError, OSError, ValueError, OverflowError)
        self._program = drgn.Program()
        try:
            self._program.set_core_dump(path)
        except OSError as error:
            raise HeapwitnessError(f"{path} cannot be read: {error.strerror}.") from error
        except (ValueError, LookupError) as error:
            raise HeapwitnessError(f"{path} is no core file that can be read: {error}.") from error

    def read(self, address: int, length: int) -> bytes:
        """`length` bytes from `address` on, all of them; else `Unreadable`. See `Memory.read`."""
        if address < 0 or length < 0 or length > READ_LIMIT or address + length > 1 << 64:
            raise Unreadable(address, length)
        try:
            return bytes(self._program.read(address, length))
        except self._faults as error:
            raise Unreadable(address, length) from error
