/* Taking, giving back and resizing nodes. Each verifies all that it will write before it writes
   (rule 1), and leaves the headers alone when the index turns out damaged. */
#include "node.h"

uint32_t hw_granules(unsigned log2, size_t bytes)
{
    if (bytes >> log2 >= HW_MOST / 2)
        return 0;
    uint32_t part = (bytes & (((size_t)1 << log2) - 1)) != 0;
    uint32_t need = (uint32_t)(bytes >> log2) + part + ((uint32_t)HW_OVERHEAD >> log2);
    uint32_t least = (uint32_t)HW_MIN_NODE >> log2;
    return need < least ? least : need;
}

/* Payload bytes of a node of `size` behind a request of `bytes`; more than 15 when that is no fit. */
static size_t slack_for(const hw_pool *pool, uint32_t size, size_t bytes)
{
    return hw_payload_bytes(pool, size) - (bytes ? bytes : 1);
}

/* Make `node` (verified, on no list) a used one. */
static void become_used(hw_pool *pool, uint32_t node, hw_header h, size_t bytes, unsigned origin, uint32_t site)
{
    h.meta = hw_meta((unsigned)slack_for(pool, h.size, bytes), HW_USED, origin, site);
    hw_save(pool, node, h);
    hw_slack_write(pool, node, &h);
}

static void become_free(hw_pool *pool, uint32_t node, hw_header h)
{
    hw_fault later; /* damage met here has marked the index stale: the next call reports it */
    hw_save(pool, node, h);
    hw_index_insert(pool, node, &later);
}

/* The node behind `node`, verified before, learns the size of the one before it. */
static void follow(hw_pool *pool, uint32_t node, uint32_t size)
{
    hw_header h = *hw_own(pool, node + size);
    h.prev_size = size;
    hw_save(pool, node + size, h);
}

static bool stale(const hw_pool *pool, hw_fault *fault)
{
    return pool->flags & HW_FLAG_STALE && !hw_fail(fault, HW_LINKS, 0);
}

/* The node that a request would get without its alignment, if it happens to be aligned, else one with
   room wherever it lies: `lead` granules before the block are none or a node, those behind as well. */
static uint32_t find_aligned(hw_pool *pool, uint32_t need, size_t align, uint32_t *lead, hw_fault *fault)
{
    unsigned log2 = HW_LOG2(pool);
    uint32_t min = hw_min_node(pool);
    if (align >> log2 > HW_MOST / 4)
        return 0;
    uint32_t node = hw_index_find(pool, need, fault);
    if (node == 0 || ((uintptr_t)hw_payload(pool, node) & (align - 1)) == 0)
        return node;
    node = hw_index_at_least(pool, need + (uint32_t)(align >> log2) + 2 * min - 1, fault);
    if (node == 0)
        return 0;
    size_t gap = -(uintptr_t)hw_payload(pool, node) & (align - 1);
    while (gap && gap < HW_MIN_NODE)
        gap += align;
    *lead = (uint32_t)(gap >> log2);
    return node;
}

/* Whether the pool may be allocated from. */
static bool ready(const hw_pool *pool, hw_fault *fault)
{
    *fault = (hw_fault){0};
    if (!hw_control_is_valid(pool))
        return hw_fail(fault, HW_CONTROL_BLOCK, 0);
    return !stale(pool, fault);
}

uint32_t hw_allocate(hw_pool *pool, size_t bytes, size_t align, unsigned origin, uint32_t site, hw_fault *fault)
{
    uint32_t need = hw_granules(HW_LOG2(pool), bytes), lead = 0, node;
    if (!ready(pool, fault) || need == 0)
        return 0;
    if (align >> HW_LOG2(pool) <= 1)
        node = hw_index_find(pool, need, fault);
    else
        node = find_aligned(pool, need, align, &lead, fault);
    if (node == 0 || hw_around(pool, node, fault) != HW_OK || !hw_index_remove(pool, node, fault))
        return 0;
    hw_header h = *hw_own(pool, node);
    uint32_t taken = node + lead, behind = node + h.size, rest = h.size - lead - need;
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
    if (lead || rest)
        follow(pool, behind - (rest ? rest : need), rest ? rest : need);
    pool->used++;
    return taken;
}

uint32_t hw_take(hw_pool *pool, size_t least, size_t most, hw_fault *fault)
{
    uint32_t need = hw_granules(HW_LOG2(pool), least), room = hw_granules(HW_LOG2(pool), most), node;
    if (!ready(pool, fault) || need == 0 || room < need || (node = hw_index_at_least(pool, need, fault)) == 0 ||
        hw_around(pool, node, fault) != HW_OK || !hw_index_remove(pool, node, fault))
        return 0;
    hw_header h = *hw_own(pool, node);
    uint32_t behind = node + h.size, rest = h.size > room && h.size - room >= hw_min_node(pool) ? h.size - room : 0;
    h.size -= rest;
    h.meta = hw_meta(0, HW_CACHED, HW_MALLOC, 0);
    hw_save(pool, node, h);
    hw_cached_links_write(pool, node, false);
    if (rest) {
        hw_header tail = {.size = rest, .prev_size = h.size, .meta = hw_meta(0, HW_FREE, 0, 0)};
        become_free(pool, behind - rest, tail);
        follow(pool, behind - rest, rest);
        pool->nodes++;
    }
    pool->used++;
    return node;
}

