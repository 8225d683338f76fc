"""Counting nodes that come in order of address: into bins, sizes, sites and owners."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from heapwitness.findings.model import (
    NOBODY,
    Frame,
    HeapMap,
    MapBins,
    MapNodes,
    MapOwner,
    MapPart,
    MapPool,
    MapSite,
    MapSizes,
)

BINS_LIMIT = 1 << 14
"""Bins of all pools together."""

FEW_BINS = 1 << 11
"""The same where all nodes are told one by one, too."""

POOLS_LIMIT = 1 << 11
"""Pools in a map, the largest."""

SITES_LIMIT, NEAR_SITES_LIMIT = 256, 128
"""Sites in a map: those with most live bytes, and of single blocks."""

KEYS_LIMIT = 1 << 16
"""Different sites (and owners, states) that are told apart while counting."""

LEAST_WIDTH = 256
FRAMES_LIMIT = 16
"""Frames of a site's stack, the innermost."""

_COUNT = 1 << 48
"""A count and a sum of bytes in one number: a heap has fewer bytes than this."""


class Key(NamedTuple):
    """What nodes have in common: a state's letter (u, f, c, l), a site and an owner by number, 0 for none."""

    state: str
    site: int = 0
    owner: int = 0


_COLUMNS = "ufcl"


