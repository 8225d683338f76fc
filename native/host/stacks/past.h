/* What a program of Python released lately, for blocks that lie now where others did: an object that was released once
   too often is used when its memory is another one's. A release of Python's notes the place and its site, which leads
   to that of the allocation; what the object's type was is noted where a site of releases is learnt.

   Threads note without waiting for each other: an entry may be lost, none is half of two. */
#ifndef HEAPWITNESS_PAST_H
#define HEAPWITNESS_PAST_H

#include "stacks/sites.h"

enum { HW_PAST_MOST = 1 << 15, HW_PAST_SITES = 1 << 14, HW_PAST_HEADS = 3 };
/* Where in a block an object's type may stand, by what the collector keeps before an object. */
enum { HW_PAST_TYPE = 8, HW_PAST_STEP = 16 };

typedef struct hw_past {
    _Atomic uint64_t next;                   /* of all entries ever */
    _Atomic uint64_t released[HW_PAST_MOST]; /* address << 20 | site: addresses are multiples of 16 */
    struct {
        uint64_t site, word[HW_PAST_HEADS]; /* what the first block that was released there held */
    } learnt[HW_PAST_SITES];                /* by hw_past_slot */
} hw_past;
extern hw_past hw_this_past;

/* From now on it is told of. */
void hw_past_begin(void);
bool hw_past_is_on(void);
/* Where a site is learnt; the block, of a run, is not released yet. What lies behind a short one is left to the reader.
 */
void hw_past_learn(const void *payload, uint32_t site);

static inline unsigned hw_past_slot(uint32_t site)
{
    return (site * UINT32_C(0x9E3779B1)) >> 18;
}

static inline void hw_past_note(const void *payload, uint32_t site)
{
    uint64_t next = atomic_load_explicit(&hw_this_past.next, memory_order_relaxed);
    atomic_store_explicit(&hw_this_past.released[next % HW_PAST_MOST], (uint64_t)(uintptr_t)payload << 20 | site,
                          memory_order_relaxed);
    atomic_store_explicit(&hw_this_past.next, next + 1, memory_order_relaxed);
}

#endif
