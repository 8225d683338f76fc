#define _GNU_SOURCE
/* Resizing a block, and how large one is. */
#include "heap/heap.h"

#include "heap/abandon.h"
#include "heap/big.h"
#include "heap/foreign.h"
#include "heap/heap_fast.h"
#include "heap/huge.h"
#include "heap/release.h"
#include "heap/small.h"
#include "stacks/named.h"
#include "stacks/numbers.h"
#include "traps/blocks.h"
#include "traps/watch.h"

#include <string.h>

/* Bytes of a block of another thread's arena, from which on trying to resize it where it is costs less than copying. */
enum { WORTH_A_VISIT = 4096 };

/* What can be read of a block: all that was requested, or up to the end of what it lies in. */
static size_t extent(const hw_descriptor *descriptor, const void *pointer)
{
    hw_header h;
    uint32_t node = hw_node_at(descriptor, pointer);
    if (node && hw_header_glimpse(descriptor->pool, node, &h) && hw_state_of(h.meta) == HW_USED &&
        !hw_quarantined(h.meta))
        return hw_payload_bytes(descriptor->pool, h.size) - hw_slack_of(h.meta);
    return 0;
}

/* For a block in a quarantined stretch: all up to that one's end. By who is inside. */
static size_t extent_of_lost(const hw_descriptor *descriptor, const void *pointer)
{
    size_t offset = (uintptr_t)pointer - (uintptr_t)descriptor->pool;
    if (descriptor->lost)
        return descriptor->bytes - offset;
    uint32_t holder = hw_locate(descriptor->pool, offset);
    hw_header h;
    if (!holder || !hw_header_at(descriptor->pool, holder, &h) || !hw_quarantined(h.meta))
        return 0;
    return ((size_t)(holder + h.size) << HW_FIXED_GRANULE_LOG2) - offset;
}

/* Whether a resize has to move the block: under --poison, so that who still has the old pointer is found out, and where
   what the site allocates is trapped. */
static bool has_to_move(size_t size, size_t bytes, const hw_context *context)
{
    return context->trapped || (HW_UNLIKELY(hw_setting.poison) && size != bytes);
}

/* In place, by who is inside. *size: the block's size, 0 when the pointer is no block (then a wrong
   release was told). `moves`: it is only looked at where it would have to move. */
static void *resize_inside(hw_arena *arena, hw_descriptor *descriptor, void *pointer, size_t bytes, uint32_t site,
                           const hw_context *context, size_t *size, unsigned *family, bool moves)
{
    uint32_t node = hw_node_at(descriptor, pointer);
    for (int attempt = 0; attempt < HW_ATTEMPTS; attempt++) {
        *size = extent(descriptor, pointer);
        if (descriptor->lost) {
            *size = *size ? *size : extent_of_lost(descriptor, pointer);
            return NULL;
        }
        if (*size && hw_waits(descriptor->pool, node)) {
            hw_drain(arena, descriptor, context);
            *size = extent(descriptor, pointer);
        }
        if (!*size) {
            hw_inspect(arena, descriptor, context);
            *size = extent(descriptor, pointer);
        }
        if (!*size) {
            *size = extent_of_lost(descriptor, pointer);
            if (!*size)
                hw_release_wrong(arena, descriptor, pointer, context, false);
            return NULL;
        }
        uint32_t meta = hw_own(descriptor->pool, node)->meta;
        if (hw_is_mismatch(meta, HW_MALLOC)) {
            hw_tell_wrong_release(context, descriptor, HW_MISMATCH, node, NULL);
            *family = meta >> 6 & 3; /* told once: what realloc gives is malloc's */
            return NULL;
        }
        hw_fault fault;
        bool stays = !moves || !has_to_move(*size, bytes, context);
        int status =
            stays ? hw_resize(descriptor->pool, node, bytes, site, &fault) : hw_verify(descriptor->pool, node, &fault);
        if (status != HW_DAMAGED)
            return stays && status == HW_OK ? pointer : NULL;
        hw_mend(arena, descriptor, context);
    }
    return NULL;
}

/* `family` is by which functions the old block is released. */
static void *move(void *pointer, size_t size, size_t bytes, unsigned family, hw_caller caller)
{
    void *fresh = hw_allocate_fast(bytes, HW_MALLOC, caller);
    if (fresh) {
        memcpy(fresh, pointer, size < bytes ? size : bytes);
        hw_heap_release(pointer, family, caller);
    }
    return fresh;
}

/* What came of a resize in place. Without a block, but with a size: that one has to be moved. It is, once the frames of
   all this are gone from the stack. `by_choice`: it could stay where there is no memory for both. */
typedef struct resized {
    void *block;
    size_t size;
    unsigned family;
    bool by_choice;
} resized;

