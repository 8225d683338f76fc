"""Text files from outside: every byte of a .config stays but those of symbols that change, and nothing backtracks."""

import ast
import os
from collections.abc import Iterator
from pathlib import Path
from re import _constants as constants  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import pytest
from click.testing import CliRunner

import heapwitness
from heapwitness.cli.config import command
from heapwitness.errors import HeapwitnessError
from heapwitness.liteos.config.config import BadConfig, parse
from heapwitness.liteos.config.dotconfig import DotConfig
from heapwitness.liteos.firmware import tasknames
from heapwitness.liteos.simulate import trace

SOURCE = Path(heapwitness.__file__).parent

ODD = [
    b'LOSCFG_NAME="caf\xe9"\n',
    b"LOSCFG_A=y\r\nLOSCFG_MEM_DEBUG=y\r\n",
    b'LOSCFG_NAME="a\x0cb\x1cc\x85"\n',
    'LOSCFG_NAME="a\u2028b\u0085c"\n'.encode(),
    b"\xef\xbb\xbf# first\n",
    b"#LOSCFG_MEM_HEAD_BACKUP=y in a comment\n# LOSCFG_MEM_RECORDINFO = y\n",
    b"  LOSCFG_MEM_TASK_STAT = y  \n#   LOSCFG_MEM_LEAKCHECK is not set\t\n",
    b"LOSCFG_MEM_TASK_STAT=n\nLOSCFG_MEM_TASK_STAT=y\n",
    b"LOSCFG_X=y",
    b"\n\n  \n\t\r\n",
]
NEEDED = b"LOSCFG_KERNEL_MEM_BESTFIT=y\nLOSCFG_DEBUG_VERSION=y\nLOSCFG_MEM_DEBUG=y\n"


def edit(path: Path, *assignments: str) -> None:
    words = [word for one in assignments for word in ("--set", one)]
    done = CliRunner().invoke(command, ["--config", str(path), *words], catch_exceptions=False, standalone_mode=False)
    assert done.exit_code == 0


@pytest.mark.parametrize("odd", ODD)
def test_every_other_byte_stays(tmp_path: Path, odd: bytes) -> None:
    path = tmp_path / ".config"
    before = NEEDED + b"# LOSCFG_MEM_HEAD_BACKUP is not set\n" + odd
    path.write_bytes(before)

    edit(path, "LOSCFG_MEM_HEAD_BACKUP=y")

    assert path.read_bytes() == before.replace(
        b"# LOSCFG_MEM_HEAD_BACKUP is not set\n", b"LOSCFG_MEM_HEAD_BACKUP=y\n", 1
    )


@pytest.mark.parametrize("odd", ODD)
def test_what_is_set_already_changes_no_byte(tmp_path: Path, odd: bytes) -> None:
    path = tmp_path / ".config"
    path.write_bytes(NEEDED + odd)

    edit(path, "LOSCFG_MEM_DEBUG=y")

    assert path.read_bytes() == NEEDED + odd


def test_a_new_line_ends_as_the_others_do(tmp_path: Path) -> None:
    path = tmp_path / ".config"
    before = NEEDED.replace(b"\n", b"\r\n").removesuffix(b"\r\n")
    path.write_bytes(before)

    edit(path, "LOSCFG_MEM_HEAD_BACKUP=y")

    assert path.read_bytes() == before + b"\r\nLOSCFG_MEM_HEAD_BACKUP=y\r\n"


def test_a_changed_line_keeps_its_end_and_the_last_of_several_is_changed(tmp_path: Path) -> None:
    path = tmp_path / ".config"
    path.write_bytes(NEEDED + b"LOSCFG_MEM_TASK_STAT=n\r\nLOSCFG_MEM_TASK_STAT=y\r\nLOSCFG_Z=y\n")

    edit(path, "LOSCFG_MEM_TASK_STAT=n")

    assert path.read_bytes() == (
        NEEDED + b"LOSCFG_MEM_TASK_STAT=n\r\n# LOSCFG_MEM_TASK_STAT is not set\r\nLOSCFG_Z=y\n"
    )


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ".config"
    path.write_bytes(NEEDED)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    edited = DotConfig(path)
    edited.set({"LOSCFG_MEM_HEAD_BACKUP": "y"})

    with pytest.raises(BadConfig, match="No space left"):
        edited.save()
    assert path.read_bytes() == NEEDED