int hw_cut(hw_pool *pool, uint32_t node, size_t bytes, unsigned origin, uint32_t site, hw_fault *fault)
{
    uint32_t need = hw_granules(HW_LOG2(pool), bytes);
    *fault = (hw_fault){0};
    int status = hw_verify(pool, node, fault);
    if (status != HW_OK)
        return status;
    hw_header h = *hw_own(pool, node);
    if (hw_state_of(h.meta) != HW_CACHED)
        return HW_REFUSED;
    if (need == 0 || h.size < need || h.size - need < hw_min_node(pool))
        return HW_NOMEM;
    hw_header tail = {.size = h.size - need, .prev_size = need, .meta = hw_meta(0, HW_CACHED, HW_MALLOC, 0)};
    h.size = need;
    become_used(pool, node, h, bytes, origin, site);
    hw_save(pool, node + need, tail);
    hw_cached_links_write(pool, node + need, false);
    follow(pool, node + need, tail.size);
    pool->nodes++;
    pool->used++;
    return HW_OK;
}

/* Free what lies at `node` with the header `h`, and merge it with its free neighbours. All but the header
   behind a free neighbour has been verified; on damage no header was changed. */
static int give_back(hw_pool *pool, uint32_t node, hw_header h, hw_fault *fault)
{
    uint32_t start = node, next = node + h.size, prev = node - h.prev_size;
    bool with_prev = h.prev_size && hw_state_of(hw_own(pool, prev)->meta) == HW_FREE;
    bool with_next = hw_state_of(hw_own(pool, next)->meta) == HW_FREE;
    uint32_t next_size = hw_own(pool, next)->size;
    if (stale(pool, fault) || (with_next && !hw_pair_is_valid(pool, next + next_size, fault)) ||
        (with_prev && !hw_index_remove(pool, prev, fault)) || (with_next && !hw_index_remove(pool, next, fault)))
        return HW_DAMAGED;
    if (with_next) {
        h.size += next_size;
        hw_bury(pool, next);
        pool->nodes--;
    }
    if (with_prev) {
        hw_header p = *hw_own(pool, prev), tomb = *hw_own(pool, node);
        tomb.meta = h.meta; /* it keeps who released it */
        tomb.check = hw_keyed(pool->secret, tomb.size, tomb.prev_size, tomb.meta, node);
        *hw_own(pool, node) = tomb;
        hw_bury(pool, node);
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

static uint32_t released_meta(uint32_t meta, uint32_t site)
{
    return hw_meta(hw_slack_of(meta), HW_FREE, meta >> 6 & 3, site);
}

int hw_release(hw_pool *pool, uint32_t node, uint32_t site, hw_fault *fault)
{
    *fault = (hw_fault){0};
    int status = hw_verify(pool, node, fault);
    if (status != HW_OK)
        return status;
    hw_header h = *hw_own(pool, node);
    if (hw_state_of(h.meta) != HW_USED && hw_state_of(h.meta) != HW_CACHED)
        return HW_REFUSED;
    if (hw_quarantined(h.meta))
        return HW_OK;
    h.meta = released_meta(h.meta, site);
    return give_back(pool, node, h, fault);
}

/* Whether a run is verified as far as rule 2 asks, each copy once: all nodes cached and not poisoned, side by side,
   and the headers before and behind. No other answer than yes is to be believed. */
static bool is_usual_run(const hw_pool *pool, const uint32_t *nodes, unsigned count)
{
    enum { AHEAD = 16 };
    hw_factors key = hw_factors_of(pool->secret);
    for (unsigned i = 0; i < count && i < AHEAD; i++)
        __builtin_prefetch(hw_at(pool, nodes[i]));
    uint32_t end = hw_end(pool), next = nodes[0], before, least = hw_min_node(pool);
    if (!hw_control_is_valid(pool) || next >= end || (before = hw_own(pool, next)->prev_size) > next)
        return false;
    for (unsigned i = 0; i < count; i++) {
        uint32_t node = nodes[i];
        if (node != next || end - node < least) /* said by `nodes`, so that no load waits for another */
            return false;
        if (i + AHEAD < count)
            __builtin_prefetch(hw_at(pool, nodes[i + AHEAD]));
        const hw_header *h = hw_own(pool, node);
        uint64_t wrong = hw_disagreement(pool, &key, node, before) | (hw_state_of(h->meta) ^ HW_CACHED) |
                         hw_unlike_cached(hw_links_at(pool, node), &key, node * key.offset);
        before = h->size;
        if (wrong || before < least || before > end - node)
            return false;
        next = node + before;
    }
    if (hw_disagreement(pool, &key, next, before))
        return false;
    before = hw_own(pool, nodes[0])->prev_size;
    if (before == 0)
        return true;
    const hw_header *prev = hw_own(pool, nodes[0] - before);
    return prev->size == before && prev->prev_size <= nodes[0] - before &&
           !hw_disagreement(pool, &key, nodes[0] - before, prev->prev_size);
}

/* The same for any run, with a fault. */
static int judge_run(const hw_pool *pool, const uint32_t *nodes, unsigned count, hw_fault *fault)
{
    for (unsigned i = 0; i < count; i++) {
        bool edge = i == 0 || i + 1 == count; /* within the run each vouches for the next */
        int status = HW_OK;
        if (edge)
            status = hw_around(pool, nodes[i], fault);
        else if (!hw_pair_is_valid(pool, nodes[i], fault))
            status = HW_DAMAGED;
        if (status != HW_OK)
            return status;
        const hw_header *h = hw_own(pool, nodes[i]);
        uint32_t wrong = hw_payload_fault(pool, nodes[i], h);
        if (wrong != HW_NONE && !hw_fail(fault, wrong, nodes[i]))
            return HW_DAMAGED;
        if (hw_state_of(h->meta) != HW_CACHED || (i + 1 < count && nodes[i] + h->size != nodes[i + 1]))
            return HW_REFUSED;
    }
    return HW_OK;
}

int hw_release_run(hw_pool *pool, const uint32_t *nodes, unsigned count, hw_fault *fault)
{
    *fault = (hw_fault){0};
    if (count == 0)
        return HW_OK;
    int status = is_usual_run(pool, nodes, count) ? HW_OK : judge_run(pool, nodes, count, fault);
    if (status != HW_OK)
        return status;
    hw_header all = *hw_own(pool, nodes[0]);
    all.meta = released_meta(all.meta, all.meta >> 8);
    all.size = nodes[count - 1] + hw_own(pool, nodes[count - 1])->size - nodes[0];
    status = give_back(pool, nodes[0], all, fault);
    if (status != HW_OK)
        return status;
    for (unsigned i = 1; i < count; i++)
        hw_bury(pool, nodes[i]);
    pool->nodes -= count - 1;
    pool->used -= count - 1;
    return HW_OK;
}

int hw_resize(hw_pool *pool, uint32_t node, size_t bytes, uint32_t site, hw_fault *fault)
{
    uint32_t need = hw_granules(HW_LOG2(pool), bytes), min = hw_min_node(pool);
    *fault = (hw_fault){0};
    int status = hw_verify(pool, node, fault);
    if (status != HW_OK)
        return status;
    hw_header h = *hw_own(pool, node);
    if (hw_state_of(h.meta) != HW_USED)
        return HW_REFUSED;
    if (stale(pool, fault))
        return HW_DAMAGED;
    if (need == 0 || hw_quarantined(h.meta))
        return HW_NOMEM;
    uint32_t next = node + h.size, room = h.size;
    bool absorb = need != h.size && hw_state_of(hw_own(pool, next)->meta) == HW_FREE;
    if (absorb)
        room += hw_own(pool, next)->size;
    if (room < need || (room != need && room - need < min))
        return HW_NOMEM;
    if (absorb) {
        if (!hw_pair_is_valid(pool, node + room, fault) || !hw_index_remove(pool, next, fault))
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
    *fault = (hw_fault){0};
    int status = hw_verify(pool, node, fault);
    if (status != HW_OK)
        return status;
    hw_header h = *hw_own(pool, node);
    if (hw_state_of(h.meta) != HW_USED)
        return HW_REFUSED;
    if (hw_quarantined(h.meta))
        return HW_OK;
    h.meta = hw_meta(hw_slack_of(h.meta), HW_CACHED, h.meta >> 6 & 3, site);
    hw_save(pool, node, h);
    if (poison)
        hw_poison_write(pool, node, &h);
    hw_cached_links_write(pool, node, poison);
    return HW_OK;
}

int hw_uncache(hw_pool *pool, uint32_t node, size_t bytes, unsigned origin, uint32_t site, hw_fault *fault)
{
    *fault = (hw_fault){0};
    int status = hw_verify(pool, node, fault);
    if (status != HW_OK)
        return status;
    hw_header h = *hw_own(pool, node);
    if (hw_state_of(h.meta) != HW_CACHED)
        return HW_REFUSED;
    if (slack_for(pool, h.size, bytes) > 15)
        return HW_NOMEM;
    become_used(pool, node, h, bytes, origin, site);
    return HW_OK;
}
