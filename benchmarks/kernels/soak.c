/* Producers allocate, consumers release, for a long time, while what is alive stays the same: soak SECONDS PAIRS [LEAK]

   A consumer takes blocks from its producer's ring and puts each into a random one of its places, whose former block
   it releases; some places have their turn often and most of them rarely, so that lifetimes go from one operation to
   some millions. Every 2 seconds each pair of threads ends and another one takes over its ring and places. Every
   second a line is printed: seconds since the start, operations (an allocation with its release), bytes that are
   allocated and not yet released. With LEAK so many bytes a second are never released: a heap that grows, to see that
   it is noticed. */

#include "kernel.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <unistd.h>

enum { RING = 4096, PLACES = 1 << 15, PAIRS_MOST = 16, SHIFT_SECONDS = 2 };

struct pair {
    _Alignas(64) atomic_size_t written;
    _Alignas(64) atomic_size_t read;
    atomic_size_t made_bytes, released_bytes;
    uint64_t producer, consumer; /* states of their random numbers */
    void *ring[RING];
    void *place[PLACES];
};

static struct pair pairs[PAIRS_MOST];
static atomic_bool shift_ends;

/* Each block begins with its size. */
static size_t some_bytes(uint64_t *state)
{
    uint64_t x = next_random(state);
    size_t bytes = x % 4096 == 0 ? 20000 + (x >> 20) % 1000000 : random_size(state);
    return bytes < sizeof(size_t) ? sizeof(size_t) : bytes;
}

static void *produce(void *argument)
{
    struct pair *pair = argument;
    for (size_t i = pair->written; !shift_ends; i++) {
        size_t bytes = some_bytes(&pair->producer);
        size_t *block = checked(malloc(bytes));
        memset(block, 1, bytes);
        *block = bytes;
        atomic_fetch_add_explicit(&pair->made_bytes, bytes, memory_order_relaxed);
        while (i - atomic_load_explicit(&pair->read, memory_order_acquire) >= RING)
            sched_yield();
        pair->ring[i % RING] = block;
        atomic_store_explicit(&pair->written, i + 1, memory_order_release);
    }
    return NULL;
}

static void **some_place(struct pair *pair)
{
    uint64_t x = next_random(&pair->consumer);
    size_t among = x % 128 == 0 ? PLACES : (size_t)1 << (x >> 8) % 14;
    return &pair->place[(x >> 20) % among];
}

/* Goes on until the producer has ended and nothing is left in the ring, or that would wait for room for ever. */
static void *consume(void *argument)
{
    struct pair *pair = argument;
    for (;;) {
        size_t i = pair->read;
        if (atomic_load_explicit(&pair->written, memory_order_acquire) == i) {
            if (shift_ends)
                return NULL;
            sched_yield();
            continue;
        }
        void **place = some_place(pair), *old = *place;
        *place = pair->ring[i % RING];
        if (old) {
            atomic_fetch_add_explicit(&pair->released_bytes, *(size_t *)old, memory_order_relaxed);
            free(old);
        }
        atomic_store_explicit(&pair->read, i + 1, memory_order_release);
    }
}

static void tell(double start)
{
    size_t operations = 0, live = 0;
    for (size_t i = 0; i < PAIRS_MOST; i++) {
        operations += pairs[i].read;
        live += pairs[i].made_bytes - pairs[i].released_bytes;
    }
    printf("%.1f %zu %zu\n", (now_ns() - start) / 1e9, operations, live);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    size_t seconds = argument(argc, argv, 1, 600), count = argument(argc, argv, 2, 2),
           leak = argument(argc, argv, 3, 0);
    double start = now_ns();
    if (count == 0 || count > PAIRS_MOST)
        return 2;
    for (size_t i = 0; i < count; i++) {
        pairs[i].producer = 88172645463325252u + i;
        pairs[i].consumer = 1181783497276652981u + i;
    }
    for (size_t second = 0; second < seconds;) {
        pthread_t threads[2 * PAIRS_MOST];
        shift_ends = false;
        for (size_t i = 0; i < count; i++)
            if (pthread_create(&threads[2 * i], NULL, produce, &pairs[i]) != 0 ||
                pthread_create(&threads[2 * i + 1], NULL, consume, &pairs[i]) != 0)
                return 1;
        for (int k = 0; k < SHIFT_SECONDS && second < seconds; k++, second++) {
            sleep(1);
            for (size_t lost = 0; lost < leak; lost += 1000)
                memset(checked(malloc(1000)), 1, 1000);
            tell(start);
        }
        shift_ends = true;
        for (size_t i = 0; i < 2 * count; i++)
            pthread_join(threads[i], NULL);
    }
    return 0;
}
