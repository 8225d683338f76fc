/* Fills memory with blocks, frees every second one, fills the gaps with smaller and larger ones, and again.
   fragments BLOCKS ROUNDS */

#include "kernel.h"

int main(int argc, char **argv)
{
    size_t count = argument(argc, argv, 1, 200000), rounds = argument(argc, argv, 2, 10);
    uint64_t state = 88172645463325252u;
    char **blocks = checked(calloc(count, sizeof *blocks));
    size_t operations = 0;
    double start = now_ns();
    for (size_t round = 0; round < rounds; round++) {
        size_t scale = 1 + round % 4;
        for (size_t i = 0; i < count; i++)
            if (blocks[i] == NULL) {
                blocks[i] = checked(malloc(random_size(&state) * scale));
                *blocks[i] = 1;
                operations++;
            }
        for (size_t i = round & 1; i < count; i += 2) {
            free(blocks[i]);
            blocks[i] = NULL;
        }
    }
    return report(start, operations);
}
