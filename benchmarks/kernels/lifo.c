/* Allocates and frees at once; sixteen sizes in turn.   lifo OPERATIONS */

#include "kernel.h"

int main(int argc, char **argv)
{
    size_t operations = argument(argc, argv, 1, 10000000);
    double start = now_ns();
    for (size_t i = 0; i < operations; i++) {
        volatile char *block = checked(malloc(16 + 24 * (i & 15)));
        *block = 1;
        free((void *)block);
    }
    return report(start, operations);
}
