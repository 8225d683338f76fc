#include "heap/foreign.h"

#include "heap/big.h"
#include "heap/huge.h"
#include "heap/release.h"
#include "heap/small.h"

#include <string.h>

static uint32_t kind_of(uint32_t region)
{
    return region ? atomic_load_explicit(&hw_region_at(region)->kind, memory_order_acquire) : HW_UNUSED;
}

/* The descriptor of the arena's pool, or of the big block, that holds the pointer; NULL for none. */
static hw_descriptor *descriptor_of(const void *pointer)
{
    uint32_t region = hw_region_of(pointer), kind = kind_of(region);
    if (kind == HW_BIG_POOL)
        return hw_big_descriptor(region);
    hw_arena *arena = kind == HW_ARENA_POOL ? hw_arena_numbered(atomic_load(&hw_region_at(region)->arena)) : NULL;
    return arena ? hw_descriptor_of(arena, pointer) : NULL;
}

/* The run that holds the pointer, and whose it is; NULL for none. */
static hw_run *run_of(const void *pointer, hw_arena **arena)
{
    uint32_t region = hw_region_of(pointer);
    if (kind_of(region) != HW_ARENA_RUNS)
        return NULL;
    *arena = hw_arena_numbered(atomic_load(&hw_region_at(region)->arena));
    return hw_run_of(*arena, pointer);
}

void hw_release_foreign(void *pointer, unsigned family)
{
    hw_header h;
    hw_arena *arena;
    hw_run *run = run_of(pointer, &arena);
    if (run) {
        hw_context context = {.when = HW_AT_FREE, .pointer = pointer, .family = family};
        hw_small_release_any(arena, run, pointer, &context);
        return;
    }
    uint32_t region = hw_region_of(pointer);
    hw_descriptor *descriptor = descriptor_of(pointer);
    if (!descriptor || descriptor->lost)
        return;
    uint32_t node = hw_node_at(descriptor, pointer);
    if (!hw_may_be_handed_over(descriptor, node, family, &h))
        return;
    if (kind_of(region) == HW_BIG_POOL)
        hw_big_drop(region, node);
    else
        hw_hand_over(descriptor, node, 0);
}

size_t hw_foreign_size(const void *pointer)
{
    hw_header h;
    uint32_t region = hw_region_of(pointer), kind = kind_of(region);
    if (kind == HW_HUGE || kind == HW_HUGE_CLAIMED)
        return hw_huge_size(region, pointer);
    hw_arena *arena;
    const hw_run *run = run_of(pointer, &arena);
    if (run)
        return hw_small_size(run, pointer);
    const hw_descriptor *descriptor = descriptor_of(pointer);
    uint32_t node = descriptor ? hw_node_at(descriptor, pointer) : 0;
    if (!node || !hw_header_glimpse(descriptor->pool, node, &h) || hw_state_of(h.meta) != HW_USED)
        return 0;
    return hw_payload_bytes(descriptor->pool, h.size) - hw_slack_of(h.meta);
}

void *hw_resize_foreign(void *pointer, size_t bytes)
{
    size_t size = hw_foreign_size(pointer);
    void *fresh = size ? hw_big_allocate(bytes, 0, HW_MALLOC, 0) : NULL;
    if (!fresh)
        return NULL;
    memcpy(fresh, pointer, size < bytes ? size : bytes);
    hw_release_foreign(pointer, HW_MALLOC);
    return fresh;
}
