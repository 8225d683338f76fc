/* A tree of forked processes, each with a heap that its parent was using: `tree BRANCHES DEPTH [damage]`. Every
   process has BRANCHES children, DEPTH generations long; a thread allocates in each meanwhile. With `damage` both
   threads of every process write past one block. Prints how many processes there were. */
#define _GNU_SOURCE
#include "../libc/check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/wait.h>

static _Atomic int *processes;
static _Atomic bool forked, over;

static void write_past_a_block(void)
{
    char *block = malloc(24);
    CHECK(block);
    ((char *)hidden(block))[24] = 'x';
    free(block);
}

static void *allocate(void *damaging)
{
    while (!over || damaging) {
        if (damaging && forked) { /* a child would inherit what is damaged while it is made, and tell it, too */
            write_past_a_block();
            damaging = NULL;
        }
        char *block = malloc(100);
        CHECK(block);
        free(realloc(block, 1000));
        usleep(100);
    }
    return NULL;
}

static void live(int branches, int depth, bool damaging)
{
    pid_t child[64];
    char *kept[50];
    pthread_t thread;
    atomic_fetch_add(processes, 1);
    forked = over = false;
    CHECK(pthread_create(&thread, NULL, allocate, damaging ? "damaging" : NULL) == 0);
    for (int i = 0; i < 50; i++) {
        kept[i] = malloc((size_t)i * 20);
        memset(kept[i], i, (size_t)i * 20);
    }
    for (int i = 0; i < branches && depth > 0; i++) {
        child[i] = fork();
        CHECK(child[i] >= 0);
        if (child[i] == 0) {
            for (int k = 0; k < 50; k++) {
                CHECK(k == 0 || kept[k][k * 20 - 1] == k);
                free(kept[k]);
            }
            live(branches, depth - 1, damaging);
            exit(0);
        }
    }
    forked = true;
    if (damaging)
        write_past_a_block();
    for (int i = 0; i < branches && depth > 0; i++) {
        int status;
        CHECK(waitpid(child[i], &status, 0) == child[i] && status == 0);
    }
    over = true;
    pthread_join(thread, NULL);
    for (int i = 0; i < 50; i++)
        free(kept[i]);
}

int main(int argc, char **argv)
{
    CHECK(argc > 2);
    processes = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    live(atoi(argv[1]), atoi(argv[2]), argc > 3);
    printf("%d\n", *processes);
    return 0;
}
