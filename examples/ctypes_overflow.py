"""A ctypes call that says 40 where its buffer has 37 bytes.
Under glibc: nothing is heard, or a crash somewhere else in the interpreter, later."""

import ctypes


def fill(buffer: ctypes.Array[ctypes.c_char], length: int) -> None:
    ctypes.memset(ctypes.addressof(buffer), ord("A"), length)


message = ctypes.create_string_buffer(37)
fill(message, 40)
print(message.raw[:8].decode())
del message
