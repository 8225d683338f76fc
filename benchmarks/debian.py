"""Sources of Debian packages, for programs' own tests and for builds with a sanitizer.

They are fetched by apt-get, from where this machine has its packages, and kept in build/sources; nothing of the system
changes. apt-get and dpkg-source (dpkg-dev) are needed.
"""

import os
import shutil
import subprocess
from pathlib import Path

SOURCES = Path(__file__).parents[1] / "build" / "sources"
_APT = Path("/etc/apt")


class Unavailable(Exception):
    """The sources cannot be had or built here."""


def source(package: str) -> Path:
    """The unpacked source of a package, fetched the first time.

    Raises:
        Unavailable: it cannot be fetched.
    """
    found = sorted(path for path in SOURCES.glob(f"{package}-*") if path.is_dir())
    if found:
        return found[0]
    for tool in ("apt-get", "dpkg-source"):
        if shutil.which(tool) is None:
            raise Unavailable(f"{tool} is not installed")
    SOURCES.mkdir(parents=True, exist_ok=True)
    options = _places()
    run("apt-get", *options, "update", directory=SOURCES)
    run("apt-get", *options, "--download-only", "source", package, directory=SOURCES)
    described = next(iter(sorted(SOURCES.glob(f"{package}_*.dsc"))), None)
    if described is None:
        raise Unavailable(f"the source of {package} was not found")
    # Signatures were verified by apt-get.
    run("dpkg-source", "--no-check", "-x", described.name, directory=SOURCES)
    return next(path for path in SOURCES.glob(f"{package}-*") if path.is_dir())


def run(*command: str, directory: Path, timeout: float = 1800) -> None:
    """Run a step of fetching or building.

    Raises:
        Unavailable: with its last line.
    """
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env=os.environ | {"LC_ALL": "C.UTF-8"},
            timeout=timeout,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(str(error)) from error
    if done.returncode != 0:
        raise Unavailable(f"{command[0]}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")


def _places() -> list[str]:
    """Options for apt-get: this machine's places of Debian packages, asked for sources, with lists of their own."""
    parts = SOURCES / "apt"
    (parts / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    sources, lines = [], []
    for file in sorted(_APT.glob("sources.list.d/*.sources")):
        sources += [each for each in file.read_text().split("\n\n") if "debian-archive-keyring" in each]
    for file in [_APT / "sources.list", *sorted(_APT.glob("sources.list.d/*.list"))]:
        text = file.read_text() if file.exists() else ""
        lines += [line for line in text.splitlines() if line.startswith("deb ") and "/debian" in line]
    (parts / "here.sources").write_text("\n\n".join(sources).replace("Types: deb\n", "Types: deb-src\n"))
    (parts / "here.list").write_text("\n".join(f"deb-src {line[4:]}" for line in lines) + "\n")
    return [
        *("-o", "Dir::Etc::sourcelist=/dev/null", "-o", f"Dir::Etc::sourceparts={parts}"),
        *(
            "-o",
            f"Dir::State::lists={parts / 'lists'}",
            "-o",
            "Dir::Cache::srcpkgcache=",
            "-o",
            "Dir::Cache::pkgcache=",
        ),
        *("-o", "APT::Sandbox::User=root"),
    ]
