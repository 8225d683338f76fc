/* Many threads on the checked heap, which is called directly and not in malloc's place: so that the sanitizers'
   own heap stays theirs. Blocks change hands, every thread frees what others allocated, threads end and new
   ones take their arenas over, and meanwhile the whole heap is checked. Exits 0 when no finding was made.

   usage: harness THREADS ROUNDS OPERATIONS */
#include "heap_fast.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What stands for the program is not watched: its bytes and the slack behind them share words. */
#define PROGRAM __attribute__((no_sanitize("thread")))

enum { SLOTS = 512 };
static _Atomic(unsigned char *) slot[SLOTS];
static unsigned long operations;

/* Watched: it is how the program itself hands a block from one thread to another. */
__attribute__((noinline)) static unsigned char *swap(unsigned at, unsigned char *block)
{
    return atomic_exchange(&slot[at % SLOTS], block);
}

/* The first byte says how all of the block is filled; sizes go up to where blocks get pools of their own. */
PROGRAM static unsigned char *filled(unsigned seed)
{
    size_t bytes = seed % 97 == 0 ? 600000 + seed % 5000 : seed % 13 == 0 ? seed % 20000 + 1 : seed % 300 + 1;
    unsigned char *block = hw_allocate_fast(bytes, HW_MALLOC, HW_HERE);
    if (!block || hw_heap_size(block, HW_HERE) != bytes)
        abort();
    block[0] = (unsigned char)seed;
    block[bytes - 1] = block[0];
    return block;
}

PROGRAM static void give_up(unsigned char *block)
{
    if (!block)
        return;
    size_t bytes = hw_heap_size(block, HW_HERE);
    if (bytes == 0 || block[bytes - 1] != block[0])
        abort();
    hw_release_fast(block, HW_MALLOC, HW_HERE);
}

PROGRAM static void *work(void *argument)
{
    unsigned seed = (unsigned)(size_t)argument * 2654435761u + 1;
    for (unsigned long i = 0; i < operations; i++) {
        seed = seed * 1664525u + 1013904223u;
        unsigned char *block = filled(seed >> 8);
        if (seed % 7 == 0) {
            unsigned char *moved = hw_heap_resize(block, seed % 5000 + 1, HW_HERE);
            if (!moved)
                abort();
            moved[0] = moved[hw_heap_size(moved, HW_HERE) - 1] = (unsigned char)seed;
            block = moved;
        }
        give_up(swap(seed >> 4, block));
        if (i % 500 == 0)
            hw_heap_check(HW_AT_CHECK, HW_HERE);
    }
    return NULL;
}

int main(int count, char **words)
{
    unsigned threads = count > 1 ? (unsigned)atoi(words[1]) : 4, rounds = count > 2 ? (unsigned)atoi(words[2]) : 2;
    operations = count > 3 ? strtoul(words[3], NULL, 10) : 2000;
    for (unsigned round = 0; round < rounds; round++) {
        pthread_t thread[64];
        for (unsigned i = 0; i < threads && i < 64; i++)
            if (pthread_create(&thread[i], NULL, work, (void *)(size_t)(round * 64 + i + 1)) != 0)
                return 1;
        for (unsigned i = 0; i < threads && i < 64; i++)
            pthread_join(thread[i], NULL);
    }
    for (unsigned i = 0; i < SLOTS; i++)
        give_up(swap(i, NULL));
    hw_heap_check(HW_AT_CHECK, HW_HERE);
    printf("%llu findings\n", (unsigned long long)atomic_load(&hw_findings));
    return atomic_load(&hw_findings) != 0;
}
