"""`--check-every`: a check goes on where the last one stopped, and comes to everything."""

import pytest
from run_support import FOUND, compiled, heapwitness_run, needs_engine

pytestmark = needs_engine

LARGE = """
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
enum { LIVE = 300000, BIG = 2000000 };
static char *block[LIVE], *of_thread, *big;
static void *work(void *unused) {
    for (int i = 0; i < 1000; i++) of_thread = malloc(20);
    return NULL;
}
int main(int count, char **words) {
    pthread_t thread;
    for (int i = 0; i < LIVE; i++) block[i] = malloc(50);
    pthread_create(&thread, NULL, work, NULL);
    pthread_join(thread, NULL);
    big = malloc(BIG);
    switch (words[1][0]) {
    case 'o': ((volatile char *)block[LIVE / 3])[50] = 'x'; break;
    case 't': ((volatile char *)of_thread)[20] = 'x'; break;
    case 'b': ((volatile char *)big)[BIG] = 'x'; break;
    }
    for (int i = atoi(words[2]); i > 0; i--) {
        char *volatile some = malloc(30);
        free(some);
    }
    return 5;
}
"""


@pytest.mark.parametrize(("where", "size"), [("own", 50), ("thread's", 20), ("big", 2_000_000)])
def test_damage_anywhere_in_a_large_heap_is_noticed_by_checks_that_look_at_a_part(where: str, size: int) -> None:
    result = heapwitness_run(compiled(LARGE, "-pthread"), where, "20000", options=("--check-every", "100"))

    assert (result.status, len(result.findings)) == (FOUND, 1), result.stderr
    (finding,) = result.findings
    assert (finding["kind"], finding["culprit"]["size"]) == ("heap-buffer-overflow", size)
    assert finding["detected"]["when"] == "check"


def test_checks_of_a_large_heap_are_no_work_of_the_whole_heap_each() -> None:
    """20,000 times 300,000 blocks would take minutes, and the run be given up."""
    result = heapwitness_run(compiled(LARGE, "-pthread"), "nowhere", "1000000", options=("--check-every", "100"))

    assert (result.status, result.findings) == (5, []), result.stderr