def test_values_end_with_their_line_and_with_nothing_else() -> None:
    assert parse("LOSCFG_A=a\x0cb\x1cc\u2028d\r\nLOSCFG_B =  b \n") == {
        "LOSCFG_A": "a\x0cb\x1cc\u2028d",
        "LOSCFG_B": "b",
    }


@pytest.mark.parametrize("blanks", [" " * 1_000_000, "\t" * 1_000_000, "\u2003" * 300_000])
def test_a_line_of_blanks_is_read_at_once(tmp_path: Path, blanks: str) -> None:
    names = tmp_path / "names"
    names.write_text(f"1 network{blanks}x"[: 1 << 19], encoding="utf-8")

    assert parse(f"LOSCFG_A=a{blanks}b\nLOSCFG_B{blanks}\n#{blanks}x\n")["LOSCFG_A"].endswith("b")
    assert list(tasknames.load(names)) == [1]


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("5 network", {5: "network"}),
        ("5: a name", {5: "a name"}),
        ("0x1f = net ", {31: "net"}),
        ("5\tnet:work", {5: "net:work"}),
        ("5,x\r\n6 y\x0cz", {5: "x", 6: "y\x0cz"}),
    ],
)
def test_names_of_tasks_are_read(tmp_path: Path, line: str, names: dict[int, str]) -> None:
    (tmp_path / "names").write_bytes(line.encode())

    assert tasknames.load(tmp_path / "names") == names


@pytest.mark.parametrize(
    "line", ["network", "5", "5 ", "0x 1", "5x 1", "9" * 5000 + " x", "\u0665 x", "-1 x", "70000 x"]
)
def test_what_names_no_task_is_one_sentence(tmp_path: Path, line: str) -> None:
    (tmp_path / "names").write_text(line, encoding="utf-8")

    with pytest.raises(HeapwitnessError):
        tasknames.load(tmp_path / "names")


@pytest.mark.parametrize(
    "line", ["free" + " a" * 1_000_000, "a" * 1_000_000, "a = b = alloc 1", "1a = alloc 1", "= free 1"]
)
def test_a_line_that_is_no_operation_is_one_sentence(line: str) -> None:
    with pytest.raises(HeapwitnessError) as caught:
        trace.parse(line)
    assert len(str(caught.value)) < 400


def test_a_trace_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "OPERATIONS_LIMIT", 10)

    assert len(trace.parse("check\n" * 10).operations) == 10
    with pytest.raises(HeapwitnessError, match="more than 10 operations"):
        trace.parse("check\n" * 11)


# --- patterns, by their form ---------------------------------------------------------------------------------------


SHORT = {
    "frames.py": "names of functions and files, which are cut at 16 KiB",
    "pointee.py": "files that the kernel writes, of which 4 KiB are read",
}
"""Where patterns are applied to texts that are short for another reason."""


def patterns() -> Iterator[tuple[str, str]]:
    """Every pattern in the package that is applied to texts of any length, with its file."""
    for file in sorted(SOURCE.rglob("*.py")):
        if file.name in SHORT:
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                value = node.func.value
                if isinstance(value, ast.Name) and value.id == "re":
                    assert isinstance(node.args[0], ast.Constant), f"{file}: a pattern that is not written out"
                    text = node.args[0].value
                    assert isinstance(text, (str, bytes))
                    yield file.name, text if isinstance(text, str) else text.decode("latin-1")


def repeats(items: Any) -> Iterator[int]:
    """How often at most something is repeated, anywhere in a pattern."""
    for kind, value in items:
        if "REPEAT" in str(kind):
            yield int(value[1])
            yield from repeats(value[2])
        elif kind is constants.SUBPATTERN:
            yield from repeats(value[-1])
        elif kind is constants.BRANCH:
            for branch in value[1]:
                yield from repeats(branch)


@pytest.mark.parametrize(("file", "pattern"), list(patterns()))
def test_no_pattern_repeats_without_a_bound(file: str, pattern: str) -> None:
    # So none takes more than linear time, whatever text it is given.
    assert max(repeats(parser.parse(pattern)), default=0) <= 1024


@pytest.mark.parametrize("pattern", [r"a\s*=\s*(.*?)\s*", r"(a+)+b", r"x{0,10}(?:y|(?:z{2,}))", r"a*+"])
def test_patterns_that_do_are_found(pattern: str) -> None:
    assert max(repeats(parser.parse(pattern)), default=0) > 1024
