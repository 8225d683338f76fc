"""How far damage goes on where nothing vouches for the bytes: as far as they continue what was written.

A fill, a repeated word of up to eight bytes, counting words, and text are followed. Bytes that are all
zero are not: untouched memory looks the same.
"""

from dataclasses import dataclass

from heapwitness.memory import Memory, read_up_to

LEAST = 16
"""Bytes of a pattern that must be seen before it is followed."""

LIMIT = 16 << 20
"""No extent is followed further than this many bytes."""

_CHUNK = 64 << 10
_PRINTABLE = frozenset((*range(0x20, 0x7F), 0x09, 0x0A, 0x0D))


@dataclass(frozen=True, slots=True)
class Pattern:
    """Words of `width` bytes at multiples of it: the word at address a is base + step * (a - origin) / width."""

    width: int
    origin: int
    base: int
    step: int

    def predict(self, address: int, length: int) -> bytes:
        """The bytes that the pattern would put at an address."""
        first = (address - self.origin) // self.width
        last = (address + length - 1 - self.origin) // self.width
        modulus = 1 << 8 * self.width
        words = (
            ((self.base + self.step * number) % modulus).to_bytes(self.width, "little")
            for number in range(first, last + 1)
        )
        if self.step == 0:
            data = (self.base % modulus).to_bytes(self.width, "little") * (last + 1 - first)
        else:
            data = b"".join(words)
        skip = (address - self.origin) % self.width
        return data[skip : skip + length]


def find_pattern(address: int, data: bytes) -> Pattern | None:
    """The pattern of bytes that end before unknown ones, None for none.

    Args:
        address: of the first byte of `data`.
        data: at least LEAST bytes, else there is none.
    """
    if len(data) < LEAST or not any(data):
        return None
    for width in (1, 2, 4, 8):
        found = _words(address, data, width)
        if found is not None:
            return found
    return None


def _words(address: int, data: bytes, width: int) -> Pattern | None:
    tail = data[-LEAST:]
    end = address + len(data)
    if tail[width:] == tail[:-width]:
        origin = end - width
        return Pattern(width, origin, int.from_bytes(data[-width:], "little"), 0)
    return _counting(end - len(data[-8 * width :]), data[-8 * width :], width)


def _counting(address: int, tail: bytes, width: int) -> Pattern | None:
    """Words that count by some step, wherever the first of them begins; four of them tell a row from chance."""
    if len(tail) < 4 * width:
        return None
    modulus = 1 << 8 * width
    found: list[Pattern] = []
    for origin in range(width):
        one, two, three = (
            int.from_bytes(tail[at : at + width], "little") for at in range(origin, origin + 3 * width, width)
        )
        if (two - one - three + two) % modulus == 0 and one != two:
            found.append(Pattern(width, address + origin, one, (two - one) % modulus))
    fitting = [one for one in found if one.predict(address, len(tail)) == tail]
    # Cut at another byte they count as well, until one is carried: their low byte is the one that changes.
    return min(fitting, key=lambda one: (one.step % 256 == 0, min(one.step, modulus - one.step)), default=None)


