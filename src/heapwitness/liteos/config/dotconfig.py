"""Editing a `.config`: our symbols by the rules of the packaged Kconfig, every other line left as it is."""

import errno
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import kconfiglib

from heapwitness.liteos.config import symbols
from heapwitness.liteos.config.config import BadConfig, assignment, parse, read
from heapwitness.replacing import write_whole

KCONFIG = Path(__file__).parent / "Kconfig"


class DotConfig(kconfiglib.Kconfig):  # type: ignore[misc]  # kconfiglib has no types
    """The packaged Kconfig with the values of one `.config`.

    A symbol that the file leaves out is off where the file could have held it, as `Config.load` reads
    it; a file that is not there yet has the kernel's defaults.
    """

    def __init__(self, path: Path) -> None:
        """Read the Kconfig and, where there is one, the `.config`; BadConfig where it cannot be read."""
        self.path = path
        self.text = read(path) if path.exists() else ""
        self._asked: set[str] = set()
        with _no_prefix():
            super().__init__(str(KCONFIG), warn=False)
        self._apply(parse(self.text))

    def _apply(self, values: Mapping[str, str]) -> None:
        ours = {name: value for name, value in values.items() if name in self.syms}
        for name, value in ours.items():
            self.syms[name].set_value(value)
        if not self.text.strip():
            return
        absent = [symbol for symbol in self.unique_defined_syms if symbol.name not in ours and symbol.choice is None]
        for symbol in absent:
            if symbol.orig_type == kconfiglib.BOOL and symbol.visibility:
                symbol.set_value("n")

    def load_config(self, filename: str | None = None, replace: bool = True, verbose: bool | None = None) -> str:
        """Called by menuconfig: at its start, when the file is loaded already, and to load the values of another."""
        if filename is None:
            return f"Editing {self.path}"
        try:
            values = parse(read(filename))
        except BadConfig as error:
            raise OSError(errno.EINVAL, str(error), filename) from error
        if replace:
            self.unset_values()
        self._apply(values)
        return f"Values of {filename} loaded"

    def write_config(self, filename: str | None = None, *_: object, **__: object) -> str:
        """Write the file back, every byte as it was but in the lines of symbols that changed; says so.

        Raises:
            OSError: it cannot be written, and is as it was.
        """
        path = Path(filename) if filename else self.path
        text = merged(self.text, self.values(), self._asked)
        write_whole(path, text.encode("utf-8", "surrogateescape"))
        self.text = text
        return f"Configuration saved to {path}"

    def save(self) -> None:
        """Write the file back; BadConfig where that is not possible."""
        try:
            self.write_config()
        except OSError as error:
            raise BadConfig(f"{self.path} cannot be written ({error.strerror}).") from error

    def values(self) -> dict[str, str]:
        """Our symbols that a `.config` holds now, in the order of the menus."""
        shown: dict[str, str] = {}
        for symbol in self.unique_defined_syms:
            if symbol.config_string:
                shown[symbol.name] = symbol.str_value
        return shown

    def set(self, assignments: Mapping[str, str]) -> list[str]:
        """Set symbols together; returns the symbols that this switched off because what they need is off.

        Raises:
            BadConfig: a symbol is not ours, a value is none, or a dependency fails; nothing is written.
        """
        before = parse(self.text) | self.values()
        for name, value in assignments.items():
            if name not in self.syms or not self.syms[name].nodes:
                raise BadConfig(f"{name} is no symbol of the heap's Kconfig; edit it in the kernel's own menuconfig.")
            if not self.syms[name].set_value(value):
                raise BadConfig(f"{name} cannot be {value!r}: {self._allowed(name)}.")
        for name, value in assignments.items():
            if self.syms[name].str_value != value:
                raise BadConfig(self._why_not(name, value))
        self._asked.update(assignments)
        after = self.values()
        lost = [name for name in symbols.BOOLEANS if before.get(name) == "y" != after.get(name)]
        return [name for name in lost if name not in assignments and name not in symbols.ALGORITHMS]

    def _allowed(self, name: str) -> str:
        symbol = self.syms[name]
        if symbol.orig_type != kconfiglib.INT:
            return "it is y or n"
        low, high, _ = symbol.ranges[0]
        return f"it is a number from {low.str_value} to {high.str_value}"

    def _why_not(self, name: str, value: str) -> str:
        symbol = self.syms[name]
        if symbol.orig_type == kconfiglib.INT:
            return f"{name} cannot be {value!r}: {self._allowed(name)}."
        if value == "n" and symbol.choice is not None:
            others = " or ".join(other.name for other in symbol.choice.syms if other is not symbol)
            return f"{name} is one of a choice and cannot be switched off: set {others} instead."
        for needed in symbols.NEEDS.get(name, ()):
            if self.syms[needed].str_value != "y":
                return f"{name} needs {needed}: set it too."
        return f"{name} cannot be {value!r} together with the other symbols that were set."


