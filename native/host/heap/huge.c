#define _GNU_SOURCE
#include "heap/huge.h"

#include "arena/standstill.h"
#include "heap/big.h"
#include "heap/graves.h"
#include "heap/release.h"

#include <string.h>

static hw_region *region_of(const hw_descriptor *descriptor)
{
    return hw_region_at(descriptor->region);
}
static char *payload_of(const hw_descriptor *descriptor)
{
    return (char *)(uintptr_t)atomic_load(&region_of(descriptor)->base);
}
static size_t size_of(const hw_descriptor *descriptor)
{
    return (size_t)atomic_load(&region_of(descriptor)->bytes);
}

static bool begins_at(uint32_t region, const void *pointer)
{
    return atomic_load(&hw_region_at(region)->base) == (uint64_t)(uintptr_t)pointer;
}

/* --- slack ------------------------------------------------------------------------------------ */

/* As in a pool's node, payload byte q holds byte q modulo 8 of the pattern. */
static unsigned char slack_byte(const hw_descriptor *descriptor, size_t at)
{
    return (unsigned char)(descriptor->pattern >> at % 8 * 8);
}

static void fill_slack(const hw_descriptor *descriptor)
{
    char *payload = payload_of(descriptor);
    size_t size = size_of(descriptor), end = hw_round_up(size, hw_page());
    for (size_t at = size; at < end; at++)
        payload[at] = (char)slack_byte(descriptor, at);
}

static bool slack_is_whole(const hw_descriptor *descriptor)
{
    const unsigned char *payload = (const unsigned char *)payload_of(descriptor);
    size_t size = size_of(descriptor), end = hw_round_up(size, hw_page());
    for (size_t at = size; at < end; at++)
        if (payload[at] != slack_byte(descriptor, at))
            return false;
    return true;
}

static void tell(const hw_descriptor *descriptor, unsigned reason, const hw_context *context)
{
    hw_unpooled block = {(uint64_t)(uintptr_t)payload_of(descriptor),
                         size_of(descriptor),
                         descriptor->site,
                         descriptor->origin,
                         descriptor->pattern,
                         0,
                         hw_page()};
    hw_context with = *context;
    hw_fault fault = {.reason = reason};
    with.unpooled = &block;
    hw_tell_fault(&with, NULL, &fault);
}

static void inspect(const hw_descriptor *descriptor, const hw_context *context)
{
    if (slack_is_whole(descriptor))
        return;
    hw_outcome outcome = {.slacks = 1};
    tell(descriptor, HW_SLACK, context);
    fill_slack(descriptor);
    atomic_fetch_add(&hw_repairs, 1);
    hw_tell_outcome(&outcome);
}

/* --- blocks ----------------------------------------------------------------------------------- */

static void *allocate(size_t bytes, size_t align, unsigned origin, uint32_t site)
{
    size_t room = hw_round_up(bytes, hw_page());
    uint64_t random;
    hw_space space;
    uint32_t region = hw_region_claim();
    if (!region)
        return NULL;
    hw_descriptor *descriptor = hw_big_descriptor(region);
    if (descriptor && hw_space_take_aligned(&space, room, align)) {
        if (hw_map_units(space.start, room, region)) {
            *descriptor = (hw_descriptor){.space = space, .region = region, .site = site, .origin = origin};
            hw_random(&random, sizeof random);
            descriptor->pattern = hw_pattern_of(random);
            atomic_store(&hw_region_at(region)->base, (uint64_t)(uintptr_t)space.start);
            atomic_store(&hw_region_at(region)->bytes, bytes);
            fill_slack(descriptor);
            hw_region_publish(region, space.start, bytes, HW_HUGE, 0);
            return space.start;
        }
        hw_map_units(space.start, room, 0);
        hw_space_give(&space);
    }
    hw_region_free(region);
    return NULL;
}

void *hw_huge_allocate(size_t bytes, size_t align, unsigned origin, uint32_t site)
{
    hw_change_begin();
    void *payload = allocate(bytes, align, origin, site);
    hw_change_end();
    return payload;
}

/* The descriptor of the block that the pointer is, compared when nobody else can release it any more; NULL for none,
   which was told then, or for one that another thread does not let go. */
