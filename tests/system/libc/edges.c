/* Changes one byte next to a big block, up to 16 before its start or behind its end, and releases or resizes it. Says
   for each such block where it lies. `edges HOW`: how the block came by its size. */
#define _GNU_SOURCE
#include "check.h"

#include <stdbool.h>

/* Larger than any threshold, so that each has a pool of its own whatever was released before. */
#define MIB ((size_t)1 << 20)
static const size_t sizes[] = {33 * MIB, 33 * MIB - 4096, 34 * MIB + 48, 33 * MIB + 5};
enum { NEAR = 16 };

static char *plain(size_t size)
{
    return malloc(size);
}
static char *on_a_page(size_t size)
{
    void *block = NULL;
    CHECK(posix_memalign(&block, 4096, size) == 0 && (uintptr_t)block % 4096 == 0);
    return block;
}
static char *far_aligned(size_t size)
{
    return aligned_alloc((size_t)1 << 22, size);
}
static char *grown(size_t size)
{
    return realloc(malloc(32 * MIB + 3), size);
}
static char *moved(size_t size)
{
    char *block = malloc(1 * MIB), *behind = malloc(33 * MIB);
    block = realloc(block, size);
    free(behind);
    return block;
}
static char *shrunk(size_t size)
{
    return realloc(malloc(80 * MIB), size);
}

static void spoil(char *(*make)(size_t), bool resized)
{
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (long at = -NEAR; at < NEAR; at++) {
            char *block = make(sizes[i]);
            CHECK(block);
            block[at < 0 ? at : (long)sizes[i] + at] ^= 0x55;
            printf("%zu\n", (size_t)block);
            if (resized)
                block = realloc(block, sizes[i] + 1000);
            free(block);
        }
}

#define CASE(how)                                                                                                      \
    static void how##_released(void)                                                                                   \
    {                                                                                                                  \
        spoil(how, false);                                                                                             \
    }                                                                                                                  \
    static void how##_resized(void)                                                                                    \
    {                                                                                                                  \
        spoil(how, true);                                                                                              \
    }
CASE(plain)
CASE(on_a_page)
CASE(far_aligned)
CASE(grown)
CASE(moved)
CASE(shrunk)

static const test_case cases[] = {
#define NAMES(how)                                                                                                     \
    {#how "_released", how##_released},                                                                                \
    {                                                                                                                  \
        #how "_resized", how##_resized                                                                                 \
    }
    NAMES(plain), NAMES(on_a_page), NAMES(far_aligned), NAMES(grown), NAMES(moved), NAMES(shrunk),
};

int main(int argc, char **argv)
{
    return RUN_CASE(cases, argc, argv);
}
