"""The heap's layout from a firmware's own debug information, which knows better than any `.config`.

The structures are looked up by the kernel's names: LosMemDynNode, LosMemCtlNode, LosMemPoolInfo and
LosMultipleDlinkHead. Members of unions without a name belong to the structure around them.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal

from elftools.dwarf.die import DIE
from elftools.elf.elffile import ELFFile

from heapwitness.errors import HeapwitnessError
from heapwitness.liteos.config import symbols
from heapwitness.liteos.config.config import Config
from heapwitness.liteos.firmware import elf_bounds
from heapwitness.liteos.firmware.dies import DEEPEST, dwarf_of, name_of, number_of, size_of, type_of
from heapwitness.liteos.firmware.patience import Patience, TooLong
from heapwitness.liteos.layout.layout import (
    ControlLayout,
    Field,
    Layout,
    PoolLayout,
    StatLayout,
    slab_size,
)
from heapwitness.named import reading

_NODE, _CONTROL, _POOL, _LISTS = "LosMemDynNode", "LosMemCtlNode", "LosMemPoolInfo", "LosMultipleDlinkHead"
_LITTLE = "LosHeapManager"

_OPTIONS = {
    "head_backup": symbols.HEAD_BACKUP,
    "task_stat": symbols.TASK_STAT,
    "task_limit": symbols.TSK_LIMIT,
    "mul_pool": symbols.MUL_POOL,
    "mul_module": symbols.MUL_MODULE,
    "recordinfo": symbols.RECORDINFO,
    "leakcheck": symbols.LEAKCHECK,
    "slab": symbols.SLAB,
    "slab_expansion": symbols.SLAB_EXPANSION,
}


class BadFirmware(HeapwitnessError):
    """A file that is no firmware ELF with the heap's debug information."""


class UndescribedHeap(BadFirmware):
    """A firmware ELF that does not say what the heap looks like, and `why`; `width` is its pointers' in bits."""

    def __init__(self, why: str, advice: str, width: Literal[32, 64]) -> None:
        super().__init__(f"{why}: {advice}.")
        self.why = why
        self.width = width


@dataclass(frozen=True, slots=True)
class Firmware:
    """A firmware's heap: its layout, the configuration that it shows, and where a given `.config` said otherwise."""

    config: Config
    layout: Layout
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Structure:
    """A structure's size and its members, by dotted name."""

    size: int
    members: Mapping[str, Field]


def read_firmware(path: str | PathLike[str], config: Config | None = None) -> Firmware:
    """Read the heap's layout from an ELF file's debug information.

    Args:
        path: the firmware, or an object file that uses the heap's structures.
        config: what the `.config` says; where the firmware says otherwise, the firmware is right.

    Raises:
        BadFirmware: the file cannot be read, is no little-endian ELF, or knows nothing of the heap.

    Source: the firmware's DWARF; docs/liteos.md.
    """
    structures, width = _structures(path)
    control, pool = _control(structures[_CONTROL]), _pool(structures)
    found = _config(width, control, pool, "backupNode" in structures[_NODE].members, config)
    try:
        layout = _layout(structures, control, pool, found)
    except (struct.error, KeyError) as error:  # members that overlap, or of a size that is no word
        raise BadFirmware(f"The heap's structures in {path} are none that a kernel could use.") from error
    return Firmware(found, layout, () if config is None else tuple(_differences(config, found, layout)))


# --- from structures to a layout -------------------------------------------------------------------------------------


def _layout(structures: Mapping[str, _Structure], control: ControlLayout, pool: PoolLayout, config: Config) -> Layout:
    node = structures[_NODE]
    backup = node.members.get("backupNode")
    return Layout(
        width=config.width,
        control=control,
        pool=pool,
        node_size=node.size,
        header_offset=_member(node.members, "selfNode").offset,
        backup_offset=None if backup is None else backup.offset,
        has_magic=config.has_magic,
        list_count=structures[_LISTS].size // (config.width // 4),
    )


