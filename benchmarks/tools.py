"""Programs that measurements need from the system."""

import shutil


class Missing(Exception):
    """A program is not installed here."""


def tool(name: str) -> str:
    """The path of a program.

    Raises:
        Missing: it is not in PATH.
    """
    path = shutil.which(name)
    if path is None:
        raise Missing(f"{name} is not installed")
    return path
