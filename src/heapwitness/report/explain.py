"""What each kind of finding means, what it often comes from, and what to look at.

One source of these texts: `heapwitness explain`, HTML, SARIF and docs/kinds.md take them from here.
`python -m heapwitness.report.explain FILE` writes that page.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from heapwitness.findings.model import Kind


@dataclass(frozen=True, slots=True)
class Explanation:
    """A kind in words. `title` is a noun, `summary` a sentence; `causes` and `look` are sentences. `cwe` is the number
    of the weakness in the Common Weakness Enumeration."""

    title: str
    summary: str
    meaning: str
    causes: tuple[str, ...]
    look: tuple[str, ...]
    cwe: int

    @property
    def link(self) -> str:
        """A page of the enumeration on this weakness."""
        return f"https://cwe.mitre.org/data/definitions/{self.cwe}.html"


EXPLANATIONS: dict[Kind, Explanation] = {
    "heap-buffer-overflow": Explanation(
        title="Overflow of a heap block",
        summary="The program wrote past the end of a block that it had allocated.",
        meaning=(
            "The damage begins right at the end of what was requested. What lies there is slack, then the control data "
            "of the next block; in another allocator it would have been the next block's data or the heap's own lists."
        ),
        causes=(
            "A string was copied without its length being checked, or there was no room for its final NUL.",
            "A loop ran one step too far (`<=` for `<`), or an index was not compared with the block's length.",
            "The size was computed in elements and allocated in bytes, or the multiplication overflowed.",
            "The block was allocated for one type and used as a larger one.",
        ),
        look=(
            "The line that allocated the block: is the size the one that the writer assumes?",
            "The bytes that were written: text, a number or a pattern often tells which code wrote them.",
            "All code that fills the block; `--check-every` brings the moment of detection closer to the store.",
        ),
        cwe=122,
    ),
    "heap-buffer-underflow": Explanation(
        title="Write before a heap block",
        summary="The program wrote before the start of a block that it had allocated.",
        meaning=(
            "The damage ends right where the block's payload begins. The block's own control data lies there, and the "
            "backup of it that the neighbour keeps."
        ),
        causes=(
            "A negative index, often the result of a search that found nothing (`-1`).",
            "A loop that runs backwards and does not stop at 0, or compares an unsigned counter with `>= 0`.",
            "A pointer was decremented to reach a header that this block does not have.",
        ),
        look=(
            "Indexes into this block that may become negative.",
            "Code that walks the block from its end.",
            "Whether the block before it may have been overrun: where both fit, the report says so.",
        ),
        cwe=124,
    ),
    "header-overwrite": Explanation(
        title="Wild write into the heap's control data",
        summary="Control data of the heap was overwritten by a write that touches no block's edge.",
        meaning=(
            "The damage neither begins at a block's end nor leads up to a block's start. No block can be called the "
            "culprit by the bytes alone; blocks close to it are named as what they are, close."
        ),
        causes=(
            "A stray pointer: uninitialised, computed from a wrong base, or one that was overwritten itself.",
            "An index that is far out of bounds, so that the bytes between were skipped.",
            "A structure of an array was written whose index was one too large, with its first fields left out.",
        ),
        look=(
            "The bytes that were written: do they look like an address, a number or text of the program's?",
            "Blocks named as nearest, and indexes into them.",
            "Other findings of the same run: a stray pointer often comes from an earlier damage.",
        ),
        cwe=787,
    ),
    "use-after-free-write": Explanation(
        title="Write into a released block",
        summary="The program wrote into a block after it had released it.",
        meaning=(
            "Bytes of a released block changed that only the heap may change: its links, or the pattern that "
            "`--poison` fills it with. In another allocator that is the data of whatever block lies there next."
        ),
        causes=(
            "A pointer was kept in a second place (a list, a cache, a callback's data) when the block was released.",
            "A pointer into a block was kept across `realloc`, or across an insertion into a container that moves.",
            "Two owners each believed that the other one only borrowed the block; one thread released it too early.",
        ),
        look=(
            "The stack of the release: what still pointed to the block then?",
            "The offset in the block: which field is it?",
            "`--poison`, which sees writes anywhere in released blocks, and keeps them back for a while.",
        ),
        cwe=416,
    ),
    "use-after-free-read": Explanation(
        title="Read of a released block",
        summary="The program used an address that it had read from released or uninitialised memory.",
        meaning=(
            "The program crashed by an address that stands in the heap as a keyed pattern or link, which only released "
            "or never initialised memory holds. A trap may have caught the read itself."
        ),
        causes=(
            "An object was used after its release, through a pointer that was kept.",
            "A reference count was decremented once too often.",
            "A block was used before its fields were set.",
        ),
        look=(
            "The stack of the release, and who kept a pointer to the block.",
            "The stack of the crash: through which field did it come to the address?",
        ),
        cwe=416,
    ),
    "double-free": Explanation(
        title="Block released twice",
        summary="The program released a block that it had released already.",
        meaning="The pointer is that of a block which is free. The second release was not done.",
        causes=(
            "Two owners each released the block, often on an error's path.",
            "A structure was copied with the pointers in it, and both copies were destroyed.",
            "`realloc` to size 0, or a failed `realloc`, was taken for something else than it is.",
        ),
        look=(
            "Both stacks of release: which of the two owns the block?",
            "Whether the pointer is set to NULL, or the object forgotten, after the first.",
        ),
        cwe=415,
    ),
    "invalid-free": Explanation(
        title="Release of a pointer that is no block",
        summary="The program released an address that no allocation returned.",
        meaning=(
            "The pointer leads into the middle of a block, between blocks, or out of the heap (a stack, a variable, "
            "code). Nothing was released."
        ),
        causes=(
            "The pointer was moved on while the block was read, and then released.",
            "A variable or a constant was released as if it had been allocated.",
            "An array of objects with destructors was released by the address of its first element.",
            "The memory came from another allocator: a pool, a library with a release function of its own.",
        ),
        look=(
            "How far the pointer is inside of which block.",
            "What the pointer leads to, where the report names a variable or a thread's stack.",
        ),
        cwe=763,
    ),
    "mismatched-free": Explanation(
        title="Release by another family than allocated",
        summary="A block was released by a function of another family than the one that allocated it.",
        meaning=(
            "malloc goes with free, new with delete, new[] with delete[]. With another allocator, or a destructor or "
            "array count in between, the wrong one damages the heap. Here the block was released all the same."
        ),
        causes=(
            "`delete` for an array that `new[]` made, or `free` for what `new` made.",
            "A library hands out memory that its own release function must take back.",
            "A smart pointer with the default deleter holds memory of another family.",
        ),
        look=("The allocation: which function is documented to release what it returns?",),
        cwe=762,
    ),
    "task-stack-overflow": Explanation(
        title="Overflow of a task's stack",
        summary="A task used more stack than it has and wrote into the heap below it.",
        meaning=(
            "On a device whose task stacks are blocks of the heap, the stack was used to its lowest word and the "
            "damage lies right below it."
        ),
        causes=(
            "Large local arrays, deep calls or recursion; a formatting function on a small stack.",
            "An interrupt that runs on the task's stack.",
            "The stack's size was reckoned without a library's needs.",
        ),
        look=(
            "The size that the task was created with, and its deepest path of calls.",
            "Whether the block below could have been overrun instead: the report says so where it can be.",
        ),
        cwe=121,
    ),
}

assert set(EXPLANATIONS) == set(get_args(Kind))


def kinds() -> tuple[Kind, ...]:
    """All kinds, in the order in which they are listed."""
    return tuple(EXPLANATIONS)


def page() -> str:
    """docs/kinds.md."""
    return "\n".join(_page()) + "\n"


def _page() -> Iterator[str]:
    yield "# Kinds of findings"
    yield ""
    yield "`heapwitness explain KIND` shows the same in a terminal. [How a kind is decided](diagnosis.md#the-kinds)."
    for kind, one in EXPLANATIONS.items():
        yield from ("", f"## {kind}", "", f"{one.summary} {one.meaning}", "", "Often comes from:", "")
        yield from (f"* {cause}" for cause in one.causes)
        yield from ("", "Look at:", "")
        yield from (f"* {where}" for where in one.look)
        yield from ("", f"[CWE-{one.cwe}]({one.link})")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
