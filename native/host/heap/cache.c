#define _GNU_SOURCE
#include "heap/cache.h"

#include "heap/fast.h"

#include <string.h>

enum { LEAST_LARGE = 2 * HW_LARGEST_KEPT << HW_FIXED_GRANULE_LOG2, MOST_LARGE = 1 << 20 };

/* Give a node back, with its pages; after damage if it is still there. */
static void release_node(hw_arena *arena, uint32_t node, const hw_context *context)
{
    hw_fault fault;
    hw_pool *pool = arena->first->pool;
    hw_header h = *hw_own(pool, node);
    if (hw_is_valid(pool, node, &h) && hw_state_of(h.meta) != HW_CACHED)
        return;
    int status = hw_release(pool, node, h.meta >> 8, &fault);
    if (status == HW_OK)
        hw_trim_after(arena, arena->first, node, h.prev_size, (size_t)h.size << HW_FIXED_GRANULE_LOG2);
    else if (status == HW_DAMAGED && hw_mend(arena, arena->first, context) && hw_header_at(pool, node, &h) &&
             hw_state_of(h.meta) == HW_CACHED)
        hw_release(pool, node, h.meta >> 8, &fault);
}

static size_t bytes_of(const struct hw_large *kept)
{
    return (size_t)kept->size << HW_FIXED_GRANULE_LOG2;
}

static void forget_large(hw_arena *arena, struct hw_large *kept)
{
    arena->large_bytes -= bytes_of(kept);
    *kept = (struct hw_large){0};
}

static struct hw_large *large_of(hw_arena *arena, uint32_t size)
{
    struct hw_large *slot = arena->large[size % HW_LARGE];
    for (unsigned way = 0; way < HW_WAYS; way++)
        if (slot[way].node && slot[way].size == size)
            return &slot[way];
    return NULL;
}

static void release_large(hw_arena *arena, struct hw_large *kept, const hw_context *context)
{
    uint32_t node = kept->node;
    forget_large(arena, kept);
    if (node && !arena->first->lost)
        release_node(arena, node, context);
}

/* Until no more than so many bytes are kept. */
static void release_large_to(hw_arena *arena, size_t bytes, const hw_context *context)
{
    for (unsigned turn = 0; turn < HW_LARGE * HW_WAYS && arena->large_bytes > bytes; turn++) {
        unsigned i = arena->large_next++ % (HW_LARGE * HW_WAYS);
        release_large(arena, &arena->large[i / HW_WAYS][i % HW_WAYS], context);
    }
}

void hw_cache_large(hw_arena *arena, uint32_t node, uint32_t size, const hw_context *context)
{
    struct hw_large *slot = arena->large[size % HW_LARGE], fresh = {node, size};
    release_large(arena, &slot[HW_WAYS - 1], context);
    memmove(slot + 1, slot, (HW_WAYS - 1) * sizeof *slot);
    slot[0] = fresh;
    arena->large_bytes += bytes_of(&fresh);
    size_t most = LEAST_LARGE + arena->first->bytes / 64;
    release_large_to(arena, most < MOST_LARGE ? most : MOST_LARGE, context);
}

void *hw_take_large(hw_arena *arena, size_t bytes, unsigned origin, uint32_t site)
{
    struct hw_large *kept = large_of(arena, hw_granules(HW_FIXED_GRANULE_LOG2, bytes));
    void *payload = kept ? hw_fast_take(&arena->pool, kept->node, bytes, origin, site) : NULL;
    if (payload)
        forget_large(arena, kept);
    return payload;
}

bool hw_has_large(hw_arena *arena, size_t bytes)
{
    return large_of(arena, hw_granules(HW_FIXED_GRANULE_LOG2, bytes)) != NULL;
}

bool hw_sweep(hw_arena *arena, const hw_context *context)
{
    bool any = arena->large_bytes != 0;
    release_large_to(arena, 0, context);
    return any;
}

/* A slot that was left while its nodes were moved on may name one twice. */
static bool is_named_before(const struct hw_large *slot, const struct hw_large *kept)
{
    for (; slot < kept; slot++)
        if (slot->node == kept->node)
            return true;
    return false;
}

void hw_cache_check(hw_arena *arena)
{
    hw_pool *pool = arena->first->pool;
    hw_header h;
    arena->large_bytes = 0;
    for (unsigned i = 0; i < HW_LARGE * HW_WAYS; i++) {
        struct hw_large *kept = &arena->large[i / HW_WAYS][i % HW_WAYS];
        if (!kept->node)
            continue;
        if (arena->first->lost || !hw_header_at(pool, kept->node, &h) || h.size != kept->size ||
            hw_state_of(h.meta) != HW_CACHED || is_named_before(arena->large[i / HW_WAYS], kept)) {
            *kept = (struct hw_large){0};
            continue;
        }
        arena->large_bytes += bytes_of(kept);
        if (hw_links_at(pool, kept->node)->left) /* damaged links that looked like a poisoned node's */
            hw_poison_end(pool, kept->node, &h);
    }
}
