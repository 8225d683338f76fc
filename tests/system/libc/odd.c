/* Releases of what is no block, all around the start of the heap's first run and of its first pool: each is told, and
   the program goes on. */
#include "check.h"

static int around(char *block, uintptr_t unit)
{
    char *start = (char *)((uintptr_t)block & ~(unit - 1));
    for (int at = -64; at < block - start; at++)
        free(start + at);
    return (int)(block - start) + 64;
}

int main(int argc, char **argv)
{
    char *small = malloc(24), *large = malloc(20000);
    printf("%d\n", around(small, 1 << 16) + around(large, 1 << 20));
    free(small);
    free(large);
    return 0;
}
