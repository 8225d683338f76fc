"""Programs that are refused before they are started: each with one sentence that says what to do."""

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from heapwitness.errors import HeapwitnessError
from heapwitness.supervise.target import check_program, find_program

ENGINE = Path(sys.executable).resolve()
"""Stands for the engine: a file for this machine."""

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")


def compiled(directory: Path, *options: str, text: str = "int main(void) { return 0; }") -> str:
    source, file = directory / "source.c", directory / "program"
    source.write_text(text)
    subprocess.run(["gcc", "-w", "-o", file, source, *options], check=True)
    return str(file)


def script(directory: Path, text: str, mode: int = 0o755, name: str = "script") -> str:
    file = directory / name
    file.write_text(text)
    file.chmod(mode)
    return str(file)


def refusal(name: str) -> str:
    with pytest.raises(HeapwitnessError) as raised:
        check_program(find_program(name), ENGINE)
    text = str(raised.value)
    assert "\n" not in text and text.endswith((".", "?")), text
    return text


def test_program_is_looked_up_in_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = script(tmp_path, "#!/bin/sh\n", name="tool")
    monkeypatch.setenv("PATH", f"/nowhere:{tmp_path}")

    assert find_program("tool") == file


def test_program_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    assert refusal("no-such-program-here") == "no-such-program-here was not found in PATH."
    assert refusal(f"{tmp_path}/nothing") == f"{tmp_path}/nothing was not found."


def test_program_in_this_directory_is_pointed_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path, "#!/bin/sh\n", name="unheard-of")
    monkeypatch.chdir(tmp_path)

    assert refusal("unheard-of") == "unheard-of was not found in PATH. Did you mean ./unheard-of?"


def test_file_that_is_not_executable_is_refused(tmp_path: Path) -> None:
    assert "is not executable; chmod +x" in refusal(script(tmp_path, "#!/bin/sh\n", mode=0o644))


def test_directory_is_refused(tmp_path: Path) -> None:
    assert refusal(str(tmp_path)) == f"{tmp_path} is a directory, not a program."


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_name_that_no_file_can_have_is_refused(name: str) -> None:
    refusal(name)


@needs_gcc
def test_ordinary_program_is_accepted(tmp_path: Path) -> None:
    target = check_program(compiled(tmp_path), ENGINE)

    assert target.file == str(tmp_path / "program")
    assert not target.brings_malloc


@needs_gcc
@pytest.mark.parametrize("options", [("-static",), ("-static-pie",)])
def test_static_program_is_refused(tmp_path: Path, options: tuple[str, ...]) -> None:
    assert "is statically linked" in refusal(compiled(tmp_path, *options))


@needs_gcc
def test_program_of_a_foreign_machine_is_refused(tmp_path: Path) -> None:
    file = compiled(tmp_path)
    with open(file, "r+b") as stream:
        stream.seek(18)
        stream.write(struct.pack("<H", 183))

    assert "is built for AArch64 (64 bits), this installation's engine for" in refusal(file)


def test_damaged_program_is_refused(tmp_path: Path) -> None:
    assert refusal(script(tmp_path, "\x7fELF\x02\x01\x01 and no more")).endswith("is a damaged ELF file.")


@needs_gcc
def test_program_cut_short_is_refused(tmp_path: Path) -> None:
    file = compiled(tmp_path)
    os.truncate(file, 600)

    assert refusal(file) == f"{file} is a damaged ELF file."


@needs_gcc
def test_object_file_is_refused(tmp_path: Path) -> None:
    assert refusal(compiled(tmp_path, "-c")).endswith("is not executable; chmod +x makes it so.")
    (tmp_path / "program").chmod(0o755)
    assert refusal(str(tmp_path / "program")).endswith("is an ELF file but not a program.")


@needs_gcc
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a file of another user")
@pytest.mark.parametrize(("mode", "word"), [(0o4755, "setuid"), (0o2755, "setgid")])
def test_program_that_gains_rights_is_refused(tmp_path: Path, mode: int, word: str) -> None:
    file = compiled(tmp_path)
    os.chown(file, 12345, 12345)
    os.chmod(file, mode)

    assert f"is {word}, and the system loads nothing of ours into such a program" in refusal(file)


@needs_gcc
def test_setuid_program_of_one_s_own_is_accepted(tmp_path: Path) -> None:
    file = compiled(tmp_path)
    os.chmod(file, 0o4755)

    check_program(file, ENGINE)


@needs_gcc
def test_program_for_another_c_library_is_refused(tmp_path: Path) -> None:
    file = compiled(tmp_path, "-Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1")

    assert "is linked with musl" in refusal(file)


@needs_gcc
def test_sanitized_program_is_refused(tmp_path: Path) -> None:
    try:
        file = compiled(tmp_path, "-fsanitize=address")
    except subprocess.CalledProcessError:
        pytest.skip("needs libasan")

    assert "was built with a sanitizer" in refusal(file)


@needs_gcc
def test_program_with_a_malloc_of_its_own_is_told(tmp_path: Path) -> None:
    text = "void *my_malloc(long n) { return 0; } void *malloc(unsigned long n) { return 0; } int main() { return 0; }"

    assert check_program(compiled(tmp_path, text=text), ENGINE).brings_malloc


def test_script_s_interpreter_is_checked(tmp_path: Path) -> None:
    check_program(script(tmp_path, "#!/usr/bin/env -S sh -e\n"), ENGINE)
    assert "names no interpreter" in refusal(script(tmp_path, "#!\n"))
    assert "the interpreter of" in refusal(script(tmp_path, "#!/no/such/interpreter\n"))
    assert "is neither an ELF program nor a script" in refusal(script(tmp_path, "echo hello\n"))


def test_script_that_is_its_own_interpreter_is_refused(tmp_path: Path) -> None:
    assert "too many times over" in refusal(script(tmp_path, f"#!{tmp_path}/script\n"))
