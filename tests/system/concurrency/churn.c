/* Threads that start, allocate, hand something on, and end: `churn THREADS AT_ONCE [EVERY]`. Each EVERYth writes past
   one block. Prints resident KiB after a tenth of them and at the end, then how often was written past a block. */
#define _GNU_SOURCE
#include "../libc/check.h"

#include <pthread.h>
#include <stdatomic.h>

enum { SHARED = 256 };
static char *_Atomic shared[SHARED];
static _Atomic int written;
static int every;

static void *briefly(void *number)
{
    char *mine[40];
    for (int i = 0; i < 40; i++) {
        mine[i] = malloc((size_t)(i * 37 % 500) + 1);
        mine[i][0] = 1;
    }
    if (every && (uintptr_t)number % (uintptr_t)every == 0) {
        mine[20][20 * 37 % 500 + 1] = 'x'; /* a block that this thread releases itself */
        atomic_fetch_add(&written, 1);
    }
    for (int i = 0; i < 40; i++)
        free(i % 8 ? mine[i] : atomic_exchange(&shared[(unsigned)(uintptr_t)number % SHARED], mine[i]));
    if ((uintptr_t)number % 100 == 0) {
        char *large = malloc(1000000);
        memset(large, 1, 1000000);
        free(large);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    CHECK(argc > 2);
    enum { MOST = 64 };
    pthread_t thread[MOST];
    int count = atoi(argv[1]), at_once = atoi(argv[2]);
    every = argc > 3 ? atoi(argv[3]) : 0;
    CHECK(at_once <= MOST);
    for (int done = 0; done < count; done += at_once) {
        for (int i = 0; i < at_once; i++)
            CHECK(pthread_create(&thread[i], NULL, briefly, (void *)(intptr_t)(done + i)) == 0);
        for (int i = 0; i < at_once; i++)
            pthread_join(thread[i], NULL);
        if (done / at_once == count / at_once / 10)
            printf("%zu\n", resident() >> 10);
    }
    printf("%zu\n%d\n", resident() >> 10, written);
    return 0;
}