static resized resize_big(hw_descriptor *descriptor, void *pointer, size_t bytes, const hw_context *context)
{
    hw_inspect(NULL, descriptor, context);
    size_t size = pointer == (void *)hw_payload(descriptor->pool, descriptor->block) ? extent(descriptor, pointer) : 0;
    if (!size && descriptor->lost)
        size = extent_of_lost(descriptor, pointer);
    if (!size) {
        hw_tell_wrong_release(context, descriptor, HW_INVALID,
                              hw_locate(descriptor->pool, (uintptr_t)pointer - (uintptr_t)descriptor->pool), NULL);
        hw_big_unclaim(descriptor);
        return (resized){0};
    }
    uint32_t meta = hw_own(descriptor->pool, descriptor->block)->meta;
    bool mismatch = !descriptor->lost && hw_is_mismatch(meta, HW_MALLOC);
    if (mismatch)
        hw_tell_wrong_release(context, descriptor, HW_MISMATCH, descriptor->block, NULL);
    size_t threshold = atomic_load_explicit(&hw_big_threshold, memory_order_relaxed);
    if (mismatch || context->trapped || bytes < threshold / 2) {
        hw_big_unclaim(descriptor);
        return (resized){.size = size, .family = mismatch ? meta >> 6 & 3 : HW_MALLOC};
    }
    bool moves = has_to_move(size, bytes, context);
    hw_released gone = {(uint64_t)(uintptr_t)pointer, size, moves ? hw_site_here(meta >> 8, context) : 0,
                        meta >> 6 & 3};
    void *same = hw_big_resize(descriptor, pointer, bytes, hw_site_here(0, context), moves ? &gone : NULL);
    return (resized){.block = same, .size = size, .family = HW_MALLOC};
}

static bool never_moves(size_t size, size_t bytes, const hw_context *context)
{
    (void)size, (void)bytes, (void)context;
    return false;
}

/* As resize_inside, of a block in a run where there is one, else in the descriptor's pool. */
static void *resize_there(hw_arena *arena, hw_descriptor *descriptor, hw_run *run, void *pointer, size_t bytes,
                          uint32_t site, const hw_context *context, size_t *size, unsigned *family, bool moves)
{
    if (!run)
        return resize_inside(arena, descriptor, pointer, bytes, site, context, size, family, moves);
    return hw_small_resize(arena, run, pointer, bytes, site, context, size, family, moves ? has_to_move : never_moves);
}

/* The same, from wherever. */
static void *resize_in_arena(hw_arena *arena, hw_descriptor *descriptor, hw_run *run, void *pointer, size_t bytes,
                             hw_arena *mine, const hw_context *context, size_t *size, unsigned *family, bool moves)
{
    void *same = NULL;
    *size = run ? hw_small_size(run, pointer) : extent(descriptor, pointer);
    if (arena == mine) {
        uint32_t site = hw_site_of(&arena->sites, &context->caller, 0);
        hw_enter(arena, context->caller.frame);
        same = resize_there(arena, descriptor, run, pointer, bytes, site, context, size, family, moves);
        hw_leave(arena);
        if (HW_UNLIKELY(hw_traps_on))
            hw_watch_allocated(same, NULL, bytes, site, same ? hw_number_next(site) : 0);
    } else if ((!*size || *size >= WORTH_A_VISIT) && mine && hw_seize(arena, 0)) {
        /* Worth a visit: to judge what is odd, or to spare the copy. */
        uint32_t site = hw_site_here(0, context);
        same = resize_there(arena, descriptor, run, pointer, bytes, site, context, size, family, moves);
        hw_yield(arena);
    }
    return same;
}

/* Bytes of a small block of the thread's own that is sound and has to move; 0: it is none. */
static __attribute__((noinline)) size_t usual_to_move(void *pointer, size_t bytes, hw_caller caller)
{
    hw_arena *arena = hw_this_thread.ready;
    const hw_run *run;
    hw_run_looked n;
    if (!hw_setting.poison || !arena || (run = hw_usual_run(arena, pointer)) == NULL || hw_is_inside(arena) ||
        !hw_try_enter(arena, caller.frame, true))
        return 0;
    uint32_t slack;
    bool usual = !hw_look_at_used(arena, run, pointer, HW_MALLOC, true, &n, &slack) && !hw_quarantined((uint32_t)n.own);
    hw_is_out(arena);
    size_t size = usual ? hw_usual_stride(run) - HW_RUN_OVERHEAD - slack : 0;
    return size != bytes ? size : 0;
}

