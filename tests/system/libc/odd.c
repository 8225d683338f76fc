/* Releases of what is no block, all around the start of the heap's first pool: each is told, and the program goes on.
 */
#include "check.h"

int main(int argc, char **argv)
{
    char *first = malloc(24), *start = (char *)((uintptr_t)first & ~(uintptr_t)0xFFFFF);
    for (int at = -64; at < first - start; at++)
        free(start + at);
    printf("%d\n", (int)(first - start) + 64);
    free(first);
    return 0;
}
