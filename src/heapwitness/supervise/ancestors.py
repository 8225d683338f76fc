"""Which processes started a process."""

_MOST = 16


def ancestors(pid: int) -> tuple[int, ...]:
    """The process that started it, and those before, as far as they run; at most 16."""
    found: list[int] = []
    while len(found) < _MOST and (parent := _parent(pid)) > 1:
        found.append(parent)
        pid = parent
    return tuple(found)


def _parent(pid: int) -> int:
    """0 where that is not known."""
    try:
        with open(f"/proc/{pid:d}/stat", "rb") as stream:
            return int(stream.read().rpartition(b")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return 0
