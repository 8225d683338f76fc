/* Damage and release across threads; each case has a clean twin (clean=1).

   what=ended      a thread that has ended wrote past the end of a block of the main thread
   what=inherited  the main thread writes past the end of a block that a thread allocated which has ended
   what=handed     threads free each other's blocks, and one block is written past its end before it is handed on
   what=crowd      eight threads allocate and free, each writes past the end of one block of its own
   what=asking     a thread's first allocation is made by pthread_getattr_np, which holds a lock of that thread
   what=waiting    damage in a block that another thread has freed already and whose owner sleeps, found at exit */

#define _GNU_SOURCE
#include "case.h"

#include <pthread.h>

enum { SIZE = 40, CROWD = 8, ROUNDS = 20000, HANDED = 4096 };

static size_t extra;

static __attribute__((noinline)) unsigned char *allocate(void)
{
    unsigned char *block = malloc(SIZE); /* culprit: malloc */
    if (block == NULL)
        abort();
    return block;
}

static __attribute__((noinline)) void overrun(unsigned char *block)
{
    memset(block, 0x41, SIZE + extra);
}

static void *overrunning_thread(void *block)
{
    overrun(block);
    return NULL;
}

static void *allocating_thread(void *unused)
{
    (void)unused;
    return allocate();
}

static void *in_a_thread(void *(*body)(void *), void *argument)
{
    pthread_t thread;
    void *answer;
    if (pthread_create(&thread, NULL, body, argument) != 0 || pthread_join(thread, &answer) != 0)
        abort();
    return answer;
}

static void *asking_thread(void *unused)
{
    (void)unused;
    pthread_attr_t attributes;
    size_t bytes = 0;
    void *start;
    if (pthread_getattr_np(pthread_self(), &attributes) != 0 || pthread_attr_getstack(&attributes, &start, &bytes) != 0)
        abort();
    pthread_attr_destroy(&attributes);
    unsigned char *block = allocate();
    overrun(block);
    free(block);
    return NULL;
}

/* One slot between two threads. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned char *block;
} slot = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL};

static void *receiving_thread(void *unused)
{
    (void)unused;
    for (int i = 0; i < HANDED; i++) {
        pthread_mutex_lock(&slot.lock);
        while (slot.block == NULL)
            pthread_cond_wait(&slot.changed, &slot.lock);
        unsigned char *block = slot.block;
        slot.block = NULL;
        pthread_cond_signal(&slot.changed);
        pthread_mutex_unlock(&slot.lock);
        free(block);
    }
    return NULL;
}

static void hand_on(void)
{
    pthread_t receiver;
    if (pthread_create(&receiver, NULL, receiving_thread, NULL) != 0)
        abort();
    for (int i = 0; i < HANDED; i++) {
        unsigned char *block = allocate();
        if (i == HANDED / 2)
            overrun(block);
        pthread_mutex_lock(&slot.lock);
        while (slot.block != NULL)
            pthread_cond_wait(&slot.changed, &slot.lock);
        slot.block = block;
        pthread_cond_signal(&slot.changed);
        pthread_mutex_unlock(&slot.lock);
    }
    pthread_join(receiver, NULL);
}

static void *crowding_thread(void *number_of)
{
    unsigned char *live[64] = {NULL};
    uint32_t random = (uint32_t)(uintptr_t)number_of * 2654435761u + 1;
    for (int i = 0; i < ROUNDS; i++) {
        random = random * 1664525u + 1013904223u;
        unsigned char **at = &live[random >> 26];
        free(*at);
        *at = malloc(1 + (random >> 8) % 500);
        if (*at == NULL)
            abort();
        memset(*at, (int)i, 1);
        if (i == ROUNDS / 2) {
            unsigned char *block = allocate();
            overrun(block);
            free(block);
        }
    }
    for (int i = 0; i < 64; i++)
        free(live[i]);
    return NULL;
}

static void crowd(void)
{
    pthread_t threads[CROWD];
    for (uintptr_t i = 0; i < CROWD; i++)
        if (pthread_create(&threads[i], NULL, crowding_thread, (void *)i) != 0)
            abort();
    for (int i = 0; i < CROWD; i++)
        pthread_join(threads[i], NULL);
}

int main(int argc, char **argv)
{
    case_begin(argc, argv);
    extra = is("clean", "1") ? 0 : number("extra", 3);
    if (is("what", "ended")) {
        unsigned char *block = allocate();
        in_a_thread(overrunning_thread, block);
        free(block);
    } else if (is("what", "inherited")) {
        unsigned char *block = in_a_thread(allocating_thread, NULL);
        overrun(block);
        free(block);
    } else if (is("what", "asking")) {
        in_a_thread(asking_thread, NULL);
    } else if (is("what", "waiting")) {
        in_a_thread(overrunning_thread, in_a_thread(allocating_thread, NULL));
    } else if (is("what", "handed"))
        hand_on();
    else if (is("what", "crowd"))
        crowd();
    return case_done();
}
