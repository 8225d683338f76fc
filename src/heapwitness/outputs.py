"""Which documents of a report are asked for, and where they go; nothing that takes time to import."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

Dialect = Literal["github", "azure", "plain"]
"""Workflow commands of GitHub (and Forgejo, Gitea), logging commands of Azure Pipelines, and what compilers print."""

Format = Literal["html", "sarif", "junit", "json", "annotations"]
FORMATS: tuple[Format, ...] = ("html", "sarif", "junit", "json", "annotations")

STDOUT = Path("-")
"""A document goes to stdout instead of a file."""


class Outputs(NamedTuple):
    """The documents that are asked for, beside JSON and what is shown.

    `annotations` None: where a CI is known that understands them. `source_root` None: see `default_root`.
    """

    html: Path | None = None
    sarif: Path | None = None
    junit: Path | None = None
    annotations: Dialect | Literal["none"] | None = None
    source_root: Path | None = None

    @property
    def files(self) -> tuple[tuple[Format, Path], ...]:
        """The documents that are written, and where."""
        named: tuple[tuple[Format, Path | None], ...] = (
            ("html", self.html),
            ("sarif", self.sarif),
            ("junit", self.junit),
        )
        return tuple((format_, path) for format_, path in named if path is not None)

    @property
    def are_wanted(self) -> bool:
        """Whether there are any."""
        return bool(self.files) or self.dialect is not None

    @property
    def root(self) -> Path:
        """The repository's root."""
        return self.source_root if self.source_root is not None else default_root(os.environ)

    @property
    def dialect(self) -> Dialect | None:
        """How annotations are written; None for not at all."""
        if self.annotations is None:
            return dialect_of(os.environ)
        return None if self.annotations == "none" else self.annotations


NOTHING = Outputs()
"""No documents but what the environment asks for."""


def with_outputs(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by names, of which those that `Outputs` has are together in `outputs`."""
    outputs = Outputs(**{name: values[name] for name in Outputs._fields})
    return {**{name: value for name, value in values.items() if name not in Outputs._fields}, "outputs": outputs}


def dialect_of(environment: Mapping[str, str]) -> Dialect | None:
    """What the CI in whose job this runs understands; None outside of those that are known."""
    if environment.get("GITHUB_ACTIONS") == "true":
        return "github"
    return "azure" if environment.get("TF_BUILD", "").lower() == "true" else None


_ROOTS = ("GITHUB_WORKSPACE", "CI_PROJECT_DIR", "BUILD_SOURCESDIRECTORY", "WORKSPACE")
"""Where forges' runners say that the repository is checked out."""


def default_root(environment: Mapping[str, str]) -> Path:
    """The root of the repository: where a CI checked it out, else the working directory."""
    for name in _ROOTS:
        if environment.get(name):
            return Path(environment[name])
    return Path.cwd()
