/* The frames of a stack, followed by rules (frame_rules.h) from the innermost one on.

   Most stacks are the one before but for a few inner frames. So the last one is kept: where a new one comes to a frame
   that was there in the same state, it leads on as that one did while the words that were used hold what they held.

   Each frame has the sum of the return addresses from the outermost one that is known up to its own, by powers of a
   number. Any part of a stack has a key that is the difference of two of them, wherever on the thread's stack it lies.
 */
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

enum { HW_TRAIL = 128, HW_RULES = 16384 };

/* What is asked of all frames is in rows of its own. */
typedef struct hw_trail {
    uint32_t first;               /* of the frames; the last stack takes up the rest of them */
    bool any, whole;              /* nothing lies beyond */
    uint64_t more[HW_TRAIL / 64]; /* bits of the frames that used more than the return address behind them */
    uintptr_t at[HW_TRAIL];       /* where each frame's return address is */
    uint64_t pc[HW_TRAIL];
    uint64_t sum[HW_TRAIL];
    hw_frame frames[HW_TRAIL];
    hw_frame fresh[HW_FULL_FRAMES]; /* of the stack that is followed just now */
    hw_rule rules[HW_RULES];
    _Alignas(64) char room[HW_ROOM]; /* a stack to look for rules on */
} hw_trail;

/* A stack, as long as nothing else is followed. */
typedef struct hw_followed {
    const hw_frame *frames; /* innermost first */
    const uint64_t *pc;
    unsigned behind; /* frames behind the innermost one; the last may be the end of the stack */
    unsigned count;  /* return addresses */
    uint64_t sum;    /* of them (hw_sum_on) */
} hw_followed;

/* Follow the stack from the caller on, up to HW_FULL_FRAMES frames; `high` is the thread's stack's end. False: a frame
   has no rule, or lies elsewhere. */
bool hw_trail_follow(hw_trail *trail, const hw_caller *caller, uintptr_t high, hw_followed *stack);

static inline uint64_t hw_word_at(uintptr_t at)
{
    return *(const uint64_t *)at;
}

#endif
