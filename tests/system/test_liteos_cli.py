"""`inspect`, `restore` and `simulate` as a user meets them: exit status, output, files; and with bad inputs."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import liteos

from heapwitness.liteos import Pool

HEAPWITNESS = (sys.executable, "-m", "heapwitness")
ADDRESS = liteos.POOL_ADDRESS
CONFIG = """\
LOSCFG_KERNEL_MEM_BESTFIT=y
LOSCFG_DEBUG_VERSION=y
LOSCFG_MEM_DEBUG=y
LOSCFG_MEM_HEAD_BACKUP=y
LOSCFG_SOMETHING_ELSE="x"
# LOSCFG_MEM_LEAKCHECK is not set
"""
FOUND, ERROR = 99, 2


def heapwitness(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "100", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [*HEAPWITNESS, *map(str, arguments)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder with a .config, a healthy dump and a damaged one."""
    buffer = bytearray(16384)
    pool = Pool.init(buffer, ADDRESS, liteos.CONFIGS["backup-32"])
    pool.task = 5
    blocks = [pool.alloc(64) or 0 for _ in range(4)]
    (tmp_path / ".config").write_text(CONFIG)
    (tmp_path / "healthy.bin").write_bytes(buffer)
    at = blocks[1] - ADDRESS + 64
    buffer[at : at + 10] = b"overflow!!"
    (tmp_path / "dump.bin").write_bytes(buffer)
    (tmp_path / "dump.bin.gz").write_bytes(gzip.compress(bytes(buffer)))
    (tmp_path / "tasks").write_text("5 network\n")
    return tmp_path


def test_a_healthy_dump_is_clean(desk: Path) -> None:
    done = heapwitness("inspect", "healthy.bin", "--config", ".config", cwd=desk)

    assert (done.returncode, done.stderr) == (0, "")
    assert "0 findings in 1 pool with 5 nodes" in done.stdout


def test_a_damaged_dump_is_told_from_the_top_down(desk: Path) -> None:
    done = heapwitness(
        "inspect", "dump.bin", "--config", ".config", "--base", "0x20000000", "--tasks", "tasks", cwd=desk
    )

    assert done.returncode == FOUND
    lines = done.stdout.splitlines()
    assert lines[0] == "heap-buffer-overflow: 10 bytes past the end of a 64-byte block"
    for part in ("task network", "overflow", "freeNodeInfo.pstPrev", "can be restored: the backup from the header"):
        assert part in done.stdout, part
    assert "pool 0x20000000  16,384 bytes, 32-bit, head backup" in lines


def test_the_json_has_everything(desk: Path) -> None:
    done = heapwitness("inspect", "dump.bin", "--config", ".config", "--json", "out.json", cwd=desk)

    written = json.loads((desk / "out.json").read_text())
    assert done.returncode == FOUND
    assert (written["schema"], written["source"]) == ("heapwitness-report/1", "dump.bin")
    (finding,) = written["findings"]
    assert (finding["kind"], finding["damage"]["length"]) == ("heap-buffer-overflow", 10)
    assert finding["damage"]["actual"] == b"overflow!!".hex()
    assert written["pools"][0]["size"] == 16384


def test_the_kernels_text_alone(desk: Path) -> None:
    done = heapwitness("inspect", "dump.bin", "--config", ".config", "--kernel-text", cwd=desk)

    assert done.returncode == FOUND
    assert done.stdout.startswith("node:0x200000f0 checksum=")
    assert done.stdout.endswith("check finish\n")


def test_a_pointer_can_be_judged(desk: Path) -> None:
    done = heapwitness("inspect", "healthy.bin", "--config", ".config", "--free", "0x20000110", cwd=desk)

    assert done.returncode == FOUND
    assert done.stdout.startswith("invalid-free: a pointer 8 bytes into a 64-byte block was released")


@pytest.mark.parametrize("dump", ["dump.bin", "dump.bin.gz"])
def test_a_repaired_copy_is_healthy_and_the_original_is_as_it_was(desk: Path, dump: str) -> None:
    before = (desk / dump).read_bytes()

    done = heapwitness("restore", dump, "-o", "fixed", "--config", ".config", cwd=desk)

    fixed = (desk / "fixed").read_bytes()
    assert done.returncode == 0
    assert (gzip.decompress(fixed) if dump.endswith(".gz") else fixed) == (desk / "healthy.bin").read_bytes()
    assert (desk / dump).read_bytes() == before
    assert "6f 76 65 72 66 6c 6f 77 21 21 -> " in done.stdout
    assert "the kernel's integrity check passes" in done.stdout
    assert heapwitness("inspect", "fixed", "--config", ".config", cwd=desk).returncode == 0


