"""From a dump's file to its pools and their findings: what `inspect` and `restore` do before they say anything."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from heapwitness.errors import HeapwitnessError
from heapwitness.liteos import image as images
from heapwitness.liteos.config.config import Config
from heapwitness.liteos.diagnose.diagnose import FINDINGS_LIMIT, findings_of
from heapwitness.liteos.diagnose.evidence import HeaderEvidence
from heapwitness.liteos.diagnose.finding import LiteosFinding
from heapwitness.liteos.diagnose.freeing import explain
from heapwitness.liteos.diagnose.stacks import TaskStacks, stacks_of
from heapwitness.liteos.dump.naming import bare, named
from heapwitness.liteos.dump.usage import PoolUse, usage
from heapwitness.liteos.find.guess import Guess, NotGuessed, guess
from heapwitness.liteos.find.pools import FoundPool, find_in, judge
from heapwitness.liteos.firmware import tasknames
from heapwitness.liteos.firmware.dwarf import UndescribedHeap, read_firmware
from heapwitness.liteos.firmware.firmware import FirmwareFile
from heapwitness.liteos.firmware.tasks import Tasks
from heapwitness.liteos.heap.ends import NoPool, find_end
from heapwitness.liteos.heap.midway import settled
from heapwitness.liteos.heap.rebuild import rebuild
from heapwitness.liteos.heap.view import HeadersView, PoolView
from heapwitness.liteos.heap.walk import walk
from heapwitness.liteos.image import Image, Segment, store
from heapwitness.liteos.image.store import Held
from heapwitness.liteos.layout.layout import Layout
from heapwitness.memory import SegmentsMemory

_SHARE_OF_SENSE = 0.5
_BEHIND = 4096


class DumpOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a user says about a dump; None where they don't. Addresses are the target's, `width` is in bits."""

    image: Path
    config: Path | None = None
    elf: Path | None = None
    tasks: Path | None = None
    base: int | None = None
    width: Literal[32, 64] | None = None
    pools: tuple[int, ...] = ()


class Known(msgspec.Struct, frozen=True):
    """What the pools of a dump look like, and sentences about what was guessed or contradicts itself."""

    layout: Layout
    config: Config
    warnings: tuple[str, ...]
    guessed: bool = False


class _Kernel(msgspec.Struct, frozen=True):
    """What the dump says of the kernel, by its firmware: whether the heap's lock was held, and the tasks' stacks."""

    held: bool | None = None
    stacks: TaskStacks = {}


class ExaminedPool(msgspec.Struct, frozen=True):
    """One pool of a dump: its bytes (to the end of what the dump has of it), findings and use."""

    address: int
    data: Held
    evidence: HeaderEvidence
    findings: tuple[LiteosFinding, ...]
    use: PoolUse


class ExaminedDump(msgspec.Struct, frozen=True):
    """A dump that was looked at. `warnings` are sentences."""

    options: DumpOptions
    image: Image
    known: Known
    tasks: Tasks
    pools: tuple[ExaminedPool, ...]
    warnings: tuple[str, ...]

    @property
    def names(self) -> Mapping[int, str]:
        """How each task is called in a report, by number."""
        return self.tasks.names

    @property
    def findings(self) -> tuple[LiteosFinding, ...]:
        """Those of all pools, in order."""
        return tuple(finding for pool in self.pools for finding in pool.findings)


def examine(options: DumpOptions) -> ExaminedDump:
    """Read a dump, find its pools, and diagnose each.

    Raises:
        HeapwitnessError: a file cannot be read, options contradict each other, or no pool is found.
    """
    image = images.load(options.image, options.base)
    known = _known(options, image)
    image, found, warnings = _located(options, image, known)
    limit = known.config.task_limit
    given = {} if options.tasks is None else tasknames.load(options.tasks)
    if options.elf is None:
        tasks = Tasks.of({}, given, limit)
        pools = _examined(image, found, known.layout, tasks.names, None)
    else:
        with FirmwareFile(options.elf) as firmware:
            memory = SegmentsMemory((one.address, one.data) for one in image.segments)
            table = firmware.tasks(memory, limit)
            tasks = Tasks.of(table, given, limit)
            kernel = _Kernel(firmware.lock_held(memory), stacks_of(table, tasks.names))
            pools = _examined(image, found, known.layout, tasks.names, firmware, kernel)
            warnings += firmware.warnings
    _refuse_nonsense(options, image, known, pools)
    return ExaminedDump(options, image, known, tasks, pools, (*known.warnings, *warnings, *_limits(pools)))


