"""Damage of a block without a pool, which is too large for one or trapped: the slack behind it, to the end of its last
page, and before it where that is checked."""

from heapwitness.diagnose.blocks import ORIGINS, Sites
from heapwitness.diagnose.ends import may_go_on, may_have_begun_before
from heapwitness.diagnose.pattern import first_difference
from heapwitness.diagnose.picture import SHOWN
from heapwitness.findings.model import Block, Damage, Detected, Finding, Stretch
from heapwitness.layout import witness
from heapwitness.layout.events import Unpooled
from heapwitness.memory import Memory, read_up_to

_AROUND = 8


def block_without_pool(unpooled: Unpooled, sites: Sites) -> Block:
    """The block as the engine tells it."""
    return Block(
        address=unpooled.address,
        size=unpooled.size,
        state="used",
        origin=ORIGINS[unpooled.origin],
        allocated=sites.site(unpooled.site),
        domain=sites.domain(unpooled.site),
    )


def overrun(unpooled: Unpooled, memory: Memory, sites: Sites, detected: Detected) -> Finding:
    """The finding of slack that is not as it was written."""
    block = block_without_pool(unpooled, sites)
    damage = _damage(unpooled, memory)
    ahead = _damage_before(unpooled, memory) if damage is None else None
    detail = "" if damage or ahead else "The damaged bytes were as they should be when they were read."
    return Finding(
        kind="heap-buffer-underflow" if ahead else "heap-buffer-overflow",
        detected=detected,
        culprit=block,
        damage=damage or ahead,
        detail=detail,
    )


def _damage_before(unpooled: Unpooled, memory: Memory) -> Damage | None:
    start = unpooled.address - unpooled.before
    actual = read_up_to(memory, start, unpooled.before)
    pattern = unpooled.pattern.to_bytes(8, "little")
    expected = witness.pattern_at(pattern, -unpooled.before, len(actual))
    if actual == expected:
        return None
    first = first_difference(actual, expected)
    last = len(actual) - first_difference(actual[::-1], expected[::-1])
    shown = slice(max(first, last - SHOWN), last)
    behind = read_up_to(memory, unpooled.address, min(_AROUND, unpooled.size))
    seen = slice(max(0, shown.start - _AROUND), len(actual))
    return Damage(
        address=start + first,
        length=last - first,
        offset=first - unpooled.before,
        expected=expected[shown].hex(),
        actual=actual[shown].hex(),
        shown=shown.stop - shown.start,
        copies=("slack",),
        exact=first > 0 and not may_have_begun_before(memory, start + first, start + last),
        picture=(
            Stretch(
                copy="slack",
                address=start + seen.start,
                expected=expected[seen].hex(),
                actual=actual[seen].hex(),
                block=unpooled.address,
            ),
            Stretch(copy="payload", address=unpooled.address, expected=behind.hex(), actual=behind.hex()),
        ),
    )


def _damage(unpooled: Unpooled, memory: Memory) -> Damage | None:
    end = unpooled.address + unpooled.size
    actual = read_up_to(memory, end, -end % unpooled.page)
    expected = witness.pattern_at(unpooled.pattern.to_bytes(8, "little"), unpooled.size, len(actual))
    if actual == expected:
        return None
    first = first_difference(actual, expected)
    last = len(actual) - first_difference(actual[::-1], expected[::-1])
    shown = slice(first, min(last, first + SHOWN))
    before = read_up_to(memory, end - _AROUND, _AROUND)
    return Damage(
        address=end + first,
        length=last - first,
        offset=first,
        expected=expected[shown].hex(),
        actual=actual[shown].hex(),
        shown=shown.stop - shown.start,
        copies=("slack",),
        exact=last < len(actual) and not may_go_on(memory, end + first, end + last, 0 if first else unpooled.size),
        picture=(
            Stretch(copy="payload", address=end - _AROUND, expected=before.hex(), actual=before.hex()),
            Stretch(
                copy="slack",
                address=end,
                expected=expected[: shown.stop + _AROUND].hex(),
                actual=actual[: shown.stop + _AROUND].hex(),
                block=unpooled.address,
            ),
        ),
    )