def split_assignments(texts: Iterable[str]) -> dict[str, str]:
    """SYMBOL=VALUE texts as a mapping; BadConfig for one that is none."""
    assignments: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise BadConfig(f"{text!r} sets nothing: write SYMBOL=VALUE.")
        assignments[name.strip()] = value.strip()
    return assignments


def merged(text: str, values: Mapping[str, str], asked: Iterable[str] = ()) -> str:
    """A `.config`'s text with those of our symbols in it that changed.

    The last line of a symbol counts, and is changed; new ones come at the end; lines of one that fell away are
    dropped. Every other line stays as it is.

    Args:
        text: as it was.
        values: of all our symbols that a `.config` holds now.
        asked: symbols that are to be named even where leaving them out says the same.
    """
    before = parse(text)
    changed = {name for name in _OURS if _meant(name, before) != _meant(name, values)}
    changed |= {name for name in asked if name not in before}
    if not text.strip():
        changed = set(values)
    kept: list[str] = []
    left = {name: values[name] for name in values if name in changed}
    # From the end: the last line of a symbol is the one that counts.
    for line in reversed(_with_ends(text)):
        found = assignment(line.removesuffix("\n"))
        name = found[0] if found is not None else None
        if name not in changed:
            kept.append(line)
        elif name in left:
            kept.append(_assignment(name, left.pop(name)) + _end_of(line))
        elif name in values:
            kept.append(line)
    kept.reverse()
    end = _end_of(kept[0]) or "\n" if kept else "\n"
    if left and kept and not _end_of(kept[-1]):
        kept[-1] += end
    kept += [_assignment(name, value) + end for name, value in left.items()]
    return "".join(kept)


_OURS = {*symbols.BOOLEANS, symbols.TSK_LIMIT}


def _meant(name: str, values: Mapping[str, str]) -> str:
    """A symbol's value, or what it means to leave it out."""
    if name in values:
        return values[name]
    if name == symbols.TSK_LIMIT:
        return str(symbols.DEFAULT_TASK_LIMIT)
    others = [values.get(one) for one in symbols.ALGORITHMS]
    return "y" if name == symbols.BESTFIT and "y" not in others else "n"


def _with_ends(text: str) -> list[str]:
    lines = [line + "\n" for line in text.split("\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]


def _end_of(line: str) -> str:
    return "\r\n" if line.endswith("\r\n") else "\n" if line.endswith("\n") else ""


def _assignment(name: str, value: str) -> str:
    return f"# {name} is not set" if value == "n" else f"{name}={value}"


@contextmanager
def _no_prefix() -> Iterator[None]:
    """kconfiglib puts CONFIG_ before symbols unless told otherwise; the kernel's have their LOSCFG_ by name."""
    before = os.environ.get("CONFIG_")
    os.environ["CONFIG_"] = ""
    try:
        yield
    finally:
        if before is None:
            del os.environ["CONFIG_"]
        else:
            os.environ["CONFIG_"] = before
