/* The first thread meets damage, and nobody answers it for a while. Meanwhile another one releases what the first
   allocated. Prints how many milliseconds the slowest of these releases took. */
#define _GNU_SOURCE
#include "../libc/check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

enum { BLOCKS = 2000 };
static char *block[BLOCKS];
static _Atomic int met, over;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1000 + (double)t.tv_nsec / 1e6;
}

static void *release(void *slowest)
{
    while (!met)
        ;
    usleep(100000); /* the first thread waits by now */
    CHECK(!over);
    for (int i = 0; i < BLOCKS; i++) {
        double start = now();
        free(block[i]);
        double took = now() - start;
        if (took > *(double *)slowest)
            *(double *)slowest = took;
    }
    return NULL;
}

int main(void)
{
    pthread_t thread;
    double slowest = 0;
    for (int i = 0; i < BLOCKS; i++)
        block[i] = malloc((size_t)(i % 200));
    char *victim = malloc(24);
    CHECK(pthread_create(&thread, NULL, release, &slowest) == 0);
    memset((char *)hidden(victim) + 24, 'x', 20);
    met = 1;
    free(victim);
    over = 1;
    pthread_join(thread, NULL);
    printf("%d\n", (int)slowest);
    return 0;
}
