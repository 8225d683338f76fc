/* Going from node to node without trusting what does not verify. */
#include "walk.h"

/* Whether a header can be that of the node at `node`, whatever is around it. */
static bool stands(const hw_pool *pool, uint32_t node, const hw_header *h)
{
    uint32_t end = hw_end(pool), min = hw_min_node(pool), room = end - node;
    if (node == end)
        return h->prev_size >= min && hw_state_of(h->meta) == HW_ENDNODE && hw_is_valid(pool, node, h);
    /* What is left behind it is nothing, or room for a node. */
    return h->size >= min && (h->size == room || (h->size < room && room - h->size >= min)) &&
           hw_state_of(h->meta) != HW_ENDNODE && (h->prev_size != 0) == (node != hw_first(pool)) &&
           hw_is_valid(pool, node, h);
}

/* Whether `at`, which has no good copy of its own, is a node by the backup it keeps: of the node behind
   it, whose `prev_size` says how far that is. */
static bool keeps(const hw_pool *pool, uint32_t at)
{
    const hw_header *h = hw_backup_in(pool, at);
    return h->prev_size >= hw_min_node(pool) && h->prev_size <= hw_end(pool) - at && stands(pool, at + h->prev_size, h);
}

/* Rule 3: re-synchronise behind a lost node on the next one that verifies, the end node at last. */
static uint32_t resync(const hw_pool *pool, uint32_t from)
{
    uint32_t end = hw_end(pool), min = hw_min_node(pool);
    if (keeps(pool, from))
        return from + hw_backup_in(pool, from)->prev_size;
    for (uint32_t at = from + min, known = at, behind; at < end && end - at >= min; at++) {
        const hw_header *h = hw_own(pool, at);
        if (at >= known && !hw_may_search(pool, at, &known)) {
            at = known - 1;
            continue;
        }
        if ((h->prev_size >= min && h->prev_size <= at - from && stands(pool, at, h)) ||
            ((at + 1 < known || hw_may_search(pool, at + 1, &behind)) && keeps(pool, at)))
            return at;
    }
    return end;
}

/* `prev` is the node before (the end node for the first), `lost` whether its extent is a guess. */
static hw_step look(const hw_pool *pool, uint32_t node, uint32_t prev, uint32_t prev_size, bool lost)
{
    const hw_header *own = hw_own(pool, node), *kept = hw_backup_in(pool, prev);
    hw_step s = {.node = node};
    s.own = stands(pool, node, own) && (own->prev_size == prev_size || (lost && own->prev_size <= prev_size));
    s.kept = kept->prev_size == prev_size && stands(pool, node, kept);
    if (s.own) {
        s.header = *own;
        s.header.prev_size = prev_size;
        s.kept = s.kept && hw_same(own, kept);
    } else if (s.kept) {
        s.header = *kept;
    } else {
        s.lost = true;
        s.header.prev_size = prev_size;
        if (node == hw_end(pool)) { /* nothing of it is unknown */
            s.header.size = pool->size - node;
            s.header.meta = hw_meta(0, HW_ENDNODE, 0, 0);
        } else {
            s.header.size = resync(pool, node) - node;
            s.header.meta = hw_meta(0, HW_USED, HW_MALLOC, HW_SITE_QUARANTINE);
        }
    }
    return s;
}

hw_step hw_walk_first(const hw_pool *pool)
{
    return look(pool, hw_first(pool), hw_end(pool), 0, false);
}

hw_step hw_walk_next(const hw_pool *pool, const hw_step *step)
{
    return look(pool, step->node + step->header.size, step->node, step->header.size, step->lost);
}

bool hw_control_fits(const hw_pool *control, size_t bytes, unsigned log2)
{
    return bytes >= HW_LEAST && control->shape == (HW_VERSION | log2 << 8) && control->size == bytes >> log2 &&
           hw_control_is_valid(control);
}

void hw_tally_add(hw_tally *tally, const hw_pool *pool, const hw_step *step, bool damaged)
{
    uint32_t end = hw_end(pool), node = step->node, next = node + step->header.size;
    tally->damaged |= damaged;
    if (node == end)
        return;
    tally->nodes++;
    tally->used += hw_state_of(step->header.meta) != HW_FREE;
    if (step->lost) { /* roots among the nodes that were here */
        tally->lost = true;
        for (unsigned bin = 0; bin <= HW_BINS; bin++)
            tally->met[bin] |= hw_index_root(pool, bin) >= node && hw_index_root(pool, bin) < next;
    } else if (hw_state_of(step->header.meta) == HW_FREE) {
        uint32_t bin = hw_index_bin(pool, step->header.size);
        bool root = hw_index_root(pool, bin) == node;
        if (!hw_links_are_valid(pool, node))
            tally->met[bin] |= root;
        else if (hw_links_at(pool, node)->parent == 0 && root)
            tally->met[bin] = 1;
        else if (hw_links_at(pool, node)->parent == 0)
            tally->rootless = true;
    }
}

/* Whether the derived part of the control block fits the nodes. While the index is stale, which the
   damage that stopped an operation accounts for, its roots say nothing. */
bool hw_derived_is_valid(const hw_pool *pool, const hw_tally *tally)
{
    if (pool->flags & ~(uint32_t)HW_FLAG_STALE || pool->reserved[0] || pool->reserved[1])
        return false;
    if (!tally->lost && (pool->nodes != tally->nodes || pool->used != tally->used))
        return false;
    if (pool->flags & HW_FLAG_STALE)
        return tally->damaged;
    for (unsigned bin = 0; bin <= HW_BINS; bin++) {
        bool empty = hw_index_root(pool, bin) == 0;
        if (!empty && !tally->met[bin])
            return false;
        if (bin < HW_BINS && empty == (pool->bitmap[bin / 32] >> bin % 32 & 1))
            return false;
    }
    return !tally->rootless;
}