def test_nothing_that_is_read_is_written_over(desk: Path) -> None:
    (desk / "symbolic").symlink_to("dump.bin")
    (desk / "hard").hardlink_to(desk / "dump.bin")
    before = (desk / "dump.bin").read_bytes()
    for output in ("dump.bin", "./dump.bin", "symbolic", "hard", ".config"):
        done = heapwitness("restore", "dump.bin", "-o", output, "--config", ".config", cwd=desk)
        assert (done.returncode, done.stdout) == (ERROR, ""), output
        assert "never overwritten" in done.stderr
    assert (desk / "dump.bin").read_bytes() == before
    assert (desk / ".config").read_text() == CONFIG


def test_a_simulated_fault_is_told_and_dumped(desk: Path) -> None:
    (desk / "trace").write_text("a = alloc 40\nb = alloc 40\nc = alloc 40\nfree b\n")

    done = heapwitness(
        "simulate", "trace", "--config", ".config", "--inject", "overflow@1:8", "--dump", "end.bin", cwd=desk
    )

    assert done.returncode == FOUND
    assert "injected overflow@1:8" in done.stdout
    assert "heap-buffer-overflow: 8 bytes past the end of a 40-byte block; repaired" in done.stdout
    assert (desk / "end.bin").stat().st_size == 65536


def test_a_trace_without_faults_is_clean(desk: Path) -> None:
    (desk / "trace").write_text("a = alloc 40\nfree a\n")

    done = heapwitness("simulate", "trace", "--config", ".config", "--all", cwd=desk)

    assert done.returncode == 0
    assert "1 alloc 40" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["inspect"], "missing argument"),
        (["inspect", "none", "--config", ".config"], "none cannot be read"),
        (["inspect", ".", "--config", ".config"], "is a directory"),
        (["inspect", "empty", "--config", ".config"], "is empty"),
        (["inspect", "cut.gz", "--config", ".config"], "is cut short"),
        (["inspect", "dump.bin", "--config", ".config", "--width", "64"], "Check --config and --width"),
        (["inspect", "dump.bin", "--config", ".config", "--width", "16"], "--width"),
        (["inspect", "dump.bin", "--config", ".config", "--base", "0x1000"], "Check --base"),
        (["inspect", "dump.bin", "--config", ".config", "--base", "here"], "no address"),
        (["inspect", "dump.bin", "--config", ".config", "--base", "0xfffffffff0000000"], "--base"),
        (["inspect", "dump.bin", "--config", ".config", "--pool", "0x20000044"], "No pool of this configuration"),
        (["inspect", "dump.bin", "--config", "none"], "none cannot be read"),
        (["inspect", "dump.bin", "--config", "dump.bin"], "is no .config"),
        (["inspect", "dump.bin", "--elf", "dump.bin"], "no ELF file"),
        (["inspect", "dump.bin", "--tasks", "dump.bin", "--config", ".config"], "task"),
        (["inspect", "empty"], "is empty"),
        (["inspect", ".config"], "looks like a pool"),
        (["inspect", "dump.bin", "--json", "no/such/folder", "--config", ".config"], "cannot be written"),
        (["restore", "dump.bin", "--config", ".config"], "missing option '-o'"),
        (["restore", "dump.bin", "-o", "no/such/folder", "--config", ".config"], "cannot be written"),
        (["restore", "dump.bin", "-o", ".", "--config", ".config"], "cannot be written"),
        (["restore", "none", "-o", "out", "--config", ".config"], "none cannot be read"),
        (["simulate", "none", "--config", ".config"], "none cannot be read"),
        (["simulate", "dump.bin", "--config", ".config"], "no text"),
        (["simulate", "tasks", "--config", ".config"], "line 1"),
        (["simulate", "trace"], "missing option '--config'"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_2(desk: Path, arguments: list[str], says: str) -> None:
    (desk / "empty").touch()
    (desk / "cut.gz").write_bytes((desk / "dump.bin.gz").read_bytes()[:-9])

    done = heapwitness(*arguments, cwd=desk)

    assert (done.returncode, done.stdout) == (ERROR, "")
    assert done.stderr.startswith("heapwitness: ") and done.stderr.count("\n") == 1
    assert says.lower() in done.stderr.lower()


def test_a_dump_that_is_piped_in_is_read(desk: Path) -> None:
    command = f"{sys.executable} -m heapwitness inspect <(zcat dump.bin.gz) --config .config"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    done = subprocess.run(
        ["bash", "-c", command], cwd=desk, env=environment, capture_output=True, text=True, timeout=60
    )

    assert (done.returncode, done.stderr) == (FOUND, "")
