/* Address space: memory that can grow where it is, and how little is taken where little is allowed.

   Nothing is reserved in advance, so that limits on address space, mlockall and a reader of /proc see what
   the program really has. Memory that is to grow is placed where the kernel puts nothing by itself, with the
   room that it may need left free behind it; what was placed there by others after all ends its growth. */
#ifndef HEAPWITNESS_SPACE_H
#define HEAPWITNESS_SPACE_H

#include "system.h"

enum { HW_UNIT_LOG2 = 20 };
#define HW_UNIT ((size_t)1 << HW_UNIT_LOG2)

typedef struct hw_space {
    char *start;   /* a multiple of HW_UNIT */
    size_t bytes;  /* from there on that can be touched */
    size_t room;   /* up to which they may grow */
    void *mapping; /* what has to be unmapped at the end */
    size_t mapped;
} hw_space;

/* The process's limit on address space or on data, in bytes; SIZE_MAX for none. */
size_t hw_space_limit(void);
/* Zeroed memory. False without any. Where `room` cannot be had, there is less of it, but for `bytes`. */
bool hw_space_take(hw_space *space, size_t bytes, size_t room);
/* Zeroed memory that stays as it is. */
bool hw_space_take_fixed(hw_space *space, size_t bytes);
/* The same without memory: for what is to be moved there. */
bool hw_space_reserve(hw_space *space, size_t bytes);
/* Move the pages of one to what was reserved for them; nothing is left of it. */
bool hw_space_move(const hw_space *from, const hw_space *to);
/* Let it grow to `bytes`, whole pages. False: then it is as it was. */
bool hw_space_grow(hw_space *space, size_t bytes);
void hw_space_give(const hw_space *space);

#endif
