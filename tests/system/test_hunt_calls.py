"""What the kernel stores past a trapped block is told as the store of the line that called, and the call does what it
would have done."""

import subprocess

import pytest
from hunt_support import line_of_store
from programs.harness import build, line_of
from run_support import FOUND, heapwitness_run, needs_engine

pytestmark = needs_engine

SOURCE = "calls.c"
EVERY = ("--trap-sample", "1/1")


@pytest.mark.parametrize("optimise", ["-O0", "-O2"])
def test_calls_do_what_they_would_have_done_and_their_lines_are_told(optimise: str) -> None:
    program = build(SOURCE, optimise)
    names = subprocess.run([program], capture_output=True, text=True, check=True).stdout.split()
    plain = subprocess.run([program, *names], capture_output=True, text=True, check=True)

    result = heapwitness_run(program, *names, options=EVERY)

    def shape(text: str) -> list[str]:
        # File descriptors and what else the runs may differ in.
        return [line for line in text.splitlines() if not line.startswith(("pipe", "socketpair"))]

    assert result.status == FOUND
    assert shape(result.stdout) == shape(plain.stdout)
    writes = [one for one in result.findings if one["access"] == "write"]
    told = {line_of_store(one, SOURCE): [frame["function"] for frame in one["store"]["stack"]] for one in writes}
    assert {name for name in names if line_of(SOURCE, name) not in told} == set()
    assert {name for name in names if name not in told[line_of(SOURCE, name)]} == set()