class Tally:
    """Everything but the pools' bins; `width` is that of a bin.

    Args:
        size: of all pools together.
        pools: how many there are.
        fine: there are more nodes than can be told one by one.
    """

    def __init__(self, size: int, pools: int, *, fine: bool = True) -> None:
        bins = BINS_LIMIT if fine else FEW_BINS
        each = max(1, size // max(1, bins - min(pools, bins // 2)))
        self.width = max(LEAST_WIDTH, 1 << (each - 1).bit_length())
        self._keys: Counter[Key] = Counter()
        self._sizes: Counter[tuple[str, int]] = Counter()
        self._pools: list[tuple[MapPool, list[int], list[int]]] = []
        self._largest_free = 0
        self._near: dict[int, None] = {}

    def pool(self, address: int, size: int, parts: tuple[MapPart, ...]) -> "PoolTally":
        """Start counting a pool's nodes."""
        return PoolTally(self, address, size, parts)

    def count(self, key: Key, blocks: int, total: int) -> None:
        """Count nodes that are in a bin already."""
        # Forged heaps may have millions of sites.
        if len(self._keys) >= KEYS_LIMIT and key not in self._keys:
            key = Key(key.state)
        self._keys[key] += blocks * _COUNT + total

    def count_sizes(self, state: str, sizes: Mapping[int, int]) -> None:
        """Count nodes by their sizes: `sizes` says how many there are of each."""
        for size, blocks in sizes.items():
            self._sizes[state, size.bit_length()] += blocks * _COUNT + blocks * size
        if state == "f" and sizes:
            self._largest_free = max(self._largest_free, *sizes)

    def add(self, pool: MapPool, sites: list[int], owners: list[int]) -> None:
        """Take a pool that was counted; sites and owners of its bins are numbers."""
        self._pools.append((pool, sites, owners))
        for stretch in pool.stretches:
            self._near.update(dict.fromkeys(stretch.sites))

    def keys(self) -> int:
        """How many different keys are told apart."""
        return len(self._keys)

    def map(
        self, taken: HeapMap, stack: Callable[[int], tuple[Frame, ...]], owner: Callable[[int], str] | None = None
    ) -> HeapMap:
        """The map of all pools that were added.

        Args:
            taken: says when and of which process, with notes; everything else of it is filled in.
            stack: the stack of a site by its number.
            owner: the name of an owner by its number, where there are owners.
        """
        live = {key: value for key, value in self._keys.items() if key.state == "u"}
        sites, place_of = self._sites(live, stack)
        owners, rank_of = _owners(live, owner)
        kept = sorted(self._pools, key=lambda one: one[0].size, reverse=True)[:POOLS_LIMIT]
        left = len(self._pools) - len(kept)
        notes = (f"{left:,} more pools, each smaller than those shown, are counted but not in the picture.",)
        pools = sorted((_indexed(*one, place_of, rank_of) for one in kept), key=lambda one: one.address)
        counts = {state: self._sum(state) for state in _COLUMNS}
        return msgspec.structs.replace(
            taken,
            pools=tuple(pools),
            sites=sites,
            owners=owners,
            sizes=self._size_bins(),
            live=counts["u"][1],
            live_blocks=counts["u"][0],
            free=counts["f"][1],
            free_blocks=counts["f"][0],
            cached=counts["c"][1],
            cached_blocks=counts["c"][0],
            lost=counts["l"][1],
            lost_blocks=counts["l"][0],
            largest_free=self._largest_free,
            notes=(*taken.notes, *(notes if left else ())),
        )

    def _sum(self, state: str) -> tuple[int, int]:
        total = sum(value for key, value in self._keys.items() if key.state == state)
        return total // _COUNT, total % _COUNT

    def _sites(
        self, live: Mapping[Key, int], stack: Callable[[int], tuple[Frame, ...]]
    ) -> tuple[tuple[MapSite, ...], dict[int, int]]:
        sums: Counter[int] = Counter()
        for key, value in live.items():
            sums[key.site] += value
        largest = sorted(sums, key=lambda site: (-(sums[site] % _COUNT), site))[:SITES_LIMIT]
        numbers = [*largest, *[one for one in self._near if one not in largest][:NEAR_SITES_LIMIT]]
        shown = [(number, stack(number)[:FRAMES_LIMIT]) for number in numbers if number]
        listed = [(number, frames) for number, frames in shown if frames]
        return (
            tuple(
                MapSite(stack=frames, blocks=sums[one] // _COUNT, total=sums[one] % _COUNT) for one, frames in listed
            ),
            {number: index for index, (number, _) in enumerate(listed)},
        )

    def _size_bins(self) -> tuple[MapSizes, ...]:
        powers = sorted({power for _, power in self._sizes})
        return tuple(
            MapSizes(
                size_from=1 << power - 1,
                size_to=1 << power,
                live=self._sizes["u", power] // _COUNT,
                free=self._sizes["f", power] // _COUNT,
                live_total=self._sizes["u", power] % _COUNT,
                free_total=self._sizes["f", power] % _COUNT,
            )
            for power in powers
            if self._sizes["u", power] or self._sizes["f", power]
        )


def _owners(live: Mapping[Key, int], name: Callable[[int], str] | None) -> tuple[tuple[MapOwner, ...], dict[int, int]]:
    if name is None:
        return (), {}
    sums: Counter[int] = Counter()
    for key, value in live.items():
        sums[key.owner] += value
    ordered = sorted(sums, key=lambda owner: (-(sums[owner] % _COUNT), owner))[:SITES_LIMIT]
    owners = (MapOwner(name=name(one), blocks=sums[one] // _COUNT, total=sums[one] % _COUNT) for one in ordered)
    return tuple(owners), {number: index for index, number in enumerate(ordered)}


def _indexed(
    pool: MapPool, sites: list[int], owners: list[int], place_of: Mapping[int, int], rank_of: Mapping[int, int]
) -> MapPool:
    """The pool with indexes in place of numbers."""

    def places(numbers: "tuple[int, ...] | list[int]") -> tuple[int, ...]:
        return tuple(place_of.get(one, NOBODY) for one in numbers)

    def ranks(numbers: "tuple[int, ...] | list[int]") -> tuple[int, ...]:
        return tuple(rank_of.get(one, NOBODY) for one in numbers) if rank_of else ()

    stretches = tuple(
        msgspec.structs.replace(one, sites=places(one.sites), owners=ranks(one.owners)) for one in pool.stretches
    )
    bins = msgspec.structs.replace(pool.bins, sites=places(sites), owners=ranks(owners))
    return msgspec.structs.replace(pool, bins=bins, stretches=stretches)


class PoolTally:
    """Counts one pool's nodes in order of address."""

    def __init__(self, tally: Tally, address: int, size: int, parts: tuple[MapPart, ...]) -> None:
        self._tally = tally
        self._address = address
        self._size = size
        self._parts = parts
        self.width = tally.width
        count = max(1, -(-size // self.width))
        self._columns = {state: [0] * count for state in _COLUMNS}
        self._blocks = [0] * count
        self._sites = [0] * count
        self._owners = [0] * count
        self._nodes = 0
        self._bin = 0
        self._sums: dict[Key, int] = {}
        self._run: dict[str, Counter[int]] = {state: Counter() for state in _COLUMNS}

    def node(self, at: int, size: int, key: Key) -> None:
        """Count a node that starts `at` bytes from the pool's start."""
        self.turn_to(at)
        self._blocks[self._bin] += 1
        self._nodes += 1
        self._tally.count(key, 1, size)
        self._run[key.state][size] += 1
        stop = min(at + size, self._size)
        while at < stop:
            self.turn_to(at)
            part = min(stop, (self._bin + 1) * self.width) - at
            self._sums[key] = self._sums.get(key, 0) + part
            at += part

    def nodes(self, at: int, key: Key, sizes: Counter[int]) -> None:
        """Count nodes of one key that lie wholly in the bin of byte `at`."""
        self.turn_to(at)
        blocks, total = sizes.total(), sum(size * count for size, count in sizes.items())
        self._blocks[self._bin] += blocks
        self._nodes += blocks
        self._tally.count(key, blocks, total)
        self._run[key.state].update(sizes)
        self._sums[key] = self._sums.get(key, 0) + total

    def turn_to(self, at: int) -> None:
        """Go on to the bin of byte `at`."""
        number = min(at // self.width, len(self._blocks) - 1)
        if number != self._bin:
            self._flush()
            self._bin = number

    def _flush(self) -> None:
        best, most = None, 0
        for key, total in self._sums.items():
            self._columns[key.state][self._bin] += total
            if key.state == "u" and total > most:
                best, most = key, total
        if best is not None:
            self._sites[self._bin], self._owners[self._bin] = best.site, best.owner
        self._sums = {}

    def finish(self, stretches: tuple[MapNodes, ...] = ()) -> None:
        """Hand the pool to the tally."""
        self._flush()
        for state, sizes in self._run.items():
            self._tally.count_sizes(state, sizes)
        pool = MapPool(
            address=self._address,
            size=self._size,
            nodes=self._nodes,
            parts=self._parts,
            bins=MapBins(
                width=self.width,
                live=tuple(self._columns["u"]),
                free=tuple(self._columns["f"]),
                cached=tuple(self._columns["c"]),
                lost=tuple(self._columns["l"]),
                blocks=tuple(self._blocks),
                sites=(),
                owners=(),
            ),
            stretches=stretches,
        )
        self._tally.add(pool, self._sites, self._owners)