def _control(control: _Structure) -> ControlLayout:
    members = control.members
    prev, following = _member(members, "freeNodeInfo.pstPrev"), _member(members, "freeNodeInfo.pstNext")
    return ControlLayout(
        size=control.size,
        prev=prev,
        next=following,
        pre_node=_member(members, "preNode"),
        size_and_flag=_member(members, "sizeAndFlag"),
        # Kernels whose header does not name them keep the magic over pstPrev and the task over pstNext.
        magic=members.get("magic", Field(prev.offset, 4)),
        task=members.get("taskId", Field(following.offset, 2)),
        module=members.get("moduleId"),
        gap_size=members.get("gapSize"),
        checksum=members.get("checksum"),
        origin_size=members.get("originSize"),
        link_registers=members.get("linkReg"),
    )


def _pool(structures: Mapping[str, _Structure]) -> PoolLayout:
    pool = structures[_POOL]
    stat, fields_of_stat = pool.members.get("stat"), None
    if stat is not None:
        memstat, task = structures.get("Memstat"), structures.get("TaskMemUsedInfo")
        if memstat is None or task is None:
            raise BadFirmware("The firmware's debug information has no Memstat, which its pools hold.")
        fields_of_stat = StatLayout(
            size=memstat.size,
            total_used=_member(memstat.members, "memTotalUsed"),
            total_peak=_member(memstat.members, "memTotalPeak"),
            tasks=_member(memstat.members, "taskMemstats"),
            task_stride=task.size,
            task_used=_member(task.members, "memUsed"),
            task_peak=_member(task.members, "memPeak"),
        )
    return PoolLayout(
        size=pool.size,
        pool=_member(pool.members, "pool"),
        pool_size=_member(pool.members, "poolSize"),
        stat=stat,
        stat_fields=fields_of_stat,
        next_pool=pool.members.get("nextPool"),
        slab=pool.members.get("slabCtrlHdr"),
    )


def _member(members: Mapping[str, Field], name: str) -> Field:
    if name not in members:
        raise BadFirmware(f"The firmware's heap structures have no {name}: this kernel's heap is not one we know.")
    return members[name]


