/* Keeps LIVE blocks; each operation replaces one at random by one of another size.   lifetimes LIVE OPERATIONS */

#include "kernel.h"

int main(int argc, char **argv)
{
    size_t live = argument(argc, argv, 1, 1000), operations = argument(argc, argv, 2, 10000000);
    uint64_t state = 88172645463325252u;
    char **blocks = checked(malloc(live * sizeof *blocks));
    for (size_t i = 0; i < live; i++) {
        blocks[i] = checked(malloc(random_size(&state)));
        *blocks[i] = 1;
    }
    double start = now_ns();
    for (size_t i = 0; i < operations; i++) {
        char **at = &blocks[(next_random(&state) >> 11) % live];
        free(*at);
        *at = checked(malloc(random_size(&state)));
        **at = 1;
    }
    return report(start, operations);
}