def with_release(examined: ExaminedDump, pointer: int) -> ExaminedDump:
    """The dump with what there is to say about a pointer that is freed: a finding, or none where it is right."""
    inside = (pool for pool in examined.pools if pool.address <= pointer < pool.address + len(pool.data))
    pool = next(inside, examined.pools[0])
    evidence = pool.evidence
    finding = explain(evidence.view, evidence.walk, pointer, examined.names, "free")
    if finding is None:
        return examined
    warnings = examined.warnings
    if examined.options.elf is not None:
        with FirmwareFile(examined.options.elf) as firmware:
            finding = named(finding, firmware.stack)
            warnings = tuple(dict.fromkeys((*warnings, *firmware.warnings)))
    changed = msgspec.structs.replace(pool, findings=(*pool.findings, finding))
    pools = tuple(changed if one is pool else one for one in examined.pools)
    return msgspec.structs.replace(examined, pools=pools, warnings=warnings)


def _known(options: DumpOptions, image: Image) -> Known:
    """The layout: from the firmware, from the configuration, or guessed from the bytes."""
    width = options.width
    if image.width is not None:
        if width not in (None, image.width):
            raise HeapwitnessError(f"{options.image} is {image.width}-bit: leave --width out.")
        width = 32 if image.width == 32 else 64
    config = None if options.config is None else Config.load(options.config, width)
    undescribed: tuple[str, ...] = ()
    if options.elf is not None:
        try:
            firmware = read_firmware(options.elf, config)
        except UndescribedHeap as error:
            if options.config is None:
                raise
            _refuse_width(options, error.width, width)
            config = Config.load(options.config, error.width)
            undescribed = (f"{error.why}, so the layout is that of --config.",)
        else:
            _refuse_width(options, firmware.layout.width, width)
            return Known(firmware.layout, firmware.config, firmware.warnings)
    if config is not None:
        if config.bestfit_little:
            raise HeapwitnessError(
                "The configuration has bestfit_little, whose headers have no second copy to compare: "
                "only bestfit pools can be inspected."
            )
        return Known(Layout.of(config), config, undescribed)
    return _guessed(options, image, width)


def _refuse_width(options: DumpOptions, found: int, width: int | None) -> None:
    if width not in (None, found):
        raise HeapwitnessError(f"{options.elf} is {found}-bit, but the dump is {width}-bit.")


def _guessed(options: DumpOptions, image: Image, width: Literal[32, 64] | None) -> Known:
    """The surest guess over all segments; a pool that was asked for is looked at first."""
    guesses: list[Guess] = []
    for segment in image.segments:
        data, address = segment.data, segment.address
        for pool in options.pools:
            if image.placed and segment.address <= pool < segment.stop:
                data, address = segment.data.part(pool - segment.address), pool
        with contextlib.suppress(NotGuessed):
            guesses.append(guess(data, address if image.placed else None, width))
    if not guesses:
        raise NotGuessed(f"Nothing in {options.image} looks like a pool: give --config or --elf, or check --base.")
    best = max(guesses, key=lambda one: one.sure)
    return Known(best.layout, best.config, (*best.said, *best.open), guessed=True)


def _located(options: DumpOptions, image: Image, known: Known) -> tuple[Image, tuple[FoundPool, ...], tuple[str, ...]]:
    """The pools, and the image at the address where it lies."""
    layout = known.layout
    warnings: list[str] = []
    found = find_in(image.segments, layout, placed=image.placed)
    if not image.placed and (found or options.pools):
        base, why = _base(found, options)
        image = _moved(options, image, base, layout)
        if not known.guessed or not found:
            warnings.append(f"The image's address was not given; {why}.")
    if options.pools:
        sure = {pool.address: pool for pool in found}
        found = tuple(sure.get(address) or _asked(options, image, address, layout) for address in options.pools)
    if not found:
        raise NoPool(f"{options.image} holds no pool of this configuration: {_advice(options, image, layout)}")
    return image, found, tuple(warnings)


def _advice(options: DumpOptions, image: Image, layout: Layout) -> str:
    """What to do where no pool was found: what the bytes themselves look like, if they look like a pool."""
    elsewhere = find_in(image.segments[:1], layout, placed=False)
    if elsewhere:
        return f"its pools say that its first byte lies at {elsewhere[0].segment_address:#x}. Check --base."
    for segment in image.segments:
        with contextlib.suppress(NotGuessed):
            found = guess(segment.data, segment.address if image.placed else None)
            return f"it looks like one of another. {' '.join(found.said)} Check --config and --width."
    return f"check --config and --width{', and --base' if options.base is not None else ''}, or give --pool."


