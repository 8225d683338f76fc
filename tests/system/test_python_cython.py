"""C code that Cython wrote: blocks have the lines of the .pyx that allocated them."""

import pytest
from hunt_support import heapwitness_hunt
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


PARALLEL = """\
#include <stdlib.h>

static __attribute__((noinline)) void __pyx_pf_4demo_2fill(char *block, int count)
{
    #pragma omp parallel for num_threads(2)
    for (int i = 0; i < count; i++) {
  /* "pkg/demo.pyx":7
 * for i in prange(n, nogil=True):
 *     block[i] = 7
 */
        ((volatile char *)block)[i] = 7;
    }
}

int main(void)
{
    __pyx_pf_4demo_2fill(malloc(64), 65);
    return 0;
}
"""


GENERATOR = """\
#include <stdlib.h>
#include <string.h>

struct __pyx_obj_4demo___pyx_scope_struct_{number}_rows {{ char *block; }};

static __attribute__((noinline)) void *__pyx_gb_4demo_5Table_{length}generator{number}(void *closure)
{{
    struct __pyx_obj_4demo___pyx_scope_struct_{number}_rows *__pyx_cur_scope = closure;
  /* "pkg/demo.pyx":9
 *     yield number
 */
    __pyx_cur_scope->block = malloc(24);
    return __pyx_cur_scope->block;
}}

int main(void)
{{
    struct __pyx_obj_4demo___pyx_scope_struct_{number}_rows scope;
    memset((char *)__pyx_gb_4demo_5Table_{length}generator{number}(&scope) + 24, 1, 3);
    return 0;
}}
"""


@pytest.mark.parametrize(("number", "length"), [("", 8), ("12", 14)], ids=["first", "later"])
def test_generator_is_called_as_in_the_source(number: str, length: int) -> None:
    result = heapwitness_run(compiled(GENERATOR.format(number=number, length=length)))

    (finding,) = result.findings
    assert finding["culprit"]["allocated"]["stack"][0]["function"] == "demo.Table.rows"
    assert "allocated by demo.Table.rows" in result.stderr


def test_store_by_a_thread_of_prange_has_the_function_and_the_line_of_the_source() -> None:
    hunted = heapwitness_hunt(compiled(PARALLEL, "-fopenmp"))

    (finding,) = hunted.stores
    first = finding["store"]["stack"][0]
    assert first["function"] == "demo.fill"
    assert (first["file"].rpartition("pkg/")[2], first["line"]) == ("demo.pyx", 7)


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
