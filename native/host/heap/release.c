#define _GNU_SOURCE
#include "heap/release.h"

#include "heap/big.h"
#include "heap/cache.h"
#include "heap/delayed.h"
#include "heap/fast.h"
#include "heap/foreign.h"
#include "heap/huge.h"
#include "os/record.h"
#include "traps/blocks.h"

/* The usual case of that: a sound node that is cached. */
static bool give_back_fast(hw_arena *arena, hw_place *place, uint32_t node, uint32_t site, const hw_context *context)
{
    hw_looked n;
    uint32_t behind = arena->pool.end - node, most = behind < HW_LARGEST_KEPT ? behind : HW_LARGEST_KEPT;
    if (place != arena->first || hw_set.poison || hw_look(&arena->pool, node, 0, most, &n) || hw_slack_wrong(&n) ||
        hw_state_of(n.meta) != HW_USED || hw_quarantined(n.meta))
        return false;
    hw_fast_cache(&arena->pool, &n, site);
    if (hw_class_of_node(n.size) < HW_CLASSES)
        hw_stack(arena, hw_class_of_node(n.size), node, context);
    else
        hw_keep_large(arena, node, n.size, context);
    return true;
}

/* Give back a node that is verified to be a used one: to the cache, or to the index. */
static void give_back(hw_arena *arena, hw_place *place, uint32_t node, uint32_t site, const hw_context *context)
{
    if (HW_LIKELY(give_back_fast(arena, place, node, site, context)))
        return;
    for (int attempt = 0; attempt < HW_ATTEMPTS; attempt++) {
        hw_header h = *hw_own(place->pool, node);
        uint32_t class = hw_class_of_node(h.size);
        hw_fault fault;
        if (HW_UNLIKELY(hw_set.poison) && hw_delay(arena, place, node, site, context))
            return;
        if (class < HW_CLASSES && place == arena->first) {
            if (HW_LIKELY(hw_cache(place->pool, node, site, false, &fault) == HW_OK)) {
                hw_stack(arena, class, node, context);
                return;
            }
        } else if (HW_LIKELY(hw_release(place->pool, node, site, &fault) == HW_OK)) {
            hw_trim_after(arena, place, node, h.prev_size, (size_t)h.size << HW_FIXED_GRANULE_LOG2);
            return;
        }
        hw_header now;
        if (!hw_mend(arena, place, context) || !hw_header_at(place->pool, node, &now) ||
            hw_state_of(now.meta) != HW_USED || hw_quarantined(now.meta))
            return;
    }
}

HW_COLD void hw_release_oddly(hw_arena *arena, hw_place *place, void *pointer, const hw_context *context, bool again)
{
    hw_header h;
    if (place->lost)
        return;
    hw_inspect(arena, place, context);
    uint32_t node = hw_node_at(place, pointer);
    if (again && node && hw_header_at(place->pool, node, &h) && hw_state_of(h.meta) == HW_USED) {
        hw_release_inside(arena, place, pointer, context);
        return;
    }
    size_t offset = (uintptr_t)pointer - (uintptr_t)place->pool;
    uint32_t holder = hw_locate(place->pool, offset);
    if (!holder || !hw_header_at(place->pool, holder, &h)) {
        hw_tell_wrong_release(context, place, HW_INVALID, 0, NULL);
        return;
    }
    if (hw_quarantined(h.meta))
        return;
    hw_header dead;
    bool freed = hw_state_of(h.meta) != HW_USED;
    if (freed && node && (holder == node || hw_tombstone_at(place->pool, node, &dead)))
        hw_tell_wrong_release(context, place, HW_DOUBLE, node, NULL);
    else
        hw_tell_wrong_release(context, place, HW_INVALID, holder, NULL);
}

void hw_release_inside(hw_arena *arena, hw_place *place, void *pointer, const hw_context *context)
{
    hw_pool *pool = place->pool;
    uint32_t node = hw_node_at(place, pointer);
    for (int attempt = 0;; attempt++) {
        const hw_header *h = hw_own(pool, node);
        if (HW_UNLIKELY(!node || place->lost || !hw_holds(pool, node, h) || hw_state_of(h->meta) != HW_USED)) {
            hw_release_oddly(arena, place, pointer, context, attempt == 0);
            return;
        }
        if (HW_LIKELY(!hw_waits(pool, node)) || attempt == HW_ATTEMPTS)
            break;
        hw_drain(arena, place, context);
    }
    uint32_t meta = hw_own(pool, node)->meta;
    if (hw_quarantined(meta))
        return;
    if (HW_UNLIKELY(hw_is_mismatch(meta, context->family)))
        hw_tell_wrong_release(context, place, HW_MISMATCH, node, NULL);
    give_back(arena, place, node, hw_site_here(meta >> 8, context), context);
}

/* --- releasing what another thread's arena holds ------------------------------------------------ */

/* Take in what other threads released. The list is followed by verified links only; a broken one is
   told as a write after free, and what was behind it stays a used block for good. */
void hw_drain(hw_arena *arena, hw_place *place, const hw_context *context)
{
    uint32_t node = atomic_exchange_explicit(&place->pending, 0, memory_order_acquire);
    while (node && !place->lost) {
        hw_links *l = hw_links_at(place->pool, node);
        hw_header h;
        if (node < hw_first(place->pool) || node >= hw_end(place->pool))
            return;
        if (l->parent != HW_PENDING_PARENT || !hw_links_hold(place->pool, node)) {
            hw_fault fault = {.reason = HW_LINKS, .node = node};
            hw_tell_fault(context, place, &fault);
            return;
        }
        uint32_t after = l->left, site = l->right;
        __builtin_prefetch(hw_own(place->pool, after)); /* it was written by another processor */
        hw_fetch_around((uintptr_t)hw_payload(place->pool, after));
        if (!hw_header_at(place->pool, node, &h)) {
            if (!hw_mend(arena, place, context) || !hw_header_at(place->pool, node, &h)) {
                node = after;
                continue;
            }
        }
        l->parent = 0; /* no longer waiting, even where the node is merged away */
        if (h.size == hw_min_node(place->pool))
            hw_slack_write(place->pool, node, &h); /* the links lay over it */
        if (hw_state_of(h.meta) == HW_USED && !hw_quarantined(h.meta))
            give_back(arena, place, node, site, context);
        node = after;
    }
}

