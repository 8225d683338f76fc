#define _GNU_SOURCE
#include "heap/big.h"

#include "arena/standstill.h"
#include "heap/graves.h"
#include "heap/huge.h"

#include <string.h>

/* SPARE: bytes of address space behind a pool, which an overflow reaches before the guard, and where the block may
 * grow. */
enum { SPARE = 1 << 20, FIRST_THRESHOLD = 512 << 10, MOST_THRESHOLD = 32 << 20, ROOM = 4096, HOLD_MS = 20000 };

_Atomic size_t hw_big_threshold = FIRST_THRESHOLD;
/* The places of big blocks, by region; a chunk when it is needed first. */
enum { CHUNK = 256 };
static _Atomic(hw_place *) chunks[HW_REGIONS / CHUNK];
static _Atomic uint32_t blocks;

static hw_place *place_of(uint32_t region)
{
    return &atomic_load_explicit(&chunks[region / CHUNK], memory_order_acquire)[region % CHUNK];
}

hw_place *hw_big_place(uint32_t region)
{
    _Atomic(hw_place *) *chunk = &chunks[region / CHUNK];
    if (atomic_load_explicit(chunk, memory_order_acquire))
        return place_of(region);
    hw_place *fresh = hw_map(CHUNK * sizeof *fresh), *none = NULL;
    if (!fresh)
        return NULL;
    if (!atomic_compare_exchange_strong(chunk, &none, fresh))
        hw_unmap(fresh, CHUNK * sizeof *fresh);
    return place_of(region);
}

static size_t pool_bytes(size_t bytes, size_t align)
{
    return hw_round_up(
        HW_CONTROL + HW_END + HW_OVERHEAD + bytes + (align > 16 ? align + 2 * HW_MIN_NODE : 0) + ROOM / 2, hw_page());
}

static void *allocate(size_t bytes, size_t align, unsigned origin, uint32_t site)
{
    size_t pool = pool_bytes(bytes, align);
    hw_space space;
    if (!hw_space_take_fixed(&space, pool, SPARE))
        return NULL;
    uint32_t region = hw_region_claim();
    hw_place *place = region ? hw_big_place(region) : NULL;
    if (!place) {
        if (region)
            hw_region_free(region);
        hw_space_give(&space);
        return NULL;
    }
    uint32_t secret[4];
    hw_random(secret, sizeof secret);
    *place = (hw_place){.pool = (hw_pool *)(void *)space.start, .bytes = pool, .space = space, .region = region};
    hw_fault fault;
    if (hw_pool_init(place->pool, pool, HW_FIXED_GRANULE_LOG2, secret))
        place->block = hw_allocate(place->pool, bytes, align, origin, site, &fault);
    if (!place->block || !hw_map_units(place->pool, pool, region)) {
        hw_map_units(place->pool, pool, 0);
        hw_space_give(&space);
        hw_region_free(region);
        return NULL;
    }
    hw_place_note(place);
    hw_region_publish(region, place->pool, pool, HW_BIG_POOL, 0);
    atomic_fetch_add(&blocks, 1);
    return hw_payload(place->pool, place->block);
}

void *hw_big_allocate(size_t bytes, size_t align, unsigned origin, uint32_t site)
{
    if (bytes > HW_MOST_IN_POOL)
        return hw_huge_allocate(bytes, align, origin, site);
    if (align > ((size_t)1 << 30))
        return NULL;
    hw_change_begin();
    void *payload = allocate(bytes, align, origin, site);
    hw_change_end();
    return payload;
}

static hw_place *hold(uint32_t region, uint32_t free, uint32_t held)
{
    hw_region *r = hw_region_at(region);
    uint64_t since = 0;
    for (unsigned turn = 0;; turn++) {
        uint32_t kind = free;
        if (atomic_compare_exchange_strong(&r->kind, &kind, held)) {
            hw_visits_up();
            return hw_me.held = place_of(region);
        }
        if (kind != held || hw_me.held == place_of(region)) /* by the operation that this handler interrupted */
            return NULL;
        since = since ? since : hw_milliseconds();
        hw_sleep(turn < 50 ? 0 : 1);
        if (hw_milliseconds() - since > hw_patience(HOLD_MS))
            return NULL;
    }
}

