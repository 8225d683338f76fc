"""Messages as an engine sends them, for tests without an engine (docs/format.md, "Events")."""

import os
import socket
import struct
from pathlib import Path

_EVENT = struct.Struct("<IHHIIIIIIQQQQII16sIIQ")
HELLO, FINDING, EXIT, OUTCOME, CRASH, CHECKED = 1, 2, 3, 4, 6, 7
DAMAGE, SLACK, DOUBLE = 1, 2, 6
COMMAND, STATS, MENDED, CRASHED = 3, 4, 6, 7


def section(kind: int, data: bytes, address: int = 0) -> bytes:
    """A section, padded."""
    return struct.pack("<IIQQ", kind, 0, address, len(data)) + data + bytes(-len(data) % 8)


def message(
    type_: int,
    *sections: bytes,
    pid: int | None = None,
    tid: int = 0,
    reason: int = 0,
    pool: int = 0,
    pointer: int = 0,
    node: int = 0,
    frames: tuple[int, ...] = (),
    dropped: int = 0,
) -> bytes:
    """A whole message of this process, or of another."""
    rest = struct.pack(f"<{len(frames)}Q", *frames) + b"".join(sections)
    pid = os.getpid() if pid is None else pid
    return (
        _EVENT.pack(
            0x56455748,
            2,
            type_,
            _EVENT.size + len(rest),
            pid,
            tid or pid,
            os.getppid(),
            1,
            reason,
            0x1000,
            pool,
            4096 if pool else 0,
            pointer,
            node,
            0,
            b"worker",
            0,
            len(frames),
            dropped,
        )
        + rest
    )


def stats(operations: int = 10, nodes: int = 2) -> bytes:
    """The section of an exit event."""
    return section(STATS, struct.pack("<8Q", operations, nodes, nodes, 0, 0, 0, 0, 0))


def outcome(headers: int = 1) -> bytes:
    """The section of an outcome event."""
    return section(MENDED, struct.pack("<8Q", headers, *[0] * 7))


def connect(path: Path) -> socket.socket:
    """A connection as an engine makes it."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.settimeout(10)
    connection.connect(str(path))
    return connection


def ask(path: Path, data: bytes) -> bytes:
    """Send a message and wait for the answer; b"" when there is none."""
    with connect(path) as connection:
        connection.send(data)
        return connection.recv(16)