static hw_descriptor *hold(uint32_t region, const void *pointer, const hw_context *context)
{
    hw_descriptor *descriptor = hw_huge_claim(region);
    if (descriptor && begins_at(region, pointer)) {
        inspect(descriptor, context);
        return descriptor;
    }
    bool held = !descriptor && hw_big_is_held(region);
    if (descriptor)
        hw_big_unclaim(descriptor);
    if (held && context->when == HW_AT_FREE)
        hw_release_not();
    else if (!held)
        hw_release_outside(pointer, context);
    return NULL;
}

static hw_released gone_from(const hw_descriptor *descriptor, const hw_context *context)
{
    return (hw_released){(uint64_t)(uintptr_t)payload_of(descriptor), size_of(descriptor),
                         hw_site_here(descriptor->site, context), descriptor->origin};
}

void hw_huge_release(uint32_t region, void *pointer, const hw_context *context)
{
    hw_descriptor *descriptor = hold(region, pointer, context);
    if (!descriptor)
        return;
    hw_released gone = gone_from(descriptor, context);
    hw_remember_released(&gone);
    hw_change_begin();
    hw_space space = descriptor->space; /* the descriptor is another's as soon as its region is free */
    hw_map_units(space.start, space.bytes, 0);
    hw_this_thread.held = NULL;
    hw_region_free(region);
    if (hw_setting.poison)
        hw_make_grave(&space, &gone);
    else
        hw_space_give(&space);
    hw_change_end();
    hw_visits_down();
}

/* The pages are moved to where there is room for so many. With `gone` the block's old address becomes its grave. */
static bool move(hw_descriptor *descriptor, size_t room, const hw_released *gone)
{
    hw_space to, from = descriptor->space;
    bool left = false;
    if (!hw_space_reserve(&to, room, 0))
        return false;
    if (!hw_map_units(to.start, room, descriptor->region) || !hw_space_move(&from, &to, gone ? &left : NULL)) {
        hw_map_units(to.start, room, 0);
        hw_space_give(&to);
        return false;
    }
    hw_map_units(from.start, from.bytes, 0);
    descriptor->space = to;
    atomic_store(&region_of(descriptor)->base, (uint64_t)(uintptr_t)to.start);
    if (gone)
        hw_remember_released(gone);
    if (left)
        hw_make_grave(&from, gone);
    return true;
}

/* Whether there is room for `bytes` now; the block may begin elsewhere then. */
static bool stretch(hw_descriptor *descriptor, size_t bytes, const hw_released *gone)
{
    size_t room = hw_round_up(bytes, hw_page());
    if ((gone && move(descriptor, room, gone)) || room == descriptor->space.bytes)
        return true;
    if (room > descriptor->space.bytes)
        return move(descriptor, room, NULL);
    hw_space_shrink(&descriptor->space, room);
    return true;
}

void *hw_huge_resize(uint32_t region, void *pointer, size_t bytes, size_t *size, const hw_context *context)
{
    hw_descriptor *descriptor = hold(region, pointer, context);
    void *result = NULL;
    *size = descriptor ? size_of(descriptor) : 0;
    if (!descriptor)
        return NULL;
    bool moves = hw_setting.poison && bytes != *size;
    hw_released gone = moves ? gone_from(descriptor, context) : (hw_released){0};
    hw_change_begin();
    if (bytes > HW_MOST_IN_POOL && stretch(descriptor, bytes, moves ? &gone : NULL)) {
        hw_region_resize(region, bytes);
        descriptor->site = hw_site_here(0, context);
        descriptor->origin = HW_MALLOC;
        fill_slack(descriptor);
        result = payload_of(descriptor);
    }
    hw_change_end();
    hw_big_unclaim(descriptor);
    return result;
}

size_t hw_huge_size(uint32_t region, const void *pointer)
{
    return begins_at(region, pointer) ? (size_t)atomic_load(&hw_region_at(region)->bytes) : 0;
}

void hw_huge_check(uint32_t region, const hw_context *context)
{
    hw_descriptor *descriptor = hw_huge_claim(region);
    if (!descriptor)
        return;
    inspect(descriptor, context);
    hw_big_unclaim(descriptor);
}

void hw_huge_tell_overrun(hw_descriptor *descriptor, const hw_context *context)
{
    if (!slack_is_whole(descriptor))
        inspect(descriptor, context);
    else
        tell(descriptor, HW_GUARD, context);
}
