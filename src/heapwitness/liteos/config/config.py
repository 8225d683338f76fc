"""What a kernel was configured with: read from its `.config` or given as symbols.

A symbol that is absent is off, as in the C that the kernel compiles; only the algorithm (bestfit)
and the task limit (64) have a default. Editing a `.config` is in `dotconfig`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike

from heapwitness.errors import HeapwitnessError
from heapwitness.liteos.config import symbols
from heapwitness.liteos.config.lines import BLANKS, is_word, numbered
from heapwitness.named import reading

_IS_NOT_SET = " is not set"
_LARGEST_CONFIG = 16 << 20
_LARGEST_TASK_LIMIT = 0xFFFE  # a node's task id has 16 bits, and there is one task more than the limit


class BadConfig(HeapwitnessError):
    """A configuration that cannot be read, or that no kernel can have."""


@dataclass(frozen=True, slots=True)
class Config:
    """The options of one kernel that its heap depends on. `width` is its pointer width in bits, 32 or 64.

    Source: LiteOS's Kconfig; docs/liteos.md.
    """

    width: int
    bestfit_little: bool = False
    debug: bool = False
    task_stat: bool = False
    task_limit: int = symbols.DEFAULT_TASK_LIMIT
    head_backup: bool = False
    mul_pool: bool = False
    mul_module: bool = False
    recordinfo: bool = False
    leakcheck: bool = False
    integrity_check: bool = False
    size_check: bool = False
    shell_lk: bool = False
    slab: bool = False
    slab_expansion: bool = False

    def __post_init__(self) -> None:
        if self.width not in (32, 64):
            raise BadConfig(f"A kernel's pointers are 32 or 64 bits wide, not {self.width}.")
        if not 1 <= self.task_limit <= _LARGEST_TASK_LIMIT:
            raise BadConfig(f"{symbols.TSK_LIMIT} must be 1 to {_LARGEST_TASK_LIMIT}, not {self.task_limit}.")

    @property
    def has_magic(self) -> bool:
        """Whether used nodes carry a magic number and the task that allocated them."""
        return self.debug or self.task_stat

    @classmethod
    def load(cls, path: str | PathLike[str], width: int | None = None) -> "Config":
        """Read a `.config`; without `width` the architecture in it decides.

        Raises:
            BadConfig: it cannot be read, or holds a choice that cannot be.
        """
        return cls.from_symbols(parse(read(path)), width)

    @classmethod
    def from_symbols(cls, values: Mapping[str, str | int | bool], width: int | None = None) -> "Config":
        """Take symbols as a `.config` has them: "y", "n" or a number (True, False and ints too).

        Unknown symbols are passed over; a symbol that is absent is off.

        Raises:
            BadConfig: a value is none, or a choice cannot be; the sentence says which dependency fails.
        """
        on = {name for name in symbols.BOOLEANS if _boolean(name, values.get(name, "n"))}
        if not on.intersection(symbols.ALGORITHMS):
            on.add(symbols.BESTFIT)
        failing = failing_dependency(on)
        if failing is not None:
            raise BadConfig(failing)
        slab = symbols.BESTFIT in on and _boolean(symbols.SLAB, values.get(symbols.SLAB, "n"))
        if width is None:
            width = 64 if any(_is_on(values.get(name)) for name in symbols.WIDE_ARCHITECTURES) else 32
        return cls(
            width=width,
            bestfit_little=symbols.BESTFIT_LITTLE in on,
            debug=symbols.MEM_DEBUG in on,
            task_stat=symbols.TASK_STAT in on,
            task_limit=_number(symbols.TSK_LIMIT, values.get(symbols.TSK_LIMIT, symbols.DEFAULT_TASK_LIMIT)),
            head_backup=symbols.HEAD_BACKUP in on,
            mul_pool=symbols.MUL_POOL in on,
            mul_module=symbols.MUL_MODULE in on,
            recordinfo=symbols.RECORDINFO in on,
            leakcheck=symbols.LEAKCHECK in on,
            integrity_check=symbols.INTEGRITY_CHECK in on,
            size_check=symbols.SIZE_CHECK in on,
            shell_lk=_boolean(symbols.SHELL_LK, values.get(symbols.SHELL_LK, "n")),
            slab=slab,
            slab_expansion=slab and _boolean(symbols.SLAB_EXPANSION, values.get(symbols.SLAB_EXPANSION, "n")),
        )


def failing_dependency(on: set[str]) -> str | None:
    """Say which dependency the set of symbols that are on breaks, in one sentence; None when it holds."""
    if on.issuperset(symbols.ALGORITHMS):
        return f"{symbols.BESTFIT} and {symbols.BESTFIT_LITTLE} exclude each other: set one of them."
    for name, needs in symbols.NEEDS.items():
        if name in on:
            for needed in needs:
                if needed not in on:
                    return f"{name} needs {needed}: set it, or leave {name} off."
    return None


def read(path: str | PathLike[str]) -> str:
    """The text of a `.config`; BadConfig when it cannot be one. Bytes that are no UTF-8 stay as surrogates."""
    try:
        with reading(path) as file:
            data = file.read(_LARGEST_CONFIG + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise BadConfig(f"{path} cannot be read ({why}): give a kernel's .config.") from error
    if len(data) > _LARGEST_CONFIG or b"\0" in data:
        raise BadConfig(f"{path} is no .config: give the text file that menuconfig writes.")
    return data.decode("utf-8", "surrogateescape")


def parse(text: str) -> dict[str, str]:
    """Symbols and values of a `.config`'s text, quotes taken off; of a repeated symbol the last counts."""
    return dict(found for _, line in numbered(text) if (found := assignment(line)) is not None)


def assignment(line: str) -> tuple[str, str] | None:
    """The symbol that a line sets, and its value; None for a line that sets none."""
    line = line.strip(BLANKS)
    if line.startswith("#"):
        name, value = line[1:].removesuffix(_IS_NOT_SET).strip(BLANKS), "n"
        if not line.endswith(_IS_NOT_SET):
            return None
    else:
        name, equals, value = line.partition("=")
        if not equals:
            return None
        name, value = name.strip(BLANKS), value.strip(BLANKS).strip('"')
    return (name, value) if is_word(name) else None


def _is_on(value: str | int | bool | None) -> bool:
    return value is True or value == "y"


def _boolean(name: str, value: str | int | bool) -> bool:
    if isinstance(value, bool):
        return value
    if value not in ("y", "n"):
        raise BadConfig(f"{name} is y or n, not {value!r}.")
    return value == "y"


def _number(name: str, value: str | int | bool) -> int:
    if isinstance(value, int):
        return value
    try:
        return int(value, 0)
    except ValueError as error:
        raise BadConfig(f"{name} is a number, not {value!r}.") from error
