"""Whether a damage's ends are those of the write, or the write may have gone on with values that were there before.

A byte that was written with the value that it had is not seen. So an end is believed where the form of what was
written says that it is one: a row of the same word that would have gone on otherwise, a text with its zero, whole
words where words lie, a single byte. Elsewhere the damage is said to be at least so long.
"""

from heapwitness.diagnose.blocks import Tenant
from heapwitness.diagnose.extent import Extent
from heapwitness.diagnose.pattern import find_pattern, is_printable, is_terminated_text
from heapwitness.findings.model import Kind
from heapwitness.heap import NodeArea
from heapwitness.memory import Memory, read_up_to

_SEEN = 64
_TEXT = 3
"""So many letters before a zero are a text."""

_WORD = 4
_WIDTHS = (1, 2, 4, 8)


def may_reach_further(pool: NodeArea, extent: Extent, kind: Kind, culprit: Tenant | None) -> bool:
    """Whether the byte beside the damage, on a side to which it went, may have been written with the value that it
    had."""
    ahead = kind not in ("heap-buffer-overflow", "use-after-free-write")
    behind = kind != "heap-buffer-underflow"
    start, stop = pool.base + extent.start, pool.base + extent.stop
    payload = 0
    if kind == "heap-buffer-overflow" and culprit is not None and culprit.end(pool) == extent.start:
        payload = extent.start - pool.start(culprit.offset)
    return (ahead and may_have_begun_before(pool.memory, start, stop)) or (
        behind and may_go_on(pool.memory, start, stop, payload)
    )


def may_have_begun_before(memory: Memory, start: int, stop: int) -> bool:
    """The same of the byte before a damage, by addresses."""
    around = read_up_to(memory, start - 1, 1 + min(_SEEN, stop - start))
    if len(around) < 2:
        return False
    before, data = around[0], around[1:]
    return before in (0, data[0]) or not _has_form(data[::-1], before, start, stop - start)


def may_go_on(memory: Memory, start: int, stop: int, payload: int = 0) -> bool:
    """The same of the byte behind it; `payload`: of so many bytes right before it the write may be, too."""
    length = min(_SEEN, stop - start + payload)
    around = read_up_to(memory, stop - length, length + 1)
    if len(around) <= length:
        return False
    seen, following = around[:-1], around[-1]
    data = seen[-(stop - start) :]
    # Words that count would have gone on with another byte than what is there.
    pattern = find_pattern(stop - len(data), data)
    goes_on = pattern is not None and pattern.predict(stop, 1)[0] == following
    if goes_on or (pattern is not None and pattern.step):
        return goes_on
    if is_terminated_text(data):
        return False
    if following in (0, data[-1]):
        return True
    return not (_is_short_text(seen) or _has_form(data, following, stop, stop - start))


def _is_short_text(data: bytes) -> bool:
    """Whether it ends with some letters and their zero."""
    return data[-1] == 0 and len(data) > _TEXT and is_printable(data[-1 - _TEXT : -1])


def _has_form(data: bytes, following: int, edge: int, length: int) -> bool:
    """Whether what was written has a form that ends at the address `edge`; `data`: the last of its `length` bytes, the
    first of them, backwards, where that is the end."""
    if length == 1:
        return True
    for width in _WIDTHS:
        if len(data) >= 2 * width and data[width:] == data[:-width]:
            return following != data[-width]
    if is_printable(data):  # and would go on to its zero
        return False
    return (edge % _WORD == 0 and length >= _WORD) or (length == 2 and edge % 2 == 0)
