#define _GNU_SOURCE
#include "heap/release.h"

#include "heap/big.h"
#include "heap/cache.h"
#include "heap/delayed.h"
#include "heap/fast.h"
#include "heap/foreign.h"
#include "heap/handed.h"
#include "heap/huge.h"
#include "heap/small.h"
#include "os/record.h"
#include "traps/blocks.h"

/* The usual case of that: a sound node that is cached. */
static bool give_back_fast(hw_arena *arena, hw_descriptor *descriptor, uint32_t node, uint32_t site,
                           const hw_context *context)
{
    hw_looked n;
    uint32_t behind = arena->pool.end - node, most = behind < HW_LARGEST_KEPT ? behind : HW_LARGEST_KEPT;
    if (descriptor != arena->first || hw_is_held_back(context) || hw_look(&arena->pool, node, 0, most, &n) ||
        hw_slack_wrong(&n) || hw_state_of(n.meta) != HW_USED || hw_quarantined(n.meta))
        return false;
    hw_fast_cache(&arena->pool, &n, site);
    hw_cache_large(arena, node, n.size, context);
    return true;
}

/* Give back a node that is verified to be a used one: to the cache, or to the index. */
static void give_back(hw_arena *arena, hw_descriptor *descriptor, uint32_t node, uint32_t site,
                      const hw_context *context)
{
    if (HW_LIKELY(give_back_fast(arena, descriptor, node, site, context)))
        return;
    for (int attempt = 0; attempt < HW_ATTEMPTS; attempt++) {
        hw_header h = *hw_own(descriptor->pool, node);
        hw_fault fault;
        if (HW_UNLIKELY(hw_setting.poison) && hw_delay(arena, descriptor, node, site, context))
            return;
        if (HW_LIKELY(hw_release(descriptor->pool, node, site, &fault) == HW_OK)) {
            hw_trim_after(arena, descriptor, node, h.prev_size, (size_t)h.size << HW_FIXED_GRANULE_LOG2);
            return;
        }
        hw_header now;
        if (!hw_mend(arena, descriptor, context) || !hw_header_at(descriptor->pool, node, &now) ||
            hw_state_of(now.meta) != HW_USED || hw_quarantined(now.meta))
            return;
    }
}

HW_COLD void hw_release_wrong(hw_arena *arena, hw_descriptor *descriptor, void *pointer, const hw_context *context,
                              bool again)
{
    hw_header h;
    if (descriptor->lost)
        return;
    hw_inspect(arena, descriptor, context);
    uint32_t node = hw_node_at(descriptor, pointer);
    if (again && node && hw_header_at(descriptor->pool, node, &h) && hw_state_of(h.meta) == HW_USED) {
        hw_release_inside(arena, descriptor, pointer, context);
        return;
    }
    size_t offset = (uintptr_t)pointer - (uintptr_t)descriptor->pool;
    uint32_t holder = hw_locate(descriptor->pool, offset);
    if (!holder || !hw_header_at(descriptor->pool, holder, &h)) {
        hw_tell_wrong_release(context, descriptor, HW_INVALID, 0, NULL);
        return;
    }
    if (hw_quarantined(h.meta))
        return;
    hw_header dead;
    bool freed = hw_state_of(h.meta) != HW_USED;
    if (freed && node && (holder == node || hw_tombstone_at(descriptor->pool, node, &dead)))
        hw_tell_wrong_release(context, descriptor, HW_DOUBLE, node, NULL);
    else
        hw_tell_wrong_release(context, descriptor, HW_INVALID, holder, NULL);
}

void hw_release_inside(hw_arena *arena, hw_descriptor *descriptor, void *pointer, const hw_context *context)
{
    hw_pool *pool = descriptor->pool;
    uint32_t node = hw_node_at(descriptor, pointer);
    for (int attempt = 0;; attempt++) {
        const hw_header *h = hw_own(pool, node);
        if (HW_UNLIKELY(!node || descriptor->lost || !hw_is_valid(pool, node, h) || hw_state_of(h->meta) != HW_USED)) {
            hw_release_wrong(arena, descriptor, pointer, context, attempt == 0);
            return;
        }
        if (HW_LIKELY(!hw_waits(pool, node)) || attempt == HW_ATTEMPTS)
            break;
        hw_drain(arena, descriptor, context);
    }
    uint32_t meta = hw_own(pool, node)->meta;
    if (hw_quarantined(meta))
        return;
    if (HW_UNLIKELY(hw_is_mismatch(meta, context->family) || hw_domain_differs(meta >> 8, &context->caller)))
        hw_tell_wrong_release(context, descriptor, HW_MISMATCH, node, NULL);
    give_back(arena, descriptor, node, hw_site_here(meta >> 8, context), context);
}

