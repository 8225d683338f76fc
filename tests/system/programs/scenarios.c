/* Thousands of blocks that are used in all the ways that are right, and some of them in one that is wrong: as many as
   it says at its end. Arguments: a seed, blocks for each thread, of how many one is used wrongly (0: none), threads. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define APART __attribute__((noinline))
enum { LARGEST = 9000, WAYS = 5 };

typedef struct run {
    uint64_t random;
    long blocks, one_in, wrong;
    unsigned char *last; /* of this thread's, released by the next */
} run;

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
APART static unsigned char *by_reallocarray(size_t n)
{
    return reallocarray(NULL, 1, n);
}
static unsigned char *(*const make[WAYS])(size_t) = {by_malloc, by_calloc, by_realloc, by_aligned, by_reallocarray};

static void must(int right, const char *what)
{
    if (!right) {
        printf("not as it should be: %s\n", what);
        exit(1);
    }
}

/* Every byte, and no other one. */
APART static void use(run *r, volatile unsigned char *p, size_t n)
{
    unsigned char *q = (unsigned char *)p;
    for (size_t i = 0; i < n; i++)
        p[i] = (unsigned char)i;
    for (size_t i = 0; i < n; i++)
        must(p[i] == (unsigned char)i, "bytes");
    if (n >= 8) {
        uint64_t word;
        memcpy(&word, q + n - 8, 8);
        memcpy(q, &word, 8);
        *(volatile uint64_t *)(q + n - 8) = word;
    }
    memset(q, 'a', n);
    q[n - 1] = 0;
    must(strlen((char *)q) == n - 1, "strlen");
    must(memchr(q, 0, n) == q + n - 1, "memchr");
    char *copy = strdup((char *)q);
    must(strcmp(copy, (char *)q) == 0 && memcmp(copy, q, n) == 0, "strcmp");
    memmove(q, copy, n);
    free(copy);
    (void)r;
}

APART static void wrong_store(volatile unsigned char *p, long at)
{
    p[at] = 1; /* wrong store */
}

APART static int wrong_read(volatile unsigned char *p, long at)
{
    return p[at]; /* wrong read */
}

static void one(run *r)
{
    size_t n = 1 + next(r, next(r, 4) ? 200 : LARGEST), again = 1 + next(r, 500);
    unsigned char *p = make[next(r, WAYS)](n);
    int is_wrong = r->one_in && next(r, (unsigned)r->one_in) == 0, how = is_wrong ? (int)next(r, 3) : -1;
    use(r, p, n);
    if (how == 0)
        wrong_store(p, (long)(n + 64 + next(r, 300)));
    if (!is_wrong && next(r, 3) == 0) { /* what realloc gives is of another site */
        unsigned char first = p[0];
        p = realloc(p, n = again);
        must(p[0] == first, "realloc");
        use(r, p, n);
    }
    if (how > 0) {
        free(p);
        if (how == 1)
            wrong_store(p, (long)next(r, (unsigned)n));
        else
            wrong_read(p, (long)next(r, (unsigned)n));
    } else if (next(r, 5) == 0) {
        unsigned char *swap = __atomic_exchange_n(&r->last, p, __ATOMIC_ACQ_REL);
        free(swap);
    } else {
        free(p);
    }
    r->wrong += is_wrong;
}

static void *work(void *argument)
{
    run *r = argument;
    for (long i = 0; i < r->blocks; i++)
        one(r);
    return NULL;
}

int main(int count, char **words)
{
    enum { MOST = 8 };
    long seed = atol(words[1]), blocks = atol(words[2]), one_in = atol(words[3]), threads = atol(words[4]), wrong = 0;
    pthread_t thread[MOST];
    run runs[MOST] = {0};
    if (count > 5) { /* damage for every site, so that there is a report that names them */
        for (int way = 0; way < WAYS; way++) {
            unsigned char *p = make[way](64);
            for (int i = 64; i < 70; i++)
                wrong_store(p, i);
            free(p);
        }
        return 0;
    }
    for (long i = 0; i < threads; i++) {
        runs[i] = (run){.random = (uint64_t)(seed * 100 + i), .blocks = blocks, .one_in = one_in};
        pthread_create(&thread[i], NULL, work, &runs[i]);
    }
    for (long i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    for (long i = 0; i < threads; i++) {
        free(runs[i].last);
        wrong += runs[i].wrong;
    }
    printf("%ld wrong\n", wrong);
}
