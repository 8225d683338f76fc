"""Patterns for names that come from a target: `*` stands for any characters, `?` for one, all else for itself.

A name is cut at MOST_CHARACTERS. A pattern without `?` takes time in proportion to the name; with some, at most to the
product of both lengths.
"""

MOST_CHARACTERS = 4096


def fits(pattern: str, name: str) -> bool:
    """Whether the whole name is as the pattern says; case counts."""
    name = name[:MOST_CHARACTERS]
    first, *rest = pattern.split("*")
    if not rest:
        return len(name) == len(first) and _at(first, name, 0)
    last = rest.pop()
    stop = len(name) - len(last)
    if not _at(first, name, 0) or stop < len(first) or not _at(last, name, stop):
        return False
    start = len(first)
    for piece in rest:
        # The first place is as good as any other, since what follows only needs room.
        place = _find(piece, name, start, stop)
        if place < 0:
            return False
        start = place + len(piece)
    return True


def _at(piece: str, name: str, place: int) -> bool:
    if "?" not in piece:
        return name.startswith(piece, place)
    return len(name) - place >= len(piece) and all(
        one in ("?", name[place + number]) for number, one in enumerate(piece)
    )


def _find(piece: str, name: str, start: int, stop: int) -> int:
    if "?" not in piece:
        return name.find(piece, start, stop)
    return next((place for place in range(start, stop - len(piece) + 1) if _at(piece, name, place)), -1)
