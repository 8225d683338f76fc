/* The frames of a stack, followed by rules (frame_rules.h) from the innermost one on.

   Most stacks are the one before but for a few inner frames. So the last one is kept: where a new one comes to a frame
   that was there in the same state, it leads on as that one did while the words that were used hold what they held. */
#ifndef HEAPWITNESS_TRAIL_H
#define HEAPWITNESS_TRAIL_H

#include "os/room.h"
#include "stacks/frame_rules.h"
#include "stacks/sites.h"

/* A return address, and what its rule is applied to; then what the rule used to come to the next frame, besides the
   return address there, just below that one's `sp`. */
typedef struct hw_frame {
    uint64_t pc; /* 0: the end of the stack, and no frame */
    uintptr_t sp, bp;
    uintptr_t bp_at; /* where rbp was saved */
    bool bp_used;    /* before, already */
    bool uses_bp;
    uintptr_t extra_at; /* another word; 0: none */
    uint64_t extra;
} hw_frame;

enum { HW_TRAIL = 128, HW_RULES = 4096 };

typedef struct hw_trail {
    uint32_t first;  /* of `frames`; the last stack takes up the rest of them */
    bool any, whole; /* nothing lies beyond */
    hw_frame frames[HW_TRAIL];
    hw_frame fresh[HW_FULL_FRAMES]; /* of the stack that is followed just now */
    hw_rule rules[HW_RULES];
    _Alignas(64) char room[HW_ROOM]; /* a stack to look for rules on */
} hw_trail;

/* Follow the stack from the caller on, up to HW_FULL_FRAMES frames; `high` is the thread's stack's end. Returns the
   innermost one and how many lie behind it; NULL: a frame has no rule, or lies elsewhere. */
const hw_frame *hw_trail_follow(hw_trail *trail, const hw_caller *caller, uintptr_t high, unsigned *behind);

static inline uint64_t hw_word_at(uintptr_t at)
{
    return *(const uint64_t *)at;
}

#endif