bool hw_big_is_held(uint32_t region)
{
    uint32_t kind = atomic_load(&hw_region_at(region)->kind);
    return kind == HW_BIG_HELD || kind == HW_HUGE_HELD;
}

hw_place *hw_big_hold(uint32_t region)
{
    return hold(region, HW_BIG_POOL, HW_BIG_HELD);
}

hw_place *hw_huge_hold(uint32_t region)
{
    return hold(region, HW_HUGE, HW_HUGE_HELD);
}

void hw_big_let_go(const hw_place *place)
{
    _Atomic uint32_t *kind = &hw_region_at(place->region)->kind;
    hw_me.held = NULL;
    atomic_store_explicit(kind, *kind == HW_HUGE_HELD ? HW_HUGE : HW_BIG_POOL, memory_order_release);
    hw_visits_down();
}

void hw_big_release(hw_place *place, void *pointer, unsigned family, const hw_context *context,
                    uint32_t (*site_of)(uint32_t prior, const hw_context *context))
{
    hw_inspect(NULL, place, context);
    if (place->lost) { /* kept as it is, for good */
        hw_big_let_go(place);
        return;
    }
    hw_header h;
    if (pointer != (void *)hw_payload(place->pool, place->block) || !hw_header_at(place->pool, place->block, &h)) {
        uint32_t node = hw_locate(place->pool, (uintptr_t)pointer - (uintptr_t)place->pool);
        hw_header at;
        if (!node || !hw_header_at(place->pool, node, &at) || at.meta >> 8 != HW_SITE_QUARANTINE)
            hw_tell_wrong_release(context, place, HW_INVALID, node, NULL);
        hw_big_let_go(place);
        return;
    }
    if (hw_is_mismatch(h.meta, family))
        hw_tell_wrong_release(context, place, HW_MISMATCH, place->block, NULL);
    size_t size = hw_payload_bytes(place->pool, h.size) - hw_slack_of(h.meta);
    hw_released gone = {(uint64_t)(uintptr_t)pointer, size, site_of(h.meta >> 8, context), h.meta >> 6 & 3};
    hw_remember_released(&gone);
    size_t threshold = atomic_load(&hw_big_threshold);
    if (size >= threshold && size <= MOST_THRESHOLD && !hw_set.poison)
        atomic_store(&hw_big_threshold, size + 1);
    hw_change_begin();
    hw_map_units(place->pool, place->bytes, 0);
    hw_space space = place->space; /* the place is another's as soon as its region is free */
    hw_me.held = NULL;
    hw_region_free(place->region);
    if (hw_set.poison)
        hw_make_grave(&space, &gone);
    else
        hw_space_give(&space);
    atomic_fetch_sub(&blocks, 1);
    hw_change_end();
    hw_visits_down();
}

void hw_big_drop(uint32_t region, uint32_t node)
{
    uint32_t kind = HW_BIG_POOL;
    hw_region *r = hw_region_at(region);
    if (!atomic_compare_exchange_strong(&r->kind, &kind, HW_BIG_HELD))
        return;
    hw_place *place = place_of(region);
    if (place->block != node || memcmp(place->pool, place->fixed, HW_FIXED) != 0 ||
        !hw_sound(place->pool, place->bytes, HW_FIXED_GRANULE_LOG2)) {
        atomic_store(&r->kind, HW_BIG_POOL);
        return;
    }
    hw_change_begin();
    hw_map_units(place->pool, place->bytes, 0);
    hw_space space = place->space; /* the place is another's as soon as its region is free */
    hw_region_free(region);
    hw_space_give(&space);
    atomic_fetch_sub(&blocks, 1);
    hw_change_end();
}

