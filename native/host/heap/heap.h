/* The heap as the malloc family sees it. */
#ifndef HEAPWITNESS_HEAP_H
#define HEAPWITNESS_HEAP_H

#include "tell/channel.h"

/* No request is larger: it would be an offset gone wrong. */
#define HW_LARGEST ((size_t)1 << 46)

/* NULL without memory; errno is the caller's business. `align` 0 for the usual 16 bytes. */
void *hw_heap_allocate(size_t bytes, size_t align, unsigned origin, hw_caller caller);
/* Whether the memory of a block just allocated is zero already, its first 64 bytes apart. */
bool hw_heap_is_fresh(const void *pointer);
/* How much of a new block is to be set to zero for the rest to be zero, too. */
static inline size_t hw_bytes_to_clear(const void *payload, size_t bytes)
{
    enum { FIRST = 64, WHOLE = 256 << 10 };
    return bytes >= WHOLE && hw_heap_is_fresh(payload) ? FIRST : bytes;
}
void hw_heap_release(void *pointer, unsigned family, hw_caller caller);
/* The end of an operation that was not quite usual: what the fast way could not do (`payload` NULL;
   `pointer` not NULL), and a check that was asked for meanwhile. */
void *hw_heap_allocated(void *payload, size_t bytes, unsigned origin, hw_caller caller);
void hw_heap_released(void *pointer, unsigned family, hw_caller caller);
/* NULL without memory, and then the block is as it was; `pointer` is not NULL, `bytes` not 0. */
void *hw_heap_resize(void *pointer, size_t bytes, hw_caller caller);
/* Bytes that were requested for the block; 0 for none that we know. */
size_t hw_heap_size(const void *pointer, hw_caller caller);

/* Every node of every pool. False: it has to wait until the thread leaves its arena. */
bool hw_heap_check(enum hw_when when, hw_caller caller);
/* The next part of them, where the last one stopped (tour.h). */
void hw_heap_check_part(hw_caller caller);
/* The same at the end of a process, until `enough` is true, which is asked between pools; false: it was. */
bool hw_heap_check_last(hw_caller caller, bool (*enough)(void));
/* The same in a thread that crashed, and does not come back: what can be looked at. False: not all of it. */
bool hw_heap_check_crashed(hw_caller caller);
void hw_checks_after_fork(void);
size_t hw_heap_trim(hw_caller caller);
/* The thread ends: its arena gives memory back that it may not need for long. */
void hw_heap_thread_ends(hw_caller caller);

/* What the engine has counted. */
typedef struct hw_heap_sums {
    uint64_t operations, nodes, big, backups; /* `backups` in bytes */
} hw_heap_sums;
hw_heap_sums hw_heap_sum(void);
/* What was counted, without a check, and how the process ends: HW_BY_SIGNAL of ending.h. */
void hw_tell_end(uint64_t how);

/* What is there now, in bytes where nothing else is said; big blocks apart from the arenas' pools. What cannot be
   looked at counts as in use. */
typedef struct hw_heap_use {
    size_t pools, free, free_nodes, big, big_blocks;
} hw_heap_use;
hw_heap_use hw_heap_measure(hw_caller caller);

#endif
