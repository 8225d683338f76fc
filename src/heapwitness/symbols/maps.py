"""The text of /proc/PID/maps, live or from a record, as typed mappings.

The kernel ends a line with a newline and writes one in a name as \\012, and nothing else of a name in another way:
names may hold blanks, carriage returns and backslashes.
"""

import string
from dataclasses import dataclass

from heapwitness.regular import Identity

MAPPINGS_LIMIT = 65536

_FIELDS = 6
_HEXADECIMAL, _DECIMAL = frozenset(string.hexdigits), frozenset(string.digits)
_DELETED = " (deleted)"
_ESCAPED_NEWLINE = "\\012"


@dataclass(frozen=True, slots=True)
class Mapping:
    """One mapping, mostly of a file: addresses `start` to `end`, file offset in bytes, and what was mapped.

    `device` is the file's (major, minor). `deleted`: the file had no name any more when the mapping was listed.
    `accessible`: it may be read, written or executed.
    """

    start: int
    end: int
    offset: int
    device: tuple[int, int]
    inode: int
    path: str
    executable: bool
    deleted: bool
    accessible: bool = True

    @property
    def identity(self) -> Identity:
        """What tells the file from others of the same name."""
        return Identity(self.device, self.inode)

    def names(self) -> tuple[str, ...]:
        """What the file may be called: a name may hold the kernel's own words for a newline and a deleted file."""
        if not self.path.startswith("/"):
            return ()
        path = self.path + _DELETED if self.deleted else self.path
        return (path, path.replace("\n", _ESCAPED_NEWLINE)) if "\n" in path else (path,)


def parse_maps(text: str, *, unnamed: bool = False) -> tuple[Mapping, ...]:
    """The named mappings (files and pseudo files such as `[vdso]`) in order of address, and with `unnamed` the
    others, too, whose path is "".

    Lines that make no sense are passed over, and no more than `MAPPINGS_LIMIT` mappings are kept: the
    text of a record may be forged.
    """
    found: list[Mapping] = []
    at = 0
    while at < len(text) and len(found) < MAPPINGS_LIMIT:
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        mapping = _mapping(text[at:end])
        if mapping is not None and (mapping.path or unnamed):
            found.append(mapping)
        at = end + 1
    return tuple(sorted(found, key=lambda mapping: mapping.start))


def code_lines(maps: bytes, limit: int) -> str:
    """The lines of mappings that may be executed, all that names stacks: whole ones of up to `limit` bytes together.

    Bytes that are no UTF-8 stay as they are, as names of files have them in Python.
    """
    kept: list[bytes] = []
    left, at = limit, 0
    while at < len(maps):
        end = maps.find(b"\n", at) + 1 or len(maps)
        if end - at > left:
            break
        # Only the first words: a name may be a whole file long.
        words = maps[at : min(end, at + 64)].split(b" ", 2)
        if len(words) == 3 and b"x" in words[1]:
            kept.append(maps[at:end])
            left -= end - at
        at = end
    return b"".join(kept).decode("utf-8", "surrogateescape")


def _mapping(line: str) -> Mapping | None:
    # The name is padded with blanks, and is the only field that may hold some.
    fields = line.split(" ", _FIELDS - 1)
    if len(fields) < _FIELDS - 1:
        return None
    path = fields[-1].lstrip(" ") if len(fields) == _FIELDS else ""
    first, _, last = fields[0].partition("-")
    one, _, two = fields[3].partition(":")
    start, end, offset = _number(first, 16), _number(last, 16), _number(fields[2], 16)
    major, minor = _number(one, 8), _number(two, 8)
    inode = _number(fields[4], 20, 10)
    if start is None or end is None or offset is None or major is None or minor is None or inode is None:
        return None
    if start >= end or not _is_mode(fields[1]):
        return None
    deleted = path.endswith(_DELETED)
    return Mapping(
        start=start,
        end=end,
        offset=offset,
        device=(major, minor),
        inode=inode,
        path=(path.removesuffix(_DELETED) if deleted else path).replace(_ESCAPED_NEWLINE, "\n"),
        executable="x" in fields[1],
        deleted=deleted,
        accessible=fields[1][:3] != "---",
    )


def _number(word: str, longest: int, base: int = 16) -> int | None:
    digits = _HEXADECIMAL if base == 16 else _DECIMAL
    return int(word, base) if 0 < len(word) <= longest and digits.issuperset(word) else None


def _is_mode(word: str) -> bool:
    return len(word) == 4 and set("-rwxsp").issuperset(word)
