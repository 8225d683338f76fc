"""What an operation of the heap needs of the stack: little, since coroutines and signal stacks have little."""

import pytest
from run_support import FOUND, compiled, heapwitness_run, needs_engine

pytestmark = needs_engine

PAINTED = """
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
enum { PAINTED = 32 << 10, PAINT = 0xA5, BLOCKS = 3000, OWN = 128 };
static char *block[BLOCKS];
/* Bytes below this function's frame that the operation wrote to; what it has of its own is no more than OWN. */
static __attribute__((noinline)) long used_by(void (*operation)(void)) {
    volatile unsigned char *top = (volatile unsigned char *)__builtin_frame_address(0) - OWN;
    for (int i = 1; i <= PAINTED; i++) top[-i] = PAINT;
    operation();
    for (int i = PAINTED; i > 0; i--) if (top[-i] != PAINT) return i + OWN;
    return 0;
}
static void usual_malloc(void) { block[0] = malloc(40); }
static void usual_free(void) { free(block[0]); }
static void new_malloc(void) { block[1] = malloc(41); }
static void new_free(void) { free(block[1]); }
static void grow(void) { block[2] = realloc(block[2], 100000); }
static void grow_big(void) { block[2] = realloc(block[2], 9000000); }
static void zeroed(void) { block[6] = calloc(300, 1000); }
static void shrink_big(void) { block[2] = realloc(block[2], 5000); }
static void aligned(void) { block[3] = aligned_alloc(4096, 70000); }
static void many(void) { for (int i = 0; i < BLOCKS; i++) block[i] = malloc(i * 7 % 3000 + 1); }
static void many_free(void) { for (int i = 0; i < BLOCKS; i++) free(block[i]); }
static void first_malloc(void) { block[4] = malloc(40); }
static void damaged(void) { free(block[5]); }
static void say(const char *name, long bytes) {
    char line[80];
    write(1, line, snprintf(line, sizeof line, "%s %ld\\n", name, bytes));
}
static void *thread(void *unused) { say("first", used_by(first_malloc)); return NULL; }
static char *end_of_frame;
static void *ends(void *unused) {
    end_of_frame = __builtin_frame_address(0);
    free(malloc(50));
    return unused;
}
/* What a thread needs below its function's frame, its end included. */
static long used_to_the_end(void) {
    enum { STACK = 256 << 10 };
    char *stack = aligned_alloc(4096, STACK);
    pthread_attr_t attributes;
    pthread_t other;
    int i = 0;
    memset(stack, PAINT, STACK);
    pthread_attr_init(&attributes);
    pthread_attr_setstack(&attributes, stack, STACK);
    pthread_create(&other, &attributes, ends, NULL);
    pthread_join(other, NULL);
    while ((unsigned char)stack[i] == PAINT) i++;
    return end_of_frame - (stack + i);
}
int main(void) {
    long known = 0, known_free = 0;
    pthread_t other;
    for (int i = 0; i < 4; i++) {
        known = used_by(usual_malloc);
        known_free = used_by(usual_free);
    }
    say("known", known);
    say("known", known_free);
    say("other", used_by(new_malloc));
    say("other", used_by(new_free));
    say("other", used_by(grow));
    say("other", used_by(grow_big));
    say("other", used_by(shrink_big));
    say("other", used_by(zeroed));
    say("other", used_by(aligned));
    say("other", used_by(many));
    say("other", used_by(many_free));
    pthread_create(&other, NULL, thread, NULL);
    pthread_join(other, NULL);
    say("end", used_to_the_end());
    block[5] = malloc(24);
    for (volatile int i = 0; i < 25; i++) ((volatile char *)block[5])[i] = 'x';
    say("finding", used_by(damaged));
    return 0;
}
"""

COROUTINE = """
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
static ucontext_t here, there;
static void work(void) {
    for (int i = 0; i < 100; i++) {
        char *block = malloc(i * 37 % 900 + 1);
        block = realloc(block, 2000);
        free(block);
    }
    char *volatile block = malloc(24);
    for (volatile int i = 0; i < 25; i++) ((volatile char *)block)[i] = 'x';
    free(block);
}
int main(void) {
    char *stack = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(stack, 4096, PROT_NONE);
    getcontext(&there);
    there.uc_link = &here;
    there.uc_stack.ss_sp = stack + 4096;
    there.uc_stack.ss_size = 4096 - 1300; /* and no more than that: the rest is what a program has on it already */
    makecontext(&there, work, 0);
    swapcontext(&here, &there);
    return 5;
}
"""

AROUND = 128
"""Bytes that the functions around the call take."""
BOUNDS = {"known": 512} | dict.fromkeys(("other", "first", "end", "finding"), 1536 + AROUND)


@pytest.mark.parametrize(
    "options", [(), ("--stacks", "caller"), ("--stacks", "full"), ("--poison",), ("--check-every", "1")], ids=str
)
def test_no_operation_needs_much_of_the_stack(options: tuple[str, ...]) -> None:
    program = compiled(PAINTED, "-pthread", "-fno-builtin", "-Wl,-z,now")

    result = heapwitness_run(program, options=options)

    assert (result.status, len(result.findings)) == (FOUND, 1), result.stderr
    used = [(name, int(number)) for name, number in (line.split() for line in result.stdout.splitlines())]
    # Where each operation goes the long way none is a usual one.
    bounds = BOUNDS | ({"known": BOUNDS["other"]} if options and options[0] != "--stacks" else {})
    assert [one for one in used if one[1] > bounds[one[0]]] == []
    assert len(used) == 14


@pytest.mark.parametrize("stacks", ["caller", "fast", "full"])
def test_coroutine_with_a_small_stack_allocates_and_is_told_of_damage(stacks: str) -> None:
    result = heapwitness_run(compiled(COROUTINE, "-Wl,-z,now"), options=("--stacks", stacks))

    assert result.report["program"]["exit_status"] == 5, result.stderr
    (finding,) = result.findings
    assert (finding["kind"], finding["culprit"]["allocated"]["stack"][0]["function"]) == (
        "heap-buffer-overflow",
        "work",
    )
    assert finding["detected"]["stack"][0]["function"] == "work"
