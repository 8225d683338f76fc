#include "os/process.h"

hw_process hw_this_process = {.magic = 0x52505748, .version = 4, .sites_used = 16};

/* 48 bits of address: a table of leaves, each a table of units of 1 MiB. */
enum { LEAVES = 1 << (48 - HW_UNIT_LOG2 - HW_LEAF_LOG2), LEAF = 1 << HW_LEAF_LOG2, FEWEST = 512 };
typedef _Atomic uint32_t leaf[LEAF];
static _Atomic(leaf *) leaves[LEAVES];

static hw_region *regions(void)
{
    return (hw_region *)(uintptr_t)atomic_load_explicit(&hw_this_process.regions, memory_order_acquire);
}

/* How many there can be: address space for so many is there. */
static _Atomic uint32_t most;

static bool have_regions(void)
{
    if (regions())
        return true;
    size_t limit = hw_space_limit() >> 16, count = limit < HW_REGIONS ? limit + FEWEST : HW_REGIONS;
    void *fresh = hw_map(count * sizeof(hw_region));
    uint64_t none = 0;
    if (!fresh)
        return false;
    atomic_store(&most, (uint32_t)count);
    if (!atomic_compare_exchange_strong(&hw_this_process.regions, &none, (uint64_t)(uintptr_t)fresh))
        hw_unmap(fresh, count * sizeof(hw_region));
    return true;
}

hw_region *hw_region_at(uint32_t region)
{
    return &regions()[region];
}

/* Where the last slot became free: the search starts there. */
static _Atomic uint32_t hint = 1;

uint32_t hw_region_claim(void)
{
    if (!have_regions())
        return 0;
    uint32_t start = atomic_load_explicit(&hint, memory_order_relaxed);
    uint32_t count = atomic_load_explicit(&most, memory_order_relaxed);
    for (uint32_t tried = 0; tried < count; tried++) {
        uint32_t slot = (start + tried) % count, unused = HW_UNUSED;
        if (slot == 0)
            continue;
        hw_region *r = hw_region_at(slot);
        if (atomic_load_explicit(&r->kind, memory_order_relaxed) == HW_UNUSED &&
            atomic_compare_exchange_strong(&r->kind, &unused, HW_CLAIMED)) {
            uint64_t used = atomic_load(&hw_this_process.regions_used);
            while (used <= slot && !atomic_compare_exchange_weak(&hw_this_process.regions_used, &used, slot + 1u))
                ;
            atomic_store_explicit(&hint, slot + 1, memory_order_relaxed);
            return slot;
        }
    }
    return 0;
}

void hw_region_publish(uint32_t region, void *base, size_t bytes, enum hw_region_kind kind, uint32_t arena)
{
    hw_region *r = hw_region_at(region);
    atomic_store_explicit(&r->base, (uint64_t)(uintptr_t)base, memory_order_relaxed);
    atomic_store_explicit(&r->bytes, bytes, memory_order_relaxed);
    atomic_store_explicit(&r->arena, arena, memory_order_relaxed);
    atomic_store_explicit(&r->kind, kind, memory_order_release);
}

void hw_region_describe(uint32_t region, const void *table, const void *handed)
{
    hw_region *r = hw_region_at(region);
    atomic_store_explicit(&r->table, (uint64_t)(uintptr_t)table, memory_order_relaxed);
    atomic_store_explicit(&r->handed, (uint64_t)(uintptr_t)handed, memory_order_release);
}

void hw_region_resize(uint32_t region, size_t bytes)
{
    atomic_store_explicit(&hw_region_at(region)->bytes, bytes, memory_order_release);
}

void hw_region_free(uint32_t region)
{
    atomic_store_explicit(&hw_region_at(region)->kind, HW_UNUSED, memory_order_release);
    atomic_store_explicit(&hint, region, memory_order_relaxed);
}

static leaf *leaf_for(uintptr_t unit)
{
    if (unit >> HW_LEAF_LOG2 >= LEAVES)
        return NULL;
    _Atomic(leaf *) *place = &leaves[unit >> HW_LEAF_LOG2];
    leaf *found = atomic_load_explicit(place, memory_order_acquire);
    if (found)
        return found;
    leaf *fresh = hw_map(sizeof(leaf));
    if (!fresh)
        return NULL;
    if (atomic_compare_exchange_strong(place, &found, fresh))
        return fresh;
    hw_unmap(fresh, sizeof(leaf));
    return found;
}

bool hw_map_units(const void *start, size_t bytes, uint32_t region)
{
    uintptr_t first = (uintptr_t)start >> HW_UNIT_LOG2;
    uintptr_t last = ((uintptr_t)start + bytes - 1) >> HW_UNIT_LOG2;
    for (uintptr_t unit = first; unit <= last; unit++) {
        leaf *l = leaf_for(unit);
        if (!l)
            return false;
        atomic_store_explicit(&(*l)[unit % LEAF], region, memory_order_release);
    }
    return true;
}

uint32_t hw_region_of(const void *address)
{
    uintptr_t unit = (uintptr_t)address >> HW_UNIT_LOG2;
    if (unit >> HW_LEAF_LOG2 >= LEAVES)
        return 0;
    leaf *l = atomic_load_explicit(&leaves[unit >> HW_LEAF_LOG2], memory_order_acquire);
    return l ? atomic_load_explicit(&(*l)[unit % LEAF], memory_order_acquire) : 0;
}

void hw_process_key(void)
{
    hw_run_key key;
    if (hw_this_process.key.meta)
        return;
    hw_random(&key, sizeof key);
    hw_this_process.key = (hw_run_key){key.place | 1, key.meta | 1};
}

static uint32_t process; /* a vfork child sees another id */

void hw_process_note(void)
{
    process = hw_process_id();
}

bool hw_process_is_ours(void)
{
    return process == hw_process_id();
}
