/* Taking, giving back and resizing nodes. Each verifies all that it will write before it writes
   (rule 1), and leaves the headers alone when the index turns out damaged. */
#include "node.h"

uint32_t hw_granules(unsigned log2, size_t bytes)
{
    size_t granule = (size_t)1 << log2;
    if (bytes > ((size_t)1 << (30 + log2)))
        return 0;
    size_t need = (bytes + HW_OVERHEAD + granule - 1) & ~(granule - 1);
    return (uint32_t)((need < HW_MIN_NODE ? HW_MIN_NODE : need) >> log2);
}

static unsigned slack_for(const hw_pool *pool, uint32_t size, size_t bytes)
{
    return (unsigned)(hw_payload_bytes(pool, size) - (bytes ? bytes : 1));
}

/* Make `node` (verified, on no list) a used one. */
static void become_used(hw_pool *pool, uint32_t node, hw_header h, size_t bytes, unsigned origin,
                        uint32_t site)
{
    h.meta = hw_meta(slack_for(pool, h.size, bytes), HW_USED, origin, site);
    hw_save(pool, node, h);
    hw_slack_write(pool, node, &h);
}

static void become_free(hw_pool *pool, uint32_t node, hw_header h)
{
    hw_fault later; /* damage met here has marked the index stale: the next call reports it */
    hw_save(pool, node, h);
    hw_index_insert(pool, node, &later);
}

/* `node` has a new size: tell the one behind it, which was verified. */
static void follow(hw_pool *pool, uint32_t node, uint32_t size)
{
    hw_header h = *hw_own(pool, node + size);
    h.prev_size = size;
    hw_save(pool, node + size, h);
}

static bool stale(hw_pool *pool, hw_fault *fault)
{
    if (!(pool->flags & HW_FLAG_STALE))
        return false;
    hw_fail(fault, HW_LINKS, 0);
    return true;
}

uint32_t hw_allocate(hw_pool *pool, size_t bytes, size_t align, unsigned origin, uint32_t site, hw_fault *fault)
{
    unsigned log2 = HW_LOG2(pool);
    uint32_t need = hw_granules(log2, bytes), min = hw_min_node(pool), search = need, lead = 0;
    *fault = (hw_fault){0};
    if (!hw_control_holds(pool)) {
        hw_fail(fault, HW_CONTROL_BLOCK, 0);
        return 0;
    }
    if (stale(pool, fault) || need == 0)
        return 0;
    if (align >> log2 > 1) {
        if (align >> log2 > UINT32_C(0x20000000))
            return 0;
        search = need + (uint32_t)(align >> log2) + min;
    }
    uint32_t node = hw_index_find(pool, search, fault);
    if (node == 0 || hw_around(pool, node, fault) != HW_OK)
        return 0;
    if (search != need) {
        uintptr_t payload = (uintptr_t)hw_payload(pool, node);
        uintptr_t aligned = (payload + align - 1) & ~(uintptr_t)(align - 1);
        while (aligned != payload && aligned - payload < HW_MIN_NODE)
            aligned += align;
        lead = (uint32_t)((aligned - payload) >> log2);
    }
    hw_header h = *hw_own(pool, node);
    uint32_t rest = h.size - lead - need;
    if (rest && rest < min) {
        if (search == need)
            return 0;
        rest = 0; /* cannot happen for an aligned request: see below */
    }
    if (!hw_index_remove(pool, node, fault))
        return 0;
    uint32_t taken = node + lead, behind = node + h.size;
    hw_header mine = {.size = need, .prev_size = lead ? lead : h.prev_size};
    if (lead) {
        h.size = lead;
        become_free(pool, node, h);
        pool->nodes++;
    }
    become_used(pool, taken, mine, bytes, origin, site);
    if (rest) {
        hw_header tail = {.size = rest, .prev_size = need, .meta = hw_meta(0, HW_FREE, 0, 0)};
        become_free(pool, taken + need, tail);
        pool->nodes++;
    }
    follow(pool, behind - (rest ? rest : need), rest ? rest : need);
    pool->used++;
    return taken;
}

