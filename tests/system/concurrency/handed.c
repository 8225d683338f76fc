/* One thread allocates the smallest blocks, others release them at once: `handed THREADS BLOCKS`. With
   HEAPWITNESS_CHECK_EVERY=1 the first goes over its whole pool again and again meanwhile. */
#define _GNU_SOURCE
#include "../libc/check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

enum { RING = 256 };
static char *_Atomic ring[RING];
static _Atomic bool over;

static void *release(void *start)
{
    for (unsigned at = (unsigned)(uintptr_t)start; !over; at++) {
        char *got = atomic_exchange(&ring[at % RING], NULL);
        if (got)
            free(got);
        else if (at % RING == 0)
            sched_yield();
    }
    return NULL;
}

int main(int argc, char **argv)
{
    CHECK(argc > 2);
    pthread_t thread[16];
    int count = atoi(argv[1]), blocks = atoi(argv[2]);
    for (int i = 0; i < count; i++)
        CHECK(pthread_create(&thread[i], NULL, release, (void *)(intptr_t)(i * 64)) == 0);
    for (int i = 0; i < blocks; i++) {
        char *given = malloc((size_t)(i % 15) + 1);
        memset(given, 'x', (size_t)(i % 15) + 1);
        free(atomic_exchange(&ring[i % RING], given));
    }
    over = true;
    for (int i = 0; i < count; i++)
        pthread_join(thread[i], NULL);
    for (int i = 0; i < RING; i++)
        free(ring[i]);
    return 0;
}
