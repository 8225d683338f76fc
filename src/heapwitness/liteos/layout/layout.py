"""What the bytes of a kernel's bestfit pool mean, for one configuration and pointer width.

A pool is its info (`LosMemPoolInfo`), the table of list heads (`LosMultipleDlinkHead`), nodes, and
the end node. A node starts with `LosMemDynNode`: with head backup a copy of the NEXT node's
control header, then its own control header (`LosMemCtlNode`); the payload follows. All is little
endian. The same records describe a layout that was computed from options (`Layout.of`) and one
that was read from a firmware's debug information (`dwarf`).
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from mmap import mmap
from typing import Final

import msgspec

from heapwitness.liteos.config.config import Config

USED_FLAG: Final = 0x80000000
ALIGNED_FLAG: Final = 0x40000000
SIZE_MASK: Final = 0x3FFFFFFF
CHECKSUM_MAGIC: Final = 0xDEADBEEF
LINK_REGISTERS: Final = 3
LIST_COUNT: Final = 26
LIST_MIN_LOG2: Final = 4
SLAB_CLASSES: Final = 4

Buffer = bytes | bytearray | memoryview | mmap


class ControlHeader(msgspec.Struct, frozen=True):
    """One copy of a control header as it is stored. Fields that the layout lacks are 0, or ().

    `prev` and `next` are the list links of a free node; in a used node magic, task and module lie
    over them. Addresses are the target's, sizes are in bytes.
    """

    prev: int
    next: int
    pre_node: int
    gap_size: int
    checksum: int
    origin_size: int
    link_registers: tuple[int, ...]
    size_and_flag: int
    magic: int
    task: int
    module: int

    @property
    def size(self) -> int:
        """Size of the node in bytes, headers included."""
        return self.size_and_flag & SIZE_MASK

    @property
    def used(self) -> bool:
        """Whether the used flag is set."""
        return bool(self.size_and_flag & USED_FLAG)

    @property
    def aligned(self) -> bool:
        """Whether the aligned flag is set: the payload in use starts `gap_size` bytes later."""
        return bool(self.size_and_flag & ALIGNED_FLAG)


class HeaderPair(msgspec.Struct, frozen=True):
    """Both headers that lie in one node: `backup` is the copy of the NEXT node's (None without head backup)."""

    backup: ControlHeader | None
    header: ControlHeader


