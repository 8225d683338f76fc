/* The heap in the life of a thread: its start, its cancellation, its destructors, its end. */
#define _GNU_SOURCE
#include "check.h"

#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/syscall.h>

static void *churn(void *rounds)
{
    enum { BLOCKS = 100 };
    unsigned char *block[BLOCKS] = {0};
    unsigned state = 9;
    for (intptr_t i = 0; i < (intptr_t)rounds; i++) {
        state = state * 1664525u + 1013904223u;
        unsigned k = (state >> 8) % BLOCKS;
        if (block[k])
            CHECK(block[k][0] == (unsigned char)k);
        block[k] = realloc(block[k], (state >> 16) % 2000 + 1);
        CHECK(block[k]);
        block[k][0] = (unsigned char)k;
    }
    for (unsigned k = 0; k < BLOCKS; k++)
        free(block[k]);
    return NULL;
}

static void run_threads(int count, void *(*run)(void *), void *argument)
{
    pthread_t thread[64];
    for (int i = 0; i < count; i++)
        CHECK(pthread_create(&thread[i], NULL, run, argument) == 0);
    for (int i = 0; i < count; i++)
        CHECK(pthread_join(thread[i], NULL) == 0);
}

static void *cancelled_politely(void *unused)
{
    char *block = malloc(100);
    pthread_cleanup_push(free, block);
    for (;;) {
        free(malloc(50));
        usleep(10);
    }
    pthread_cleanup_pop(1);
    return unused;
}

static void cancel(void)
{
    for (int i = 0; i < 300; i++) {
        pthread_t thread[4];
        for (int k = 0; k < 4; k++)
            CHECK(pthread_create(&thread[k], NULL, cancelled_politely, NULL) == 0);
        usleep(i % 10 * 20);
        for (int k = 0; k < 4; k++) {
            void *result;
            CHECK(pthread_cancel(thread[k]) == 0);
            CHECK(pthread_join(thread[k], &result) == 0 && result == PTHREAD_CANCELED);
        }
    }
    churn((void *)10000);
}

/* No operation of the heap is a point of cancellation: a thread that only allocates goes on. */
static _Atomic bool go_on;
static void *never_at_a_point(void *unused)
{
    while (!go_on)
        ;
    for (int i = 0; i < 1000; i++) {
        free(malloc(100));
        free(realloc(malloc(700000), 2000000));
        free(calloc(1, 5000));
    }
    return (void *)1;
    (void)unused;
}
static void no_point_of_cancellation(void)
{
    pthread_t thread;
    void *result;
    CHECK(pthread_create(&thread, NULL, never_at_a_point, NULL) == 0);
    CHECK(pthread_cancel(thread) == 0);
    go_on = true;
    CHECK(pthread_join(thread, &result) == 0 && result == (void *)1);
}

/* Asynchronous cancellation while the thread computes. */
static void *cancelled_anywhere(void *unused)
{
    volatile unsigned long sum = 0;
    char *block = malloc(100);
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    for (;;)
        sum += (unsigned long)block[0];
    return unused;
}
static void cancel_asynchronously(void)
{
    for (int i = 0; i < 200; i++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, cancelled_anywhere, NULL) == 0);
        usleep(50);
        CHECK(pthread_cancel(thread) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
    }
    churn((void *)10000);
}

/* And, against all rules, while it is inside of malloc: no other thread may hang for it. */
static void *cancelled_inside(void *unused)
{
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    for (;;)
        churn((void *)1000);
    return unused;
}
static void cancel_inside_of_malloc(void)
{
    for (int i = 0; i < 300; i++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, cancelled_inside, NULL) == 0);
        usleep(300 + i);
        CHECK(pthread_cancel(thread) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
        churn((void *)100);
    }
    run_threads(8, churn, (void *)10000);
}

/* Destructors of keys allocate and free, again and again. */
enum { KEYS = 40 };
static pthread_key_t keys[KEYS];
static void destroy(void *value)
{
    static _Atomic unsigned count;
    free(value);
    free(malloc(200));
    if (atomic_fetch_add(&count, 1) % 3)
        pthread_setspecific(keys[(uintptr_t)value / 16 % KEYS], malloc(300));
}
static void *with_keys(void *unused)
{
    for (int i = 0; i < KEYS; i++)
        pthread_setspecific(keys[i], malloc((size_t)i * 50));
    dlerror();
    dlopen("/nowhere", RTLD_NOW);
    free(strdup(strerror(12345)));
    return unused;
}
static void destructors(void)
{
    for (int i = 0; i < KEYS; i++)
        CHECK(pthread_key_create(&keys[i], destroy) == 0);
    for (int i = 0; i < 60; i++)
        run_threads(8, with_keys, NULL);
    churn((void *)10000);
}

static _Atomic int detached;
static void *briefly(void *unused)
{
    free(malloc(100));
    free(strdup(strerror(12345)));
    atomic_fetch_sub(&detached, 1);
    return unused;
}
static void detached_threads(void)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    for (int i = 0; i < 3000; i++) {
        pthread_t thread;
        while (atomic_load(&detached) > 30)
            usleep(20);
        atomic_fetch_add(&detached, 1);
        CHECK(pthread_create(&thread, &attributes, briefly, NULL) == 0);
    }
    while (atomic_load(&detached))
        usleep(100);
}

