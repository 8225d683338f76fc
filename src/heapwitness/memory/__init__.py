"""Bytes by address, whatever holds them.

Nothing here knows what the bytes mean. Callers bound the length they ask for; every source refuses,
before it allocates anything, what it does not have, and no source ever gives fewer bytes than asked.
"""

from heapwitness.memory.buffer import BufferMemory, SegmentsMemory
from heapwitness.memory.core import CoreMemory
from heapwitness.memory.live import ProcessMemory
from heapwitness.memory.protocol import READ_LIMIT, Memory, Unreadable, read_up_to

__all__ = [
    "READ_LIMIT",
    "BufferMemory",
    "CoreMemory",
    "Memory",
    "ProcessMemory",
    "SegmentsMemory",
    "Unreadable",
    "read_up_to",
]
