#include "heap/delayed.h"

#include "heap/damage.h"

/* Bytes that an arena may hold back, and all of a process together; a few are every arena's own. Large nodes are not
   held back: under --poison they are rare, as big blocks lie elsewhere (graves.h). */
enum { ARENA_BYTES = 32 << 20, PROCESS_BYTES = 256 << 20, OWN_BYTES = 1 << 20, LARGEST = ARENA_BYTES / 4 };

static _Atomic size_t all_bytes;

static void count(hw_arena *arena, size_t granules, bool more)
{
    size_t bytes = granules << HW_FIXED_GRANULE_LOG2;
    arena->delayed.bytes += more ? bytes : -bytes;
    atomic_fetch_add_explicit(&all_bytes, more ? bytes : -bytes, memory_order_relaxed);
}

static void let_oldest_go(hw_arena *arena, const hw_context *context)
{
    uint32_t slot = arena->delayed.head++ % HW_DELAYED, node = arena->delayed.node[slot];
    hw_place *place = &arena->place[arena->delayed.place[slot]];
    hw_fault fault;
    arena->delayed.count--;
    if (!node) /* lost meanwhile */
        return;
    count(arena, arena->delayed.size[slot], false);
    if (hw_verify(place->pool, node, &fault) == HW_OK ||
        (hw_mend(arena, place, context) && hw_verify(place->pool, node, &fault) == HW_OK))
        hw_release(place->pool, node, hw_own(place->pool, node)->meta >> 8, &fault);
}

static bool has_room(const hw_arena *arena, size_t bytes)
{
    size_t mine = arena->delayed.bytes + bytes;
    if (arena->delayed.count == HW_DELAYED || mine > ARENA_BYTES)
        return false;
    return mine <= OWN_BYTES || atomic_load_explicit(&all_bytes, memory_order_relaxed) + bytes <= PROCESS_BYTES;
}

bool hw_delay(hw_arena *arena, hw_place *place, uint32_t node, uint32_t site, const hw_context *context)
{
    uint32_t size = hw_own(place->pool, node)->size;
    size_t bytes = (size_t)size << HW_FIXED_GRANULE_LOG2;
    hw_fault fault;
    if (bytes > LARGEST || hw_cache(place->pool, node, site, true, &fault) != HW_OK)
        return false;
    while (arena->delayed.count && !has_room(arena, bytes))
        let_oldest_go(arena, context);
    uint32_t slot = (arena->delayed.head + arena->delayed.count++) % HW_DELAYED;
    arena->delayed.node[slot] = node;
    arena->delayed.size[slot] = size;
    arena->delayed.place[slot] = (uint8_t)(place - arena->place);
    count(arena, size, true);
    return true;
}

void hw_delayed_check(hw_arena *arena, const hw_place *place)
{
    uint32_t index = (uint32_t)(place - arena->place);
    hw_header h;
    for (uint32_t i = 0; i < arena->delayed.count; i++) {
        uint32_t slot = (arena->delayed.head + i) % HW_DELAYED, node = arena->delayed.node[slot];
        if (arena->delayed.place[slot] != index || !node)
            continue;
        if (place->lost || !hw_header_at(place->pool, node, &h) || hw_state_of(h.meta) != HW_CACHED) {
            count(arena, arena->delayed.size[slot], false);
            arena->delayed.node[slot] = 0;
        }
    }
}