@dataclass(frozen=True, slots=True)
class Field:
    """Where a field lies in its structure: offset and size in bytes."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class ControlLayout:
    """`LosMemCtlNode`: size in bytes and its fields; None where the configuration has no such field."""

    size: int
    prev: Field
    next: Field
    pre_node: Field
    size_and_flag: Field
    magic: Field
    task: Field
    module: Field | None = None
    gap_size: Field | None = None
    checksum: Field | None = None
    origin_size: Field | None = None
    link_registers: Field | None = None


@dataclass(frozen=True, slots=True)
class StatLayout:
    """`Memstat`: offsets from its own start; `tasks` holds a pair of 32-bit words (used, peak) for each task."""

    size: int
    total_used: Field
    total_peak: Field
    tasks: Field
    task_stride: int
    task_used: Field
    task_peak: Field

    @property
    def task_count(self) -> int:
        """How many tasks the statistics have a place for."""
        return self.tasks.size // self.task_stride


@dataclass(frozen=True, slots=True)
class PoolLayout:
    """`LosMemPoolInfo`: size in bytes and its fields."""

    size: int
    pool: Field
    pool_size: Field
    stat: Field | None = None
    stat_fields: StatLayout | None = None
    next_pool: Field | None = None
    slab: Field | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """A pool's whole layout. Offsets and sizes in bytes.

    `backup_offset` (None without head backup) and `header_offset` are within a node, `node_size` is
    `sizeof(LosMemDynNode)`: where the payload starts, and the size of the end node.

    Source: LiteOS's `kernel/base/mem/bestfit`; docs/liteos.md.
    """

    width: int
    control: ControlLayout
    pool: PoolLayout
    node_size: int
    header_offset: int
    backup_offset: int | None
    has_magic: bool
    list_count: int = LIST_COUNT
    list_min_log2: int = LIST_MIN_LOG2
    _decode: Callable[[Buffer, int], ControlHeader] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_decode", _decoder(self.control))

    @property
    def pointer(self) -> int:
        """Size of a pointer in bytes."""
        return self.width // 8

    @property
    def align(self) -> int:
        """What node sizes and payloads are aligned to, in bytes."""
        return self.width // 8

    @property
    def pointer_mask(self) -> int:
        """The largest pointer."""
        return (1 << self.width) - 1

    @property
    def lists_offset(self) -> int:
        """Where the table of list heads starts in the pool; each head is `pstPrev`, `pstNext`."""
        return self.pool.size

    @property
    def list_head_size(self) -> int:
        """Size of one list head: two pointers."""
        return 2 * self.pointer

    @property
    def lists_size(self) -> int:
        """Size of the table of list heads."""
        return self.list_count * self.list_head_size

    @property
    def first_offset(self) -> int:
        """Where the first node starts in the pool."""
        return self.pool.size + self.lists_size

    @property
    def min_pool_size(self) -> int:
        """The smallest pool that the kernel accepts."""
        return 2 * self.node_size + self.first_offset

    @property
    def smallest_node(self) -> int:
        """The smallest node that a split leaves: a header and one aligned unit."""
        return self.node_size + self.align

    def end_offset(self, pool_size: int) -> int:
        """Where the end node starts in a pool whose info says `pool_size`."""
        return pool_size - self.node_size

    def decode_control(self, data: Buffer, offset: int) -> ControlHeader:
        """Decode the control header at `offset`; struct.error when it does not lie in `data`."""
        return self._decode(data, offset)

    def decode_node(self, data: Buffer, offset: int) -> HeaderPair:
        """Decode both headers of the node at `offset`; struct.error when they do not lie in `data`."""
        backup = None if self.backup_offset is None else self._decode(data, offset + self.backup_offset)
        return HeaderPair(backup, self._decode(data, offset + self.header_offset))

    def checksum(self, header: ControlHeader) -> int:
        """The checksum that the header's fields ask for."""
        value = header.prev ^ header.next ^ header.pre_node ^ header.gap_size ^ header.size_and_flag
        return (value ^ CHECKSUM_MAGIC) & self.pointer_mask

    def checksum_holds(self, header: ControlHeader) -> bool:
        """Whether the header's checksum fits its fields (always without head backup, which has none)."""
        return self.control.checksum is None or header.checksum == self.checksum(header)

    def fields(self) -> dict[str, tuple[int, int]]:
        """Offset and size of every field, by the names of the kernel's structures."""
        return dict(_named_fields(self))

    @classmethod
    def of(cls, config: Config) -> "Layout":
        """Compute the layout of a configuration, by the C rules of its target."""
        pointer = config.width // 8
        control = _control(config, pointer)
        return cls(
            width=config.width,
            control=control,
            pool=_pool(config, pointer),
            node_size=2 * control.size if config.head_backup else control.size,
            header_offset=control.size if config.head_backup else 0,
            backup_offset=0 if config.head_backup else None,
            has_magic=config.has_magic,
        )


_CODES: Final = {1: "B", 2: "H", 4: "I", 8: "Q"}


def _decoder(control: ControlLayout) -> Callable[[Buffer, int], ControlHeader]:
    """Make the function that decodes a control header: one `struct` for all of its fields."""
    pointer = control.pre_node.size
    links = () if control.link_registers is None else _split(control.link_registers, pointer)
    whole = (control.prev, control.next, control.pre_node, control.size_and_flag)
    optional = (control.gap_size, control.checksum, control.origin_size)
    single = (*whole, *optional)
    present = sorted([item for item in (*single, *links) if item is not None], key=lambda item: item.offset)
    code, end = "<", 0
    for item in present:
        code += f"{item.offset - end}x{_CODES[item.size]}"
        end = item.offset + item.size
    unpack = struct.Struct(code).unpack_from
    # An absent field takes the zero that is put behind the unpacked values.
    at = [len(present) if item is None else present.index(item) for item in single]
    prev_at, next_at, pre_node_at, size_at, gap_at, checksum_at, origin_at = at
    first_link = present.index(links[0]) if links else 0
    links_at = slice(first_link, first_link + len(links))
    union = 8 * pointer
    magic, task, module = (_bits(item, control.prev) for item in (control.magic, control.task, control.module))

    def decode(data: Buffer, offset: int) -> ControlHeader:
        values = (*unpack(data, offset), 0)
        prev, following = values[prev_at], values[next_at]
        over = following << union | prev
        return ControlHeader(
            prev,
            following,
            values[pre_node_at],
            values[gap_at],
            values[checksum_at],
            values[origin_at],
            values[links_at],
            values[size_at],
            over >> magic[0] & magic[1],
            over >> task[0] & task[1],
            over >> module[0] & module[1],
        )

    return decode


def _split(whole: Field, size: int) -> tuple[Field, ...]:
    return tuple(Field(whole.offset + at, size) for at in range(0, whole.size, size))


def _bits(item: Field | None, start: Field) -> tuple[int, int]:
    """Shift and mask of a field that lies over the list links, which start at `start`."""
    return (0, 0) if item is None else (8 * (item.offset - start.offset), (1 << 8 * item.size) - 1)


