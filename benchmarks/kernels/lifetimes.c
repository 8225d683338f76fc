/* Keeps LIVE blocks; each operation replaces one at random by one of another size.   lifetimes LIVE OPERATIONS [touch]
   With `touch` an operation only writes to the block: what reaching a block at random costs by itself. */

#include "kernel.h"

int main(int argc, char **argv)
{
    size_t live = argument(argc, argv, 1, 1000), operations = argument(argc, argv, 2, 10000000);
    int touch = argc > 3 && strcmp(argv[3], "touch") == 0;
    uint64_t state = 88172645463325252u;
    char **blocks = checked(malloc(live * sizeof *blocks));
    for (size_t i = 0; i < live; i++) {
        blocks[i] = checked(malloc(random_size(&state)));
        *blocks[i] = 1;
    }
    double start = now_ns();
    for (size_t i = 0; i < operations; i++) {
        char **at = &blocks[(next_random(&state) >> 11) % live];
        if (touch) { /* the next one waits for it, as an allocator's own steps do */
            state += (uint64_t)((*at)[0]++ & 1);
            continue;
        }
        free(*at);
        *at = checked(malloc(random_size(&state)));
        **at = 1;
    }
    return report(start, operations);
}
