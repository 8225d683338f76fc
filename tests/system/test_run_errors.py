"""Every mistake of a user is answered by one sentence and status 2, before anything is started."""

import os
import resource
import subprocess
from pathlib import Path

import pytest
from run_support import ERROR, HEAPWITNESS, compiled, engine, environment, heapwitness_command, needs_engine

pytestmark = needs_engine

MAIN = "int main(void) { return 0; }"


def sentence(*words: str | Path, **more: str) -> str:
    """What heapwitness says to a command line that is wrong."""
    done = heapwitness_command(*words, **more)
    assert done.returncode == ERROR, done
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("heapwitness: ") and line.endswith((".", "?"))
    return line


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("--on-error", "panic"), "'panic' is not one of 'continue', 'abort', 'stop'"),
        (("--stacks", "deep"), "'deep' is not one of"),
        (("--check-every", "often"), "'often' is not a valid integer"),
        (("--check-every", "-1"), "-1 is not in the range"),
        (("--check-signal", "USR9"), "'USR9' is no signal"),
        (("--check-signal", "KILL"), "SIGKILL cannot be used"),
        (("--wait", "0"), "0.0 is not in the range"),
        (("--error-exitcode", "256"), "256 is not in the range"),
        (("--json", "/nowhere/r.json"), "/nowhere/r.json cannot be written: there is no such directory"),
        (("--output", "/nowhere/r.txt"), "/nowhere/r.txt cannot be written: there is no such directory"),
        (("--log", "/nowhere/log"), "/nowhere/log cannot be written: there is no such directory"),
        (("--json", "/"), "'/' is a directory"),
        (("--frobnicate",), "No such option"),
    ],
)
def test_option_with_a_bad_value_is_refused(options: tuple[str, ...], part: str) -> None:
    assert part.lower() in sentence("run", *options, "--", "true").lower()


def test_nothing_to_run_is_refused() -> None:
    assert "missing argument 'PROGRAM" in sentence("run")


def test_unknown_subcommand_is_refused() -> None:
    assert "no such command 'walk'" in sentence("walk")


def test_program_that_is_not_there_is_refused() -> None:
    assert sentence("run", "no-such-program") == "heapwitness: no-such-program was not found in PATH."


def test_static_program_is_refused() -> None:
    assert "is statically linked" in sentence("run", compiled(MAIN, "-static"))


def test_foreign_program_is_refused(tmp_path: Path) -> None:
    data = bytearray(compiled(MAIN).read_bytes())
    data[18:20] = (183).to_bytes(2, "little")
    file = tmp_path / "foreign"
    file.write_bytes(data)
    file.chmod(0o755)

    assert "is built for AArch64" in sentence("run", file)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a program of another user")
def test_setuid_program_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "setuid"
    file.write_bytes(compiled(MAIN).read_bytes())
    os.chown(file, 12345, -1)
    file.chmod(0o4755)

    assert "is setuid" in sentence("run", file)


def test_missing_engine_is_said(tmp_path: Path) -> None:
    said = sentence("run", "true", HEAPWITNESS_LIBRARY_DIR=str(tmp_path))

    assert said == f"heapwitness: {tmp_path}/libheapwitness_preload.so is missing: build it with `make build`."


def test_engine_in_a_directory_that_cannot_be_preloaded_is_said(tmp_path: Path) -> None:
    directory = tmp_path / "with space"
    directory.mkdir()
    found = engine()
    assert found is not None
    (directory / found.name).symlink_to(found)

    assert "install it in another directory" in sentence("run", "true", HEAPWITNESS_LIBRARY_DIR=str(directory))


def test_help_lists_every_option() -> None:
    done = heapwitness_command("run", "--help")

    options = ("on-error", "stacks", "poison", "check-every", "check-signal", "wait", "json", "output", "log")
    assert done.returncode == 0
    assert all(f"--{one}" in done.stdout for one in (*options, "error-exitcode", "quiet"))


def test_subcommands_are_listed_without_loading_them() -> None:
    done = heapwitness_command("--help")

    assert done.returncode == 0
    assert all(name in done.stdout for name in ("run", "report", "inspect", "restore", "simulate", "menuconfig"))


def test_a_mistake_in_a_long_line_is_one_sentence_of_some_length(tmp_path: Path) -> None:
    accepted = tmp_path / "accepted"
    accepted.write_bytes(b"\0" * 500_000)

    said = sentence("run", "--suppressions", accepted, "--", compiled(MAIN))

    assert len(said) < 12_000
    assert "is no condition of the form key=pattern." in said


@pytest.mark.parametrize("mebibytes", [16, 24, 32])
def test_too_little_memory_is_one_sentence(mebibytes: int) -> None:
    done = subprocess.run(
        [*HEAPWITNESS, "run", "--", "true"],
        capture_output=True,
        text=True,
        env=environment(),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (mebibytes << 20, mebibytes << 20)),
    )

    assert (done.returncode, done.stderr.count("\n")) == (ERROR, 1), done.stderr
    assert "not enough memory" in done.stderr


def test_what_python_is_told_for_a_program_does_not_keep_heapwitness_from_its_end() -> None:
    done = heapwitness_command("run", "--", "false", PYTHONINSPECT="1")

    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
