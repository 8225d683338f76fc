"""Crashes of which the stack itself was overwritten, as far as the processor or the compiler's own check tells.

What the stack holds then leads to nobody: what stood there was written over, and no block of the heap is concerned.
"""

import msgspec

from heapwitness.diagnose.operand import Use
from heapwitness.findings.model import Access, Crash
from heapwitness.layout.events import CrashWords, Machine
from heapwitness.memory import Memory, Unreadable

_WORD = 8
_CHECK = "__stack_chk_fail"
_HOW = "as by an array on the stack that was written past its end. No block of the heap is concerned."


def overwritten_return(
    words: CrashWords, use: Use | None, address: int | None, access: Access | None, memory: Memory
) -> str | None:
    """A sentence where a function returned to what is no code; None where that did not happen, or cannot be told.

    Args:
        words: of the crash.
        use: what its instruction took for addresses.
        address: that it could not access.
        access: how.
        memory: of the process at that moment.
    """
    if words.machine != Machine.X86_64 or address is None:
        return None
    refused = use is not None and use.returns and address == _word(memory, words.sp)
    # A return has left its address right below the stack pointer; a call would have stored another one there.
    went = access == "execute" and address == words.pc == _word(memory, words.sp - _WORD)
    if not refused and not went:
        return None
    return (
        f"A function returned to {address:#x}{_text(address)}, which is no code: its frame on the stack was "
        f"overwritten, {_HOW}"
    )


def with_check(crash: Crash) -> Crash:
    """A crash, whose frames have names, with a sentence where the compiler's check of the stack ended the program."""
    names = [frame.function for frame in crash.stack]
    if _CHECK not in names[:-1]:
        return crash
    function = names[names.index(_CHECK) + 1] or "the function that called it"
    note = f"The compiler's check at the end of {function} found its frame on the stack overwritten, {_HOW}"
    return msgspec.structs.replace(crash, stale=(), notes=(*crash.notes, note))


def _word(memory: Memory, at: int) -> int | None:
    try:
        return int.from_bytes(memory.read(at, _WORD), "little")
    except Unreadable:
        return None


def _text(address: int) -> str:
    """The characters that an address is made of, where it is nothing else."""
    data = address.to_bytes(_WORD, "little").rstrip(b"\0")
    return f' ("{data.decode("ascii")}")' if len(data) > 3 and data.isascii() and data.decode().isprintable() else ""
