/* The heap's parts under their own functions, without standing in for the program's malloc: to be run under
   ThreadSanitizer, and under AddressSanitizer and UndefinedBehaviorSanitizer.

   Usage: stress SEED THREADS STEPS [damage]. Threads allocate, resize and release their own and each other's blocks,
   big ones among them; one more goes over all pools, trims and measures meanwhile; threads start and end. With
   `damage` they write past blocks and release wrongly, too. Without it a finding is a failure. */
#define _GNU_SOURCE
#include "heap/big.h"
#include "heap/heap_fast.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#ifdef __SANITIZE_THREAD__
/* Memory comes and goes by bare system calls; ThreadSanitizer sees only those of the C library. */
#include <sys/mman.h>
void *__wrap_hw_map(size_t bytes);
void *__wrap_hw_map_shared(size_t bytes);
void __wrap_hw_unmap(void *start, size_t bytes);
long __wrap_hw_call(long number, long a, long b, long c, long d, long e, long f);
long __real_hw_call(long number, long a, long b, long c, long d, long e, long f);
void *__wrap_hw_map(size_t bytes)
{
    void *got = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return got == MAP_FAILED ? NULL : got;
}
void *__wrap_hw_map_shared(size_t bytes)
{
    void *got = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return got == MAP_FAILED ? NULL : got;
}
void __wrap_hw_unmap(void *start, size_t bytes)
{
    munmap(start, bytes);
}
long __wrap_hw_call(long number, long a, long b, long c, long d, long e, long f)
{
    if (number != SYS_mmap)
        return __real_hw_call(number, a, b, c, d, e, f);
    void *got = mmap((void *)a, (size_t)b, (int)c, (int)d, (int)e, f);
    return got == MAP_FAILED ? -1 : (long)got;
}
#endif

enum { SHARED = 256, OWN = 64, MOST = 64 };

typedef struct block {
    unsigned char *at;
    size_t size;
} block;

static void *_Atomic shared[SHARED];
static _Atomic bool over;
static bool damaging;
static unsigned steps;

static void expect(bool holds, const char *promise)
{
    if (holds)
        return;
    fprintf(stderr, "broken: %s\n", promise);
    exit(1);
}

static uint32_t pick(uint64_t *state, uint32_t below)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)(*state >> 33) % below;
}

static size_t some_size(uint64_t *state)
{
    uint32_t kind = pick(state, 64);
    uint32_t most = kind < 8 ? 20000 : kind < 32 ? 16 : 400;
    return kind == 0 ? 520000 + pick(state, 300000) : 1 + pick(state, most);
}

static void *allocate(uint64_t *state, size_t size)
{
    void *got = pick(state, 8) ? hw_allocate_fast(size, HW_MALLOC, HW_HERE)
                               : hw_heap_allocate(size, (size_t)16 << pick(state, 6), HW_ALIGNED, HW_HERE);
    expect(got != NULL, "there is memory");
    memset(got, (int)size, size);
    return got;
}

static void release(uint64_t *state, void *pointer)
{
    if (!pointer)
        return;
    size_t size = hw_heap_size(pointer, HW_HERE);
    const unsigned char *bytes = pointer;
    /* What was written past a neighbour may have hit this one. */
    expect(damaging || size == 0 || (bytes[0] == (unsigned char)size && bytes[size - 1] == (unsigned char)size),
           "a block keeps its content");
    if (pick(state, 16) == 0) {
        size_t wish = some_size(state);
        void *moved = hw_heap_resize(pointer, wish, HW_HERE);
        expect(moved != NULL || damaging, "a block can be resized");
        pointer = moved ? moved : pointer;
    }
    hw_release_fast(pointer, HW_MALLOC, HW_HERE);
}

static void do_damage(uint64_t *state, void *pointer, size_t size)
{
    switch (pick(state, 4)) {
    case 0:
        memset((char *)pointer + size, 'x', 1 + pick(state, 40));
        break;
    case 1:
        memset((char *)pointer - 8, 'y', 8);
        break;
    case 2:
        hw_release_fast((char *)pointer + 16, HW_MALLOC, HW_HERE);
        break;
    default:
        hw_release_fast(pointer, HW_NEW, HW_HERE);
        break;
    }
}

static void *work(void *seed)
{
    uint64_t state = 0x9E3779B97F4A7C15u * (uint64_t)(uintptr_t)seed + 1;
    void *own[OWN] = {0};
    for (unsigned step = 0; step < steps; step++) {
        size_t size = some_size(&state);
        void *fresh = allocate(&state, size);
        if (damaging && pick(&state, 200) == 0) {
            do_damage(&state, fresh, size);
            continue;
        }
        if (pick(&state, 2)) {
            release(&state, atomic_exchange(&shared[pick(&state, SHARED)], fresh));
        } else {
            void **place = &own[pick(&state, OWN)];
            release(&state, *place);
            *place = fresh;
        }
    }
    for (unsigned i = 0; i < OWN; i++)
        release(&state, own[i]);
    return NULL;
}

static void *look(void *unused)
{
    while (!over) {
        hw_heap_check(HW_AT_CHECK, HW_HERE);
        hw_heap_check_part(HW_HERE);
        hw_heap_trim(HW_HERE);
        hw_heap_use use = hw_heap_measure(HW_HERE);
        expect(use.free <= use.pools, "no more is free than there is");
        hw_heap_sum();
        hw_sleep(1);
    }
    return unused;
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    uintptr_t seed = strtoul(argv[1], NULL, 0);
    unsigned threads = (unsigned)atoi(argv[2]);
    steps = (unsigned)atoi(argv[3]);
    damaging = argc > 4;
    pthread_t looker, thread[MOST];
    expect(threads <= MOST && pthread_create(&looker, NULL, look, NULL) == 0, "a thread starts");
    for (int generation = 0; generation < 4; generation++) {
        for (unsigned i = 0; i < threads; i++)
            expect(pthread_create(&thread[i], NULL, work, (void *)(seed * 1000 + i + 100 * (unsigned)generation)) == 0,
                   "a thread starts");
        for (unsigned i = 0; i < threads; i++)
            pthread_join(thread[i], NULL);
    }
    over = true;
    pthread_join(looker, NULL);
    for (unsigned i = 0; i < SHARED; i++)
        if (shared[i])
            hw_release_fast(shared[i], HW_MALLOC, HW_HERE);
    hw_heap_check(HW_AT_CHECK, HW_HERE);
    expect(damaging == (hw_findings != 0), damaging ? "damage is found" : "nothing is found");
    expect(hw_big_count() == 0 || damaging, "big blocks are given back");
    return 0;
}
