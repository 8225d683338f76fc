"""Files of suppressions: one on a line, as conditions that must all hold.

    # The vendored parser is known to do this; fixed in its 2.4.
    kind=heap-buffer-overflow function=parse_* module=libparser.so*
    source=tests/legacy.py:12
    function="std::vector<int, *>::push_back" stack=allocation

`function`, `module` and `source` must hold for one frame, in a stack that tells of the fault; docs/settings.md says
which these are. Patterns are those of `globs`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from heapwitness.accept.globs import fits
from heapwitness.errors import HeapwitnessError
from heapwitness.findings.model import RELEASES, Finding, Frame, Kind
from heapwitness.findings.stacks import Frames, sites
from heapwitness.regular import open_regular
from heapwitness.report.frames import qualified

BYTES_LIMIT = 1 << 20
RULES_LIMIT = 10_000

_StackName = Literal["allocation", "release", "store", "detection"]
_KEYS = ("kind", "function", "module", "source", "stack")


class BadSuppressions(HeapwitnessError):
    """A file of suppressions cannot be read, or a line of it is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One suppression; a pattern of "" holds for everything. `text` is its line, in `file` at `line`."""

    file: str
    line: int
    text: str
    kind: str = ""
    function: str = ""
    module: str = ""
    source: str = ""
    stack: str = ""

    def holds(self, finding: Finding) -> bool:
        """Whether this is a finding that it speaks of."""
        if self.kind and not fits(self.kind, finding.kind):
            return False
        if not (self.function or self.module or self.source or self.stack):
            return True
        return any(map(self._holds_for, _frames(finding, self.stack)))

    def _holds_for(self, frame: Frame) -> bool:
        return (
            (not self.function or _is_function(self.function, frame))
            and (not self.module or _is_path(self.module, frame.module or ""))
            and (not self.source or _is_source(self.source, frame))
        )


def load(path: Path) -> tuple[Rule, ...]:
    """The suppressions of a file.

    Raises:
        BadSuppressions: says what is wrong with the file, or with which line of it.
    """
    try:
        with open(open_regular(str(path), BYTES_LIMIT), "rb") as stream:
            data = stream.read(BYTES_LIMIT)
    except OSError as error:
        raise BadSuppressions(f"the suppressions {path} cannot be read: {error.strerror or error}.") from error
    try:
        return parse(data.decode(), str(path))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadSuppressions(f"{path}:{line}: this is no text in UTF-8.") from error


def parse(text: str, file: str) -> tuple[Rule, ...]:
    """The suppressions of a text; `file` is what it is called in rules and errors.

    Raises:
        BadSuppressions: as `load`.
    """
    rules: list[Rule] = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        try:
            rules.append(_rule(stripped, file, number))
        except ValueError as error:
            raise BadSuppressions(f"{file}:{number}: {error}.") from error
        if len(rules) > RULES_LIMIT:
            raise BadSuppressions(f"{file}: there are more than {RULES_LIMIT:,} suppressions in it.")
    return tuple(rules)


def _rule(text: str, file: str, line: int) -> Rule:
    """Raises ValueError, which says what is wrong."""
    given: dict[str, str] = {}
    for key, value in _conditions(text):
        if key not in _KEYS:
            raise ValueError(f"{key!r} is no condition; there are {', '.join(_KEYS)}, as in function=parse_*")
        if key in given:
            raise ValueError(f"{key} is given twice")
        if not value:
            raise ValueError(f"{key} is empty")
        given[key] = value
    kinds, stacks = get_args(Kind), get_args(_StackName)
    if "kind" in given and not any(fits(given["kind"], kind) for kind in kinds):
        raise ValueError(f"there is no kind {given['kind']!r}; there are {', '.join(kinds)}")
    if given.get("stack", stacks[0]) not in stacks:
        raise ValueError(f"there is no stack {given['stack']!r}; there are {', '.join(stacks)}")
    if not any(one.strip("*") for key, one in given.items() if key != "stack"):
        raise ValueError("this would suppress everything; say at least one of kind, function, module and source")
    return Rule(file=file, line=line, text=text, **given)


def _conditions(text: str) -> Iterator[tuple[str, str]]:
    rest = text
    while rest and not rest.startswith("#"):
        key, equals, rest = rest.partition("=")
        if not equals or not key or len(key.split()) != 1:
            raise ValueError(f"{(key or rest).strip()!r} is no condition of the form key=pattern")
        if rest.startswith('"'):
            value, quote, rest = rest[1:].partition('"')
            if not quote or not (not rest or rest[0].isspace()):
                raise ValueError(f"the pattern of {key} has no closing quotation mark")
        else:
            value = rest.split(maxsplit=1)[0] if rest and not rest[0].isspace() else ""
            rest = rest[len(value) :]
        yield key, value
        rest = rest.strip()


def _is_function(pattern: str, frame: Frame) -> bool:
    if not frame.function:
        return False
    return fits(pattern, frame.function) or fits(pattern, qualified(frame.function))


def _is_source(pattern: str, frame: Frame) -> bool:
    if not frame.file:
        return False
    return _is_path(pattern, frame.file) or (frame.line is not None and _is_path(pattern, f"{frame.file}:{frame.line}"))


def _is_path(pattern: str, path: str) -> bool:
    """Whether a path, or its end behind a slash, is as the pattern says. Python calls a script `./tool.py` or
    `/home/me/./tool.py` where it was started as that."""
    if not path:
        return False
    pattern, path = _without_dots(pattern), _without_dots(path)
    return fits(pattern, path) or (not pattern.startswith("/") and fits(f"*/{pattern}", path))


def _without_dots(path: str) -> str:
    while "/./" in path:
        path = path.replace("/./", "/")
    return path.removeprefix("./")


def _frames(finding: Finding, stack: str) -> Frames:
    """The frames of the stacks that are asked for; by itself, of those that tell of the fault."""
    named: dict[str, Frames] = _stacks(finding)
    if stack:
        return named[stack]
    fault = (*named["store"], *named["allocation"], *named["release"])
    return fault or named["detection"]


def _stacks(finding: Finding) -> dict[str, Frames]:
    """By their names; of the blocks that were overrun or misused, and of the one that was hit where none is known."""
    near = (finding.culprit, finding.suspect)
    of_blocks = list(sites(*(near if any(near) else (finding.victim,))))
    released = [frame for act, site in of_blocks if act == "released" for frame in site.stack]
    if finding.kind in RELEASES or finding.detected.when == "crash":
        released += finding.detected.stack
    return {
        "store": finding.store.stack if finding.store is not None else (),
        "allocation": tuple(frame for act, site in of_blocks if act == "allocated" for frame in site.stack),
        "release": tuple(released),
        "detection": finding.detected.stack,
    }