/* --- releasing what another thread's arena holds ------------------------------------------------ */

/* Take in what other threads released. The list is followed by verified links only; a broken one is
   told as a write after free, and what was behind it stays a used block for good. */
void hw_drain(hw_arena *arena, hw_descriptor *descriptor, const hw_context *context)
{
    uint32_t node = atomic_exchange_explicit(&descriptor->pending, 0, memory_order_acquire);
    while (node && !descriptor->lost) {
        hw_links *l = hw_links_at(descriptor->pool, node);
        hw_header h;
        if (node < hw_first(descriptor->pool) || node >= hw_end(descriptor->pool))
            return;
        if (l->parent != HW_PENDING_PARENT || !hw_links_are_valid(descriptor->pool, node)) {
            hw_fault fault = {.reason = HW_LINKS, .node = node};
            hw_tell_fault(context, descriptor, &fault);
            return;
        }
        uint32_t after = l->left, site = l->right;
        __builtin_prefetch(hw_own(descriptor->pool, after)); /* it was written by another processor */
        if (!hw_header_at(descriptor->pool, node, &h)) {
            if (!hw_mend(arena, descriptor, context) || !hw_header_at(descriptor->pool, node, &h)) {
                node = after;
                continue;
            }
        }
        l->parent = 0; /* no longer waiting, even where the node is merged away */
        if (h.size == hw_min_node(descriptor->pool))
            hw_slack_write(descriptor->pool, node, &h); /* the links lay over it */
        if (hw_state_of(h.meta) == HW_USED && !hw_quarantined(h.meta))
            give_back(arena, descriptor, node, site, context);
        node = after;
    }
}

void hw_drain_all(hw_arena *arena, const hw_context *context)
{
    hw_small_drain(arena, context);
    for (uint32_t i = 0; i < arena->descriptors; i++)
        if (atomic_load_explicit(&arena->descriptor[i].pending, memory_order_relaxed))
            hw_drain(arena, &arena->descriptor[i], context);
}

void hw_hand_over(hw_descriptor *descriptor, uint32_t node, uint32_t site)
{
    hw_links *l = hw_links_at(descriptor->pool, node);
    uint32_t head = atomic_load_explicit(&descriptor->pending, memory_order_relaxed);
    do {
        /* The owner may be going over its pool: at no moment is this damage (hw_handover_check). */
        hw_links links = {.left = head, .right = site, .parent = HW_PENDING_PARENT};
        __atomic_store_n(&l->check, hw_handover_check(descriptor->pool, node), __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_RELEASE);
        __atomic_store_n(&l->left, links.left, __ATOMIC_RELAXED);
        __atomic_store_n(&l->right, links.right, __ATOMIC_RELAXED);
        __atomic_store_n(&l->parent, links.parent, __ATOMIC_RELAXED);
        __atomic_store_n(&l->check, hw_link_check(descriptor->pool, node, &links), __ATOMIC_RELEASE);
    } while (!atomic_compare_exchange_weak_explicit(&descriptor->pending, &head, node, memory_order_release,
                                                    memory_order_relaxed));
}

hw_descriptor *hw_descriptor_of(hw_arena *arena, const void *pointer)
{
    for (uint32_t i = 0; i < arena->descriptors; i++)
        if (hw_descriptor_contains(&arena->descriptor[i], pointer))
            return &arena->descriptor[i];
    return NULL;
}

/* What was handed over to an arena without an owner. */
static void take_in_for_nobody(hw_arena *arena, hw_descriptor *descriptor, const hw_context *context)
{
    if (atomic_load_explicit(&arena->owner, memory_order_relaxed) == 0 && !hw_is_engaged() && hw_seize(arena, 1)) {
        hw_drain(arena, descriptor, context);
        hw_yield(arena);
    }
}

bool hw_may_be_handed_over(const hw_descriptor *descriptor, uint32_t node, unsigned family, hw_header *h)
{
    return node && hw_header_glimpse(descriptor->pool, node, h) && hw_state_of(h->meta) == HW_USED &&
           !hw_quarantined(h->meta) && hw_family_matches(h->meta, family) &&
           hw_payload_fault(descriptor->pool, node, h) == HW_NONE && !hw_waits(descriptor->pool, node);
}

static void release_in_foreign_arena(hw_arena *arena, hw_descriptor *descriptor, void *pointer,
                                     const hw_context *context)
{
    uint32_t node = hw_node_at(descriptor, pointer);
    hw_header h;
    if (descriptor->lost)
        return;
    if (hw_may_be_handed_over(descriptor, node, context->family, &h) &&
        !hw_domain_differs(h.meta >> 8, &context->caller)) {
        hw_hand_over(descriptor, node, hw_site_here(h.meta >> 8, context));
        take_in_for_nobody(arena, descriptor, context);
        return;
    }
    /* Anything odd is judged by who has the arena alone. */
    if (hw_is_engaged())
        return;
    if (!hw_seize(arena, 0)) {
        hw_release_not();
        return;
    }
    hw_release_inside(arena, descriptor, pointer, context);
    hw_yield(arena);
}

