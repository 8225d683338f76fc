"""What has no backup but follows from the nodes: the pool's info, free lists, statistics, and gap words.

Each word of these that is not what the nodes ask for is a `WrongWord`; `restore` writes what is
expected, `derived_findings` tells them.
"""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from heapwitness.findings.detection import detection
from heapwitness.findings.model import Copy, Damage, Kind, When
from heapwitness.liteos.diagnose.blocks import TaskNames, block_of, gap_of
from heapwitness.liteos.diagnose.evidence import HeaderEvidence
from heapwitness.liteos.diagnose.finding import LiteosFinding
from heapwitness.liteos.heap.counters import counters, name_of, released_first, wrong_counters
from heapwitness.liteos.heap.lists import FreeLists
from heapwitness.liteos.layout.layout import ALIGNED_FLAG


class WrongWord(msgspec.Struct, frozen=True):
    """A word of `size` bytes at `address` that should be `expected`.

    `node` is the node that it concerns, None for the pool itself. `what` names it.
    """

    address: int
    size: int
    expected: int
    actual: int
    copy: Copy
    node: int | None
    what: str


def wrong_words(evidence: HeaderEvidence) -> tuple[WrongWord, ...]:
    """Every such word of a pool, in order of address within its kind.

    Lists and statistics are compared only where every node is known: where nodes are lost, they
    differ for that reason alone.
    """
    words = [*_info_words(evidence), *_gap_words(evidence)]
    if evidence.walk.truncated is None and all(node.exact for node in evidence.nodes):
        headers = {address: one.header for address, one in evidence.rebuilt.items()}
        lists = FreeLists(evidence.view, evidence.walk, headers)
        words += _list_words(evidence, lists)
        words += _counter_words(evidence, lag(evidence, lists))
    return tuple(words)


def lost_gaps(evidence: HeaderEvidence) -> tuple[int, ...]:
    """Addresses of aligned nodes in whose payload no gap word is found, and whose header does not tell the gap."""
    found: list[int] = []
    for node in evidence.walk.nodes:
        header = evidence.header(node)
        if header is not None and node.exact and header.used and header.aligned and not header.gap_size:
            in_bytes = node.address + node.size <= evidence.view.address + len(evidence.view.data)
            if in_bytes and not gap_of(evidence.view, node.address, header):
                found.append(node.address)
    return tuple(found)


def _info_words(evidence: HeaderEvidence) -> Iterator[WrongWord]:
    view, info, pool = evidence.view, evidence.walk.info, evidence.view.layout.pool
    if not info.address_good:
        at = view.address + pool.pool.offset
        stored = info.stored_address
        yield WrongWord(at, view.layout.pointer, view.address, stored, "control", None, "the pool's own address")
    if not info.size_good:
        at = view.address + pool.pool_size.offset
        yield WrongWord(at, 4, info.size, info.stored_size, "control", None, "the pool's size")


def _gap_words(evidence: HeaderEvidence) -> Iterator[WrongWord]:
    view = evidence.view
    for node in evidence.walk.nodes:
        header = evidence.header(node)
        if header is None or not node.exact or node.moving or not header.aligned or not header.gap_size:
            continue
        at = node.address + view.layout.node_size + header.gap_size - 4
        if not view.address <= at <= view.address + len(view.data) - 4 or at >= node.address + node.size:
            continue
        expected, actual = header.gap_size | ALIGNED_FLAG, view.u32(at - view.address)
        if expected != actual:
            yield WrongWord(at, 4, expected, actual, "slack", node.address, "the gap word in front of an aligned block")


def _list_words(evidence: HeaderEvidence, lists: FreeLists) -> Iterator[WrongWord]:
    size = evidence.view.layout.pointer
    for word in lists.wrong():
        if word.node is None:
            what = f"{word.field} of a free list's head"
            yield WrongWord(word.address, size, word.expected, word.actual, "control", None, what)
        elif word.node not in evidence.rebuilt:
            what = f"{word.field} of a free node"
            # Where the backup is trusted, the header itself may have the right link.
            actual = evidence.view.word(word.address - evidence.view.address)
            if actual is not None and actual != word.expected:
                yield WrongWord(word.address, size, word.expected, actual, "header", word.node, what)


def lag(evidence: HeaderEvidence, lists: FreeLists) -> int:
    """By how many bytes statistics may differ from the nodes, because an operation half way is changing these."""
    changing = lists.changing
    nodes = (node for node in evidence.walk.nodes if node.moving or node.address in changing)
    return sum(max(copy.size for copy in (node.own, node.backup, node.header) if copy is not None) for node in nodes)


