"""What lay in a block's place before it: an object that was released once too often is used when its memory is another
one's, and nothing of it is left there but where it was."""

import msgspec

from heapwitness.diagnose.blocks import Sites
from heapwitness.diagnose.python_objects import has_size, type_names
from heapwitness.findings.counted import HEADS, is_at_count, is_count
from heapwitness.findings.model import Block, Finding, Former
from heapwitness.layout import past as layout
from heapwitness.memory import Memory

SHOWN = 3
_HEADS = (0, *HEADS)


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
    """The finding with what lay before in the place of a released object whose count of references was changed, or of
    another block where an object would have that, if one lay there; and with the object's type."""
    damage, block = finding.damage, finding.culprit
    if block is None or not is_at_count(finding):
        return finding
    if damage is not None and damage.offset is not None:
        if is_count(finding) and block.type is None:
            block = msgspec.structs.replace(block, type=_type_of_last(block, damage.offset, sites, memory))
        former = with_before(block, sites, memory, damage.offset)
        block = former if is_count(finding) or any(one.type is not None for one in former.before) else block
    return msgspec.structs.replace(finding, culprit=block)


def with_type_of_last(block: Block, sites: Sites, memory: Memory) -> Block:
    """A released block with the type of the object that it was, where only one can be told."""
    names = {name for head in _HEADS if (name := _type_of_last(block, head, sites, memory)) is not None}
    return msgspec.structs.replace(block, type=names.pop()) if len(names) == 1 else block


def _type_of_last(block: Block, head: int, sites: Sites, memory: Memory) -> str | None:
    """The type of the object that was released there last, where nothing of it is left: that of the first one that was
    released by the same lines, if this one has the size of such.

    Args:
        head: bytes of the block before the object.
    """
    past = sites.past
    site = next(iter(past.sites(block.address)), None) if past is not None else None
    if past is None or site is None or block.freed is None or sites.site(site) != block.freed or head not in _HEADS:
        return None
    words = past.heads(site)
    word = words[_HEADS.index(head)] if words else 0
    names = type_names(memory, word) if word else ()
    return names[0] if names and has_size(memory, word, block.size - head) else None


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
        head = _HEADS[number]
        if word and head + layout.TYPE + 8 <= room and (names := type_names(memory, word)):
            name, at = names[0], head
            break
    return Former(allocated=sites.prior(site), freed=sites.site(site), domain=domain, type=name), at
