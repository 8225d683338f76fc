/* Eight vectors grow by a half each time, by realloc, from 16 bytes to 256 KiB, and start again.   growth OPERATIONS */

#include "kernel.h"

enum { VECTORS = 8, MOST = 1 << 18 };

int main(int argc, char **argv)
{
    size_t operations = argument(argc, argv, 1, 1000000);
    struct {
        char *data;
        size_t size;
    } vectors[VECTORS] = {{NULL, 0}};
    double start = now_ns();
    for (size_t i = 0; i < operations; i++) {
        size_t at = i % VECTORS, size = vectors[at].size;
        if (size >= MOST) {
            free(vectors[at].data);
            vectors[at].data = NULL;
            size = 0;
        }
        size = size < 16 ? 16 : size + size / 2;
        vectors[at].data = checked(realloc(vectors[at].data, size));
        vectors[at].data[size - 1] = 1;
        vectors[at].size = size;
    }
    return report(start, operations);
}