def is_midway(evidence: HeaderEvidence) -> bool:
    """Whether anything shows that an operation of the kernel was stopped half way."""
    if any(node.moving for node in evidence.nodes):
        return True
    headers = {address: one.header for address, one in evidence.rebuilt.items()}
    return bool(evidence.walk.midway and FreeLists(evidence.view, evidence.walk, headers).changing)


def _counter_words(evidence: HeaderEvidence, lagging: int) -> Iterator[WrongWord]:
    if any("taskId" in one.unknown for one in evidence.rebuilt.values()):
        return
    headers = {address: one.header for address, one in evidence.rebuilt.items()}
    found = counters(evidence.view, evidence.walk, headers)
    for one in wrong_counters(found, evidence.view.layout, lagging or released_first(found, evidence.walk)):
        what = f"{name_of(one.counter)} {'at the peak' if one.peak else 'in use'}"
        yield WrongWord(one.address, 4, one.expected, one.actual, "control", None, what)


def derived_findings(
    evidence: HeaderEvidence, tasks: TaskNames, when: When, told: Sequence[tuple[int, int]]
) -> Iterator[LiteosFinding]:
    """A finding for each stretch of wrong words, and for each aligned block that lost its gap.

    Gap words within the extents `told` (from, to before) were hit by what is told there.
    """
    words = sorted(wrong_words(evidence), key=lambda word: word.address)
    untold = (
        word for word in words if word.copy != "slack" or not any(low <= word.address < high for low, high in told)
    )
    for group in _neighbours(untold):
        yield _finding(evidence, group, tasks, when)
    for address in lost_gaps(evidence):
        node = evidence.nodes[evidence.index[address]]
        yield LiteosFinding(
            kind="header-overwrite",
            detected=detection(when),
            victim=block_of(evidence, node, tasks),
            detail="The gap word in front of this aligned block is overwritten, and its header does not tell the gap.",
            node=address,
        )


def _neighbours(words: Iterable[WrongWord]) -> Iterator[list[WrongWord]]:
    group: list[WrongWord] = []
    for word in words:
        if group and (word.node != group[-1].node or word.address > group[-1].address + 2 * group[-1].size):
            yield group
            group = []
        group.append(word)
    if group:
        yield group


def _finding(evidence: HeaderEvidence, words: list[WrongWord], tasks: TaskNames, when: When) -> LiteosFinding:
    damage = _damage(evidence, words)
    kind: Kind = "header-overwrite"
    victim = culprit = None
    if words[0].node is not None:
        node = evidence.nodes[evidence.index[words[0].node]]
        victim = block_of(evidence, node, tasks)
        touches = damage.address + damage.length == victim.address
        if words[0].copy == "slack" and touches and not _is_single_bit(words[0]):
            kind, culprit = "heap-buffer-underflow", victim
            damage = msgspec.structs.replace(damage, offset=damage.address - victim.address)
    names = list(dict.fromkeys(word.what for word in words))
    text = f"{' and '.join(names[:3])}{' and more' if len(names) > 3 else ''}"
    return LiteosFinding(
        kind=kind,
        detected=detection(when),
        culprit=culprit,
        victim=victim,
        damage=damage,
        detail=f"{text[0].upper()}{text[1:]}: {_values(words[0])}.",
        node=words[0].node,
        extents=(damage,),
    )


def _values(word: WrongWord) -> str:
    return f"{word.actual:#x} where the nodes ask for {word.expected:#x}"


def _is_single_bit(word: WrongWord) -> bool:
    return (word.expected ^ word.actual).bit_count() == 1


def _damage(evidence: HeaderEvidence, words: list[WrongWord]) -> Damage:
    """From the first wrong byte to the last."""
    view = evidence.view
    expected = {
        word.address + at: byte for word in words for at, byte in enumerate(word.expected.to_bytes(word.size, "little"))
    }
    have = {address: view.data[address - view.address] for address in expected}
    wrong = [address for address in expected if expected[address] != have[address]]
    start, stop = min(wrong), max(wrong) + 1
    actual = view.data[start - view.address : stop - view.address]
    return Damage(
        address=start,
        length=stop - start,
        offset=None,
        expected="".join(f"{expected[at]:02x}" if at in expected else ".." for at in range(start, stop)),
        actual=actual.hex(),
        shown=stop - start,
        copies=tuple(dict.fromkeys(word.copy for word in words)),
    )
