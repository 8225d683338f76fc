"""C code that Cython wrote: blocks have the lines of the .pyx that allocated them."""

import pytest
from run_support import FOUND, compiled, heapwitness_run, needs_engine

pytestmark = needs_engine

WRITTEN = """\
#include <stdlib.h>
#include <string.h>

static __attribute__((noinline)) char *__pyx_f_4demo_make(size_t bytes)
{{
{place}
    char *block = malloc(bytes);
    __asm__ volatile("" : "+r"(block));
    return block;
}}

int main(void)
{{
    memset(__pyx_f_4demo_make(24) + 24, 1, 3);
    return 0;
}}
"""


@pytest.mark.parametrize(
    "place",
    [
        '  /* "pkg/demo.pyx":12\n * cdef char *make(size_t bytes):\n *     return malloc(bytes)\n */',
        '#line 12 "pkg/demo.pyx"',
    ],
    ids=["comments", "line-numbers"],
)
def test_block_has_the_line_of_the_source_and_not_of_the_c_file(place: str) -> None:
    program = compiled(WRITTEN.format(place=place))

    result = heapwitness_run(program)

    assert result.status == FOUND
    (finding,) = result.findings
    made = finding["culprit"]["allocated"]["stack"][0]
    assert made["function"] == "demo.make"
    assert (made["file"].rpartition("pkg/")[2], made["line"]) == ("demo.pyx", 12)
