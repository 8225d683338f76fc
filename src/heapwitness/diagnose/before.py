"""What lay in a block's place before it: an object that was released once too often is used when its memory is another
one's, and nothing of it is left there but where it was."""

import msgspec

from heapwitness.diagnose.blocks import Sites
from heapwitness.diagnose.python_objects import type_names
from heapwitness.findings.counted import HEADS, is_count
from heapwitness.findings.model import Block, Finding, Former
from heapwitness.layout import past as layout
from heapwitness.memory import Memory

SHOWN = 3


def with_before(block: Block, sites: Sites, memory: Memory, head: int | None = None) -> Block:
    """The block with what its program's Python code released there lately, if something was: each pair of lines once.

    Args:
        head: bytes of the block before the object that is meant, where they are known: then those that had an object
            there are told alone, if there are any.
    """
    past = sites.past
    found: dict[int, tuple[Former, int | None]] = {}
    for number, site in enumerate(past.sites(block.address) if past is not None else ()):
        own = number == 0 and block.freed is not None and sites.site(site) == block.freed
        if past is not None and not own and site not in found:
            found[site] = _former(past, site, sites, memory, block.size)
    told = [one for one, at in found.values() if at is not None and head in (None, at)]
    told = told or [one for one, _ in found.values() if one.domain == "PyObject_Malloc"]
    told = [one for one in told if not _is_imports(one)] or told
    return msgspec.structs.replace(block, before=tuple(told[:SHOWN])) if told else block


def with_former(finding: Finding, sites: Sites, memory: Memory) -> Finding:
    """The finding with what lay before in the place of a released object whose count of references was changed."""
    damage, block = finding.damage, finding.culprit
    if block is None or damage is None or not is_count(finding):
        return finding
    return msgspec.structs.replace(finding, culprit=with_before(block, sites, memory, damage.offset))


def _is_imports(former: Former) -> bool:
    """Whether it was the interpreter's own way of importing that released it, which makes no such mistakes."""
    stack = former.freed.stack if former.freed is not None else ()
    lines = [frame for frame in stack if frame.language == "python"]
    return not lines or (lines[0].file or "").startswith("<frozen")


def _former(past: layout.Past, site: int, sites: Sites, memory: Memory, size: int) -> tuple[Former, int | None]:
    """What was released at a site, and how many bytes of its block came before an object, None where it was none."""
    domain = sites.domain(site)
    name = at = None
    room = -(-size // 16) * 16
    for number, word in enumerate(past.heads(site) if domain == "PyObject_Malloc" else ()):
        head = (0, *HEADS)[number]
        if word and head + layout.TYPE + 8 <= room and (names := type_names(memory, word)):
            name, at = names[0], head
            break
    return Former(allocated=sites.prior(site), freed=sites.site(site), domain=domain, type=name), at