/* `moves`: a block that could stay is moved where it ought to be. */
static __attribute__((noinline)) resized resize_in_place(void *pointer, size_t bytes, hw_caller caller, bool moves)
{
    hw_context context = {.when = HW_AT_REALLOC, .caller = caller, .pointer = pointer, .family = HW_MALLOC};
    hw_arena *mine = !hw_still_engaged(&caller) && hw_visit_begins(&caller) ? hw_arena_own() : NULL;
    unsigned how = hw_traps_on && mine ? hw_site_trapped(hw_site_here(0, &context)) : (unsigned)HW_TRAP_NOT;
    context.trapped = how != HW_TRAP_NOT && how != HW_TRAP_WATCH;
    uint32_t region = hw_region_of(pointer);
    uint32_t kind = region ? atomic_load_explicit(&hw_region_at(region)->kind, memory_order_acquire) : HW_UNUSED;
    if (kind == HW_BIG_POOL || kind == HW_BIG_CLAIMED) {
        hw_descriptor *descriptor = hw_big_claim(region);
        if (descriptor)
            return resize_big(descriptor, pointer, bytes, &context);
        if (hw_big_is_held(region))
            return (resized){0};
        kind = HW_UNUSED;
    }
    if (kind == HW_TRAPPED_BLOCKS) {
        size_t size = hw_trap_judge_resize(pointer, &context);
        return (resized){.size = size, .family = HW_MALLOC};
    }
    if (kind == HW_HUGE || kind == HW_HUGE_CLAIMED) {
        size_t size;
        void *same = hw_huge_resize(region, pointer, bytes, &size, &context);
        return (resized){.block = same, .size = size, .family = HW_MALLOC};
    }
    bool in_arena = kind == HW_ARENA_POOL || kind == HW_ARENA_RUNS;
    hw_arena *arena = in_arena ? hw_arena_numbered(atomic_load(&hw_region_at(region)->arena)) : NULL;
    hw_run *run = kind == HW_ARENA_RUNS ? hw_run_of(arena, pointer) : NULL;
    hw_descriptor *descriptor = arena ? hw_descriptor_of(arena, pointer) : NULL;
    bool in_run = run && hw_run_is_in_use(run);
    if (!in_run && !descriptor) {
        hw_release_outside(pointer, &context);
        return (resized){0};
    }
    resized r = {.family = HW_MALLOC};
    r.block = resize_in_arena(arena, descriptor, in_run ? run : NULL, pointer, bytes, mine, &context, &r.size,
                              &r.family, moves);
    r.by_choice = has_to_move(r.size, bytes, &context);
    return r;
}

void *hw_heap_resize(void *pointer, size_t bytes, hw_caller caller)
{
    if (bytes > HW_LARGEST)
        return NULL;
    if (HW_UNLIKELY(hw_is_foreign()))
        return hw_resize_foreign(pointer, bytes);
    size_t usual = usual_to_move(pointer, bytes, caller);
    void *moved = usual ? move(pointer, usual, bytes, HW_MALLOC, caller) : NULL;
    if (moved)
        return moved;
    resized r = resize_in_place(pointer, bytes, caller, true);
    if (r.block || !r.size)
        return r.block;
    moved = move(pointer, r.size, bytes, r.family, caller);
    if (!moved && r.by_choice) /* no memory for both */
        moved = resize_in_place(pointer, bytes, caller, false).block;
    return moved;
}

size_t hw_heap_size(const void *pointer, hw_caller caller)
{
    if (HW_UNLIKELY(hw_is_foreign()))
        return hw_foreign_size(pointer);
    if (!hw_still_engaged(&caller))
        hw_visit_begins(&caller);
    uint32_t region = hw_region_of(pointer);
    uint32_t kind = region ? atomic_load_explicit(&hw_region_at(region)->kind, memory_order_acquire) : HW_UNUSED;
    if (kind == HW_BIG_POOL || kind == HW_BIG_CLAIMED) {
        hw_descriptor *descriptor = hw_big_claim(region);
        size_t size = descriptor ? extent(descriptor, pointer) : 0;
        if (descriptor)
            hw_big_unclaim(descriptor);
        return size;
    }
    if (kind == HW_TRAPPED_BLOCKS)
        return hw_trap_size(pointer);
    if (kind == HW_HUGE || kind == HW_HUGE_CLAIMED)
        return hw_huge_size(region, pointer);
    bool in_arena = kind == HW_ARENA_POOL || kind == HW_ARENA_RUNS;
    hw_arena *arena = in_arena ? hw_arena_numbered(atomic_load(&hw_region_at(region)->arena)) : NULL;
    const hw_run *run = kind == HW_ARENA_RUNS ? hw_run_of(arena, pointer) : NULL;
    if (run)
        return hw_small_size(run, pointer);
    hw_descriptor *descriptor = arena ? hw_descriptor_of(arena, pointer) : NULL;
    return descriptor ? extent(descriptor, pointer) : 0;
}
