#define _GNU_SOURCE
#include "heap.h"

#include "big.h"
#include "cache.h"
#include "damage.h"
#include "heap_fast.h"

#include <errno.h>
#include <string.h>

enum { ATTEMPTS = 4 };
#define LARGEST ((size_t)1 << 46)

static void *allocate_slowly(hw_arena *arena, size_t bytes, size_t align, unsigned origin, uint32_t site,
                             const hw_context *context);
static void *allocate_elsewhere(size_t bytes, size_t align, unsigned origin, const hw_caller *caller);
static void *allocate_as_guest(size_t bytes, size_t align, unsigned origin, uint32_t site, const hw_context *context);
static void release_inside(hw_arena *arena, hw_place *place, void *pointer, const hw_context *context);
static void release_elsewhere(void *pointer, const hw_context *context);

static void check_now_and_then(const hw_arena *arena, const hw_caller *caller)
{
    if (arena && hw_set.check_every && arena->operations % hw_set.check_every == 0)
        hw_heap_check(HW_AT_CHECK, *caller);
}

void *hw_heap_allocate(size_t bytes, size_t align, unsigned origin, hw_caller caller)
{
    hw_arena *arena = hw_me.arena;
    if (!arena || hw_is_engaged() || bytes >= atomic_load_explicit(&hw_big_threshold, memory_order_relaxed))
        return allocate_elsewhere(bytes, align, origin, &caller);
    hw_context context = {.when = HW_AT_MALLOC, .caller = caller};
    uint32_t site = hw_site_of(&arena->sites, &caller, 0);
    hw_enter(arena);
    void *payload = allocate_slowly(arena, bytes, align, origin, site, &context);
    hw_leave(arena);
    if (HW_UNLIKELY(!payload))
        payload = allocate_as_guest(bytes, align, origin, site, &context);
    check_now_and_then(arena, &caller);
    return payload;
}

void hw_heap_release(void *pointer, unsigned family, hw_caller caller)
{
    hw_arena *arena = hw_me.arena;
    hw_context context = {.when = HW_AT_FREE, .caller = caller, .pointer = pointer, .family = family};
    if (!arena || hw_is_engaged() || !hw_place_holds(arena->first, pointer)) {
        release_elsewhere(pointer, &context);
    } else {
        hw_enter(arena);
        release_inside(arena, arena->first, pointer, &context);
        hw_leave(arena);
    }
    check_now_and_then(arena, &caller);
}

void *hw_heap_allocated(void *payload, size_t bytes, unsigned origin, hw_caller caller)
{
    if (!payload)
        return hw_heap_allocate(bytes, 0, origin, caller);
    hw_leave_slowly(hw_me.arena);
    return payload;
}

void hw_heap_released(void *pointer, unsigned family, hw_caller caller)
{
    if (pointer)
        hw_heap_release(pointer, family, caller);
    else
        hw_leave_slowly(hw_me.arena);
}

/* --- releasing, by who is inside ---------------------------------------------------------------- */

/* The site of the operation, by the calling thread's own cache, whoever's arena it is inside of. */
static inline uint32_t site_by_context(uint32_t prior, const hw_context *context)
{
    hw_arena *mine = hw_me.arena;
    return mine ? hw_site_of(&mine->sites, &context->caller, prior) : 0;
}

/* The node whose payload starts at the pointer, 0 when it cannot be one. */
static inline uint32_t node_at(const hw_place *place, const void *pointer)
{
    uintptr_t offset = (uintptr_t)pointer - (uintptr_t)place->pool;
    if ((offset & 15) || offset < HW_CONTROL + HW_OVERHEAD || offset >= place->bytes - HW_END + HW_OVERHEAD)
        return 0;
    return (uint32_t)((offset - HW_OVERHEAD) >> HW_FIXED_GRANULE_LOG2);
}

/* Whether another thread released the node, and it is on its place's pending list. */
static bool waits(const hw_pool *pool, uint32_t node)
{
    return hw_links_at(pool, node)->parent == HW_PENDING_PARENT && hw_links_hold(pool, node);
}

static void drain(hw_arena *arena, hw_place *place, const hw_context *context);
static bool hold_back(hw_arena *arena, hw_place *place, uint32_t node, uint32_t site, const hw_context *context);