def _refuse_nonsense(options: DumpOptions, image: Image, known: Known, pools: tuple[ExaminedPool, ...]) -> None:
    """Refuse a configuration under which a pool makes little sense, where another fits the bytes better."""
    if known.guessed:
        return
    for pool in pools:
        nodes, info = pool.evidence.nodes, pool.evidence.walk.info
        share = sum(node.intact for node in nodes) / len(nodes)
        lost_info = not info.address_good and not info.size_good
        segment = image.segment_at(pool.address)
        if (share > _SHARE_OF_SENSE and not lost_info) or segment is None:
            continue
        with contextlib.suppress(NotGuessed):
            other = guess(segment.data, segment.address)
            if other.layout != known.layout and other.sure >= (share if lost_info else 2 * share):
                raise NoPool(
                    f"{options.image} does not fit the configuration, another fits better: "
                    f"{' '.join(other.said)} Check --config and --width."
                )


def _asked(options: DumpOptions, image: Image, address: int, layout: Layout) -> FoundPool:
    segment = image.segment_at(address)
    if segment is None:
        has = ", ".join(f"{one.address:#x} to {one.stop:#x}" for one in image.segments[:8])
        raise HeapwitnessError(f"{options.image} has no byte of {address:#x}: it has {has}. Check --pool and --base.")
    found = judge(segment, address, layout)
    if found is None:
        raise NoPool(
            f"No pool of this configuration starts at {address:#x}: check --pool, --config and --width, "
            "or leave --pool out to have pools searched for."
        )
    return found


def _base(found: tuple[FoundPool, ...], options: DumpOptions) -> tuple[int, str]:
    """Where a raw image lies: by its pools, else so that it begins with the pool that was asked for."""
    if not found:
        base = options.pools[0]
        return base, f"it is taken to begin with the pool at {base:#x}"
    base, signs = found[0].segment_address, "; ".join(found[0].signs)
    return base, f"by the pool at {found[0].address:#x} it is {base:#x} ({signs})"


def _moved(options: DumpOptions, image: Image, base: int, layout: Layout) -> Image:
    if base + len(image.segments[0].data) > layout.pointer_mask + 1:
        raise HeapwitnessError(f"{options.image} does not fit at {base:#x}: check --pool and --width, or give --base.")
    return image.moved(base)


def _examined(
    image: Image,
    found: tuple[FoundPool, ...],
    layout: Layout,
    names: Mapping[int, str],
    firmware: FirmwareFile | None,
    kernel: _Kernel | None = None,
) -> tuple[ExaminedPool, ...]:
    starts = sorted(pool.address for pool in found)
    pools: list[ExaminedPool] = []
    for pool in found:
        segment = image.segment_at(pool.address)
        assert segment is not None
        limit = next((start for start in starts if start > pool.address), segment.stop)
        pools.append(_examine_pool(segment, pool.address, limit, layout, names, firmware, kernel or _Kernel()))
    return tuple(pools)


def _examine_pool(
    segment: Segment,
    address: int,
    limit: int,
    layout: Layout,
    names: Mapping[int, str],
    firmware: FirmwareFile | None,
    kernel: _Kernel,
) -> ExaminedPool:
    data = _bytes_of(segment, address, limit, layout)
    view = PoolView(data, address, layout)
    walked = settled(view, walk(data, address, layout, midway=True), held=kernel.held)
    evidence = HeaderEvidence(view, walked, rebuild(view, walked))
    stack = bare if firmware is None else firmware.stack
    findings = findings_of(view, walked, names, stacks=kernel.stacks)
    if firmware is not None:
        findings = tuple(named(finding, firmware.stack) for finding in findings)
    own = data if len(data) <= walked.info.size else data[: walked.info.size]
    use = msgspec.structs.replace(usage(evidence, names, stack), lock_held=kernel.held)
    return ExaminedPool(address, own, evidence, findings, use)


def _bytes_of(segment: Segment, address: int, limit: int, layout: Layout) -> Held:
    """A pool's bytes, and a few behind them: damage may go on there."""
    memory = segment.data.part(address - segment.address, min(limit, segment.stop) - segment.address)
    size = find_end(HeadersView(memory, address, layout)).size
    return store.cut(memory, 0, size if size > store.IN_MEMORY else size + _BEHIND)


_LOCK = {None: "", True: ", with the heap's lock (g_memSpin) held", False: ", with the heap's lock (g_memSpin) free"}


def _limits(pools: tuple[ExaminedPool, ...]) -> tuple[str, ...]:
    told = []
    for pool in pools:
        walked = pool.evidence.walk
        if pool.use.midway:
            told.append(
                f"The dump was taken in the middle of an operation on the pool at {pool.address:#x}"
                f"{_LOCK[pool.use.lock_held]}: what the kernel was changing there is no damage and is not told."
            )
        if walked.truncated is not None:
            told.append(
                f"The image ends at {walked.truncated:#x}, before the pool at {pool.address:#x} does "
                f"({walked.info.size:,} bytes): its last nodes are not in it."
            )
        if len(pool.findings) == FINDINGS_LIMIT:
            told.append(f"The pool at {pool.address:#x} has more findings than the {FINDINGS_LIMIT} that are told.")
    return tuple(told)
