"""Files as a repository knows them: paths that debugging information names, relative to the repository's root."""

import os
from pathlib import Path

_LEAST_PARTS = 2
_MOST_PARTS = 64


class Repository:
    """Tells paths relative to a root; asks the file system once for each path."""

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.abspath(root))
        self._known: dict[str, str | None] = {}

    def relative(self, path: str) -> str | None:
        """A path within the repository, with slashes; None for a file that is not of the repository.

        A file that was compiled elsewhere is found by the end of its path, of two parts at least.
        """
        if path not in self._known:
            self._known[path] = self._look(path)
        return self._known[path]

    def _look(self, path: str) -> str | None:
        if "\0" in path:
            return None
        whole = os.path.normpath(path if os.path.isabs(path) else os.path.join(self.root, path))
        if whole.startswith(os.path.join(self.root, "")):
            return os.path.relpath(whole, self.root)
        parts = Path(whole).parts[1:]
        for start in range(max(0, len(parts) - _MOST_PARTS), len(parts) - _LEAST_PARTS + 1):
            end = os.path.join(*parts[start:])
            if self._is_file(end):
                return end
        return None

    def _is_file(self, end: str) -> bool:
        try:
            return (self.root / end).is_file()
        except (OSError, ValueError):
            return False
