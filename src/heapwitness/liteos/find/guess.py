"""The layout guessed from a pool's bytes, where neither a `.config` nor a firmware tells it.

Where the list heads stand behind a pool's own address (`heads`) tells the size of its info, and so the
task statistics and the list of pools. Under which header the nodes add up tells the node's options.
"""

import functools
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from heapwitness.errors import HeapwitnessError
from heapwitness.liteos.config import symbols
from heapwitness.liteos.config.config import Config
from heapwitness.liteos.find.heads import Table, find_tables
from heapwitness.liteos.heap.ends import NoPool
from heapwitness.liteos.heap.view import HeadersView
from heapwitness.liteos.heap.walk import Walk, walk
from heapwitness.liteos.image import store
from heapwitness.liteos.image.store import Held, SourceStretch, stretch
from heapwitness.liteos.layout.layout import SLAB_CLASSES, Field, Layout

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

Width = Literal[32, 64]

_TABLES = 64
_WALKS = 16


class NotGuessed(HeapwitnessError):
    """Bytes in which no pool of any layout was recognised."""


@dataclass(frozen=True, slots=True)
class Guess:
    """What the bytes of a pool look like.

    `address` is the target's address of the bytes' first, `pool` that of the pool. `sure` is the share of
    the pool's nodes that add up, from 0 to 1. `said` tells in sentences what was guessed and from what,
    `open` what the bytes leave open.
    """

    config: Config
    layout: Layout
    address: int
    pool: int
    sure: float
    said: tuple[str, ...]
    open: tuple[str, ...]


