#define _GNU_SOURCE
#include "heap/cache.h"

#include "heap/fast.h"

#include <string.h>

/* What is free is used up from its smallest pieces on; a piece that serves as reserve has some room. */
enum {
    LEAST_LARGE = 2 * HW_LARGEST_KEPT << HW_FIXED_GRANULE_LOG2,
    MOST_LARGE = 1 << 20,
    FIRST_SWEEP = 64 << 20,
    MUCH = 1 << 20,
    PIECE = 512,
    LEAST_RESERVE = 8 << 10,
    MOST_RESERVE = 64 << 10
};

/* --- the reserve ------------------------------------------------------------------------------ */

static bool renew_reserve(hw_arena *arena, size_t bytes, hw_fault *fault)
{
    hw_pool *pool = arena->first->pool;
    uint32_t old = arena->reserve;
    arena->reserve = 0;
    if (old && hw_release_run(pool, &old, 1, fault) == HW_DAMAGED)
        return false;
    size_t wish = arena->first->bytes / 8; /* many threads have little each */
    wish = wish < LEAST_RESERVE ? LEAST_RESERVE : wish > MOST_RESERVE ? MOST_RESERVE : wish;
    arena->reserve = hw_take(pool, bytes > PIECE ? bytes : PIECE, wish, fault);
    return arena->reserve != 0;
}

void *hw_cut_new(hw_arena *arena, size_t bytes, unsigned origin, uint32_t site, hw_fault *fault)
{
    hw_pool *pool = arena->first->pool;
    *fault = (hw_fault){0};
    if (arena->first->lost || hw_has_exactly(pool, bytes)) /* best fit has one of exactly this size */
        return NULL;
    for (int turn = 0; turn < 2; turn++) {
        uint32_t node = arena->reserve;
        if (node) {
            switch (hw_cut(pool, node, bytes, origin, site, fault)) {
            case HW_OK:
                arena->reserve = node + hw_own(pool, node)->size;
                return hw_payload(pool, node);
            case HW_DAMAGED:
                return NULL;
            default:
                break;
            }
        }
        if (!renew_reserve(arena, bytes + HW_OVERHEAD + HW_MIN_NODE, fault))
            return NULL;
    }
    return NULL;
}

/* --- the stacks ------------------------------------------------------------------------------- */

static uint32_t stacked(const hw_arena *arena)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < HW_CLASSES; i++)
        count += arena->classes[i].count;
    return count;
}

static size_t cached_bytes(const hw_arena *arena)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < HW_CLASSES; i++)
        bytes += (size_t)arena->classes[i].count * (HW_MIN_NODE + ((size_t)i << HW_FIXED_GRANULE_LOG2));
    return bytes;
}

/* The first few lie in the arena, so that a thread with blocks of many sizes needs no page for each. */
static bool grow(hw_arena *arena, hw_class *class)
{
    uint32_t room = class->room == 0        ? HW_FEW
                    : class->room == HW_FEW ? (uint32_t)(hw_page() / sizeof(uint32_t))
                                            : class->room * 2;
    uint32_t *few = arena->few[class - arena->classes], *old = class->node, old_room = class->room;
    uint32_t *node = old_room == 0 ? few : hw_map(room * sizeof *node);
    if (!node)
        return false;
    if (old_room)
        memcpy(node, old, class->count * sizeof *node);
    class->node = node;
    class->room = room;
    if (old_room && old != few)
        hw_unmap(old, old_room * sizeof *old);
    return true;
}

/* What is sorted: offset << 8 | class, so that a node's end is known without touching it. */
static uint32_t node_of(uint64_t entry)
{
    return (uint32_t)(entry >> 8);
}
static uint32_t end_of(uint64_t entry)
{
    return node_of(entry) + (uint32_t)(entry & 0xFF) + HW_NODE_LEAST;
}

enum { BITS = 11, SLOTS = 1 << BITS };

/* By offset, in three passes of 11 bits; `other` is as large as `entry`. Returns which of them it is in. A
   thread's stack may be too small for `start`. */
static uint64_t *sort(uint64_t *entry, uint64_t *other, uint32_t count, uint32_t start[SLOTS])
{
    for (unsigned shift = 8; shift < 8 + 3 * BITS; shift += BITS) {
        uint32_t sum = 0;
        memset(start, 0, SLOTS * sizeof *start);
        for (uint32_t i = 0; i < count; i++)
            start[entry[i] >> shift & (SLOTS - 1)]++;
        for (uint32_t i = 0; i < SLOTS; i++) {
            uint32_t here = start[i];
            start[i] = sum;
            sum += here;
        }
        for (uint32_t i = 0; i < count; i++)
            other[start[entry[i] >> shift & (SLOTS - 1)]++] = entry[i];
        uint64_t *swap = entry;
        entry = other;
        other = swap;
    }
    return entry;
}

static bool is_free(const hw_pool *pool, uint32_t node)
{
    hw_header h;
    return hw_header_at(pool, node, &h) && hw_state_of(h.meta) == HW_FREE;
}

/* Give back nodes that lie side by side; after damage those of them that are still there. `trim`: pages, too. */
static void release_nodes(hw_arena *arena, const uint32_t *node, uint32_t count, bool trim, const hw_context *context)
{
    hw_fault fault;
    hw_pool *pool = arena->first->pool;
    hw_header first = *hw_own(pool, node[0]), last = *hw_own(pool, node[count - 1]);
    int status = hw_release_run(pool, node, count, &fault);
    if (status == HW_OK && trim)
        hw_trim_after(arena, arena->first, node[0], first.prev_size,
                      (size_t)(node[count - 1] + last.size - node[0]) << HW_FIXED_GRANULE_LOG2);
    else if (status == HW_DAMAGED && hw_mend(arena, arena->first, context))
        for (uint32_t i = 0; i < count; i++)
            hw_release_run(pool, node + i, 1, &fault);
}

