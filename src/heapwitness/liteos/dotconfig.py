"""Editing a `.config`: our symbols by the rules of the packaged Kconfig, every other line left as it is."""

import errno
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import kconfiglib

from heapwitness.liteos import symbols
from heapwitness.liteos.config import BadConfig, parse, read

KCONFIG = Path(__file__).parent / "Kconfig"

_LINE = re.compile(r"\s*(?:#\s*)?(?P<name>\w+)(?:\s*=.*|\s+is not set\s*)")


class DotConfig(kconfiglib.Kconfig):  # type: ignore[misc]  # kconfiglib has no types
    """The packaged Kconfig with the values of one `.config`.

    A symbol that the file leaves out is off where the file could have held it, as `Config.load` reads
    it; a file that is not there yet has the kernel's defaults.
    """

    def __init__(self, path: Path) -> None:
        """Read the Kconfig and, where there is one, the `.config`; BadConfig where it cannot be read."""
        self.path = path
        self.text = read(path) if path.exists() else ""
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
        """Write the file back: our symbols changed in their lines, new ones at its end; says so."""
        path = Path(filename) if filename else self.path
        self.text = merged(self.text, self.values())
        path.write_text(self.text, encoding="utf-8")
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


def merged(text: str, values: Mapping[str, str]) -> str:
    """A `.config`'s text with our symbols' lines replaced, lines of ours that fell away dropped, new ones appended."""
    left = dict(values)
    lines: list[str] = []
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        name = match["name"] if match else None
        if name is None or name not in _OURS:
            lines.append(line)
        elif name in left:
            lines.append(_assignment(name, left.pop(name)))
    lines += [_assignment(name, value) for name, value in left.items()]
    return "".join(line + "\n" for line in lines)


_OURS = {*symbols.BOOLEANS, symbols.TSK_LIMIT}


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
