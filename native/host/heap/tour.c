#define _GNU_SOURCE
#include "heap/tour.h"

#include "heap/big.h"
#include "heap/damage.h"
#include "heap/huge.h"
#include "heap/small.h"

/* Bytes of pools that a part compares, at most; a big block counts as BLOCK of them, a region that is none as NONE. An
   arena that its thread does not leave within PATIENCE milliseconds is left out this time. */
enum { PART = 256 << 10, BLOCK = 2 << 10, NONE = 16, PATIENCE = 1 };

/* Where the next part begins. By who holds the lock of checks. */
static struct {
    hw_arena *arena; /* NULL: with the first one, unless big blocks are on */
    uint32_t run;    /* of it, by number; behind the last: its pools are on */
    uint32_t descriptor, node;
    uint32_t region; /* 0: arenas are on */
} next;

static void check_places(hw_arena *arena, const hw_context *context, size_t *left)
{
    for (uint32_t runs = (uint32_t)(arena->runs.reach >> HW_RUN_LOG2); *left && next.run < runs; next.run++) {
        hw_small_inspect(arena, &arena->runs.book[next.run].run, context);
        *left -= *left < HW_RUN_BYTES ? *left : HW_RUN_BYTES;
    }
    while (*left && next.descriptor < arena->descriptors) {
        hw_inspect_part(arena, &arena->descriptor[next.descriptor], context, &next.node, left);
        if (next.node)
            return;
        next.descriptor++;
    }
}

/* True: all of the arena was gone through, or it is not to be had now. */
static bool check_arena(hw_arena *arena, const hw_context *context, size_t *left)
{
    if (arena == hw_this_thread.arena) { /* without the fences of a visit */
        hw_enter(arena, context->caller.frame);
        arena->operations--;
        check_places(arena, context, left);
        hw_is_out(arena);
    } else if (hw_seize(arena, PATIENCE)) {
        check_places(arena, context, left);
        hw_yield(arena);
    } else {
        return true;
    }
    return next.run >= arena->runs.reach >> HW_RUN_LOG2 && next.descriptor >= arena->descriptors;
}

static void check_block(uint32_t region, const hw_context *context, size_t *left)
{
    uint32_t kind = atomic_load_explicit(&hw_region_at(region)->kind, memory_order_acquire);
    size_t cost = kind == HW_HUGE || kind == HW_BIG_POOL ? BLOCK : NONE;
    hw_descriptor *descriptor = kind == HW_BIG_POOL ? hw_big_claim(region) : NULL;
    if (kind == HW_HUGE)
        hw_huge_check(region, context);
    if (descriptor) {
        hw_inspect(NULL, descriptor, context);
        hw_big_unclaim(descriptor);
    }
    *left -= cost < *left ? cost : *left;
}

void hw_tour_go_on(const hw_context *context)
{
    size_t left = PART;
    if (!next.region && !next.arena)
        next.arena = hw_arena_first();
    while (left && next.arena && check_arena(next.arena, context, &left)) {
        next.arena = next.arena->next;
        next.run = next.descriptor = next.node = 0;
    }
    if (next.arena)
        return;
    uint32_t used = (uint32_t)atomic_load(&hw_this_process.regions_used);
    for (next.region += next.region == 0; left && next.region < used; next.region++)
        check_block(next.region, context, &left);
    if (next.region >= used)
        hw_tour_forget();
}

void hw_tour_forget(void)
{
    next.arena = NULL;
    next.run = next.descriptor = next.node = next.region = 0;
}
