/* The keyed check of headers and links, and the pattern of slack and poison (docs/format.md).
   Only arithmetic: nothing here reads the pool. */
#ifndef HEAPWITNESS_CHECK_H
#define HEAPWITNESS_CHECK_H

#include <stdint.h>

/* A pool's secret as three odd factors: multilinear hashing modulo 2^64, of which the upper half is the check. Where
   one word differs alone, the sum does, whatever the secret. */
typedef struct hw_factors {
    uint64_t sizes, meta, offset;
} hw_factors;

static inline hw_factors hw_factors_of(const uint32_t s[4])
{
    hw_factors f = {((uint64_t)s[1] << 32 | s[0]) | 1, ((uint64_t)s[3] << 32 | s[2]) | 1, 0};
    f.offset = f.sizes * f.meta;
    return f;
}

static inline uint64_t hw_pair(uint32_t low, uint32_t high)
{
    return low | (uint64_t)high << 32;
}

static inline uint64_t hw_sum(const hw_factors *f, uint32_t a, uint32_t b, uint32_t c, uint32_t offset)
{
    return hw_pair(a, b) * f->sizes + c * f->meta + offset * f->offset;
}

static inline uint32_t hw_keyed(const uint32_t s[4], uint32_t a, uint32_t b, uint32_t c, uint32_t offset)
{
    hw_factors f = hw_factors_of(s);
    return (uint32_t)(hw_sum(&f, a, b, c, offset) >> 32);
}

/* No byte of it is NUL, ASCII or 0xFF. `offset_sum` is the offset's part of the sum. */
static inline uint64_t hw_pattern_of(uint64_t offset_sum)
{
    return ((offset_sum ^ offset_sum >> 32) & UINT64_C(0x1E1E1E1E1E1E1E1E)) | UINT64_C(0x8181818181818181);
}

/* Of every word the lower half is a positive number: CPython leaves counts of references alone that are none. */
static inline uint64_t hw_poison_of(uint64_t offset_sum)
{
    return hw_pattern_of(offset_sum) & ~UINT64_C(0x80000000);
}

static inline uint64_t hw_pattern(const uint32_t s[4], uint32_t offset)
{
    return hw_pattern_of(offset * hw_factors_of(s).offset);
}

static inline uint64_t hw_poison(const uint32_t s[4], uint32_t offset)
{
    return hw_poison_of(offset * hw_factors_of(s).offset);
}

#endif
