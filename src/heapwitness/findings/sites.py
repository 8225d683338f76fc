"""Names of allocation sites that hold in every run, on every machine, for as long as the files are the same.

    SITE   HOW:FRAME,FRAME,...        innermost frame first; `HOW:` may be left out, which is `end:`
           HOW:FRAME,FRAME,...#N      the N-th block that it allocates (decimal)
    FRAME  MODULE@BUILDID+OFFSET      the file's name, its build id (or how that begins) and the return address in it
           MODULE+OFFSET              of a file without a build id
           ?                          code that lies in no file

Numbers are hexadecimal. A character of a file's name that would be taken for something else stands as %XX. `HOW` says
where a block of the site is trapped: at its `end`, at its `start`, or `tight`, at its very last byte. With `watch` it
lies where it would without that, and the processor watches bytes beside it: `watch+8:` what lies 8 bytes behind its
end, `watch-10:` 16 bytes before its start, `watch:` the next byte behind it. `watch-10@2500:` prefers a block whose
address ends so.
"""

import os
import re
import struct
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, get_args

from heapwitness.errors import HeapwitnessError
from heapwitness.findings.model import Frame, Site

How = Literal["end", "start", "tight", "watch"]

PLACES = 1 << 20
"""A watched block is known by its address modulo so much, which is the same in each run of a program that repeats
itself."""
FRAMES_LIMIT = 32
SITES_LIMIT = 256
_ID_SHOWN = 16
_NAME_LIMIT = 64
_HOWS: tuple[How, ...] = get_args(How)
_FRAME = re.compile(
    r"(?P<module>[^@+,;:\s]{0,1024})(@(?P<build_id>([0-9a-fA-F]{2}){4,64}))?\+(0x)?(?P<offset>[0-9a-fA-F]{1,16})"
)
_WATCH = re.compile(r"watch(?P<offset>[+-][0-9a-fA-F]{1,7})?(@(?P<place>[0-9a-fA-F]{1,5}))?")
_NUMBER = re.compile(r"[0-9]{1,12}")
_PLAIN = re.compile(rb"[A-Za-z0-9._-]")


class FrameName(NamedTuple):
    """A return address in a file; without a module and a build id it stands for any."""

    module: str
    build_id: str
    offset: int


class SiteName(NamedTuple):
    """The frames of a call, innermost first."""

    frames: tuple[FrameName, ...]

    def __str__(self) -> str:
        return ",".join(map(_frame_text, self.frames))

    def is_same(self, other: "SiteName") -> bool:
        """Whether both can be the same call: one may know fewer frames than the other."""
        return all(map(_is_same_frame, self.frames, other.frames))


class TrappedSite(NamedTuple):
    """A site whose blocks are to be trapped, and where.

    Of a watched one the bytes `offset` from its end on are, or from its start where that is negative; preferably of the
    site's block with that `number`, or the one at that `place` (its address modulo PLACES). 0 and None: any.
    """

    site: SiteName
    how: How = "end"
    offset: int = 0
    number: int = 0
    place: int | None = None

    def __str__(self) -> str:
        number = f"#{self.number}" if self.number else ""
        return f"{self._head() if self.offset or self.place is not None else self.how}:{self.site}{number}"

    def encoded(self) -> str:
        """In the form that the engine reads."""
        number = f"#{self.number:x}" if self.number else ""
        return f"{self._head()}:{','.join(map(_engine_frame, self.site.frames))}{number}"

    def _head(self) -> str:
        if self.how != "watch":
            return self.how
        place = f"@{self.place:x}" if self.place is not None else ""
        return f"watch{'-' if self.offset < 0 else '+'}{abs(self.offset):x}{place}"


