#define _GNU_SOURCE
#include "huge.h"

#include "big.h"
#include "fork.h"

static bool claim(uint32_t region)
{
    uint32_t kind = HW_HUGE;
    return atomic_compare_exchange_strong(&hw_region_at(region)->kind, &kind, HW_CLAIMED);
}

static bool begins_at(uint32_t region, const void *pointer)
{
    return atomic_load(&hw_region_at(region)->base) == (uint64_t)(uintptr_t)pointer;
}

static void *allocate(size_t bytes, size_t align)
{
    size_t room = hw_round_up(bytes + (align > HW_UNIT ? align : 0), HW_PAGE);
    hw_space space;
    uint32_t region = hw_region_claim();
    if (!region)
        return NULL;
    hw_place *place = hw_big_place(region);
    if (place && hw_space_take_fixed(&space, room, 0)) {
        if (hw_map_units(space.start, room, region)) {
            void *payload = (void *)hw_round_up((uintptr_t)space.start, align > 16 ? align : 16);
            *place = (hw_place){.space = space, .region = region};
            hw_region_publish(region, payload, bytes, HW_HUGE, 0);
            return payload;
        }
        hw_map_units(space.start, room, 0);
        hw_space_give(&space);
    }
    hw_region_free(region);
    return NULL;
}

void *hw_huge_allocate(size_t bytes, size_t align)
{
    hw_change_begin();
    void *payload = allocate(bytes, align);
    hw_change_end();
    return payload;
}

void hw_huge_release(uint32_t region, void *pointer, uint32_t site, const hw_context *context)
{
    if (!begins_at(region, pointer) || !claim(region)) {
        hw_tell_wrong_release(context, NULL, HW_INVALID, 0, NULL);
        return;
    }
    hw_released gone = {(uint64_t)(uintptr_t)pointer, atomic_load(&hw_region_at(region)->bytes), site, HW_MALLOC};
    hw_remember_released(&gone);
    hw_change_begin();
    hw_space space = hw_big_place(region)->space;
    hw_map_units(space.start, space.bytes, 0);
    hw_region_free(region);
    hw_space_give(&space);
    hw_change_end();
}

/* Whether there is room for `bytes` now; the block may begin elsewhere then. */
static bool stretch(hw_region *region, hw_place *place, size_t bytes)
{
    uintptr_t payload = (uintptr_t)atomic_load(&region->base);
    size_t lead = payload - (uintptr_t)place->space.start, room = hw_round_up(lead + bytes, HW_PAGE);
    hw_space to, from = place->space;
    if (room <= from.bytes)
        return true;
    if (!hw_space_reserve(&to, room, 0))
        return false;
    if (!hw_map_units(to.start, room, place->region) || !hw_space_move(&from, &to, NULL)) {
        hw_map_units(to.start, room, 0);
        hw_space_give(&to);
        return false;
    }
    hw_map_units(from.start, from.bytes, 0);
    place->space = to;
    atomic_store(&region->base, (uint64_t)((uintptr_t)to.start + lead));
    return true;
}

void *hw_huge_resize(uint32_t number, void *pointer, size_t bytes, size_t *size, const hw_context *context)
{
    hw_region *region = hw_region_at(number);
    *size = 0;
    if (!begins_at(number, pointer) || !claim(number)) {
        hw_tell_wrong_release(context, NULL, HW_INVALID, 0, NULL);
        return NULL;
    }
    void *result = NULL;
    *size = (size_t)atomic_load(&region->bytes);
    hw_change_begin();
    if (bytes > HW_MOST_IN_POOL && stretch(region, hw_big_place(number), bytes)) {
        atomic_store(&region->bytes, bytes);
        result = (void *)(uintptr_t)atomic_load(&region->base);
    }
    atomic_store_explicit(&region->kind, HW_HUGE, memory_order_release);
    hw_change_end();
    return result;
}

size_t hw_huge_size(uint32_t region, const void *pointer)
{
    return begins_at(region, pointer) ? (size_t)atomic_load(&hw_region_at(region)->bytes) : 0;
}
