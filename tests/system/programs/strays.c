/* Thousands of blocks that are used in all the ways that are right, and now and then a store to control data or slack
   beside one, by two lines: what each changes there tells which it was. Arguments: a seed, steps of each thread, of how
   many one is wrong (0: none), threads. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define APART __attribute__((noinline))
enum { KEPT = 24, WAYS = 4, CONTROL = 16, MOST = 8 };

typedef struct run {
    uint64_t random;
    long steps, one_in, wrong;
    unsigned char *block[KEPT];
    size_t bytes[KEPT];
} run;
static unsigned char *passed_on; /* by one thread, released by another */

static unsigned next(run *r, unsigned below)
{
    r->random = r->random * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(r->random >> 33) % below;
}

APART static unsigned char *by_malloc(size_t n)
{
    return malloc(n);
}
APART static unsigned char *by_calloc(size_t n)
{
    return calloc(n, 1);
}
APART static unsigned char *by_realloc(size_t n)
{
    return realloc(malloc(7), n);
}
APART static unsigned char *by_aligned(size_t n)
{
    return aligned_alloc(64, n);
}
static unsigned char *(*const make[WAYS])(size_t) = {by_malloc, by_calloc, by_realloc, by_aligned};

/* Every byte, and no other one, in all widths. */
APART static void use(run *r, int i)
{
    unsigned char *p = r->block[i];
    size_t n = r->bytes[i];
    memset(p, (int)next(r, 256), n);
    for (size_t at = 0; at < n; at++)
        ((volatile unsigned char *)p)[at] = (unsigned char)at;
    for (size_t at = 0; at + 8 <= n; at += 8)
        *(volatile uint64_t *)(p + at) = at;
    if (n >= 16) {
        unsigned char copy[16];
        memcpy(copy, p, 16);
        memmove(p + n - 16, copy, 16);
    }
}

APART static void renew(run *r, int i)
{
    size_t n = 1 + next(r, next(r, 8) ? 100 : 2000);
    if (r->block[i] && next(r, 3) == 0) {
        r->block[i] = realloc(r->block[i], n);
    } else if (r->block[i] && next(r, 8) == 0) {
        free(__atomic_exchange_n(&passed_on, r->block[i], __ATOMIC_ACQ_REL));
        r->block[i] = make[next(r, WAYS)](n);
    } else {
        free(r->block[i]);
        r->block[i] = make[next(r, WAYS)](n);
    }
    r->bytes[i] = n;
}

APART static void odd(volatile unsigned char *at, unsigned with)
{
    *at ^= with | 1; /* odd */
}
APART static void even(volatile unsigned char *at, unsigned with)
{
    *at ^= with & 254 | 2; /* even */
}

static void *work(void *argument)
{
    run *r = argument;
    for (long step = 0; step < r->steps; step++) {
        int i = (int)next(r, KEPT);
        if (!r->block[i] || next(r, 4) == 0)
            renew(r, i);
        use(r, i);
        if (r->one_in && next(r, (unsigned)r->one_in) == 0) {
            size_t slack = -r->bytes[i] & 15;
            long at =
                slack && next(r, 2) ? (long)(r->bytes[i] + next(r, (unsigned)slack)) : -1 - (long)next(r, CONTROL);
            (next(r, 2) ? odd : even)(r->block[i] + at, next(r, 256));
            r->wrong++;
        }
    }
    for (int i = 0; i < KEPT; i++)
        free(r->block[i]);
    return NULL;
}

int main(int count, char **words)
{
    long seed = atol(words[1]), steps = atol(words[2]), one_in = atol(words[3]), threads = atol(words[4]), wrong = 0;
    pthread_t thread[MOST];
    static run runs[MOST];
    if (count > 5) { /* damage for every site, so that there is a report that names them */
        for (int way = 0; way < WAYS; way++) {
            unsigned char *p = make[way](60);
            odd(p + 60, 1);
            free(p);
        }
        return 0;
    }
    for (long i = 0; i < threads; i++) {
        runs[i] = (run){.random = (uint64_t)(seed * 100 + i), .steps = steps, .one_in = one_in};
        pthread_create(&thread[i], NULL, work, &runs[i]);
    }
    for (long i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    for (long i = 0; i < threads; i++)
        wrong += runs[i].wrong;
    free(passed_on);
    printf("%ld wrong\n", wrong);
}