def is_continued(more: bytes, data: bytes) -> bool:
    """Whether `more`, right behind `data`, goes on with the word of 1, 2, 4 or 8 bytes that `data` repeats."""
    for width in (1, 2, 4, 8):
        if len(data) >= 2 * width + (width == 1) and data[width:] == data[:-width]:
            word = data[-width:]
            return (word * (len(more) // width + 1))[: len(more)] == more
    return False


def leads_on(data: bytes, more: bytes) -> bool:
    """Whether `more`, right behind `data`, goes on with it: with its pattern, text or zeros."""
    pattern = find_pattern(0, data)
    if pattern is not None:
        return pattern.predict(len(data), len(more)) == more
    return not any((*data, *more)) or (_is_text(data) and _PRINTABLE.issuperset(more))


def reach_back(before: bytes, data: bytes) -> int:
    """How many bytes at the end of `before` go on, backwards, with the word that `data` repeats.

    Args:
        before: the bytes right before `data`.
        data: the damage, at least LEAST bytes of it; zeros are not followed.
    """
    if len(data) < LEAST or not any(data):
        return 0
    for width in (1, 2, 4, 8):
        if data[width:] == data[:-width]:
            expected = (data[:width] * (len(before) // width + 1))[-len(before) :]
            same = before[::-1], expected[::-1]
            return len(before) if same[0] == same[1] else first_difference(*same)
    return 0


def follow(memory: Memory, start: int, data: bytes, limit: int = LIMIT) -> int | None:
    """The address behind the last byte that continues what was written; None when it has no pattern.

    Args:
        start: address of the first byte that nothing vouches for.
        data: the damaged bytes right before it.
    """
    pattern = find_pattern(start - len(data), data)
    if pattern is not None:
        end = _matching(memory, start, pattern, limit)
        return _with_terminator(memory, end) if _repeats_text(pattern, data) else end
    if _is_text(data):
        return _with_terminator(memory, _text(memory, start, limit))
    return start if is_terminated_text(data) else None


def part_of_word(start: int, data: bytes, end: int) -> int:
    """How many bytes before `end` are but a part of a word of those that continue what was written: they are what was
    there by chance, since words are stored whole. Of text there are none.

    Args:
        start, data: as of `follow`.
        end: what that gave.
    """
    pattern = find_pattern(start - len(data), data)
    if pattern is None or _repeats_text(pattern, data):
        return 0
    return (end - (pattern.origin if pattern.step else 0)) % pattern.width


def _repeats_text(pattern: Pattern, data: bytes) -> bool:
    return pattern.step == 0 and _PRINTABLE.issuperset(data[-pattern.width :])


def is_terminated_text(data: bytes) -> bool:
    """Whether damage is text with the zero that ends it."""
    return data[-1:] == b"\0" and _is_text(data[:-1])


def is_printable(data: bytes) -> bool:
    """Whether all bytes are those of text."""
    return _PRINTABLE.issuperset(data)


def _is_text(data: bytes) -> bool:
    return len(data) >= LEAST and all(byte in _PRINTABLE for byte in data[-LEAST:])


def _matching(memory: Memory, start: int, pattern: Pattern, limit: int) -> int:
    at = start
    while at < start + limit:
        have = read_up_to(memory, at, min(_CHUNK, start + limit - at))
        want = pattern.predict(at, len(have))
        if have != want:
            return at + first_difference(have, want)
        at += len(have)
        if len(have) < _CHUNK:
            break
    return at


def first_difference(one: bytes, other: bytes) -> int:
    """The first place in which two strings of the same length differ; they do."""
    low, high = 0, len(one)
    while high - low > 1:
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low


def _text(memory: Memory, start: int, limit: int) -> int:
    at = start
    while at < start + limit:
        have = read_up_to(memory, at, min(_CHUNK, start + limit - at))
        for number, byte in enumerate(have):
            if byte not in _PRINTABLE:
                return at + number
        at += len(have)
        if len(have) < _CHUNK:
            break
    return at


def _with_terminator(memory: Memory, end: int) -> int:
    """Text ends with a NUL of its own, unless what follows is zero anyhow."""
    behind = read_up_to(memory, end, 2)
    return end + 1 if len(behind) == 2 and behind[0] == 0 and behind[1] != 0 else end


def nonzero_end(memory: Memory, start: int, limit: int = LIMIT) -> int:
    """The end of what was written to memory that was all zero: behind the last byte before 16 zero ones."""
    at = end = start
    while at < start + limit:
        have = read_up_to(memory, at, _CHUNK)
        if not have:
            break
        for number, byte in enumerate(have):
            if byte:
                end = at + number + 1
            elif at + number >= end + LEAST:
                return end
        at += len(have)
    return end
