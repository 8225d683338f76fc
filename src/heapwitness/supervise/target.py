"""Can this program be run with the engine inside? Everything that can be known before it is started."""

import os
import re
import stat
import sys
from pathlib import Path
from typing import NamedTuple

from heapwitness.errors import HeapwitnessError
from heapwitness.named import reading
from heapwitness.supervise.elf import DamagedElf, Head, defines, read_head

_SHEBANG_LIMIT = 256
_INTERPRETERS_LIMIT = 4
_SANITIZERS = ("asan", "tsan", "msan", "lsan", "hwasan")
_SANITIZER_LIBRARIES = tuple(form.format(one) for one in _SANITIZERS for form in ("lib{}.so", "libclang_rt.{}"))
_DYNAMIC_LINKER = re.compile(r"ld(?:-linux[-\w]{0,32}|64|-2\.\d{1,4})?\.so(?:\.\d)?$")
_SANITIZER_NAMES = tuple(f"__{one}_init" for one in _SANITIZERS)


class Target(NamedTuple):
    """The ELF program that will run: the one that was named, or a script's interpreter.

    `file` is None when it may be run but not read.
    """

    file: str | None

    @property
    def brings_malloc(self) -> bool:
        """The program has a malloc of its own, by its symbols: what it allocates is not seen."""
        return self.file is not None and bool(defines(self.file, ("malloc",)))


def find_program(name: str, search: str | None = None) -> str:
    """The file that a shell would start for `name`.

    Args:
        name: as the user wrote it; looked up in `search` (default PATH) when it has no slash.

    Raises:
        HeapwitnessError: not found, not executable, or a directory.
    """
    if not name:
        raise HeapwitnessError("the program's name is empty.")
    if "\0" in name:
        raise HeapwitnessError("the program's name has a NUL character in it.")
    if "/" in name:
        candidates = [name]
    else:
        path = os.environ.get("PATH", os.defpath) if search is None else search
        candidates = [os.path.join(directory or ".", name) for directory in path.split(os.pathsep)]
    present = [one for one in candidates if os.path.exists(one)]
    for candidate in present:
        if os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return candidate
    if not present:
        where = "" if "/" in name else " in PATH"
        hint = f" Did you mean ./{_shown(name)}?" if where and os.path.isfile(name) else ""
        raise HeapwitnessError(f"{_shown(name)} was not found{where}.{hint}")
    if os.path.isdir(present[0]):
        raise HeapwitnessError(f"{_shown(present[0])} is a directory, not a program.")
    raise HeapwitnessError(f"{_shown(present[0])} is not executable; chmod +x makes it so.")


def check_system() -> None:
    """Refuse a system that the engine is not made for.

    Raises:
        HeapwitnessError: its order of bytes is another.
    """
    if sys.byteorder != "little":
        raise HeapwitnessError("this system's processor is big-endian; the engine needs a little-endian one.")


def check_program(path: str, engine: Path) -> Target:
    """Refuse a program into which the dynamic linker would not load the engine.

    Args:
        path: the program's file; of a script its interpreter is checked, and that one's.
        engine: the library that is to be loaded into it.

    Raises:
        HeapwitnessError: what is wrong and what to do about it.
    """
    shown = _shown(path)
    for _ in range(_INTERPRETERS_LIMIT + 1):
        _check_rights(path)
        try:
            with reading(path) as stream:
                start = stream.read(_SHEBANG_LIMIT)
        except PermissionError:
            # A program that may be run but not read can not be looked into from here.
            return Target(None)
        except OSError as error:
            raise HeapwitnessError(f"{_shown(path)} could not be read: {error.strerror}.") from error
        if start.startswith(b"\x7fELF"):
            return _check_elf(path, engine)
        if not start.startswith(b"#!"):
            raise HeapwitnessError(
                f"{_shown(path)} is neither an ELF program nor a script that begins with #!, "
                "so it cannot be started directly; name the interpreter before it."
            )
        path = _interpreter(path, start)
    raise HeapwitnessError(f"{shown} is a script whose interpreters are scripts again, too many times over.")


def _interpreter(script: str, start: bytes) -> str:
    words = start[2:].split(b"\n", 1)[0].split()
    if not words:
        raise HeapwitnessError(f"{_shown(script)} begins with #! but names no interpreter.")
    interpreter = os.fsdecode(words[0])
    if os.path.basename(interpreter) == "env":
        names = [os.fsdecode(word) for word in words[1:]]
        names = [name for name in names if not name.startswith("-") and "=" not in name]
        if names:
            interpreter = names[0]
    try:
        return find_program(interpreter)
    except HeapwitnessError as error:
        raise HeapwitnessError(f"the interpreter of {_shown(script)} cannot be started: {error}") from error


def _check_rights(path: str) -> None:
    try:
        status = os.stat(path)
    except OSError as error:
        raise HeapwitnessError(f"{_shown(path)} could not be read: {error.strerror}.") from error
    gains_user = status.st_mode & stat.S_ISUID and status.st_uid != os.geteuid()
    group_bits = stat.S_ISGID | stat.S_IXGRP
    gains_group = status.st_mode & group_bits == group_bits and status.st_gid != os.getegid()
    if gains_user or gains_group:
        which = "setuid" if gains_user else "setgid"
        raise HeapwitnessError(
            f"{_shown(path)} is {which}, and the system loads nothing of ours into such a program; "
            "run a copy of it without that bit, or run heapwitness as its owner."
        )
    if os.geteuid() != 0 and _has_capabilities(path):
        raise HeapwitnessError(
            f"{_shown(path)} has file capabilities, and the system loads nothing of ours into such a program; "
            "run a copy of it, which has none."
        )


def _has_capabilities(path: str) -> bool:
    try:
        return "security.capability" in os.listxattr(path)
    except OSError:
        return False


def _check_elf(path: str, engine: Path) -> Target:
    head, own = _head(path), _head(str(engine))
    if not head.program:
        raise HeapwitnessError(f"{_shown(path)} is an ELF file but not a program.")
    if head.machine != own.machine:
        raise HeapwitnessError(
            f"{_shown(path)} is built for {head.machine}, this installation's engine for {own.machine}; "
            "use a heapwitness that was built for that machine."
        )
    if not head.interpreter and _DYNAMIC_LINKER.match(os.path.basename(path)):
        return Target(path)  # it starts what is named behind it, and preloads for that
    if not head.interpreter:
        raise HeapwitnessError(
            f"{_shown(path)} is statically linked, so its malloc cannot be replaced. "
            "Link it dynamically, or link native/core into it."
        )
    if "ld-musl" in head.interpreter:
        raise HeapwitnessError(
            f"{_shown(path)} is linked with musl, and the engine with glibc; build the program for glibc."
        )
    if any(library.startswith(_SANITIZER_LIBRARIES) for library in head.needed) or defines(path, _SANITIZER_NAMES):
        raise HeapwitnessError(
            f"{_shown(path)} was built with a sanitizer, which brings its own malloc; build it without -fsanitize."
        )
    return Target(path)


def _head(path: str) -> Head:
    try:
        return read_head(path)
    except (DamagedElf, OSError) as error:
        raise HeapwitnessError(f"{_shown(path)} is a damaged ELF file.") from error


def _shown(path: str) -> str:
    """A path for a message: on one line, whatever characters it has."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in path)
