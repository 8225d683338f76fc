/* Telling of a store to watched bytes (docs/format.md, "Events"). */
#ifndef HEAPWITNESS_WATCHED_H
#define HEAPWITNESS_WATCHED_H

#include "tell/channel.h"

/* The bytes and what they held, before and after it; and beside which block they lie: its payload, requested size,
   site and number. */
typedef struct hw_watched {
    uint64_t at, length, before, after, block, size, site, number;
} hw_watched;

/* `held`: by the processor, right after the instruction. Waits until it was taken. */
void hw_tell_watched(const hw_watched *watched, const hw_crash *held);

#endif
