"""Python programs: the report has their Python lines."""

from pathlib import Path

import pytest
from run_support import FOUND, heapwitness_run, needs_engine

pytestmark = needs_engine

SCRIPT = """\
import ctypes, threading
def harm(length):
    block = ctypes.create_string_buffer(length)
    ctypes.memset(ctypes.addressof(block), 65, length + 3)
    del block
def work():
    list(map(harm, [37]))
{start}
print("done")
"""


@pytest.mark.parametrize(
    "start", ["work()", "thread = threading.Thread(target=work)\nthread.start()\nthread.join()"], ids=["main", "thread"]
)
def test_stack_has_python_lines_in_order(tmp_path: Path, start: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(start=start))

    result = heapwitness_run(script)

    assert (result.status, result.stdout) == (FOUND, "done\n")
    (finding,) = result.findings
    lines = [
        (one["function"], one["line"])
        for one in finding["detected"]["stack"]
        if one["language"] == "python" and one["file"] == str(script)
    ]
    assert lines[:2] == [("harm", 5), ("work", 7)]
    assert "del block" in result.stderr


def test_python_frames_stand_between_the_c_frames_that_they_belong_to(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(start="work()"))

    (finding,) = heapwitness_run(script).findings

    languages = [one["language"] for one in finding["detected"]["stack"]]
    assert languages[0] == "c"
    assert languages[-1] == "c"
    assert "python" in languages
