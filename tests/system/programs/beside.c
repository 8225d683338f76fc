/* Changes bytes right before or right behind blocks, then releases just these blocks.

   size=N  at=N: bytes from the block's start (negative) or its end   length=N (1)   how=free|realloc|thread
   rounds=N (1): so many blocks one after another, of sizes size, size + 1, ... */

#include "case.h"

#include <pthread.h>

static void *release(void *block)
{
    free(block);
    return NULL;
}

/* The owner takes in what another thread released before it gives it to anybody. */
static void release_elsewhere(void *block)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, release, block) != 0 || pthread_join(thread, NULL) != 0)
        abort();
}

static WITNESS void change(volatile unsigned char *at, size_t length)
{
    for (size_t i = 0; i < length; i++)
        at[i] ^= 0x55;
}

static void round_of(size_t size, long at)
{
    unsigned char *before = malloc(size), *block = malloc(size), *behind = malloc(size);
    if (before == NULL || block == NULL || behind == NULL)
        abort();
    fact("block", (uintptr_t)block);
    change(at < 0 ? block + at : block + size + at, number("length", 1));
    if (is("how", "realloc"))
        block = realloc(block, size + 4000);
    else if (is("how", "thread"))
        release_elsewhere(block);
    else
        free(block);
    fact("told", 1);
    if (is("how", "realloc"))
        free(block);
    free(malloc(size));
    free(before);
    free(behind);
}

int main(int argc, char **argv)
{
    case_begin(argc, argv);
    long at = strtol(word("at", "0"), NULL, 0);
    for (size_t i = 0; i < number("rounds", 1); i++)
        round_of(number("size", 48) + i, at);
    return case_done();
}
