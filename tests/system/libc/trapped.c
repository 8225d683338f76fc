/* Threads release trapped blocks, and ask how large they are, while another one checks the heap: all of it is right. */
#define _GNU_SOURCE
#include "check.h"

#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>

enum { THREADS = 3, ROUNDS = 20000, KEPT = 256, ASKED = 16 };
static atomic_int at_work = THREADS;

static void *work(void *number)
{
    char *kept[KEPT] = {NULL};
    for (int i = 0; i < ROUNDS; i++) {
        char **place = &kept[i % KEPT];
        for (int asked = 0; *place && asked < ASKED; asked++)
            if (malloc_usable_size(*place) < 8)
                abort();
        free(*place);
        *place = malloc(8);
        memset(*place, (int)(size_t)number, 8);
    }
    for (int i = 0; i < KEPT; i++)
        free(kept[i]);
    at_work--;
    return NULL;
}

int main(void)
{
    pthread_t thread[THREADS];
    uint64_t (*look)(void) = dlsym(RTLD_DEFAULT, "heapwitness_check");
    for (size_t i = 0; i < THREADS; i++)
        pthread_create(&thread[i], NULL, work, (void *)i);
    while (at_work)
        look();
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    return 0;
}
