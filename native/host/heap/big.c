#define _GNU_SOURCE
#include "heap/big.h"

#include "arena/standstill.h"
#include "heap/graves.h"
#include "heap/huge.h"
#include "stacks/domains.h"

#include <string.h>

/* SPARE: bytes of address space behind a pool, which an overflow reaches before the guard, and where the block may
 * grow. */
enum { SPARE = 1 << 20, FIRST_THRESHOLD = 512 << 10, MOST_THRESHOLD = 32 << 20, ROOM = 4096, HOLD_MS = 20000 };
/* As glibc, which maps them by themselves from there on. */
enum { FIRST_OF_PAGES = 128 << 10 };

_Atomic size_t hw_big_threshold = FIRST_THRESHOLD;
static _Atomic size_t threshold_of_pages = FIRST_OF_PAGES;
/* The descriptors of big blocks, by region; a chunk when it is needed first. */
enum { CHUNK = 256 };
static _Atomic(hw_descriptor *) chunks[HW_REGIONS / CHUNK];
static _Atomic uint32_t blocks;

size_t hw_big_from(size_t align)
{
    size_t any = atomic_load_explicit(&hw_big_threshold, memory_order_relaxed);
    size_t pages = atomic_load_explicit(&threshold_of_pages, memory_order_relaxed);
    return align >= hw_page() && pages < any ? pages : any;
}

/* What is released will be asked for again, and is not to be mapped each time. */
static void lift(_Atomic size_t *threshold, size_t size)
{
    if (size >= atomic_load(threshold) && size <= MOST_THRESHOLD && !hw_setting.poison)
        atomic_store(threshold, size + 1);
}

static hw_descriptor *descriptor_of(uint32_t region)
{
    return &atomic_load_explicit(&chunks[region / CHUNK], memory_order_acquire)[region % CHUNK];
}

