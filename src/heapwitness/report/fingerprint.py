"""A name for a finding that stays the same when the program is built again, started again or moved.

It is made of the kind and of the program's own functions and files in the stack of its fault: no address, no offset,
no line, no size. What has no function name counts by its module.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator

from heapwitness.findings.model import Finding, Frame
from heapwitness.report.frames import is_own, qualified
from heapwitness.report.spots import stacks

VERSION = 1
_FRAMES = 8


def fingerprint(finding: Finding) -> str:
    """32 hexadecimal digits."""
    words: list[str] = [finding.kind]
    for stack in stacks(finding):
        words += [stack.role, *_words(stack.frames)]
        if len(words) > 2:
            break
    return hashlib.blake2b("\0".join(words).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def fingerprints(findings: Iterable[Finding]) -> Iterator[str]:
    """Those of all findings of a report: of several that are alike, the second has "/2" at its end."""
    seen: Counter[str] = Counter()
    for finding in findings:
        one = fingerprint(finding)
        seen[one] += 1
        yield one if seen[one] == 1 else f"{one}/{seen[one]}"


def _words(stack: Iterable[Frame]) -> list[str]:
    frames = list(stack)
    own = [frame for frame in frames if is_own(frame)] or frames
    words: list[str] = []
    for frame in own[:_FRAMES]:
        name = qualified(frame.function) if frame.function else os.path.basename(frame.module or "")
        words.append(f"{name} {os.path.basename(frame.file or '')}")
    return words
