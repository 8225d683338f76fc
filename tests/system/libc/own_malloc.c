/* A program with a heap of its own: it must be the only one for all of the process. */
#define _GNU_SOURCE
#include "check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>

static char arena[64 << 20] __attribute__((aligned(16)));
static _Atomic size_t used;
static _Atomic unsigned allocated, released;

void *malloc(size_t bytes)
{
    size_t room = (bytes + 31) / 16 * 16, at = atomic_fetch_add(&used, room + 16);
    if (at + room + 16 > sizeof arena)
        return NULL;
    *(size_t *)(void *)(arena + at) = bytes;
    allocated++;
    return arena + at + 16;
}
void free(void *block)
{
    if (!block)
        return;
    if ((char *)block < arena || (char *)block >= arena + sizeof arena)
        _exit(7);
    released++;
}
void *calloc(size_t count, size_t each)
{
    return malloc(count * each);
}
void *realloc(void *block, size_t bytes)
{
    void *fresh = malloc(bytes);
    if (block) {
        size_t old = *(size_t *)(void *)((char *)block - 16);
        memcpy(fresh, block, old < bytes ? old : bytes);
        free(block);
    }
    return fresh;
}

static void *in_thread(void *unused)
{
    free(strdup("text"));
    return unused;
}

int main(void)
{
    char *line = NULL;
    size_t room = 0;
    FILE *file = fopen("/proc/self/maps", "r");
    CHECK(getline(&line, &room, file) > 0);
    fclose(file);
    free(line);
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, in_thread, NULL) == 0);
        pthread_join(thread, NULL);
    }
    CHECK(allocated > 20 && released > 20);
    return 0;
}
