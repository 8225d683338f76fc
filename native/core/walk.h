/* One way through a whole pool for those who look (check.c) and those who mend (repair.c).

   A node is believed by its own header when that holds and leads back to the node before, else by the
   backup in the node before, else not at all: then the walk goes on at the next place where a node
   verifies. Every step goes forward, and no stretch is searched twice: the time is linear in the pool
   whatever is in it. */
#ifndef HEAPWITNESS_WALK_H
#define HEAPWITNESS_WALK_H

#include "node.h"

/* Whether bytes of a block can be read: a program may take the rights of its pages away, or have them filled when they
   are touched first. Only who names a function here knows of that; headers lie in pages that are always there. */
#ifdef HW_MAY_READ
bool HW_MAY_READ(const void *start, size_t bytes);
#else
#define HW_MAY_READ(start, bytes) ((void)(start), (void)(bytes), true)
#endif
/* Where something is looked for from `at` on: up to where it is known then whether the headers that would begin there
   can be read, a page at most; and whether they can. */
enum { HW_SEARCHED = 256 };
static inline bool hw_may_search(const hw_pool *pool, uint32_t at, uint32_t *known)
{
    *known = (at | (HW_SEARCHED - 1)) + 1;
    return HW_MAY_READ(hw_at(pool, at), (size_t)(*known - at) << HW_LOG2(pool));
}

typedef struct hw_step {
    uint32_t node;
    hw_header header; /* the one to believe; its check may be that of another `prev_size` */
    bool own, kept;   /* which copies are right */
    bool lost;        /* neither: header.size leads to the next node that verifies */
} hw_step;

hw_step hw_walk_first(const hw_pool *pool);
hw_step hw_walk_next(const hw_pool *pool, const hw_step *step);

/* Whether the fixed part in `control` (which may be the copy) belongs to a pool of `bytes`. */
bool hw_control_fits(const hw_pool *control, size_t bytes, unsigned log2);

/* What a walk has seen, to hold against what the control block says. */
typedef struct hw_tally {
    uint32_t nodes, used;
    uint32_t damaged, lost;    /* any fault of a node; any node without a good copy */
    uint32_t rootless;         /* a free node calls itself a root, but is none */
    uint32_t met[HW_BINS + 1]; /* not 0: the root of that bin was met, or accounted for by damage */
} hw_tally;

void hw_tally_add(hw_tally *tally, const hw_pool *pool, const hw_step *step, bool damaged);
bool hw_derived_is_valid(const hw_pool *pool, const hw_tally *tally);

#endif