def _config(width: int, control: ControlLayout, pool: PoolLayout, head_backup: bool, config: Config | None) -> Config:
    """The configuration that the structures show; what none of them shows is taken from `config`."""
    mul_module, recordinfo = control.module is not None, control.origin_size is not None
    mul_pool, leakcheck = pool.next_pool is not None, control.link_registers is not None
    shown = head_backup or mul_module or recordinfo or mul_pool or leakcheck
    limit = symbols.DEFAULT_TASK_LIMIT if config is None else config.task_limit
    return Config(
        width=width,
        debug=shown or config is None or config.debug,
        task_stat=pool.stat is not None,
        task_limit=limit if pool.stat_fields is None else pool.stat_fields.task_count - 1,
        head_backup=head_backup,
        mul_pool=mul_pool,
        mul_module=mul_module,
        recordinfo=recordinfo,
        leakcheck=leakcheck,
        integrity_check=config is not None and config.integrity_check,
        size_check=config is not None and config.size_check,
        shell_lk=config is not None and config.shell_lk,
        slab=pool.slab is not None,
        slab_expansion=pool.slab is not None and pool.slab.size == slab_size(width // 8, expansion=True),
    )


def _differences(config: Config, found: Config, layout: Layout) -> Iterator[str]:
    """Where a `.config` and the firmware contradict each other, a sentence each."""
    if config.width != found.width:
        yield f"The firmware is {found.width}-bit and not {config.width}-bit: it is right."
    if config.bestfit_little:
        yield f"{symbols.BESTFIT_LITTLE} is on in the .config, but the firmware has bestfit: the firmware is right."
    for name, symbol in _OPTIONS.items():
        said, built = getattr(config, name), getattr(found, name)
        if said != built:
            yield f"{symbol} is {_value(said)} in the .config, but the firmware has {_value(built)}: it is right."
    computed = Layout.of(found).fields()
    moved = sorted(name for name, place in layout.fields().items() if computed.get(name) != place)
    if moved:
        yield f"The firmware's layout is not that of its options; it is used: {', '.join(moved)} lie elsewhere."


def _value(value: int) -> str:
    return str(value) if value is not True and value is not False else "y" if value else "n"


# --- from an ELF file to structures ----------------------------------------------------------------------------------


def _structures(path: str | PathLike[str]) -> tuple[dict[str, _Structure], int]:
    """The heap's structures and the width of a pointer in bits."""
    try:
        with reading(path) as file:
            try:
                elf_bounds.check(file, path)
                elf = ELFFile(file)
            except HeapwitnessError:
                raise
            except Exception as error:  # on damaged files pyelftools fails in many ways
                raise BadFirmware(f"{path} is no ELF file that can be read: give the linked firmware.") from error
            if not elf.little_endian:
                raise BadFirmware(f"{path} is big-endian; LiteOS runs on little-endian targets only.")
            width: Literal[32, 64] = 32 if elf.elfclass == 32 else 64
            found = _described(elf, path, width)
    except OSError as error:
        raise BadFirmware(f"{path} cannot be read ({error.strerror}): give the firmware's ELF file.") from error
    if {_NODE, _CONTROL, _POOL, _LISTS} <= found.keys():
        return found, width
    if _LITTLE in found:
        raise BadFirmware(f"{path} was built with bestfit_little, whose headers have no backup: give --config instead.")
    raise UndescribedHeap(
        f"{path} does not describe LosMemDynNode", "build the kernel's heap with -g, or give --config", width
    )


def _described(elf: Any, path: str | PathLike[str], width: Literal[32, 64]) -> dict[str, _Structure]:
    try:
        dwarf = dwarf_of(elf)
        if dwarf is not None:
            return Patience().spend(lambda: _search(dwarf))
    except TooLong as error:
        raise UndescribedHeap(
            f"{path} has debug information that takes too long to read",
            "give the ELF as it was linked, or give --config",
            width,
        ) from error
    except Exception as error:  # on damaged files pyelftools fails in many ways
        raise UndescribedHeap(
            f"{path} has no readable debug information", "give the ELF as it was linked, or give --config", width
        ) from error
    raise UndescribedHeap(
        f"{path} has no debug information",
        "give the ELF that was linked with -g, not stripped, or give --config",
        width,
    )


def _search(dwarf: Any) -> dict[str, _Structure]:
    """The wanted structures; compile units of the heap itself are looked at first."""
    wanted = {_NODE, _CONTROL, _POOL, _LISTS, _LITTLE, "Memstat", "TaskMemUsedInfo"}
    units = list(dwarf.iter_CUs())
    units.sort(key=lambda unit: "mem" not in name_of(unit.get_top_DIE()))
    found: dict[str, _Structure] = {}
    for unit in units:
        for die in unit.get_top_DIE().iter_children():
            name = name_of(die)
            if name.removeprefix("tag") in wanted:
                structure = _structure(die)
                if structure is not None:
                    found.setdefault(name.removeprefix("tag"), structure)
        if found.keys() >= {_NODE, _CONTROL, _POOL, _LISTS}:
            break
    return found


def _structure(die: DIE) -> _Structure | None:
    """The structure that a DIE is, or that a typedef names; None for a mere declaration."""
    target = type_of(die)
    if target.tag != "DW_TAG_structure_type" or "DW_AT_byte_size" not in target.attributes:
        return None
    members = dict(_members(target, "", 0, 0))
    return _Structure(number_of(target, "DW_AT_byte_size"), members)


def _members(structure: DIE, prefix: str, start: int, depth: int) -> Iterator[tuple[str, Field]]:
    """Members with their places; those of a nested structure also by dotted name."""
    if depth > DEEPEST:
        return
    for die in structure.iter_children():
        if die.tag != "DW_TAG_member":
            continue
        target = type_of(die)
        place = _place(die, start, size_of(target))
        name = name_of(die)
        if name:
            yield prefix + name, place
        if target.tag in ("DW_TAG_structure_type", "DW_TAG_union_type"):
            yield from _members(target, f"{prefix}{name}." if name else prefix, place.offset, depth + 1)


def _place(die: DIE, start: int, size: int) -> Field:
    """Where a member lies; a bit field by its whole bytes."""
    offset = start + number_of(die, "DW_AT_data_member_location")
    bits = number_of(die, "DW_AT_bit_size")
    if bits == 0:
        return Field(offset, size)
    if "DW_AT_data_bit_offset" in die.attributes:
        first = number_of(die, "DW_AT_data_bit_offset")
    else:
        # DWARF 2 and 3 count from the most significant bit of the storage unit.
        unit = number_of(die, "DW_AT_byte_size") or size
        first = 8 * unit - number_of(die, "DW_AT_bit_offset") - bits
    return Field(offset + first // 8, (bits + 7) // 8)