class _Placer:
    """Places the members of a C structure one after the other, each aligned to its size."""

    def __init__(self) -> None:
        self.end = 0

    def place(self, size: int, count: int = 1) -> Field:
        offset = -(-self.end // size) * size
        self.end = offset + size * count
        return Field(offset, size * count)


def _control(config: Config, pointer: int) -> ControlLayout:
    placer = _Placer()
    prev, following = placer.place(pointer), placer.place(pointer)
    pre_node = placer.place(pointer)
    gap_size = placer.place(4) if config.head_backup else None
    checksum = placer.place(pointer) if config.head_backup else None
    origin_size = placer.place(4) if config.recordinfo else None
    if origin_size is not None and pointer == 8:
        placer.place(4)
    link_registers = placer.place(pointer, LINK_REGISTERS) if config.leakcheck else None
    if pointer == 8:
        placer.place(4)  # the kernel pads, so that the size is the last word before the payload
    size_and_flag = placer.place(4)
    return ControlLayout(
        size=placer.end,
        prev=prev,
        next=following,
        pre_node=pre_node,
        size_and_flag=size_and_flag,
        magic=Field(0, 4),
        task=Field(4, 2),
        module=Field(6, 2) if config.mul_module else None,
        gap_size=gap_size,
        checksum=checksum,
        origin_size=origin_size,
        link_registers=link_registers,
    )


def _pool(config: Config, pointer: int) -> PoolLayout:
    placer = _Placer()
    pool, pool_size = placer.place(pointer), placer.place(4)
    stat = stat_fields = None
    if config.task_stat:
        stat_fields = _stat(config.task_limit + 1)
        stat = placer.place(4, stat_fields.size // 4)
    next_pool = placer.place(pointer) if config.mul_pool else None
    slab = None
    if config.slab:
        placer.end = -(-placer.end // pointer) * pointer
        slab = placer.place(1, slab_size(pointer, expansion=config.slab_expansion))
    placer.end = -(-placer.end // pointer) * pointer
    return PoolLayout(placer.end, pool, pool_size, stat, stat_fields, next_pool, slab)


def slab_size(pointer: int, *, expansion: bool) -> int:
    """Bytes that control the slab: of each class its block size, two or three counts, and where its blocks are."""
    placer = _Placer()
    if expansion:
        placer.place(pointer)
    for _ in range(SLAB_CLASSES):
        placer.place(4, 4 if expansion else 3)
        placer.place(pointer)
    return placer.end


def _stat(tasks: int) -> StatLayout:
    return StatLayout(
        size=8 + 8 * tasks,
        total_used=Field(0, 4),
        total_peak=Field(4, 4),
        tasks=Field(8, 8 * tasks),
        task_stride=8,
        task_used=Field(0, 4),
        task_peak=Field(4, 4),
    )


def _named_fields(layout: Layout) -> Iterator[tuple[str, tuple[int, int]]]:
    control, pool = layout.control, layout.pool
    named: list[tuple[str, Field | None]] = [
        ("LosMemCtlNode.freeNodeInfo.pstPrev", control.prev),
        ("LosMemCtlNode.freeNodeInfo.pstNext", control.next),
        ("LosMemCtlNode.magic", control.magic),
        ("LosMemCtlNode.taskId", control.task),
        ("LosMemCtlNode.moduleId", control.module),
        ("LosMemCtlNode.preNode", control.pre_node),
        ("LosMemCtlNode.gapSize", control.gap_size),
        ("LosMemCtlNode.checksum", control.checksum),
        ("LosMemCtlNode.originSize", control.origin_size),
        ("LosMemCtlNode.linkReg", control.link_registers),
        ("LosMemCtlNode.sizeAndFlag", control.size_and_flag),
        ("LosMemDynNode.selfNode", Field(layout.header_offset, control.size)),
        ("LosMemPoolInfo.pool", pool.pool),
        ("LosMemPoolInfo.poolSize", pool.pool_size),
        ("LosMemPoolInfo.stat", pool.stat),
        ("LosMemPoolInfo.nextPool", pool.next_pool),
        ("LosMemPoolInfo.slabCtrlHdr", pool.slab),
    ]
    if layout.backup_offset is not None:
        named.append(("LosMemDynNode.backupNode", Field(layout.backup_offset, control.size)))
    if pool.stat_fields is not None:
        stat = pool.stat_fields
        named += [
            ("Memstat.memTotalUsed", stat.total_used),
            ("Memstat.memTotalPeak", stat.total_peak),
            ("Memstat.taskMemstats", stat.tasks),
            ("TaskMemUsedInfo.memUsed", stat.task_used),
            ("TaskMemUsedInfo.memPeak", stat.task_peak),
        ]
    return ((name, (item.offset, item.size)) for name, item in named if item is not None)
