/* The keyed check of headers and links, and the pattern of slack and poison (docs/format.md).
   Only arithmetic: nothing here reads the pool. */
#ifndef HEAPWITNESS_CHECK_H
#define HEAPWITNESS_CHECK_H

#include <stdint.h>

static inline uint32_t hw_keyed(const uint32_t s[4], uint32_t a, uint32_t b, uint32_t c, uint32_t offset)
{
    uint64_t x = (uint64_t)(uint32_t)(a + s[0]) * (uint32_t)(b + s[1]) +
                 (uint64_t)(uint32_t)(c + s[2]) * (uint32_t)(offset + s[3]);
    return (uint32_t)(((x ^ (x >> 32)) * UINT64_C(0x9E3779B97F4A7C15)) >> 32);
}

static inline uint64_t hw_pattern(const uint32_t s[4], uint32_t offset)
{
    uint64_t x = (uint64_t)(uint32_t)(offset + s[1]) * (s[2] | 1) + ((uint64_t)s[3] << 32 | s[0]);
    x = (x ^ (x >> 29)) * UINT64_C(0xBF58476D1CE4E5B9);
    x ^= x >> 32;
    return (x & UINT64_C(0x1E1E1E1E1E1E1E1E)) | UINT64_C(0x8181818181818181);
}

#endif
