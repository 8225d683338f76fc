/* What happens when an operation meets damage: look at the whole pool, tell, repair, tell what was
   repaired. All of it while the caller has the pool to itself. */
#ifndef HEAPWITNESS_DAMAGE_H
#define HEAPWITNESS_DAMAGE_H

#include "tell/channel.h"

/* How often an operation tries again after a repair. */
enum { HW_ATTEMPTS = 4 };

/* Whether the pool can be used after it. `arena` is the one that the descriptor belongs to, NULL for a big
   block. */
bool hw_mend(hw_arena *arena, hw_descriptor *descriptor, const hw_context *context);
/* Check a pool that nothing has complained about; mend it if need be. */
void hw_inspect(hw_arena *arena, hw_descriptor *descriptor, const hw_context *context);
/* The same for a part of it, of about `*left` bytes, which become less: from `*node` (0: the first) on, which becomes
   the one to go on with, 0 behind the last. */
void hw_inspect_part(hw_arena *arena, hw_descriptor *descriptor, const hw_context *context, uint32_t *node,
                     size_t *left);
/* Put an arena in order that was left in the middle of an operation. Nobody is to blame for what that left: it is
   counted. Where there is more than it can have left, all of it is told, as may be its doing. */
void hw_mend_left(hw_arena *arena, const hw_caller *caller);
extern _Atomic uint64_t hw_left_places;
/* The same where even that cannot be relied on: all that is in the arena is kept as it is, for good. */
void hw_lose(hw_arena *arena);
/* Tell of damage that no walk would find. */
void hw_tell_fault(const hw_context *context, const hw_descriptor *descriptor, const hw_fault *fault);
/* The same, wherever it is. */
void hw_tell_damage(const hw_context *context, const hw_where *where, const hw_fault *fault);
void hw_tell_wrong_release_at(const hw_context *context, const hw_where *where, unsigned reason, uint32_t node,
                              const hw_released *released);
/* Tell of a wrong release. `node` is what the pointer leads to, 0 for nothing. */
void hw_tell_wrong_release(const hw_context *context, const hw_descriptor *descriptor, unsigned reason, uint32_t node,
                           const hw_released *released);

/* Made by new, released by free, and the like is right from now on. */
extern _Atomic bool hw_families_mixed;
/* new and new[] have releases of their own; malloc and the aligned family share free. */
static inline bool hw_family_matches(uint32_t meta, unsigned family)
{
    unsigned origin = meta >> 6 & 3;
    return (origin == HW_ALIGNED ? (unsigned)HW_MALLOC : origin) == family ||
           atomic_load_explicit(&hw_families_mixed, memory_order_relaxed);
}
/* Whether the program replaced some of the operators new and delete; the malloc family knows. */
extern bool hw_families_mix(void) __attribute__((weak));
/* Whether a release by this family is to be told. */
bool hw_is_mismatch(uint32_t meta, unsigned family);

/* Big blocks that were released last, so that a second release is known for one. */
void hw_remember_released(const hw_released *released);
bool hw_recall_released(const void *pointer, hw_released *released);

#endif