int hw_release(hw_pool *pool, uint32_t node, uint32_t site, hw_fault *fault)
{
    *fault = (hw_fault){0};
    if (hw_around(pool, node, fault) != HW_OK || stale(pool, fault))
        return HW_DAMAGED;
    hw_header h = *hw_own(pool, node);
    h.meta = hw_meta(hw_slack_of(h.meta), HW_FREE, h.meta >> 6 & 3, site);
    uint32_t start = node, next = node + h.size, prev = node - h.prev_size;
    bool with_prev = h.prev_size && hw_state_of(hw_own(pool, prev)->meta) == HW_FREE;
    bool with_next = hw_state_of(hw_own(pool, next)->meta) == HW_FREE;
    uint32_t next_size = hw_own(pool, next)->size;
    if (with_next && !hw_pair_holds(pool, next + next_size, fault))
        return HW_DAMAGED;
    if ((with_prev && !hw_index_remove(pool, prev, fault)) ||
        (with_next && !hw_index_remove(pool, next, fault)))
        return HW_DAMAGED;
    if (with_next) {
        h.size += next_size;
        hw_bury(pool, next);
        pool->nodes--;
    }
    if (with_prev) {
        hw_header p = *hw_own(pool, prev);
        *hw_own(pool, node) = h; /* the tombstone keeps who released it */
        hw_own(pool, node)->size = next - node;
        hw_own(pool, node)->check = ~hw_keyed(pool->secret, next - node, h.prev_size, h.meta, node);
        p.size += h.size;
        h = p;
        start = prev;
        pool->nodes--;
    }
    become_free(pool, start, h);
    follow(pool, start, h.size);
    pool->used--;
    return HW_OK;
}

int hw_resize(hw_pool *pool, uint32_t node, size_t bytes, uint32_t site, hw_fault *fault)
{
    uint32_t need = hw_granules(HW_LOG2(pool), bytes), min = hw_min_node(pool);
    *fault = (hw_fault){0};
    if (hw_around(pool, node, fault) != HW_OK || stale(pool, fault))
        return HW_DAMAGED;
    if (need == 0)
        return HW_NOMEM;
    hw_header h = *hw_own(pool, node);
    uint32_t next = node + h.size, room = h.size;
    bool absorb = need != h.size && hw_state_of(hw_own(pool, next)->meta) == HW_FREE;
    if (absorb)
        room += hw_own(pool, next)->size;
    if (room < need || (room != need && room - need < min))
        return HW_NOMEM;
    if (absorb) {
        if (!hw_pair_holds(pool, node + room, fault) || !hw_index_remove(pool, next, fault))
            return HW_DAMAGED;
        hw_bury(pool, next);
        pool->nodes--;
    }
    h.size = need;
    become_used(pool, node, h, bytes, h.meta >> 6 & 3, site);
    if (room != need) {
        hw_header tail = {.size = room - need, .prev_size = need, .meta = hw_meta(0, HW_FREE, 0, 0)};
        become_free(pool, node + need, tail);
        follow(pool, node + need, room - need);
        pool->nodes++;
    } else if (absorb) {
        follow(pool, node, need);
    }
    return HW_OK;
}

int hw_cache(hw_pool *pool, uint32_t node, uint32_t site, bool poison, hw_fault *fault)
{
    if (hw_around(pool, node, fault) != HW_OK)
        return HW_DAMAGED;
    hw_header h = *hw_own(pool, node);
    h.meta = hw_meta(hw_slack_of(h.meta), HW_CACHED, h.meta >> 6 & 3, site);
    hw_save(pool, node, h);
    if (poison)
        hw_poison_write(pool, node, &h);
    hw_cached_links_write(pool, node, poison);
    return HW_OK;
}

int hw_uncache(hw_pool *pool, uint32_t node, size_t bytes, unsigned origin, uint32_t site, hw_fault *fault)
{
    if (hw_verify(pool, node, fault) != HW_OK)
        return HW_DAMAGED;
    become_used(pool, node, *hw_own(pool, node), bytes, origin, site);
    return HW_OK;
}
