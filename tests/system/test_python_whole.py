"""Whole Python stacks are the true ones, however the frames change from one allocation to the next."""

import json
from pathlib import Path
from typing import Any

import pytest
from run_support import FOUND, heapwitness_run, needs_engine
from support.pythons import each_python

pytestmark = needs_engine

LEAST = 5
"""Stacks that differ."""

WAYS = """\
import ctypes, json, random, sys
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
told = []
def here():
    frame, stack = sys._getframe(1), []
    while frame and len(stack) < 16:
        stack.append((frame.f_code.co_name, frame.f_lineno))
        frame = frame.f_back
    return stack
def make(): block, stack = libc.malloc(24), here(); told.append((block, stack)); return block
def direct(n): return make()
def twice(n): make(); return make()
def deep(n): return deep(n - 1) if n else make()
def odd(n): return even(n - 1) if n else make()
def even(n): return odd(n - 1) if n else direct(n)
def by_c(n): return max(map(deep, [n, 0]))
def by_method(n): return [deep, odd, even].__getitem__(n % 3)(n)
def lines():
    while True:
        yield make()
        yield direct(0)
def nested(n):
    yield from (deep(i) for i in range(n))
def new(n):
    space = {"make": make}
    exec("def fresh(n):\\n" + "\\n" * (n % 5) + "    return make()\\nfresh(0)", space)
kept = lines()
def resume(n): return next(kept)
def resume_deep(n): return resume_deep(n - 1) if n else next(kept)
def drain(n): return list(nested(n % 4))
class Late:
    def __del__(self): make()
def late(n): Late()
def fail(n):
    try:
        raise ValueError(make())
    except ValueError:
        return make()
ways = [direct, twice, deep, odd, even, by_c, by_method, new, resume, resume_deep, drain, late, fail]
chance = random.Random(SEED)
for _ in range(1500):
    chance.choice(ways)(chance.randrange(24))
sample = chance.sample(told, 40)
for block, stack in sample:
    ctypes.memset(block + 24, 1, 3)
    libc.free(block)
print(json.dumps([stack for block, stack in sample]))
"""
"""Calls, returns, recursion, generators that are resumed from elsewhere, code that dies, exceptions: in each a block is
allocated and its stack noted on one line."""


def _own(site: dict[str, Any]) -> list[tuple[str, int]]:
    return [(one["function"].rpartition(".")[2], one["line"]) for one in site["stack"] if one["language"] == "python"]


@each_python
@pytest.mark.parametrize("seed", [1, 2])
def test_whole_stacks_of_python_are_those_that_python_tells(tmp_path: Path, python: Path, seed: int) -> None:
    script = tmp_path / "script.py"
    script.write_text(WAYS.replace("SEED", str(seed)))

    result = heapwitness_run(python, script, options=("--stacks", "full"))

    assert result.status == FOUND
    expected = {tuple(map(tuple, stack)) for stack in json.loads(result.stdout)}
    found = {tuple(_own(one["culprit"]["allocated"])) for one in result.findings}
    assert found - expected == set()
    assert len(found) > LEAST  # on a busy machine not all are looked at