/* The pages of a pool are moved to where one of so many bytes has room. Pools hold offsets only. What has grown will
   grow again, so then there is more to spare. */
static bool move(hw_place *place, size_t pool, const hw_released *gone)
{
    hw_space to, from = place->space;
    bool left = false;
    if (!hw_space_reserve(&to, pool, SPARE + hw_round_up(pool / 8, hw_page())))
        return false;
    if (!hw_map_units(to.start, pool, place->region) || !hw_space_move(&from, &to, gone ? &left : NULL)) {
        hw_map_units(to.start, pool, 0);
        hw_space_give(&to);
        return false;
    }
    hw_map_units(from.start, place->bytes, 0);
    place->pool = (hw_pool *)(void *)to.start;
    place->space = to;
    atomic_store(&hw_region_at(place->region)->base, (uint64_t)(uintptr_t)to.start);
    if (gone)
        hw_remember_released(gone);
    if (left)
        hw_make_grave(&from, gone);
    return true;
}

/* Room for a pool of so many bytes: where it is, or elsewhere. */
static bool stretch(hw_place *place, size_t pool)
{
    const hw_space from = place->space;
    if (pool + SPARE <= from.bytes || (pool <= from.bytes && hw_space_is_limited()))
        return hw_map_units(place->pool, pool, place->region);
    return move(place, pool, NULL);
}

/* Whether the block has `bytes` now; it may lie elsewhere then. */
static bool resize(hw_place *place, size_t bytes, uint32_t site, const hw_released *gone)
{
    hw_fault fault;
    size_t least = pool_bytes(bytes, 16), pool = least > place->bytes ? least : place->bytes;
    bool moved = gone && hw_verify(place->pool, place->block, &fault) == HW_OK && move(place, pool, gone);
    int status = hw_resize(place->pool, place->block, bytes, site, &fault);
    if (status == HW_OK)
        return true;
    if (status == HW_NOMEM && pool > place->bytes && hw_verify(place->pool, place->block, &fault) == HW_OK &&
        stretch(place, pool)) {
        moved = true;
        if (hw_pool_extend(place->pool, pool, &fault) == HW_OK) {
            hw_place_note(place);
            if (hw_resize(place->pool, place->block, bytes, site, &fault) == HW_OK)
                return true;
        }
    }
    if (!moved)
        return false;
    /* All was verified just now: it was written to at this very moment. The block has moved, and there is memory
       for it, but its pool knows nothing of that. */
    place->lost = true;
    place->bytes = pool;
    hw_region_resize(place->region, pool);
    return true;
}

void *hw_big_resize(hw_place *place, void *pointer, size_t bytes, uint32_t site, const hw_released *gone)
{
    void *result = NULL;
    if (!place->lost && pointer == (void *)hw_payload(place->pool, place->block) && bytes <= HW_MOST_IN_POOL) {
        hw_change_begin();
        if (resize(place, bytes, site, gone)) {
            result = hw_payload(place->pool, place->block);
            if (!place->lost)
                hw_place_trim(place, 1 << 20);
        }
        hw_change_end();
    }
    hw_big_let_go(place);
    return result;
}

void hw_big_after_fork(bool torn)
{
    uint32_t used = (uint32_t)atomic_load(&hw_this_process.regions_used);
    for (uint32_t region = 1; region < used; region++) {
        uint32_t kind = HW_HUGE_HELD;
        atomic_compare_exchange_strong(&hw_region_at(region)->kind, &kind, HW_HUGE);
        kind = HW_BIG_HELD;
        bool big =
            atomic_compare_exchange_strong(&hw_region_at(region)->kind, &kind, HW_BIG_POOL) || kind == HW_BIG_POOL;
        if (big && torn)
            place_of(region)->lost = true;
    }
    hw_graves_after_fork();
}

uint32_t hw_big_count(void)
{
    return atomic_load(&blocks);
}
