"""Where a pool ends: its info says so, its first node says so (the end node is before it), and the end node shows it.

Each of the three may be damaged; the place that most of them name is taken.
"""

import msgspec

from heapwitness.errors import HeapwitnessError
from heapwitness.liteos.heap.view import PoolView
from heapwitness.liteos.image.scan import places
from heapwitness.liteos.image.store import stretch
from heapwitness.liteos.layout.layout import USED_FLAG

_ENDS_TRIED = 1024


class NoPool(HeapwitnessError):
    """Bytes that hold no pool of this layout."""


class PoolInfo(msgspec.Struct, frozen=True):
    """A pool's info as stored, and where its end node is: an address of the target."""

    stored_address: int
    stored_size: int
    address_good: bool
    size_good: bool
    end: int
    size: int


def find_end(view: PoolView) -> PoolInfo:
    """Find the end node.

    Raises:
        NoPool: the bytes are shorter than a pool's info, list heads and first node, or nothing tells its end.
    """
    layout, pool = view.layout, view.layout.pool
    if len(view.data) < layout.first_offset + layout.node_size:
        raise NoPool(
            f"{len(view.data)} bytes at {view.address:#x} are too few for a pool of this configuration: "
            "give the whole image, or the right --config and --width."
        )
    at = pool.pool_size.offset
    stored_size = int.from_bytes(view.data[at : at + 4], "little")
    stored_address = view.word(pool.pool.offset)
    assert stored_address is not None
    votes: dict[int, int] = {}
    for candidate, weight in _named(view, stored_size):
        votes[candidate] = votes.get(candidate, 0) + weight
    for candidate in list(votes):
        votes[candidate] += _shown(view, candidate)
    if max(votes.values(), default=0) < 2:
        # The size alone is no witness.
        votes |= _searched(view)
    # Of equals the lower one, which is more likely to be in the bytes.
    end = max(sorted(votes), key=votes.__getitem__, default=None)
    if end is None:
        raise NoPool(
            f"Nothing at {view.address:#x} tells where a pool ends: check --pool, --config and --width, "
            "or leave --pool out to have pools searched for."
        )
    size = end + layout.node_size
    return PoolInfo(
        stored_address=stored_address,
        stored_size=stored_size,
        address_good=stored_address == view.address,
        size_good=stored_size == size,
        end=view.address + end,
        size=size,
    )


def _named(view: PoolView, stored_size: int) -> list[tuple[int, int]]:
    """Offsets of the end node that the info and the first node name, with what each is worth."""
    named: list[tuple[int, int]] = []
    size_end = view.layout.end_offset(stored_size)
    if _possible(view, size_end):
        named.append((size_end, 1))
    first = view.own(view.layout.first_offset)
    if first is not None:
        first_end = first.pre_node - view.address
        if _possible(view, first_end) and view.sound(first, view.layout.first_offset, first_end):
            named.append((first_end, 2))
    return named


def _possible(view: PoolView, end: int) -> bool:
    layout = view.layout
    fits = end >= layout.first_offset + layout.smallest_node and not (end - layout.first_offset) % layout.align
    return fits and end + layout.node_size <= 0xFFFFFFFF and view.address + end <= layout.pointer_mask


def _shown(view: PoolView, end: int) -> int:
    """What the bytes at an end node's place are worth: its own header, and the first node's backup in it."""
    own, backup = view.own(end), view.backup(end)
    shown = 2 if own is not None and view.good_end(own, end, None) else 0
    if backup is not None and backup.pre_node == view.address + end and view.layout.checksum_holds(backup):
        shown += 2
    return shown


def _searched(view: PoolView) -> dict[int, int]:
    """Places in the bytes that look like an end node, where nothing names one."""
    layout = view.layout
    wanted = (layout.node_size | USED_FLAG).to_bytes(4, "little")
    in_node = layout.header_offset + layout.control.size_and_flag.offset
    found: dict[int, int] = {}
    for at in places(stretch(view.data).part(layout.first_offset), wanted):
        end = layout.first_offset + at - in_node
        if _possible(view, end) and (worth := _shown(view, end)):
            found[end] = worth
            if len(found) == _ENDS_TRIED:
                break
    return found
