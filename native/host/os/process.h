/* The block that leads a reader outside to everything else (docs/format.md), the regions, and the way
   from any address to its region.

   Who writes what: a region's slot is claimed and freed with one compare-and-exchange on `kind`; its
   other words are written by the claimer before it publishes the kind (release) and read after an
   acquiring load of it. The map's words are written by whoever owns the region. Readers take no lock. */
#ifndef HEAPWITNESS_PROCESS_H
#define HEAPWITNESS_PROCESS_H

#include "heapwitness/run.h"
#include "os/space.h"

enum { HW_REGIONS = 1 << 17, HW_LEAF_LOG2 = 14 };
enum hw_region_kind {
    HW_UNUSED,
    HW_ARENA_POOL,
    HW_BIG_POOL,
    HW_BIG_CLAIMED,
    HW_CLAIMED,
    HW_HUGE,
    HW_HUGE_CLAIMED,
    HW_TRAPPED_BLOCKS,
    HW_ARENA_RUNS
};

typedef struct hw_region {
    _Atomic uint64_t base, bytes;
    _Atomic uint32_t kind, arena;
    _Atomic uint64_t table, handed; /* of runs */
} hw_region;

typedef struct hw_process {
    uint32_t magic, version;
    _Atomic uint64_t sites, sites_used, regions, regions_used;
    hw_run_key key;        /* of all runs; set before there are any */
    _Atomic uint64_t past; /* what was released lately (stacks/past.h); 0: that is not noted */
} hw_process;

extern hw_process hw_this_process;
/* Make the key of runs, unless it is made. */
void hw_process_key(void);

/* Whose memory this is: the process that calls, from now on. */
void hw_process_note(void);
/* False: a child that shares this memory, or that libc's fork did not make. */
bool hw_process_is_ours(void);

/* Claim a slot for a pool; 0 when there is none. Its kind is HW_CLAIMED until hw_region_publish. */
uint32_t hw_region_claim(void);
void hw_region_publish(uint32_t region, void *base, size_t bytes, enum hw_region_kind kind, uint32_t arena);
void hw_region_describe(uint32_t region, const void *table, const void *handed);
void hw_region_resize(uint32_t region, size_t bytes);
void hw_region_free(uint32_t region);
hw_region *hw_region_at(uint32_t region);

/* Let the units of [start, start + bytes) lead to a region (0: to none). False without memory. */
bool hw_map_units(const void *start, size_t bytes, uint32_t region);
/* The region whose units hold the address, 0 for none. */
uint32_t hw_region_of(const void *address);

#endif
