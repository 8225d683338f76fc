"""What a program maps, and what its debugging information names, does no harm to who watches it."""

import os
import subprocess
from pathlib import Path

import pytest
from run_support import FOUND, HEAPWITNESS, compiled, environment, heapwitness_run, needs_engine

pytestmark = needs_engine

MAPS = """
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
void *operator_new(unsigned long) __asm__("_Znwm");
int main(int count, char **words) {
    for (int n = 1; n < count; n++)
        mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, open(words[n], O_RDONLY), 0);
    volatile char *volatile block = malloc(24);
    block[24] = 'x';
    free((void *)block);
    return 0;
}
"""

MISMATCHES = MAPS.replace("malloc(24)", "operator_new(24)").replace("block[24] = 'x';", "")

NAMES = ["a\rb", "a\nb", "a\x0b\x0c\x1c\x1d b", "x (deleted)", "a\\012b", "\udcff", "x /proc/self/pagemap"]


@pytest.fixture(params=NAMES)
def mapped(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file of an odd name."""
    file = Path(f"{tmp_path}/{request.param}")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"x" * 4096)
    return file


def test_a_file_of_any_name_may_be_mapped(mapped: Path) -> None:
    found = heapwitness_run(compiled(MAPS), mapped)

    assert [one["kind"] for one in found.findings] == ["heap-buffer-overflow"]
    assert found.findings[0]["culprit"]["allocated"]["stack"][0]["function"] == "main"


def test_a_name_that_ends_in_the_path_of_another_file_leads_not_there(mapped: Path) -> None:
    found = heapwitness_run(compiled(MISMATCHES, "-Wl,--no-as-needed", "-lstdc++"), mapped)

    assert [one["kind"] for one in found.findings] == ["mismatched-free"]


@pytest.mark.parametrize("name", ["/proc/self/pagemap", "/proc/self/mem", "/dev/zero", "pipe"])
def test_a_source_file_that_is_no_file_is_not_read(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    source = tmp_path / name
    text = MAPS.replace("int main", f'#line 1 "{source}"\nint main')

    found = heapwitness_run(compiled(text))

    assert found.status == FOUND
    assert found.findings[0]["culprit"]["allocated"]["stack"][0]["file"] == str(source)


def test_a_module_whose_debug_link_is_a_pipe_keeps_its_exported_names(tmp_path: Path) -> None:
    (tmp_path / "module.c").write_text("#include <stdlib.h>\nvoid *module(void) { void *p = malloc(24); return p; }\n")
    module = tmp_path / "module.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", module, tmp_path / "module.c"], check=True)
    (tmp_path / "pipe.debug").write_bytes(b"x")
    subprocess.run(["objcopy", "--strip-debug", f"--add-gnu-debuglink={tmp_path}/pipe.debug", module], check=True)
    (tmp_path / "pipe.debug").unlink()
    os.mkfifo(tmp_path / "pipe.debug")
    program = compiled(
        MAPS.replace("malloc(24)", "module()").replace("int main", "char *module(void);\nint main"),
        "-Wl,--no-as-needed",
        str(module),
        f"-Wl,-rpath,{tmp_path}",
    )

    found = heapwitness_run(program)

    assert found.findings[0]["culprit"]["allocated"]["stack"][0]["function"] == "module"


def test_symbols_of_a_record_are_taken_from_plain_files_only(tmp_path: Path) -> None:
    program, log = compiled(MAPS), tmp_path / "log"
    subprocess.run(
        [*HEAPWITNESS, "run", "--wait", "0.1", "--log", log, "--", "env", "-u", "HEAPWITNESS_SOCKET", program],
        env=environment(),
        capture_output=True,
    )
    data = log.read_bytes()
    pipe = Path(f"/tmp/{'p' * (len(str(program)) - 5)}")
    os.mkfifo(pipe)

    log.write_bytes(data.replace(os.fsencode(program), os.fsencode(pipe)))
    done = subprocess.run([*HEAPWITNESS, "report", log], env=environment(), capture_output=True, timeout=60)

    pipe.unlink()
    assert done.returncode == FOUND
