"""What cannot be written is said, with the status that is documented, and no finding is lost for it."""

import contextlib
import os
import subprocess
from pathlib import Path

import pytest
from run_support import ERROR, FOUND, HEAPWITNESS, compiled, engine, environment, needs_engine
from support import liteos

from heapwitness.liteos import Pool

pytestmark = [needs_engine, pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")]

OVERFLOW = """
#include <stdlib.h>
int main(void) {
    volatile char *volatile block = malloc(24);
    block[24] = 'x';
    free((void *)block);
    return 0;
}
"""
FILLS = OVERFLOW.replace("#include", "#include <fcntl.h>\n#include <unistd.h>\n#include", 1).replace(
    "volatile", 'fcntl(2, F_SETFL, O_NONBLOCK);\n    while (write(2, "z", 1) == 1)\n        ;\n    volatile', 1
)
"""Fills the pipe that is its stderr, without waiting, before it writes past a block."""

OUT_OF_SPACE = "No space left on device"
COMMANDS = {
    "inspect": ("inspect", "dump.bin", "--config", ".config"),
    "kernel text": ("inspect", "dump.bin", "--config", ".config", "--kernel-text"),
    "restore": ("restore", "dump.bin", "--config", ".config", "-o", "fixed.bin"),
    "simulate": ("simulate", "trace", "--config", ".config"),
    "config": ("config",),
    "config check": ("config", "--check"),
    "help": ("--help",),
    "report": ("report", "log"),
}


def shell(desk: Path, script: str, *words: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    """A shell's command with `"$@"` for heapwitness and its words."""
    return subprocess.run(
        ["sh", "-c", script, "sh", *HEAPWITNESS, *words],
        cwd=desk,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder with everything that the commands read."""
    buffer = bytearray(16384)
    pool = Pool.init(buffer, liteos.POOL_ADDRESS, liteos.CONFIGS["backup-32"])
    at = (pool.alloc(64) or 0) - liteos.POOL_ADDRESS + 64
    pool.alloc(64)
    buffer[at : at + 10] = b"overflow!!"
    (tmp_path / "dump.bin").write_bytes(buffer)
    (tmp_path / ".config").write_text(
        "LOSCFG_KERNEL_MEM_BESTFIT=y\nLOSCFG_DEBUG_VERSION=y\nLOSCFG_MEM_DEBUG=y\nLOSCFG_MEM_HEAD_BACKUP=y\n"
    )
    (tmp_path / "trace").write_text("a = alloc 100\nfree a\n")
    subprocess.run(
        [compiled(OVERFLOW)],
        env=environment(
            LD_PRELOAD=str(engine()),
            HEAPWITNESS_LOG=str(tmp_path / "log"),
        ),
        check=True,
    )
    return tmp_path


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_a_full_disk_behind_stdout_is_one_sentence(desk: Path, words: tuple[str, ...]) -> None:
    done = shell(desk, '"$@" > /dev/full', *words)

    assert done.returncode == ERROR
    assert done.stderr.count("\n") == 1 and OUT_OF_SPACE in done.stderr


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_a_reader_that_has_gone_is_one_sentence(desk: Path, words: tuple[str, ...]) -> None:
    done = shell(desk, '{ "$@"; echo $? >&2; } | :', *words)

    # The reader may be late in going.
    *said, status = done.stderr.splitlines()
    assert (status, len(said)) == ("2", 1) or (status in ("0", str(FOUND)) and not said)


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_a_closed_stdout_is_no_accident(desk: Path, words: tuple[str, ...]) -> None:
    done = shell(desk, '"$@" >&-', *words)

    assert done.returncode in (0, FOUND)
    assert done.stderr == ""


def test_a_report_that_does_not_fit_into_its_file_goes_to_stderr(desk: Path) -> None:
    done = shell(desk, '"$@"', "run", "--output", "/dev/full", "--", compiled(OVERFLOW))

    assert done.returncode == ERROR
    assert "heap-buffer-overflow: 1 byte past the end of a 24-byte block" in done.stderr
    assert "1 finding, 1 repaired" in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last == f"heapwitness: the report could not be written to /dev/full: {OUT_OF_SPACE}."


SHOWING = {
    "run": ("run", "--output", "/dev/full", "--", "./overflow"),
    "hunt": ("hunt", "--tries", "1", "--output", "/dev/full", "--", "./overflow"),
    "report": ("report", "log"),
    "inspect": ("inspect", "dump.bin", "--config", ".config"),
}


@pytest.mark.parametrize("words", SHOWING.values(), ids=SHOWING)
def test_a_document_that_cannot_be_written_costs_no_other_and_not_the_text(desk: Path, words: tuple[str, ...]) -> None:
    (desk / "overflow").symlink_to(compiled(OVERFLOW))
    command, *rest = words

    documents = ("--json", "/dev/full", "--html", "page.html", "--sarif", "/dev/full", "--junit", "results.xml")
    done = shell(desk, '"$@"', command, *documents, *rest)

    assert done.returncode == ERROR
    assert "past the end of a" in " ".join((done.stdout + done.stderr).split())
    assert (desk / "page.html").exists() and (desk / "results.xml").exists()
    last = done.stderr.splitlines()[-1]
    assert "--json" in last and "--sarif" in last
    assert last.count(OUT_OF_SPACE) == (3 if "--output" in words else 2)


TWICE = {
    "a record": ("log", ("report", "log", "--json", "log")),
    "a record by another name": ("log", ("report", "log", "--html", "./other")),
    "a dump": ("dump.bin", ("inspect", "dump.bin", "--config", ".config", "--sarif", "dump.bin")),
    "a configuration": (".config", ("inspect", "dump.bin", "--config", ".config", "--json", ".config")),
    "two documents": ("log", ("report", "log", "--json", "new", "--html", "new")),
    "a run's": ("log", ("run", "--log", "log", "--json", "log", "--", "true")),
    "a run's two": ("log", ("run", "--output", "new", "--json", "new", "--", "true")),
}


@pytest.mark.parametrize(("kept", "words"), TWICE.values(), ids=TWICE)
def test_no_document_takes_the_place_of_another_or_of_what_is_read(
    desk: Path, kept: str, words: tuple[str, ...]
) -> None:
    (desk / "other").symlink_to("log")
    before = (desk / kept).read_bytes()

    done = shell(desk, '"$@"', *words)

    assert (done.returncode, done.stdout, (desk / "new").exists()) == (ERROR, "", False)
    assert "is named twice" in done.stderr and done.stderr.count("\n") == 1
    assert (desk / kept).read_bytes() == before


def test_what_is_no_plain_file_takes_several_documents(desk: Path) -> None:
    done = shell(desk, '"$@"', "report", "log", "--json", "/dev/null", "--html", "/dev/null")

    assert done.returncode == FOUND


def test_annotations_that_cannot_be_written_are_no_success(desk: Path) -> None:
    assert shell(desk, '"$@" 2> /dev/full', "report", "log", "--annotations", "plain").returncode == ERROR


def test_a_full_disk_behind_stderr_is_the_documented_status(desk: Path) -> None:
    assert shell(desk, '"$@" 2> /dev/full', "run", "--", compiled(OVERFLOW)).returncode == ERROR


@pytest.mark.parametrize("columns", ["0", "1", "00", "²", "-5", "9" * 30])
def test_columns_that_cannot_be_hide_nothing(desk: Path, columns: str) -> None:
    run = shell(desk, '"$@"', "run", "--", compiled(OVERFLOW), COLUMNS=columns, LINES=columns)
    inspect = shell(desk, '"$@"', "inspect", "dump.bin", "--config", ".config", COLUMNS=columns, LINES=columns)

    assert run.returncode == inspect.returncode == FOUND
    assert "1 byte past the end of a 24-byte block" in " ".join(run.stderr.split())
    assert "past the end of a 64-byte block" in " ".join(inspect.stdout.split())
    assert inspect.stderr == ""


def test_a_character_that_the_terminal_does_not_have_is_escaped(desk: Path) -> None:
    (desk / "tasks").write_text("0 пульт\n1 пульт\n", encoding="utf-8")

    done = shell(
        desk, '"$@"', *COMMANDS["inspect"], "--tasks", "tasks", PYTHONIOENCODING="ascii", LC_ALL="C", PYTHONUTF8="0"
    )

    assert done.returncode == FOUND and done.stderr == ""


def test_a_directory_that_was_removed_hides_nothing(desk: Path) -> None:
    inside = "mkdir gone; cd gone; rmdir ../gone; "

    plain = shell(desk, inside + '"$@"', "run", "--", compiled(OVERFLOW))
    written = shell(desk, inside + '"$@"', "run", "--json", "report.json", "--", compiled(OVERFLOW))
    logged = shell(desk, inside + '"$@"', "run", "--log", "log", "--", compiled(OVERFLOW))

    assert plain.returncode == FOUND
    assert "past the end of a 24-byte block" in plain.stderr and "#0  main" in plain.stderr
    # Where a file cannot be, that is said before the run.
    for refused in (written, logged):
        assert refused.returncode == ERROR and refused.stderr.count("\n") == 1
        assert "cannot be written: No such file or directory" in refused.stderr


def test_what_a_killed_heapwitness_left_is_gone_after_the_next_run(tmp_path: Path) -> None:
    killed = shell(tmp_path, '"$@"', "run", "--", "sh", "-c", "kill -9 $PPID", TMPDIR=str(tmp_path))
    left = os.listdir(tmp_path)

    shell(tmp_path, '"$@"', "run", "--", "true", TMPDIR=str(tmp_path))

    assert killed.returncode in (-9, 137) and left
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("options", [(), ("--json", "-")], ids=["text", "json"])
def test_report_waits_for_room_in_a_pipe_for_which_the_program_does_not_wait(
    desk: Path, options: tuple[str, ...]
) -> None:
    read_end, write_end = os.pipe()
    command = [*HEAPWITNESS, "run", *options, "--", compiled(FILLS)]
    with subprocess.Popen(command, stdout=write_end, stderr=write_end, cwd=desk, env=environment()) as run:
        os.close(write_end)
        # Who does not wait, either, has ended before anything is read.
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.wait(2)
        with open(read_end, encoding="utf-8") as stream:
            text = stream.read().lstrip("z")

    assert run.returncode == FOUND
    assert "1 byte past the end of a 24-byte block" in text and "1 finding, 1 repaired" in text
    assert not options or text.rstrip().endswith("}")


def test_annotations_with_a_closed_stderr_are_no_accident(desk: Path) -> None:
    done = shell(desk, '"$@" 2>&-', "run", "--annotations", "github", "--", compiled(OVERFLOW))

    assert done.returncode == FOUND