/* The smallest stack that a thread may have is enough for all that the heap does. */
static void *much_on_little(void *unused)
{
    static _Atomic int turn;
    char *kept[500];
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 500; i++)
            CHECK((kept[i] = malloc((size_t)(i * 7 % 900))));
        for (int i = 0; i < 500; i++)
            free(kept[i * 7 % 500]);
    }
    char *large = realloc(malloc(700000), 3000000);
    CHECK(large);
    free(large);
    atomic_fetch_add(&turn, 1);
    return unused;
}
static void smallest_stack(void)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    CHECK(pthread_attr_setstacksize(&attributes, PTHREAD_STACK_MIN) == 0);
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, &attributes, much_on_little, NULL) == 0);
        pthread_join(thread, NULL);
    }
}

/* A stack that the program provides, in the heap itself. */
static void own_stack(void)
{
    enum { SIZE = 256 << 10 };
    for (int i = 0; i < 50; i++) {
        pthread_attr_t attributes;
        pthread_t thread;
        char *stack = i % 2 ? aligned_alloc(4096, SIZE) : malloc(SIZE);
        pthread_attr_init(&attributes);
        CHECK(pthread_attr_setstack(&attributes, stack, SIZE) == 0);
        CHECK(pthread_create(&thread, &attributes, churn, (void *)2000) == 0);
        pthread_join(thread, NULL);
        free(stack);
    }
}

/* The first thread ends, the others go on with what it allocated. */
static char *left_behind[1000];
static void *inherits(void *first)
{
    CHECK(pthread_join(*(pthread_t *)first, NULL) == 0);
    for (int i = 0; i < 1000; i++) {
        CHECK(left_behind[i][0] == (char)i);
        free(left_behind[i]);
    }
    churn((void *)10000);
    exit(0);
}
static void first_thread_ends(void)
{
    static pthread_t first;
    pthread_t thread;
    first = pthread_self();
    for (int i = 0; i < 1000; i++) {
        left_behind[i] = malloc((size_t)i + 1);
        left_behind[i][0] = (char)i;
    }
    CHECK(pthread_create(&thread, NULL, inherits, &first) == 0);
    pthread_exit(NULL);
}

/* A thread that libc never sees end. */
static void *vanishes(void *unused)
{
    free(malloc(1000));
    left_behind[0] = malloc(10);
    syscall(SYS_exit, 0);
    return unused;
}
static void threads_vanish(void)
{
    for (int i = 0; i < 100; i++) {
        pthread_t thread;
        pthread_attr_t attributes;
        pthread_attr_init(&attributes);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        CHECK(pthread_create(&thread, &attributes, vanishes, NULL) == 0);
        usleep(300);
        free(left_behind[0]);
        left_behind[0] = NULL;
    }
    run_threads(30, churn, (void *)1000);
}

static void *releases_all(void *most)
{
    enum { BLOCKS = 30000, EACH = 1000 };
    static char *block[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) {
        block[i] = malloc(EACH);
        CHECK(block[i]);
        memset(block[i], 1, EACH);
    }
    *(size_t *)most = resident();
    for (int i = 0; i < BLOCKS; i++)
        free(block[i]);
    return NULL;
}

static void ended_thread_leaves_little_memory(void)
{
    size_t before = resident(), most = 0;
    run_threads(1, releases_all, &most);
    CHECK(most > before + 30000000);
    CHECK(resident() < before + (most - before) / 4);
}

static pthread_barrier_t all_are_there;

static void *waits_for_all(void *unused)
{
    char *block = malloc(100);
    pthread_barrier_wait(&all_are_there);
    CHECK(block);
    free(block);
    return unused;
}

/* What the kernel lets a process map, 65,530 areas, is enough for these: two for each stack. */
static void ten_thousands_of_threads(void)
{
    enum { THREADS = 16000 };
    static pthread_t thread[THREADS];
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    CHECK(pthread_attr_setstacksize(&attributes, 32 << 10) == 0);
    CHECK(pthread_barrier_init(&all_are_there, NULL, THREADS) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&thread[i], &attributes, waits_for_all, NULL) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(thread[i], NULL) == 0);
}

static const test_case cases[] = {
    {"cancel", cancel},
    {"no_point_of_cancellation", no_point_of_cancellation},
    {"cancel_asynchronously", cancel_asynchronously},
    {"cancel_inside_of_malloc", cancel_inside_of_malloc},
    {"destructors", destructors},
    {"detached_threads", detached_threads},
    {"smallest_stack", smallest_stack},
    {"own_stack", own_stack},
    {"first_thread_ends", first_thread_ends},
    {"threads_vanish", threads_vanish},
    {"ended_thread_leaves_little_memory", ended_thread_leaves_little_memory},
    {"ten_thousands_of_threads", ten_thousands_of_threads},
};

int main(int argc, char **argv)
{
    return RUN_CASE(cases, argc, argv);
}
