/* Address space: memory that can grow where it is, and how little is taken where little is allowed.

   Nothing is reserved in advance, so that limits on address space, mlockall and a reader of /proc see what
   the program really has. Memory that is to grow is placed where the kernel puts nothing by itself, with the
   room that it may need left free behind it; what was placed there by others after all ends its growth.

   What stays as it is lies where the kernel likes, among other mappings. A *guard* before and behind it, pages without
   any rights, keeps an overrun from going on into those. */
#ifndef HEAPWITNESS_SPACE_H
#define HEAPWITNESS_SPACE_H

#include "os/system.h"

enum { HW_UNIT_LOG2 = 20 };
#define HW_UNIT ((size_t)1 << HW_UNIT_LOG2)

typedef struct hw_space {
    char *start;   /* a multiple of HW_UNIT */
    size_t bytes;  /* from there on that can be touched */
    size_t room;   /* up to which they may grow */
    size_t large;  /* from where on the kernel was asked for large pages the last time, 0 for never */
    void *mapping; /* what has to be unmapped at the end */
    size_t mapped;
    bool guarded; /* nothing can touch what else is in the mapping, on both sides */
} hw_space;

/* The process's limit on address space, on data, or on what it locks where it locks all, in bytes; SIZE_MAX for none.
 */
size_t hw_space_limit(void);
bool hw_space_is_limited(void);
/* Whether the kernel keeps whatever is mapped from now on in memory, and counts it: mlockall(MCL_FUTURE). */
void hw_space_is_locked(bool from_now_on);
/* Zeroed memory. False without any. Where `room` cannot be had, there is less of it, but for `bytes`. */
bool hw_space_take(hw_space *space, size_t bytes, size_t room);
/* Zeroed memory that stays as it is, between two guards where there are not too many already. `spare` bytes behind
   `bytes` belong to it where address space is not limited. */
bool hw_space_take_fixed(hw_space *space, size_t bytes, size_t spare);
/* The same where `start` has to be a multiple of a power of two. */
bool hw_space_take_aligned(hw_space *space, size_t bytes, size_t align);
/* The same without memory: for what is to be moved there. */
bool hw_space_reserve(hw_space *space, size_t bytes, size_t spare);
/* Move the pages of one to what was reserved for them; nothing is left of it. With `left`: its address space may be, of
   which nothing can be touched. */
bool hw_space_move(const hw_space *from, const hw_space *to, bool *left);
/* Give back what lies behind `bytes`, whole pages; the guard begins there then. Without guards all stays as it is. */
void hw_space_shrink(hw_space *space, size_t bytes);
/* Give its memory back and keep its address space, of which nothing can be touched. */
bool hw_space_seal(hw_space *space);
/* Let it grow to `bytes`, whole pages. False: then it is as it was. */
bool hw_space_grow(hw_space *space, size_t bytes);
/* The same to `least` and some `ahead`, for memory that is touched from its start to its end and not before: where it
   is much, the kernel is asked for large pages, which fault and miss translations less. */
bool hw_space_grow_ahead(hw_space *space, size_t least, size_t ahead);
/* Zeroed memory at exactly this address, if nothing is there. */
bool hw_space_map(void *start, size_t bytes);
void hw_space_give(const hw_space *space);

#endif