HW_COLD void hw_release_not(void)
{
    static _Atomic uint32_t said;
    static const char text[] = "heapwitness: a release was not done, since another thread has been in the middle of an "
                               "operation for too long; the block is kept.\n";
    if (atomic_exchange(&said, 1) == 0)
        hw_say(text, sizeof text - 1);
}

HW_COLD void hw_release_outside(const void *pointer, const hw_context *context)
{
    hw_released released;
    if (hw_recall_released(pointer, &released))
        hw_tell_wrong_release(context, NULL, HW_DOUBLE, 0, &released);
    else
        hw_tell_wrong_release(context, NULL, HW_INVALID, 0, NULL);
}

/* Of what family its stand-in is released, the block's own release has judged. */
static HW_COLD void release_trapped(void *pointer, const hw_context *context)
{
    void *stand_in = hw_trap_release(pointer, context);
    const hw_descriptor *descriptor = NULL;
    uint32_t region = stand_in ? hw_region_of(stand_in) : 0;
    uint32_t kind = region ? atomic_load(&hw_region_at(region)->kind) : HW_UNUSED, meta;
    hw_context with = *context;
    with.pointer = stand_in;
    if (kind == HW_ARENA_RUNS) {
        const hw_run *run = hw_run_of(hw_arena_numbered(atomic_load(&hw_region_at(region)->arena)), stand_in);
        if (run && hw_small_glimpse(run, hw_run_node_at(run, stand_in), &meta))
            with.family = (meta >> 6 & 3) == HW_ALIGNED ? (unsigned)HW_MALLOC : meta >> 6 & 3;
        hw_release_any(stand_in, &with);
        return;
    }
    if (kind != HW_ARENA_POOL)
        return;
    descriptor = hw_descriptor_of(hw_arena_numbered(atomic_load(&hw_region_at(region)->arena)), stand_in);
    uint32_t node = descriptor ? hw_node_at(descriptor, stand_in) : 0;
    hw_header h;
    if (node && hw_header_glimpse(descriptor->pool, node, &h))
        with.family = (h.meta >> 6 & 3) == HW_ALIGNED ? (unsigned)HW_MALLOC : h.meta >> 6 & 3;
    hw_release_any(stand_in, &with);
}

/* `alone`: it is the thread's own, which it may enter. */
static void release_in_arena(hw_arena *arena, void *pointer, bool alone, const hw_context *context)
{
    hw_run *run = hw_run_of(arena, pointer);
    hw_descriptor *descriptor = run ? NULL : hw_descriptor_of(arena, pointer);
    if (!run && !descriptor) {
        hw_release_outside(pointer, context);
    } else if (alone) {
        hw_enter(arena, context->caller.frame);
        if (run)
            hw_small_release(arena, run, pointer, context);
        else
            hw_release_inside(arena, descriptor, pointer, context);
        hw_leave(arena);
    } else if (run) {
        hw_small_release_any(arena, run, pointer, context);
    } else {
        release_in_foreign_arena(arena, descriptor, pointer, context);
    }
}

void hw_release_any(void *pointer, const hw_context *context)
{
    if (HW_UNLIKELY(hw_is_foreign())) {
        hw_release_foreign(pointer, context->family);
        return;
    }
    hw_arena *mine = hw_visit_begins(&context->caller) && !hw_this_thread.ended ? hw_arena_own() : hw_this_thread.arena;
    uint32_t region = hw_region_of(pointer);
    uint32_t kind = region ? atomic_load_explicit(&hw_region_at(region)->kind, memory_order_acquire) : HW_UNUSED;
    if (kind == HW_ARENA_RUNS || kind == HW_ARENA_POOL) {
        hw_arena *arena = hw_arena_numbered(atomic_load(&hw_region_at(region)->arena));
        release_in_arena(arena, pointer, arena == mine && !hw_is_engaged(), context);
        return;
    }
    hw_descriptor *descriptor = kind == HW_BIG_POOL || kind == HW_BIG_CLAIMED ? hw_big_claim(region) : NULL;
    if (kind == HW_TRAPPED_BLOCKS)
        release_trapped(pointer, context);
    else if (kind == HW_HUGE || kind == HW_HUGE_CLAIMED)
        hw_huge_release(region, pointer, context);
    else if (descriptor)
        hw_big_release(descriptor, pointer, context->family, context, hw_site_here);
    else if (region && hw_big_is_held(region))
        hw_release_not();
    else
        hw_release_outside(pointer, context);
}