/* Give back a node that is verified to be a used one: to the cache, or to the index. */
static void give_back(hw_arena *arena, hw_place *place, uint32_t node, uint32_t site, const hw_context *context)
{
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        hw_header h = *hw_own(place->pool, node);
        uint32_t class = hw_class_of_node(h.size);
        hw_fault fault;
        if (HW_UNLIKELY(hw_set.poison) && hold_back(arena, place, node, site, context))
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

/* The pointer is no used node's payload. Damage may be why: look at all of the pool first. */
static HW_COLD void release_oddly(hw_arena *arena, hw_place *place, void *pointer, const hw_context *context,
                                  bool again)
{
    hw_header h;
    if (place->lost)
        return;
    hw_inspect(arena, place, context);
    uint32_t node = node_at(place, pointer);
    if (again && node && hw_header_at(place->pool, node, &h) && hw_state_of(h.meta) == HW_USED) {
        release_inside(arena, place, pointer, context);
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

static void release_inside(hw_arena *arena, hw_place *place, void *pointer, const hw_context *context)
{
    hw_pool *pool = place->pool;
    uint32_t node = node_at(place, pointer);
    for (int attempt = 0;; attempt++) {
        const hw_header *h = hw_own(pool, node);
        if (HW_UNLIKELY(!node || place->lost || !hw_holds(pool, node, h) || hw_state_of(h->meta) != HW_USED)) {
            release_oddly(arena, place, pointer, context, attempt == 0);
            return;
        }
        if (HW_LIKELY(!waits(pool, node)) || attempt == ATTEMPTS)
            break;
        drain(arena, place, context);
    }
    uint32_t meta = hw_own(pool, node)->meta;
    if (hw_quarantined(meta))
        return;
    if (HW_UNLIKELY(!hw_family_matches(meta, context->family)))
        hw_tell_wrong_release(context, place, HW_MISMATCH, node, NULL);
    give_back(arena, place, node, site_by_context(meta >> 8, context), context);
}

/* --poison: hold released nodes back, so that a write into one is seen; the oldest make room. */
static bool hold_back(hw_arena *arena, hw_place *place, uint32_t node, uint32_t site, const hw_context *context)
{
    enum { BYTES = 32 << 20 };
    size_t size = (size_t)hw_own(place->pool, node)->size << HW_FIXED_GRANULE_LOG2;
    hw_fault fault;
    if (size > BYTES / 4 || hw_cache(place->pool, node, site, true, &fault) != HW_OK)
        return false;
    while (arena->delayed.count == HW_DELAYED || (arena->delayed.count && arena->delayed.bytes + size > BYTES)) {
        uint32_t slot = arena->delayed.head++ % HW_DELAYED, old = arena->delayed.node[slot];
        hw_place *where = &arena->place[arena->delayed.place[slot]];
        arena->delayed.count--;
        if (!old) /* lost meanwhile */
            continue;
        if (hw_verify(where->pool, old, &fault) != HW_OK &&
            (!hw_mend(arena, where, context) || hw_verify(where->pool, old, &fault) != HW_OK))
            continue;
        arena->delayed.bytes -= (size_t)hw_own(where->pool, old)->size << HW_FIXED_GRANULE_LOG2;
        hw_release(where->pool, old, hw_own(where->pool, old)->meta >> 8, &fault);
    }
    uint32_t slot = (arena->delayed.head + arena->delayed.count++) % HW_DELAYED;
    arena->delayed.node[slot] = node;
    arena->delayed.place[slot] = (uint8_t)(place - arena->place);
    arena->delayed.bytes += size;
    return true;
}

/* --- releasing what another thread's arena holds ------------------------------------------------ */

/* Take in what other threads released. The list is followed by verified links only; a broken one is
   told as a write after free, and what was behind it stays a used block for good. */
static void drain(hw_arena *arena, hw_place *place, const hw_context *context)
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

static void drain_all(hw_arena *arena, const hw_context *context)
{
    for (uint32_t i = 0; i < arena->places; i++)
        if (atomic_load_explicit(&arena->place[i].pending, memory_order_relaxed))
            drain(arena, &arena->place[i], context);
}

/* A copy of a header that its owner may be writing: a torn one fails its check. */
__attribute__((no_sanitize("thread"))) static bool peek(const hw_pool *pool, uint32_t node, hw_header *h)
{
    *h = *hw_own(pool, node);
    return hw_holds(pool, node, h);
}

static void push_pending(hw_place *place, uint32_t node, uint32_t site)
{
    hw_links *l = hw_links_at(place->pool, node);
    uint32_t head = atomic_load_explicit(&place->pending, memory_order_relaxed);
    do {
        *l = (hw_links){.left = head, .right = site, .parent = HW_PENDING_PARENT};
        l->check = hw_link_check(place->pool, node, l);
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

static void release_abroad(hw_arena *arena, hw_place *place, void *pointer, const hw_context *context)
{
    uint32_t node = node_at(place, pointer);
    hw_header h;
    if (place->lost)
        return;
    if (node && peek(place->pool, node, &h) && hw_state_of(h.meta) == HW_USED && !hw_quarantined(h.meta) &&
        hw_family_matches(h.meta, context->family) && hw_payload_fault(place->pool, node, &h) == HW_NONE &&
        !waits(place->pool, node)) {
        push_pending(place, node, site_by_context(h.meta >> 8, context));
        if (atomic_load_explicit(&arena->owner, memory_order_relaxed) != 0)
            return;
        if (!hw_is_engaged() && hw_seize(arena, 1)) { /* nobody else would */
            drain(arena, place, context);
            hw_yield(arena);
        }
        return;
    }
    /* Anything odd is judged by who has the arena alone. */
    if (hw_is_engaged() || !hw_seize(arena, 0))
        return;
    release_inside(arena, place, pointer, context);
    hw_yield(arena);
}

static HW_COLD void release_nowhere(void *pointer, const hw_context *context)
{
    hw_released released;
    if (hw_recall_released(pointer, &released))
        hw_tell_wrong_release(context, NULL, HW_DOUBLE, 0, &released);
    else
        hw_tell_wrong_release(context, NULL, HW_INVALID, 0, NULL);
}

static void release_elsewhere(void *pointer, const hw_context *context)
{
    hw_arena *mine = hw_is_engaged() ? hw_me.arena : hw_arena_own();
    uint32_t region = hw_region_of(pointer);
    uint32_t kind = region ? atomic_load_explicit(&hw_region_at(region)->kind, memory_order_acquire) : HW_UNUSED;
    if (kind == HW_ARENA_POOL) {
        hw_arena *arena = hw_arena_numbered(atomic_load(&hw_region_at(region)->arena));
        hw_place *place = hw_place_of(arena, pointer);
        if (!place) {
            release_nowhere(pointer, context);
        } else if (arena == mine && !hw_is_engaged()) {
            hw_enter(arena);
            release_inside(arena, place, pointer, context);
            hw_leave(arena);
        } else {
            release_abroad(arena, place, pointer, context);
        }
        return;
    }
    hw_place *place = kind == HW_BIG_POOL || kind == HW_BIG_HELD ? hw_big_hold(region) : NULL;
    if (place)
        hw_big_release(place, pointer, context->family, context, site_by_context);
    else
        release_nowhere(pointer, context);
}

/* --- allocating, the other ways ----------------------------------------------------------------- */

static void *allocate_slowly(hw_arena *arena, size_t bytes, size_t align, unsigned origin, uint32_t site,
                             const hw_context *context)
{
    hw_fault fault;
    size_t class = align <= 16 && arena->places ? hw_class_of(bytes) : HW_CLASSES;
    drain_all(arena, context);
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        hw_place *damaged = NULL, *last = NULL;
        fault = (hw_fault){0};
        void *small = class < HW_CLASSES ? hw_take_cached(arena, bytes, origin, site) : NULL;
        if (small)
            return small;
        if (class < HW_CLASSES && arena->classes[class].count) { /* what lies on top is damaged */
            hw_mend(arena, arena->first, context);
            continue;
        }
        if (class < HW_CLASSES && (small = hw_cut_new(arena, bytes, origin, site, &fault)))
            return small;
        damaged = fault.reason ? arena->first : NULL;
        for (uint32_t i = 0; i < arena->places && !damaged; i++) {
            hw_place *place = &arena->place[i];
            if (place->lost)
                continue;
            uint32_t node = hw_allocate(place->pool, bytes, align, origin, site, &fault);
            if (node)
                return hw_payload(place->pool, node);
            damaged = fault.reason ? place : NULL;
            last = place;
        }
        size_t room = bytes + align + HW_OVERHEAD + 4 * HW_MIN_NODE;
        if (!damaged && last && hw_sweep_before_growing(arena, context))
            continue;
        if (!damaged && last) {
            switch (hw_place_extend(last, room, &fault)) {
            case HW_OK:
                attempt -= attempt > 0;
                continue;
            case HW_DAMAGED:
                damaged = last;
                break;
            default:
                break;
            }
        }
        if (damaged)
            hw_mend(arena, damaged, context);
        else if (!hw_place_add(arena, room))
            return NULL;
    }
    return NULL;
}

/* Without memory for an arena or a pool of one's own: where another arena has some. */
static HW_COLD void *allocate_as_guest(size_t bytes, size_t align, unsigned origin, uint32_t site,
                                       const hw_context *context)
{
    static const unsigned patience[] = {1, 1000}; /* ms */
    void *payload = NULL;
    for (unsigned turn = 0; turn < 2; turn++)
        for (hw_arena *host = hw_arena_first(); host && !payload; host = host->next) {
            if (host == hw_me.arena || !hw_seize(host, patience[turn]))
                continue;
            payload = allocate_slowly(host, bytes, align, origin, site, context);
            hw_yield(host);
        }
    return payload;
}

static HW_COLD void *allocate_elsewhere(size_t bytes, size_t align, unsigned origin, const hw_caller *caller)
{
    if (bytes > LARGEST)
        return NULL;
    hw_arena *arena = hw_is_engaged() ? NULL : hw_arena_own();
    size_t threshold = atomic_load_explicit(&hw_big_threshold, memory_order_relaxed);
    if (arena && bytes < threshold)
        return hw_heap_allocate(bytes, align, origin, *caller);
    uint32_t site = arena ? hw_site_of(&arena->sites, caller, 0) : 0;
    hw_context context = {.when = HW_AT_MALLOC, .caller = *caller};
    void *payload = NULL;
    if (!arena && !hw_is_engaged() && bytes < threshold)
        payload = allocate_as_guest(bytes, align, origin, site, &context);
    if (!payload)
        payload = hw_big_allocate(bytes, align, origin, site);
    if (payload && arena)
        arena->operations++;
    if (payload || !arena)
        return payload;
    /* Too many big blocks, or no address space for one of its own. */
    hw_enter(arena);
    payload = allocate_slowly(arena, bytes, align, origin, site, &context);
    hw_leave(arena);
    return payload;
}

bool hw_heap_is_fresh(const void *pointer)
{
    uint32_t region = hw_region_of(pointer);
    return region && atomic_load(&hw_region_at(region)->kind) == HW_BIG_POOL;
}

/* --- resizing ----------------------------------------------------------------------------------- */

/* What can be read of a block: all that was requested, or up to the end of what it lies in. */
static size_t extent(const hw_place *place, const void *pointer)
{
    hw_header h;
    uint32_t node = node_at(place, pointer);
    if (node && !place->lost && peek(place->pool, node, &h) && hw_state_of(h.meta) == HW_USED &&
        !hw_quarantined(h.meta))
        return hw_payload_bytes(place->pool, h.size) - hw_slack_of(h.meta);
    return 0;
}

/* For a block in a quarantined stretch: all up to that one's end. By who is inside. */
static size_t extent_of_lost(const hw_place *place, const void *pointer)
{
    size_t offset = (uintptr_t)pointer - (uintptr_t)place->pool;
    if (place->lost)
        return place->bytes - offset;
    uint32_t holder = hw_locate(place->pool, offset);
    hw_header h;
    if (!holder || !hw_header_at(place->pool, holder, &h) || !hw_quarantined(h.meta))
        return 0;
    return ((size_t)(holder + h.size) << HW_FIXED_GRANULE_LOG2) - offset;
}

/* In place, by who is inside. *size: the block's size, 0 when the pointer is no block (then a wrong
   release was told). */
static void *resize_inside(hw_arena *arena, hw_place *place, void *pointer, size_t bytes, uint32_t site,
                           const hw_context *context, size_t *size, unsigned *family)
{
    uint32_t node = node_at(place, pointer);
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        *size = extent(place, pointer);
        if (*size && waits(place->pool, node)) {
            drain(arena, place, context);
            *size = extent(place, pointer);
        }
        if (!*size) {
            hw_inspect(arena, place, context);
            *size = extent(place, pointer);
        }
        if (!*size) {
            *size = extent_of_lost(place, pointer);
            if (!*size)
                release_oddly(arena, place, pointer, context, false);
            return NULL;
        }
        uint32_t meta = hw_own(place->pool, node)->meta;
        if (!hw_family_matches(meta, HW_MALLOC)) {
            hw_tell_wrong_release(context, place, HW_MISMATCH, node, NULL);
            *family = meta >> 6 & 3; /* told once: what realloc gives is malloc's */
            return NULL;
        }
        hw_fault fault;
        int status = hw_resize(place->pool, node, bytes, site, &fault);
        if (status != HW_DAMAGED)
            return status == HW_OK ? pointer : NULL;
        hw_mend(arena, place, context);
    }
    return NULL;
}

/* `family` is by which functions the old block is released. */
static void *move(void *pointer, size_t size, size_t bytes, unsigned family, const hw_context *context)
{
    void *fresh = hw_heap_allocate(bytes, 0, HW_MALLOC, context->caller);
    if (fresh) {
        memcpy(fresh, pointer, size < bytes ? size : bytes);
        hw_heap_release(pointer, family, context->caller);
    }
    return fresh;
}

static void *resize_big(hw_place *place, void *pointer, size_t bytes, const hw_context *context)
{
    hw_inspect(NULL, place, context);
    size_t size = pointer == (void *)hw_payload(place->pool, place->block) ? extent(place, pointer) : 0;
    if (!size) {
        hw_tell_wrong_release(context, place, HW_INVALID,
                              hw_locate(place->pool, (uintptr_t)pointer - (uintptr_t)place->pool), NULL);
        hw_big_let_go(place);
        return NULL;
    }
    uint32_t meta = hw_own(place->pool, place->block)->meta;
    bool mismatch = !hw_family_matches(meta, HW_MALLOC);
    if (mismatch)
        hw_tell_wrong_release(context, place, HW_MISMATCH, place->block, NULL);
    size_t threshold = atomic_load_explicit(&hw_big_threshold, memory_order_relaxed);
    if (mismatch || bytes < threshold / 2) {
        hw_big_let_go(place);
        return move(pointer, size, bytes, mismatch ? meta >> 6 & 3 : HW_MALLOC, context);
    }
    void *same = hw_big_resize(place, pointer, bytes, site_by_context(0, context));
    return same ? same : move(pointer, size, bytes, HW_MALLOC, context);
}

void *hw_heap_resize(void *pointer, size_t bytes, hw_caller caller)
{
    hw_context context = {.when = HW_AT_REALLOC, .caller = caller, .pointer = pointer, .family = HW_MALLOC};
    if (bytes > LARGEST)
        return NULL;
    hw_arena *mine = hw_is_engaged() ? NULL : hw_arena_own();
    uint32_t region = hw_region_of(pointer);
    uint32_t kind = region ? atomic_load_explicit(&hw_region_at(region)->kind, memory_order_acquire) : HW_UNUSED;
    if (kind == HW_BIG_POOL || kind == HW_BIG_HELD) {
        hw_place *place = hw_big_hold(region);
        if (place)
            return resize_big(place, pointer, bytes, &context);
        kind = HW_UNUSED;
    }
    hw_arena *arena = kind == HW_ARENA_POOL ? hw_arena_numbered(atomic_load(&hw_region_at(region)->arena)) : NULL;
    hw_place *place = arena ? hw_place_of(arena, pointer) : NULL;
    if (!place) {
        release_nowhere(pointer, &context);
        return NULL;
    }
    size_t size = extent(place, pointer);
    unsigned family = HW_MALLOC;
    void *same = NULL;
    if (arena == mine) {
        uint32_t site = hw_site_of(&arena->sites, &caller, 0);
        hw_enter(arena);
        same = resize_inside(arena, place, pointer, bytes, site, &context, &size, &family);
        hw_leave(arena);
        if (same)
            return same;
    } else if (!size || size >= HW_PAGE) {
        /* Worth a visit: to judge what is odd, or to spare the copy. */
        if (mine && hw_seize(arena, 0)) {
            uint32_t site = site_by_context(0, &context);
            same = resize_inside(arena, place, pointer, bytes, site, &context, &size, &family);
            hw_yield(arena);
            if (same)
                return same;
        }
    }
    return size ? move(pointer, size, bytes, family, &context) : NULL;
}

size_t hw_heap_size(const void *pointer)
{
    uint32_t region = hw_region_of(pointer);
    uint32_t kind = region ? atomic_load_explicit(&hw_region_at(region)->kind, memory_order_acquire) : HW_UNUSED;
    if (kind == HW_BIG_POOL || kind == HW_BIG_HELD) {
        hw_place *place = hw_big_hold(region);
        size_t size = place ? extent(place, pointer) : 0;
        if (place)
            hw_big_let_go(place);
        return size;
    }
    hw_arena *arena = kind == HW_ARENA_POOL ? hw_arena_numbered(atomic_load(&hw_region_at(region)->arena)) : NULL;
    hw_place *place = arena ? hw_place_of(arena, pointer) : NULL;
    return place ? extent(place, pointer) : 0;
}
