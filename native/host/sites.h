/* Allocation and release sites: stacks, interned once for the whole process, named by 24 bits.

   The common case is one look into the thread's own cache, keyed by a hash of the stack. The shared
   table is open addressing over records that never change once a word of the table names them: the
   word is stored with release after the record is written, by compare-and-exchange. Two threads may
   write the same record twice; both numbers are right. */
#ifndef HEAPWITNESS_SITES_H
#define HEAPWITNESS_SITES_H

#include "settings.h"
#include "system.h"

enum { HW_FAST_FRAMES = 8, HW_FULL_FRAMES = 32, HW_RECENT = 1024, HW_DEPTHS = 256 };

/* Where the program called in: the return address, and the frame of the function that was called. */
typedef struct hw_caller {
    void *pc;
    void **frame;
} hw_caller;
#define HW_HERE ((hw_caller){__builtin_return_address(0), (void **)__builtin_frame_address(0)})

/* One thread's memory of sites. `depth` is how many frames may be believed from a return address on:
   code without frame pointers leads astray, and is followed only once. */
typedef struct hw_site_cache {
    uintptr_t stack_low, stack_high; /* 0: frames are not followed */
    uint32_t thread;
    struct {
        uint64_t key;
        uint32_t site;
    } recent[HW_RECENT];
    struct {
        uintptr_t pc;
        uint32_t frames;
    } depth[HW_DEPTHS];
} hw_site_cache;

/* Forget whose thread the cache belonged to, and take it over for the calling one. */
void hw_sites_adopt(hw_site_cache *cache, uint32_t thread);
/* The number of the calling site; `prior` is the block's allocation site for a release, else 0. */
uint32_t hw_site_of(hw_site_cache *cache, const hw_caller *caller, uint32_t prior);
/* For a release: which allocation site a site number of the table leads to. */
uint32_t hw_site_prior(uint32_t site);
/* The whole stack by unwinding, from the caller on; returns how many frames. */
unsigned hw_unwind(uint64_t *frames, unsigned most, const hw_caller *caller);

#endif
