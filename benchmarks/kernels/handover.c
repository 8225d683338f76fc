/* Half of the threads allocate, the other half free what they get, through a ring for each pair.
   handover PAIRS OPERATIONS */

#include "kernel.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

enum { RING = 1024, PAIRS_MOST = 16 };

struct pair {
    _Alignas(64) atomic_size_t written;
    _Alignas(64) atomic_size_t read;
    size_t operations;
    void *ring[RING];
};

static struct pair pairs[PAIRS_MOST];

static void *produce(void *argument)
{
    struct pair *pair = argument;
    uint64_t state = 88172645463325252u + (uint64_t)(pair - pairs);
    for (size_t i = 0; i < pair->operations; i++) {
        char *block = checked(malloc(random_size(&state)));
        *block = 1;
        while (i - atomic_load_explicit(&pair->read, memory_order_acquire) >= RING)
            sched_yield();
        pair->ring[i % RING] = block;
        atomic_store_explicit(&pair->written, i + 1, memory_order_release);
    }
    return NULL;
}

static void *consume(void *argument)
{
    struct pair *pair = argument;
    for (size_t i = 0; i < pair->operations; i++) {
        while (atomic_load_explicit(&pair->written, memory_order_acquire) == i)
            sched_yield();
        free(pair->ring[i % RING]);
        atomic_store_explicit(&pair->read, i + 1, memory_order_release);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    size_t count = argument(argc, argv, 1, 1), operations = argument(argc, argv, 2, 5000000);
    pthread_t threads[2 * PAIRS_MOST];
    if (count == 0 || count > PAIRS_MOST)
        return 2;
    double start = now_ns();
    for (size_t i = 0; i < count; i++) {
        pairs[i].operations = operations / count;
        if (pthread_create(&threads[2 * i], NULL, produce, &pairs[i]) != 0 ||
            pthread_create(&threads[2 * i + 1], NULL, consume, &pairs[i]) != 0)
            return 1;
    }
    for (size_t i = 0; i < 2 * count; i++)
        pthread_join(threads[i], NULL);
    return report(start, operations);
}
