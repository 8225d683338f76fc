/* THREADS threads, each with a thousand live blocks of its own that it replaces at random.   threads THREADS OPERATIONS
 */

#include "kernel.h"

#include <pthread.h>

enum { LIVE = 1000, THREADS_MOST = 64 };

static size_t operations_each;

static void *work(void *number)
{
    uint64_t state = 88172645463325252u + (uint64_t)(uintptr_t)number;
    char *blocks[LIVE] = {NULL};
    for (size_t i = 0; i < operations_each; i++) {
        char **at = &blocks[(next_random(&state) >> 11) % LIVE];
        free(*at);
        *at = checked(malloc(random_size(&state)));
        **at = 1;
    }
    for (size_t i = 0; i < LIVE; i++)
        free(blocks[i]);
    return NULL;
}

int main(int argc, char **argv)
{
    size_t count = argument(argc, argv, 1, 4), operations = argument(argc, argv, 2, 10000000);
    pthread_t threads[THREADS_MOST];
    if (count == 0 || count > THREADS_MOST)
        return 2;
    operations_each = operations / count;
    double start = now_ns();
    for (size_t i = 0; i < count; i++)
        if (pthread_create(&threads[i], NULL, work, (void *)i) != 0)
            return 1;
    for (size_t i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    return report(start, operations);
}
