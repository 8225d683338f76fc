"""Names that Cython gives to functions of a source: with its module and classes, each with its length before it."""

import re

_NAME = re.compile(r"__pyx_(f|fuse_\d{1,9}|pf|pw|gb|specialmethod)_{1,64}(?=\d)")
_SCOPE = re.compile(r"__pyx_scope_struct_\d{0,9}_(\w{1,256})$")
_LENGTH = re.compile(r"(\d{1,9})")
_MORE = re.compile(r"\d{1,9}\D")
_PART = re.compile(r"(\.(_omp_fn|omp_outlined|part|constprop|isra|cold)(\.\d{1,9})?){1,9}$")
"""What compilers put behind the name of a part of a function, or of a copy."""


def is_cython(name: str) -> bool:
    """Whether a C function's name is one that Cython gave to a function of the source."""
    return _NAME.match(name) is not None


def is_generator(name: str) -> bool:
    """Whether it is that of the body of a generator or a coroutine, which is not called as in the source."""
    return name.startswith("__pyx_gb")


def scope_name(structure: str) -> str | None:
    """The function that a structure of variables is for, which outlive its calls."""
    found = _SCOPE.search(structure)
    return found[1] if found else None


def with_own_name(name: str, own: str) -> str:
    """A name in the source (`module.generator1`) whose last part is another one."""
    return f"{name.rpartition('.')[0]}.{own}".removeprefix(".")


def source_name(name: str) -> str:
    """`module.function` of such a name, the name itself where it is none.

    Names before the last have their length before them. The last one may have a count there, but for functions of C
    alone (`f`), which could be taken for the length of its beginning: then it is a name of its own if it is the first,
    a class (by its capital), or if another number follows.
    """
    begin = _NAME.match(name)
    if begin is None:
        return name
    at = begin.end()
    parts: list[str] = []
    while (length := _LENGTH.match(name, at)) is not None:
        at = length.end()
        end = at + int(length[1][:4])
        is_scope = not parts or begin[1] == "f" or name[at].isupper() or _MORE.match(name, end + 1)
        if name[end : end + 1] != "_" or not is_scope:
            break
        parts.append(name[at:end])
        at = end + 1
    own = _PART.sub("", name[at:])
    return ".".join([*parts, own]) if parts and own else name
