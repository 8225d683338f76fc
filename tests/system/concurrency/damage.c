/* Threads that write past blocks, all at once: `damage THREADS TIMES [FORKS]`. Each of TIMES blocks of each thread is
   damaged once, beyond its end by 1 byte or over the next header; with FORKS so many processes do it. All data that
   nobody wrote past is as it should be at the end. Prints how often was written past a block. */
#define _GNU_SOURCE
#include "../libc/check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

static _Atomic int *written;
static int times;

static void *work(void *seed)
{
    enum { AROUND = 20 };
    for (int turn = 0; turn < times; turn++) {
        char *around[AROUND];
        for (int i = 0; i < AROUND; i++) {
            around[i] = malloc(40);
            CHECK(around[i]);
            memset(around[i], i, 40);
        }
        size_t beyond = (turn + (int)(intptr_t)seed) % 2 ? 1 : 24;
        memset((char *)hidden(around[AROUND / 2]) + 40, 'x', beyond);
        atomic_fetch_add(written, 1);
        for (int i = 0; i < AROUND; i++) {
            for (int k = 0; k < 40; k++)
                CHECK(around[i][k] == i);
            free(around[i]);
        }
    }
    return NULL;
}

static void run(int threads)
{
    pthread_t thread[64];
    for (int i = 0; i < threads; i++)
        CHECK(pthread_create(&thread[i], NULL, work, (void *)(intptr_t)i) == 0);
    for (int i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
}

int main(int argc, char **argv)
{
    CHECK(argc > 2);
    int threads = atoi(argv[1]), forks = argc > 3 ? atoi(argv[3]) : 0;
    times = atoi(argv[2]);
    written = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < forks; i++)
        if (fork() == 0) {
            run(threads);
            exit(0);
        }
    if (!forks)
        run(threads);
    int status;
    while (wait(&status) > 0)
        CHECK(status == 0);
    printf("%d\n", *written);
    return 0;
}