void hw_drain_all(hw_arena *arena, const hw_context *context)
{
    for (uint32_t i = 0; i < arena->places; i++)
        if (atomic_load_explicit(&arena->place[i].pending, memory_order_relaxed))
            hw_drain(arena, &arena->place[i], context);
}

void hw_hand_over(hw_place *place, uint32_t node, uint32_t site)
{
    hw_links *l = hw_links_at(place->pool, node);
    uint32_t head = atomic_load_explicit(&place->pending, memory_order_relaxed);
    do {
        /* The owner may be going over its pool: at no moment is this damage (hw_handover_check). */
        hw_links links = {.left = head, .right = site, .parent = HW_PENDING_PARENT};
        __atomic_store_n(&l->check, hw_handover_check(place->pool, node), __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_RELEASE);
        __atomic_store_n(&l->left, links.left, __ATOMIC_RELAXED);
        __atomic_store_n(&l->right, links.right, __ATOMIC_RELAXED);
        __atomic_store_n(&l->parent, links.parent, __ATOMIC_RELAXED);
        __atomic_store_n(&l->check, hw_link_check(place->pool, node, &links), __ATOMIC_RELEASE);
    } while (!atomic_compare_exchange_weak_explicit(&place->pending, &head, node, memory_order_release,
                                                    memory_order_relaxed));
}

hw_place *hw_place_of(hw_arena *arena, const void *pointer)
{
    for (uint32_t i = 0; i < arena->places; i++)
        if (hw_place_holds(&arena->place[i], pointer))
            return &arena->place[i];
    return NULL;
}

/* What was handed over to an arena without an owner. */
static void take_in_for_nobody(hw_arena *arena, hw_place *place, const hw_context *context)
{
    if (atomic_load_explicit(&arena->owner, memory_order_relaxed) == 0 && !hw_is_engaged() && hw_seize(arena, 1)) {
        hw_drain(arena, place, context);
        hw_yield(arena);
    }
}

bool hw_may_be_handed_over(const hw_place *place, uint32_t node, unsigned family, hw_header *h)
{
    return node && hw_header_glimpse(place->pool, node, h) && hw_state_of(h->meta) == HW_USED &&
           !hw_quarantined(h->meta) && hw_family_matches(h->meta, family) &&
           hw_payload_fault(place->pool, node, h) == HW_NONE && !hw_waits(place->pool, node);
}

static void release_abroad(hw_arena *arena, hw_place *place, void *pointer, const hw_context *context)
{
    uint32_t node = hw_node_at(place, pointer);
    hw_header h;
    if (place->lost)
        return;
    if (hw_may_be_handed_over(place, node, context->family, &h)) {
        hw_hand_over(place, node, hw_site_here(h.meta >> 8, context));
        take_in_for_nobody(arena, place, context);
        return;
    }
    /* Anything odd is judged by who has the arena alone. */
    if (hw_is_engaged())
        return;
    if (!hw_seize(arena, 0)) {
        hw_release_not();
        return;
    }
    hw_release_inside(arena, place, pointer, context);
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

HW_COLD void hw_release_nowhere(const void *pointer, const hw_context *context)
{
    hw_released released;
    if (hw_recall_released(pointer, &released))
        hw_tell_wrong_release(context, NULL, HW_DOUBLE, 0, &released);
    else
        hw_tell_wrong_release(context, NULL, HW_INVALID, 0, NULL);
}

void hw_release_elsewhere(void *pointer, const hw_context *context)
{
    if (HW_UNLIKELY(hw_is_foreign())) {
        hw_release_foreign(pointer, context->family);
        return;
    }
    hw_arena *mine = hw_visit_begins(&context->caller) && !hw_me.ended ? hw_arena_own() : hw_me.arena;
    uint32_t region = hw_region_of(pointer);
    uint32_t kind = region ? atomic_load_explicit(&hw_region_at(region)->kind, memory_order_acquire) : HW_UNUSED;
    if (kind == HW_ARENA_POOL) {
        hw_arena *arena = hw_arena_numbered(atomic_load(&hw_region_at(region)->arena));
        hw_place *place = hw_place_of(arena, pointer);
        if (!place) {
            hw_release_nowhere(pointer, context);
        } else if (arena == mine && !hw_is_engaged()) {
            hw_enter(arena, context->caller.frame);
            hw_release_inside(arena, place, pointer, context);
            hw_leave(arena);
        } else {
            release_abroad(arena, place, pointer, context);
        }
        return;
    }
    hw_place *place = kind == HW_BIG_POOL || kind == HW_BIG_HELD ? hw_big_hold(region) : NULL;
    if (kind == HW_TRAPPED_BLOCKS)
        hw_trap_release(pointer, context);
    else if (kind == HW_HUGE || kind == HW_HUGE_HELD)
        hw_huge_release(region, pointer, context);
    else if (place)
        hw_big_release(place, pointer, context->family, context, hw_site_here);
    else if (region && hw_big_is_held(region))
        hw_release_not();
    else
        hw_release_nowhere(pointer, context);
}