def name_of(site: Site | Sequence[Frame] | None) -> SiteName | None:
    """The name of a call by its stack with symbols resolved; None where its innermost frame lies in no file."""
    stack = site.stack if isinstance(site, Site) else site or ()
    frames: list[FrameName] = []
    before: int | None = None
    for frame in stack:
        # Inlined functions are frames of one return address, and so are Python's that one C frame runs.
        if (frame.language == "python" and frame.offset is None) or frame.pc == before:
            continue
        before = frame.pc
        known = frame.module is not None and frame.offset is not None and not frame.module.startswith("[")
        name = os.path.basename(frame.module or "") if known else ""
        frames.append(
            FrameName(name, (frame.build_id or "")[:_ID_SHOWN] if known else "", frame.offset or 0 if known else 0)
        )
    if not frames or not frames[0].module:
        return None
    return SiteName(tuple(frames[:FRAMES_LIMIT]))


def parse_trap(text: str) -> TrappedSite:
    """Read a site's name.

    Raises:
        HeapwitnessError: it is none.
    """
    head, colon, rest = text.strip().partition(":")
    watch = _WATCH.fullmatch(head) if colon else None
    how: How | None = "watch" if watch else next((one for one in _HOWS if one == head), None) if colon else "end"
    name, _, number = (rest if colon else head).rpartition("#")
    numbered = _NUMBER.fullmatch(number) if name else None
    words = (name if numbered else rest if colon else head).split(",")
    frames = [_parse_frame(word) for word in words[:FRAMES_LIMIT]]
    whole = [frame for frame in frames if frame is not None]
    if how is None or len(whole) < len(frames) or not (whole[0].module or whole[0].build_id):
        raise HeapwitnessError(
            f"{text.strip()!r} is no allocation site; one looks like server@6f0c1e4d2b9a8d31+0x11d3, as the reports of "
            "`heapwitness hunt` name them."
        )
    return TrappedSite(
        SiteName(tuple(whole)),
        how,
        offset=int(watch["offset"] or "0", 16) if watch else 0,
        number=int(numbered[0]) if numbered else 0,
        place=int(watch["place"], 16) if watch and watch["place"] else None,
    )


def answered(traps: Iterable[tuple[How, Sequence[int]]], room: int) -> bytes:
    """Sites by their return addresses, in the form in which an answer to a finding names them; `room` in bytes."""
    words: list[int] = []
    for how, pcs in traps:
        if 8 * (len(words) + 1 + len(pcs)) > room:
            break
        words += [_HOWS.index(how) + 1 | len(pcs) << 8, *pcs]
    return struct.pack(f"<{len(words)}Q", *words)


def encoded(traps: Iterable[TrappedSite]) -> str:
    """A list of sites in the form that the engine reads."""
    unique = list(dict.fromkeys(traps))[:SITES_LIMIT]
    return ";".join(trap.encoded() for trap in unique)


def _frame_text(frame: FrameName) -> str:
    if not frame.module and not frame.build_id:
        return "?"
    build_id = f"@{frame.build_id}" if frame.build_id else ""
    return f"{_escaped(frame.module)}{build_id}+{frame.offset:#x}"


def _engine_frame(frame: FrameName) -> str:
    if frame.build_id:
        return f"{frame.build_id.lower()}+{frame.offset:x}"
    if frame.module:
        return f"/{_escaped(frame.module)}+{frame.offset:x}"
    return "?"


def _escaped(name: str) -> str:
    data = os.fsencode(name)[:_NAME_LIMIT]
    return "".join(chr(one) if _PLAIN.match(bytes((one,))) else f"%{one:02x}" for one in data)


def _unescaped(name: str) -> str:
    data = re.sub(rb"%([0-9a-fA-F]{2})", lambda found: bytes((int(found[1], 16),)), os.fsencode(name))
    return os.fsdecode(data)


def _parse_frame(word: str) -> FrameName | None:
    if word == "?":
        return FrameName("", "", 0)
    found = _FRAME.fullmatch(word)
    if found is None or not (found["module"] or found["build_id"]):
        return None
    return FrameName(_unescaped(found["module"]), (found["build_id"] or "").lower(), int(found["offset"], 16))


def _is_same_frame(one: FrameName, other: FrameName) -> bool:
    if not (one.module or one.build_id) or not (other.module or other.build_id):
        return True
    if one.offset != other.offset:
        return False
    if one.build_id and other.build_id:
        shared = min(len(one.build_id), len(other.build_id))
        return one.build_id[:shared] == other.build_id[:shared]
    return one.module == other.module
