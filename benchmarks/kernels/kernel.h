/* What the kernels of allocation share: time, random numbers, sizes, and the one line that they print. */

#ifndef KERNEL_H
#define KERNEL_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static inline double now_ns(void)
{
    static int processor = -1;
    struct timespec time;
    if (processor < 0)
        processor = getenv("KERNEL_PROCESSOR_TIME") != NULL;
    clock_gettime(processor ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

/* A generator of 64 random bits that costs about a nanosecond (xorshift64*). */
static inline uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * 0x2545F4914F6CDD1Du;
}

/* Sizes as programs ask for them: mostly small, now and then up to 4 KiB. */
static inline size_t random_size(uint64_t *state)
{
    uint64_t x = next_random(state);
    unsigned shift = x & 7;
    return 1 + (x >> 40) % (shift < 4 ? 64u : shift < 6 ? 128u : shift < 7 ? 512u : 4096u);
}

static inline void *checked(void *block)
{
    if (block == NULL) {
        fprintf(stderr, "out of memory\n");
        exit(1);
    }
    return block;
}

static inline size_t argument(int argc, char **argv, int at, size_t otherwise)
{
    return argc > at ? strtoull(argv[at], NULL, 0) : otherwise;
}

static inline int by_size(const void *a, const void *b)
{
    double one = *(const double *)a, other = *(const double *)b;
    return (one > other) - (one < other);
}

/* Of so many times, which are put in order. */
static inline double median(double *times, size_t count)
{
    qsort(times, count, sizeof *times, by_size);
    return times[count / 2];
}

/* Prints nanoseconds for one operation (an allocation with its release). */
static inline int report(double start, size_t operations)
{
    printf("%.3f\n", (now_ns() - start) / (double)operations);
    return 0;
}

#endif
