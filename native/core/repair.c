/* Mending a whole pool. Everything that had one good copy is again what it was, byte for byte; so is
   the index, whose shape follows from the nodes alone. */
#include "walk.h"

static bool mend_control(hw_pool *pool, size_t bytes, unsigned log2, hw_outcome *outcome)
{
    enum { WORDS = HW_WITNESSED / 4 };
    if (bytes < HW_LEAST)
        return false;
    uint32_t *fixed = (uint32_t *)pool, *copy = (uint32_t *)(void *)((unsigned char *)pool + bytes) - WORDS;
    bool here = hw_control_fits(pool, bytes, log2), same = true;
    for (unsigned i = 0; i < WORDS; i++)
        same &= fixed[i] == copy[i];
    if (here && same)
        return true;
    if (!here) {
        hw_pool witness;
        for (unsigned i = 0; i < WORDS; i++)
            ((uint32_t *)&witness)[i] = copy[i];
        if (!hw_control_fits(&witness, bytes, log2))
            return false;
        for (unsigned i = 0; i < WORDS; i++)
            fixed[i] = copy[i];
    } else {
        hw_control_copy(pool);
    }
    outcome->controls++;
    return true;
}

/* Whether a cached node whose links are lost was poisoned: their check or their words may be left of them, and
   poison shows. */
static bool was_poisoned(const hw_pool *pool, uint32_t node, const hw_header *h)
{
    const hw_links *words = hw_links_at(pool, node), bare = {.parent = HW_CACHED_PARENT},
                   poisoned = {HW_POISONED_LEFT, HW_POISONED_RIGHT, HW_CACHED_PARENT, 0};
    if (hw_link_check(pool, node, &bare) == words->check)
        return false;
    /* Hardly chance, while zeros may well have been written. */
    if (hw_link_check(pool, node, &poisoned) == words->check || words->right == HW_POISONED_RIGHT ||
        (words->left & 0xFF) == (HW_POISONED_LEFT & 0xFF))
        return true;
    if (words->right == 0 && words->left == 0 && words->parent == HW_CACHED_PARENT)
        return false;
    return h->size > hw_min_node(pool) && hw_poison_shows(pool, node, h);
}

static void mend_poison(hw_pool *pool, const hw_step *s, hw_outcome *outcome)
{
    hw_poison_write(pool, s->node, &s->header);
    outcome->poisons++;
}

static void mend_payload(hw_pool *pool, const hw_step *s, hw_outcome *outcome)
{
    switch (hw_payload_fault(pool, s->node, &s->header)) {
    case HW_SLACK:
        hw_slack_write(pool, s->node, &s->header);
        outcome->slacks++;
        break;
    case HW_POISON:
        mend_poison(pool, s, outcome);
        break;
    case HW_LINKS:
        outcome->links++;
        if (hw_state_of(s->header.meta) == HW_CACHED) {
            bool poison = was_poisoned(pool, s->node, &s->header);
            if (poison && !hw_poison_is_whole(pool, s->node, &s->header))
                mend_poison(pool, s, outcome);
            hw_cached_links_write(pool, s->node, poison);
        }
        break;
    default:
        break;
    }
}

/* After this every node has two good copies. */
static void mend_nodes(hw_pool *pool, hw_outcome *outcome, hw_tally *tally)
{
    uint32_t end = hw_end(pool);
    bool after_lost = false;
    for (hw_step s = hw_walk_first(pool);; s = hw_walk_next(pool, &s)) {
        hw_tally_add(tally, pool, &s, !s.own || !s.kept || hw_payload_fault(pool, s.node, &s.header));
        if (s.lost && s.node != end) {
            outcome->quarantined++;
        } else {
            outcome->headers += !s.own;
            outcome->backups += !s.kept && !after_lost;
            if (s.node != end)
                mend_payload(pool, &s, outcome);
        }
        if (!s.own || !s.kept)
            hw_save(pool, s.node, s.header);
        if (s.node == end)
            return;
        after_lost = s.lost;
    }
}

static void build_index(hw_pool *pool)
{
    hw_index_clear(pool);
    for (uint32_t node = hw_first(pool), end = hw_end(pool); node != end; node += hw_own(pool, node)->size) {
        hw_fault none;
        pool->nodes++;
        if (hw_state_of(hw_own(pool, node)->meta) == HW_FREE)
            hw_index_insert(pool, node, &none);
        else
            pool->used++;
    }
}

bool hw_repair(hw_pool *pool, size_t bytes, unsigned log2, hw_outcome *outcome)
{
    hw_clear(outcome, sizeof *outcome);
    if (!mend_control(pool, bytes & ~(size_t)15, log2, outcome))
        return false;
    hw_tally tally;
    hw_clear(&tally, sizeof tally);
    mend_nodes(pool, outcome, &tally);
    if (outcome->controls == 0 && !hw_derived_is_valid(pool, &tally))
        outcome->controls++;
    build_index(pool);
    return true;
}