def guess(data: "SourceStretch | ReadableBuffer", address: int | None = None, width: Width | None = None) -> Guess:
    """Guess the configuration of the surest pool in `data`.

    Args:
        data: a pool or a larger image; not changed.
        address: the target's address of the first byte, if it is known.
        width: the width of a pointer in bits, if it is known.

    Raises:
        NotGuessed: nothing looks like a pool.

    Source: docs/liteos.md.
    """
    image = stretch(data)
    held = functools.lru_cache(maxsize=1)(functools.partial(store.cut, image))
    widths: tuple[Width, ...] = (32, 64) if width is None else (width,)
    found = [
        (table, config, rivals)
        for bits in widths
        for table in itertools.islice(find_tables(image, address, bits // 8), _TABLES)
        for config, rivals in _candidates(image, table, bits)
    ]
    likely = [one for one in found if _is_likely(image, one[0], one[1])]
    # Hostile bytes can look like many pools, so only so many are walked.
    fits = (_fit(held, table, config, rivals) for table, config, rivals in (likely or found)[:_WALKS])
    best = max((fit for fit in fits if fit is not None), key=lambda fit: fit.rank, default=None)
    if best is None:
        raise NotGuessed("Nothing in these bytes looks like a pool of a known layout: give --config or --elf.")
    return _told(best, placed=address is not None)


@dataclass(frozen=True, slots=True)
class _Fit:
    """A configuration under which a pool was walked. `rivals` fit the same bytes."""

    config: Config
    table: Table
    walk: Walk
    rivals: tuple[Config, ...] = ()

    @property
    def share(self) -> float:
        """The share of nodes that add up, the end node included."""
        nodes = self.walk.everything
        return sum(node.intact for node in nodes) / len(nodes)

    @property
    def rank(self) -> tuple[float, int, int]:
        """Surest first; of equals the one with more nodes, then the one with the smaller header."""
        return self.share, len(self.walk.nodes), -self.walk.layout.node_size


def _candidates(image: SourceStretch, table: Table, width: Width) -> Iterator[tuple[Config, tuple[Config, ...]]]:
    """Configurations to try on a table's pool, each with those whose pool info fits as well."""
    infos = sorted(_infos(table, width), key=lambda info: -_info_worth(image, table, info))
    if infos:
        worth = _info_worth(image, table, infos[0])
        rivals = tuple(info for info in infos[1:] if _info_worth(image, table, info) == worth)
        for config in _headers(infos[0]):
            yield config, rivals


def _infos(table: Table, width: Width) -> Iterator[Config]:
    """Configurations whose pool info has the size that the place of the list heads asks for."""
    size = table.heads - table.pool
    slabs = ((False, False), (True, False), (True, True))
    for mul_pool, (slab, expansion) in itertools.product((False, True), slabs):
        bare = Config(width=width, mul_pool=mul_pool, slab=slab, slab_expansion=expansion)
        if Layout.of(bare).pool.size == size:
            yield bare
        one_task = replace(bare, task_stat=True, task_limit=1)
        smallest = Layout.of(one_task).pool.size
        limit = 1 + (size - smallest) // 8
        if size >= smallest and (size - smallest) % 8 == 0 and limit < 0xFFFF:
            yield replace(one_task, task_limit=limit)


def _info_worth(image: SourceStretch, table: Table, config: Config) -> int:
    """How well a pool info's fields fit a configuration."""
    layout = Layout.of(config)
    pool, stat, fields = layout.pool, layout.pool.stat, layout.pool.stat_fields
    worth = 0

    def number(offset: int, size: int) -> int:
        return int.from_bytes(image[table.pool + offset : table.pool + offset + size], "little")

    if stat is not None and fields is not None:
        used, peak = (number(stat.offset + at.offset, 4) for at in (fields.total_used, fields.total_peak))
        worth += 2 if layout.first_offset <= used <= peak <= table.size else -2
        first = stat.offset + fields.tasks.offset
        tasks = [(number(first + 8 * task, 4), number(first + 8 * task + 4, 4)) for task in range(fields.task_count)]
        worth += 2 if all(one <= most <= table.size for one, most in tasks) else -2
        worth += 1 if config.task_limit == symbols.DEFAULT_TASK_LIMIT else 0
    if pool.next_pool is not None:
        following = number(pool.next_pool.offset, layout.pointer)
        worth += 0 if following % layout.pointer == 0 else -2
    if pool.slab is not None:
        worth += 4 if _has_slab(image[table.pool : table.pool + pool.size], pool.slab, config, table.size) else -8
    return worth


def _has_slab(pool: bytes, slab: Field, config: Config, pool_size: int) -> bool:
    """Whether the slab's classes lie there: blocks of 16, 32, 64 and 128 bytes, no more in use than there are."""
    pointer = config.width // 8
    each = (slab.size - (pointer if config.slab_expansion else 0)) // SLAB_CLASSES
    first = slab.offset + slab.size - SLAB_CLASSES * each
    for number in range(SLAB_CLASSES):
        at = first + number * each
        words = [int.from_bytes(pool[at + 4 * word : at + 4 * word + 4], "little") for word in range(4)]
        size, count, used, allocators = words
        if config.slab_expansion and not 0 < allocators <= 0xFFFF:
            return False
        if size != 16 << number or used > count or size * count > pool_size:
            return False
    return True


def _headers(info: Config) -> Iterator[Config]:
    """The node's options under a pool info."""
    for backup, recordinfo, leakcheck in itertools.product((True, False), repeat=3):
        # Modules are read where they may be; whether there are any is seen later.
        yield replace(info, debug=True, mul_module=True, head_backup=backup, recordinfo=recordinfo, leakcheck=leakcheck)
    if not info.task_stat and not info.mul_pool:
        yield info


def _is_likely(image: SourceStretch, table: Table, config: Config) -> bool:
    """Whether the first node or the end node looks right: wrong layouts need not be walked."""
    layout = Layout.of(config)
    view = HeadersView(image.part(table.pool, table.pool + table.size), table.base + table.pool, layout)
    first, end = layout.first_offset, layout.end_offset(table.size)
    header, last = view.own(first), view.own(end)
    if last is not None and view.good_end(last, end, None):
        return True
    return header is not None and view.good(header, first, end, end)


def _fit(held: Callable[[int, int], Held], table: Table, config: Config, rivals: tuple[Config, ...]) -> _Fit | None:
    try:
        walked = walk(held(table.pool, table.pool + table.size), table.base + table.pool, Layout.of(config))
    except NoPool:
        return None
    return _Fit(config, table, walked, rivals)


# --- in words --------------------------------------------------------------------------------------------------------


def _told(fit: _Fit, *, placed: bool) -> Guess:
    modules = any(node.header is not None and node.header.module for node in fit.walk.nodes if node.used)
    config = replace(fit.config, mul_module=fit.config.mul_module and modules)
    return Guess(
        config=config,
        layout=Layout.of(config),
        address=fit.table.base,
        pool=fit.walk.address,
        sure=fit.share,
        said=tuple(_said(fit, config, placed=placed)),
        open=tuple(_open(fit, config)),
    )


def _said(fit: _Fit, config: Config, *, placed: bool) -> Iterator[str]:
    nodes = fit.walk.everything
    intact = sum(node.intact for node in nodes)
    yield f"Guessed: {config.width}-bit, a pool of {fit.walk.info.size} bytes at {fit.walk.address:#x}."
    if not placed:
        yield f"Guessed: the image begins at {fit.table.base:#x}, as {fit.table.empty} empty list heads say."
    options = [name for name, on in _shown(config).items() if on]
    yield f"Guessed: {', '.join(options) or 'none of the options that change a node'}."
    yield f"{intact} of {len(nodes)} nodes add up under this layout ({fit.share:.0%} sure)."


def _open(fit: _Fit, config: Config) -> Iterator[str]:
    for rival in fit.rivals:
        options = ", ".join(name for name, on in _shown(rival).items() if on)
        yield f"The pool's info fits {options or 'no statistics'} with {rival.task_limit} tasks as well."
    if not config.task_stat:
        yield f"{symbols.TSK_LIMIT} is not in these bytes; {config.task_limit} is assumed."
    if config.debug and not config.mul_module:
        yield f"No node names a module, so {symbols.MUL_MODULE} may be on or off."


def _shown(config: Config) -> dict[str, bool]:
    return {
        symbols.HEAD_BACKUP: config.head_backup,
        symbols.TASK_STAT: config.task_stat,
        symbols.MUL_POOL: config.mul_pool,
        symbols.SLAB: config.slab,
        symbols.SLAB_EXPANSION: config.slab_expansion,
        symbols.RECORDINFO: config.recordinfo,
        symbols.LEAKCHECK: config.leakcheck,
        symbols.MUL_MODULE: config.mul_module,
    }
