"""The text of /proc/PID/maps, live or from a record, as typed mappings."""

import re
from dataclasses import dataclass

MAPPINGS_LIMIT = 65536

_LINE = re.compile(
    r"(?P<start>[0-9a-f]{1,16})-(?P<end>[0-9a-f]{1,16}) (?P<mode>[-rwxsp]{4}) (?P<offset>[0-9a-f]{1,16}) "
    r"(?P<major>[0-9a-f]{1,8}):(?P<minor>[0-9a-f]{1,8}) (?P<inode>\d{1,20})(?: +(?P<path>.*))?"
)
_OCTAL = re.compile(r"\\([0-7]{3})")
_DELETED = " (deleted)"


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


def parse_maps(text: str, *, unnamed: bool = False) -> tuple[Mapping, ...]:
    """The named mappings (files and pseudo files such as `[vdso]`) in order of address, and with `unnamed` the
    others, too, whose path is "".

    Lines that make no sense are passed over, and no more than `MAPPINGS_LIMIT` mappings are kept: the
    text of a record may be forged.
    """
    found: list[Mapping] = []
    for line in text.split("\n"):
        match = _LINE.fullmatch(line)
        if match is None or not (match["path"] or unnamed):
            continue
        start, end = int(match["start"], 16), int(match["end"], 16)
        if start >= end:
            continue
        path = match["path"] or ""
        deleted = path.endswith(_DELETED)
        found.append(
            Mapping(
                start=start,
                end=end,
                offset=int(match["offset"], 16),
                device=(int(match["major"], 16), int(match["minor"], 16)),
                inode=int(match["inode"]),
                path=_unescape(path.removesuffix(_DELETED) if deleted else path),
                executable="x" in match["mode"],
                deleted=deleted,
                accessible=match["mode"][:3] != "---",
            )
        )
        if len(found) == MAPPINGS_LIMIT:
            break
    return tuple(sorted(found, key=lambda mapping: mapping.start))


def _unescape(path: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), path)