hw_descriptor *hw_big_descriptor(uint32_t region)
{
    _Atomic(hw_descriptor *) *chunk = &chunks[region / CHUNK];
    if (atomic_load_explicit(chunk, memory_order_acquire))
        return descriptor_of(region);
    hw_descriptor *fresh = hw_map(CHUNK * sizeof *fresh), *none = NULL;
    if (!fresh)
        return NULL;
    if (!atomic_compare_exchange_strong(chunk, &none, fresh))
        hw_unmap(fresh, CHUNK * sizeof *fresh);
    return descriptor_of(region);
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
    hw_descriptor *descriptor = region ? hw_big_descriptor(region) : NULL;
    if (!descriptor) {
        if (region)
            hw_region_free(region);
        hw_space_give(&space);
        return NULL;
    }
    uint32_t secret[4];
    hw_random(secret, sizeof secret);
    *descriptor =
        (hw_descriptor){.pool = (hw_pool *)(void *)space.start, .bytes = pool, .space = space, .region = region};
    hw_fault fault;
    if (hw_pool_init(descriptor->pool, pool, HW_FIXED_GRANULE_LOG2, secret))
        descriptor->block = hw_allocate(descriptor->pool, bytes, align, origin, site, &fault);
    if (!descriptor->block || !hw_map_units(descriptor->pool, pool, region)) {
        hw_map_units(descriptor->pool, pool, 0);
        hw_space_give(&space);
        hw_region_free(region);
        return NULL;
    }
    hw_descriptor_note(descriptor);
    hw_region_publish(region, descriptor->pool, pool, HW_BIG_POOL, 0);
    atomic_fetch_add(&blocks, 1);
    return hw_payload(descriptor->pool, descriptor->block);
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

static hw_descriptor *hold(uint32_t region, uint32_t free, uint32_t held)
{
    hw_region *r = hw_region_at(region);
    uint64_t since = 0;
    for (unsigned turn = 0;; turn++) {
        uint32_t kind = free;
        if (atomic_compare_exchange_strong(&r->kind, &kind, held)) {
            hw_visits_up();
            return hw_this_thread.held = descriptor_of(region);
        }
        if (kind != held ||
            hw_this_thread.held == descriptor_of(region)) /* by the operation that this handler interrupted */
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
    return kind == HW_BIG_CLAIMED || kind == HW_HUGE_CLAIMED;
}

hw_descriptor *hw_big_claim(uint32_t region)
{
    return hold(region, HW_BIG_POOL, HW_BIG_CLAIMED);
}

hw_descriptor *hw_huge_claim(uint32_t region)
{
    return hold(region, HW_HUGE, HW_HUGE_CLAIMED);
}

void hw_big_unclaim(const hw_descriptor *descriptor)
{
    _Atomic uint32_t *kind = &hw_region_at(descriptor->region)->kind;
    hw_this_thread.held = NULL;
    atomic_store_explicit(kind, *kind == HW_HUGE_CLAIMED ? HW_HUGE : HW_BIG_POOL, memory_order_release);
    hw_visits_down();
}

void hw_big_release(hw_descriptor *descriptor, void *pointer, unsigned family, const hw_context *context,
                    uint32_t (*site_of)(uint32_t prior, const hw_context *context))
{
    hw_inspect(NULL, descriptor, context);
    if (descriptor->lost) { /* kept as it is, for good */
        hw_big_unclaim(descriptor);
        return;
    }
    hw_header h;
    if (pointer != (void *)hw_payload(descriptor->pool, descriptor->block) ||
        !hw_header_at(descriptor->pool, descriptor->block, &h)) {
        uint32_t node = hw_locate(descriptor->pool, (uintptr_t)pointer - (uintptr_t)descriptor->pool);
        hw_header at;
        if (!node || !hw_header_at(descriptor->pool, node, &at) || at.meta >> 8 != HW_SITE_QUARANTINE)
            hw_tell_wrong_release(context, descriptor, HW_INVALID, node, NULL);
        hw_big_unclaim(descriptor);
        return;
    }
    if (hw_is_mismatch(h.meta, family) || hw_domain_differs(h.meta >> 8, &context->caller))
        hw_tell_wrong_release(context, descriptor, HW_MISMATCH, descriptor->block, NULL);
    size_t size = hw_payload_bytes(descriptor->pool, h.size) - hw_slack_of(h.meta);
    hw_released gone = {(uint64_t)(uintptr_t)pointer, size, site_of(h.meta >> 8, context), h.meta >> 6 & 3};
    hw_remember_released(&gone);
    lift(&hw_big_threshold, size);
    lift(&threshold_of_pages, size);
    hw_change_begin();
    hw_map_units(descriptor->pool, descriptor->bytes, 0);
    hw_space space = descriptor->space; /* the descriptor is another's as soon as its region is free */
    hw_this_thread.held = NULL;
    hw_region_free(descriptor->region);
    if (hw_setting.poison)
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
    if (!atomic_compare_exchange_strong(&r->kind, &kind, HW_BIG_CLAIMED))
        return;
    hw_descriptor *descriptor = descriptor_of(region);
    if (descriptor->block != node || memcmp(descriptor->pool, descriptor->fixed, HW_FIXED) != 0 ||
        !hw_sound(descriptor->pool, descriptor->bytes, HW_FIXED_GRANULE_LOG2)) {
        atomic_store(&r->kind, HW_BIG_POOL);
        return;
    }
    hw_change_begin();
    hw_map_units(descriptor->pool, descriptor->bytes, 0);
    hw_space space = descriptor->space; /* the descriptor is another's as soon as its region is free */
    hw_region_free(region);
    hw_space_give(&space);
    atomic_fetch_sub(&blocks, 1);
    hw_change_end();
}

/* The pages of a pool are moved to where one of so many bytes has room. Pools hold offsets only. What has grown will
   grow again, so then there is more to spare. */
static bool move(hw_descriptor *descriptor, size_t pool, const hw_released *gone)
{
    hw_space to, from = descriptor->space;
    bool left = false;
    if (!hw_space_reserve(&to, pool, SPARE + hw_round_up(pool / 8, hw_page())))
        return false;
    if (!hw_map_units(to.start, pool, descriptor->region) || !hw_space_move(&from, &to, gone ? &left : NULL)) {
        hw_map_units(to.start, pool, 0);
        hw_space_give(&to);
        return false;
    }
    hw_map_units(from.start, descriptor->bytes, 0);
    descriptor->pool = (hw_pool *)(void *)to.start;
    descriptor->space = to;
    atomic_store(&hw_region_at(descriptor->region)->base, (uint64_t)(uintptr_t)to.start);
    if (gone)
        hw_remember_released(gone);
    if (left)
        hw_make_grave(&from, gone);
    return true;
}

/* Room for a pool of so many bytes: where it is, or elsewhere. */
static bool stretch(hw_descriptor *descriptor, size_t pool)
{
    const hw_space from = descriptor->space;
    if (pool + SPARE <= from.bytes || (pool <= from.bytes && hw_space_is_limited()))
        return hw_map_units(descriptor->pool, pool, descriptor->region);
    return move(descriptor, pool, NULL);
}

/* Whether the block has `bytes` now; it may lie elsewhere then. */
static bool resize(hw_descriptor *descriptor, size_t bytes, uint32_t site, const hw_released *gone)
{
    hw_fault fault;
    size_t least = pool_bytes(bytes, 16), pool = least > descriptor->bytes ? least : descriptor->bytes;
    bool moved =
        gone && hw_verify(descriptor->pool, descriptor->block, &fault) == HW_OK && move(descriptor, pool, gone);
    int status = hw_resize(descriptor->pool, descriptor->block, bytes, site, &fault);
    if (status == HW_OK)
        return true;
    if (status == HW_NOMEM && pool > descriptor->bytes &&
        hw_verify(descriptor->pool, descriptor->block, &fault) == HW_OK && stretch(descriptor, pool)) {
        moved = true;
        if (hw_pool_extend(descriptor->pool, pool, &fault) == HW_OK) {
            hw_descriptor_note(descriptor);
            if (hw_resize(descriptor->pool, descriptor->block, bytes, site, &fault) == HW_OK)
                return true;
        }
    }
    if (!moved)
        return false;
    /* All was verified just now: it was written to at this very moment. The block has moved, and there is memory
       for it, but its pool knows nothing of that. */
    descriptor->lost = true;
    descriptor->bytes = pool;
    hw_region_resize(descriptor->region, pool);
    return true;
}

void *hw_big_resize(hw_descriptor *descriptor, void *pointer, size_t bytes, uint32_t site, const hw_released *gone)
{
    void *result = NULL;
    if (!descriptor->lost && pointer == (void *)hw_payload(descriptor->pool, descriptor->block) &&
        bytes <= HW_MOST_IN_POOL) {
        hw_change_begin();
        if (resize(descriptor, bytes, site, gone)) {
            result = hw_payload(descriptor->pool, descriptor->block);
            if (!descriptor->lost)
                hw_descriptor_trim(descriptor, 1 << 20);
        }
        hw_change_end();
    }
    hw_big_unclaim(descriptor);
    return result;
}

void hw_big_after_fork(bool torn)
{
    uint32_t used = (uint32_t)atomic_load(&hw_this_process.regions_used);
    for (uint32_t region = 1; region < used; region++) {
        uint32_t kind = HW_HUGE_CLAIMED;
        atomic_compare_exchange_strong(&hw_region_at(region)->kind, &kind, HW_HUGE);
        kind = HW_BIG_CLAIMED;
        bool big =
            atomic_compare_exchange_strong(&hw_region_at(region)->kind, &kind, HW_BIG_POOL) || kind == HW_BIG_POOL;
        if (big && torn)
            descriptor_of(region)->lost = true;
    }
    hw_graves_after_fork();
}

uint32_t hw_big_count(void)
{
    return atomic_load(&blocks);
}
