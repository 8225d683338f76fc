"""Why a run was not as it should be: the classes of misses, and what they mean in words.

A class is found by what was done and what came of it; what fits none is "not explained", and somebody has to look
(`--replay`).
"""

import re

from truth import Result, Truth

SAME = "bytes that were the same"
STRETCH = "a stretch that was the same"
RELEASED = "out of a released block"
AGAIN = "used again"
BEFORE = "unwatched bytes before"
GAP = "unwatched bytes between"
LOST = "a lost header"
POISON = "poison in doubt"
LINKS = "links in doubt"
UNEXPLAINED = "not explained"

# What core.py says, and the first word of such links as the target tells them: is, and was.
_SIGN = re.compile(r"a cached block|: 0[01]/0[01] 00/00 00/00 00/00")

_LONGER = re.compile(r"extent at least \+0\.\.\+(\d+) instead of \+0\.\.\+(\d+)")
_LOOK_ALIKES = 15
"""So many bytes behind a write may go on with its pattern by chance."""

WORDS = {
    SAME: """
        The first or last bytes were written with the value that they had (1 in 256 for each with noise; often with
        zeros), or those next to them hold what the write would have put there. So the damage does not touch the block
        that it is of, or seems to begin or end elsewhere.
    """,
    STRETCH: """
        More than 15 bytes in a row were written with the value that they had, as zeros over empty bins: two damages for
        the diagnosis, each of them told.
    """,
    RELEASED: """
        An underflow that begins inside of a released block before. It is told as one when all bytes between say so
        and it ends exactly where a live block begins; else a write into the released block that ran on is the better
        guess.
    """,
    BEFORE: """
        The write began in the payload of the block before, where nothing vouches for bytes, and has no pattern to
        follow back.
    """,
    GAP: """
        Bytes that nothing vouches for (payload) lie between two damaged places, and what was written has no pattern
        to follow through them: told as two findings, or only as far as the first of them goes.
    """,
    LOST: """
        The write destroyed both copies of at least one header. Which state that block had, and where its slack or
        its links lay, is not known any more; all of the lost header counts as damaged, though its last bytes need
        not be.
    """,
    POISON: """
        A released block lost the links that say whether it was poisoned, and too little of its poison is left to
        tell, or a write of ones looks like that sign. The bytes are no one's; nothing that is used later is wrong.
    """,
    AGAIN: """
        The block was resized, or released and given out again, before anything was noticed. The address is right; the
        size is that of now.
    """,
    LINKS: """
        Links of a released block are compared with what the tree of free blocks asks for; where that is damaged
        itself they count as lost as a whole, and the damage seems to begin or end with them. In the smallest block
        links of a release by another thread lie over the slack, and a first byte of 0xFF there looks like theirs.
    """,
    UNEXPLAINED: "Fits no class.",
}
"""What a reader is told of each class."""


def reason(label: str, result: Result) -> str:
    """The class of a miss.

    Args:
        label: what is not as it should be, as `Tally` names it.
    """
    truth = result.truth
    if label == "not restored":
        return POISON if _SIGN.search(result.remark) else UNEXPLAINED
    if label in ("not detected", "not finished"):
        return UNEXPLAINED
    if label == "culprit not named" and f"culprit {truth.block:#x}, " in result.remark:
        return AGAIN
    if "use-after-free-write" in result.told:
        return RELEASED if truth.row == "underflow" else LINKS
    if truth.row.startswith("control") and len(result.told) > 1:
        return STRETCH
    if _is_same_at_an_end(truth) or _goes_on_alike(result):
        return SAME
    if result.repair == "lost":
        return LOST
    if truth.row == "underflow" and "heap-buffer-overflow" in result.told:
        return SAME
    if label == "another extent" and truth.seen[0] > truth.start:
        return BEFORE
    if len(result.told) > 1 or truth.row == "overflow that leaves bytes out":
        return GAP
    if truth.row.startswith("use after free"):
        return LINKS
    return UNEXPLAINED


def _is_same_at_an_end(truth: Truth) -> bool:
    first, behind = truth.wrote
    return truth.start > first or truth.stop < behind


def _goes_on_alike(result: Result) -> bool:
    """Whether the end was told a few bytes too far, behind bytes that nothing vouches for: there it is followed by what
    the write would have put there."""
    found = _LONGER.search(result.remark)
    told, true = map(int, found.groups()) if found else (0, 0)
    unwatched = result.truth.seen[1] < result.truth.stop
    return unwatched and 0 < told - true <= _LOOK_ALIKES