static void release_run(hw_arena *arena, const uint64_t *entry, uint32_t count, bool trim, const hw_context *context)
{
    for (uint32_t done = 0, now; done < count && !arena->first->lost; done += now) {
        for (now = 0; now < HW_RUN && done + now < count; now++)
            arena->run[now] = node_of(entry[done + now]);
        release_nodes(arena, arena->run, now, trim, context);
    }
}

static bool is_beside_a_free_one(const hw_pool *pool, uint64_t entry)
{
    hw_header h;
    return is_free(pool, end_of(entry)) ||
           (hw_header_at(pool, node_of(entry), &h) && h.prev_size && is_free(pool, node_of(entry) - h.prev_size));
}

/* Without memory to sort them in: back to the index with each. */
static void release_all(hw_arena *arena, const hw_context *context)
{
    for (uint32_t number = 0; number < HW_CLASSES; number++) {
        hw_class *c = &arena->classes[number];
        while (c->count && !arena->first->lost)
            release_nodes(arena, &c->node[--c->count], 1, true, context);
    }
}

/* `thorough`: look at the neighbours of single nodes, too. */
static void sweep(hw_arena *arena, bool thorough, const hw_context *context)
{
    uint32_t count = stacked(arena), filled = 0, kept = 0, repairs = arena->repairs;
    size_t bytes = 2 * (size_t)(count + 1) * sizeof(uint64_t) + SLOTS * sizeof(uint32_t);
    uint64_t *memory = hw_map(bytes), *entry = memory;
    if (!memory) {
        release_all(arena, context);
        return;
    }
    for (uint32_t number = 0; number < HW_CLASSES; number++) {
        for (uint32_t i = 0; i < arena->classes[number].count; i++)
            entry[filled++] = (uint64_t)arena->classes[number].node[i] << 8 | number;
        arena->classes[number].count = 0;
    }
    entry = sort(entry, memory + count + 1, count, (uint32_t *)(memory + 2 * (count + 1)));
    for (uint32_t i = 0, run; i < count && !arena->first->lost; i += run) {
        for (run = 1; i + run < count && node_of(entry[i + run]) == end_of(entry[i + run - 1]); run++)
            ;
        if (run == 1 && !(thorough && is_beside_a_free_one(arena->first->pool, entry[i])))
            entry[kept++] = entry[i];
        else
            release_run(arena, entry + i, run, !thorough, context);
    }
    for (uint32_t i = kept; i-- > 0;) { /* from the top of memory down: the lowest come to lie on top */
        hw_class *class = &arena->classes[entry[i] & 0xFF];
        class->node[class->count++] = node_of(entry[i]);
    }
    hw_unmap(memory, bytes);
    arena->kept_at_sweep = cached_bytes(arena);
    if (arena->repairs != repairs) /* some may have been quarantined meanwhile */
        hw_stacks_check(arena);
}

void hw_stack(hw_arena *arena, uint32_t class, uint32_t node, const hw_context *context)
{
    hw_class *c = &arena->classes[class];
    if (c->count == c->room) {
        size_t cached = cached_bytes(arena);
        if (cached >= FIRST_SWEEP && cached >= 2 * arena->kept_at_sweep)
            sweep(arena, false, context);
        if (c->count == c->room && !grow(arena, c)) {
            release_nodes(arena, &node, 1, true, context);
            return;
        }
    }
    c->node[c->count++] = node;
}

/* --- larger sizes ----------------------------------------------------------------------------- */

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
        release_nodes(arena, &node, 1, true, context);
}

/* Until no more than so many bytes are kept. */
static void release_large_to(hw_arena *arena, size_t bytes, const hw_context *context)
{
    while (arena->large_bytes > bytes) {
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

void hw_sweep(hw_arena *arena, const hw_context *context)
{
    release_large_to(arena, 0, context);
    sweep(arena, true, context);
}

bool hw_sweep_before_growing(hw_arena *arena, const hw_context *context)
{
    size_t cached = cached_bytes(arena);
    bool any = arena->large_bytes != 0;
    release_large_to(arena, 0, context);
    if (cached < MUCH || cached < arena->first->bytes / 4 || cached < 2 * arena->kept_at_sweep)
        return any;
    sweep(arena, true, context);
    return true;
}

void hw_stacks_check(hw_arena *arena)
{
    hw_pool *pool = arena->first->pool;
    hw_header h;
    for (uint32_t i = 0; i < HW_CLASSES; i++) {
        hw_class *c = &arena->classes[i];
        uint32_t kept = 0;
        for (uint32_t k = 0; k < c->count && !arena->first->lost; k++)
            if (hw_header_at(pool, c->node[k], &h) && hw_state_of(h.meta) == HW_CACHED) {
                if (hw_links_at(pool, c->node[k])->left) /* damaged links that looked like a poisoned node's */
                    hw_poison_end(pool, c->node[k], &h);
                c->node[kept++] = c->node[k];
            }
        c->count = kept;
    }
    for (unsigned i = 0; i < HW_LARGE * HW_WAYS; i++) {
        struct hw_large *kept = &arena->large[i / HW_WAYS][i % HW_WAYS];
        if (kept->node && (arena->first->lost || !hw_header_at(pool, kept->node, &h) || h.size != kept->size ||
                           hw_state_of(h.meta) != HW_CACHED))
            forget_large(arena, kept);
    }
    if (arena->first->lost ||
        (arena->reserve && (!hw_header_at(pool, arena->reserve, &h) || hw_state_of(h.meta) != HW_CACHED)))
        arena->reserve = 0;
}
