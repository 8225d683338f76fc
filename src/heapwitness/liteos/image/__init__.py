"""Memory dumps as files: raw, gzip, Intel HEX, S-records, ELF. Bytes by address, and the same file with bytes changed.

Nothing here knows what the bytes mean. What is read is bounded by SIZE_LIMIT, whatever a file claims.
"""

from heapwitness.liteos.image.errors import BadImage
from heapwitness.liteos.image.load import load
from heapwitness.liteos.image.model import SIZE_LIMIT, Image, Segment

__all__ = ["SIZE_LIMIT", "BadImage", "Image", "Segment", "load"]
