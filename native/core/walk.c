/* Going through a whole pool: finding all damage, and mending it.

   Both walks go from the first node to the end and trust a node by its own header when that holds
   and leads back to the node before, else by the backup in the node before, else not at all: then
   they look for the next header that holds. */
#include "node.h"

#include "pool.h"

typedef struct step {
    uint32_t node, prev; /* prev: the node before, the end node for the first */
    hw_header header;    /* the one to believe */
    bool own, kept;      /* which copies are right */
    bool lost;           /* neither: header.size leads to the next node that holds */
} step;

static bool plausible(const hw_pool *pool, uint32_t node, uint32_t prev_size, const hw_header *h)
{
    return hw_holds(pool, node, h) && h->prev_size == prev_size &&
           (node == hw_end(pool)) == (hw_state_of(h->meta) == HW_ENDNODE) &&
           (node == hw_end(pool) || h->size >= hw_min_node(pool)) &&
           (node == hw_end(pool) || node + h->size <= hw_end(pool));
}

/* Rule 3: re-synchronise on the next header that holds, the end node if there is none. */
static uint32_t resync(const hw_pool *pool, uint32_t from)
{
    uint32_t end = hw_end(pool);
    for (uint32_t at = from + hw_min_node(pool); at < end; at++) {
        const hw_header *h = hw_own(pool, at);
        if (hw_holds(pool, at, h) && h->prev_size && at - h->prev_size >= from && h->size >= hw_min_node(pool) &&
            at + h->size <= end && hw_state_of(h->meta) != HW_ENDNODE)
            return at;
    }
    return end;
}

static step look(const hw_pool *pool, uint32_t node, uint32_t prev, uint32_t prev_size)
{
    step s = {.node = node, .prev = prev};
    const hw_header *own = hw_own(pool, node), *kept = hw_kept(pool, prev);
    s.own = plausible(pool, node, prev_size, own);
    s.kept = plausible(pool, node, prev_size, kept);
    if (s.own) {
        s.header = *own;
        s.kept = s.kept && hw_same(own, kept);
    } else if (s.kept) {
        s.header = *kept;
    } else {
        s.lost = true;
        s.header = (hw_header){.prev_size = prev_size};
        if (node == hw_end(pool)) {
            s.header.size = pool->size - node;
            s.header.meta = hw_meta(0, HW_ENDNODE, 0, 0);
        } else {
            s.header.size = resync(pool, node) - node;
            s.header.meta = hw_meta(0, HW_USED, HW_MALLOC, HW_SITE_QUARANTINE);
        }
    }
    return s;
}

static bool quarantined(uint32_t meta)
{
    return hw_state_of(meta) == HW_USED && meta >> 8 == HW_SITE_QUARANTINE;
}

/* What is wrong in the payload of a node whose header can be believed. */
static uint32_t payload_fault(const hw_pool *pool, const step *s)
{
    const hw_header *h = &s->header;
    switch (hw_state_of(h->meta)) {
    case HW_USED:
        return hw_slack_holds(pool, s->node, h) ? HW_NONE : HW_SLACK;
    case HW_CACHED:
        if (!hw_cached_links_hold(pool, s->node))
            return HW_LINKS;
        return hw_links_at(pool, s->node)->left && !hw_poison_holds(pool, s->node, h) ? HW_POISON : HW_NONE;
    case HW_FREE:
        return hw_index_knows(pool, s->node, h->size) ? HW_NONE : HW_LINKS;
    default:
        return HW_NONE;
    }
}

typedef struct findings {
    hw_fault *out;
    unsigned count, most;
    bool open; /* out[count - 1] is a window that may still grow */
} findings;

static void add(findings *f, hw_fault fault)
{
    if (f->count < f->most)
        f->out[f->count++] = fault;
}

/* Damage at the start of node `at` (its kept copy or its header), `before` it a node to trust. */
static void widen(findings *f, uint32_t at, uint32_t before, uint32_t high)
{
    if (f->open && f->count && at <= f->out[f->count - 1].high) {
        if (high > f->out[f->count - 1].high)
            f->out[f->count - 1].high = high;
        return;
    }
    /* Slack of the node before belongs to the same overflow. */
    if (f->count && f->out[f->count - 1].reason == HW_SLACK && f->out[f->count - 1].node == before)
        f->count--;
    add(f, (hw_fault){.reason = HW_HEADERS, .node = at, .low = before, .high = high});
    f->open = true;
}

unsigned hw_check(const hw_pool *pool, size_t bytes, unsigned log2, hw_fault *faults, unsigned most)
{
    findings f = {.out = faults, .most = most};
    if (!hw_control_holds(pool) || (size_t)pool->size << log2 != bytes || (pool->shape >> 8 & 0xFF) != log2) {
        add(&f, (hw_fault){.reason = HW_CONTROL_BLOCK});
        return f.count;
    }
    uint32_t end = hw_end(pool), node = hw_first(pool), prev = end, before = end, prev_size = 0;
    if (__builtin_memcmp(pool, hw_payload(pool, end), HW_WITNESSED) != 0 || (pool->flags & HW_FLAG_STALE))
        add(&f, (hw_fault){.reason = HW_CONTROL_BLOCK});
    bool first_kept_bad = false;
    for (;;) {
        step s = look(pool, node, prev, prev_size);
        uint32_t next = node == end ? end : node + s.header.size;
        if (!s.kept && prev != end)
            widen(&f, prev, before, node);
        else if (!s.kept)
            first_kept_bad = true;
        if (!s.own)
            widen(&f, node, prev, next);
        bool inside = f.open && f.count && node > f.out[f.count - 1].low && node < f.out[f.count - 1].high;
        uint32_t wrong = s.lost || inside ? HW_NONE : payload_fault(pool, &s);
        if (wrong && f.open && f.count && node > f.out[f.count - 1].high)
            f.open = false;
        if (wrong) {
            add(&f, (hw_fault){.reason = wrong, .node = node, .low = node, .high = next});
            f.open = false;
        }
        if (node == end)
            break;
        before = prev;
        prev = node;
        prev_size = s.header.size;
        node = next;
    }
    if (first_kept_bad) /* it lies in the end node, behind the last node */
        widen(&f, end, prev, end);
    return f.count;
}

static bool mend_control(hw_pool *pool, size_t bytes, unsigned log2, hw_outcome *outcome)
{
    hw_pool copy;
    const unsigned char *witness = (const unsigned char *)pool + bytes - HW_WITNESSED;
    __builtin_memcpy(&copy, witness, HW_WITNESSED);
    bool here = hw_control_holds(pool) && (size_t)pool->size << log2 == bytes;
    bool there = hw_control_holds(&copy) && (size_t)copy.size << log2 == bytes;
    if (!here && !there)
        return false;
    if (here && there && __builtin_memcmp(pool, witness, HW_WITNESSED) == 0)
        return true;
    if (here)
        hw_control_copy(pool);
    else
        __builtin_memcpy(pool, witness, HW_WITNESSED);
    outcome->controls++;
    return true;
}

bool hw_repair(hw_pool *pool, size_t bytes, unsigned log2, hw_outcome *outcome)
{
    *outcome = (hw_outcome){0};
    if (!mend_control(pool, bytes, log2, outcome))
        return false;
    uint32_t end = hw_end(pool), node = hw_first(pool), prev = end, prev_size = 0;
    for (;;) {
        step s = look(pool, node, prev, prev_size);
        uint32_t next = node + s.header.size;
        if (s.lost && node != end) {
            outcome->quarantined++;
            if (next != end) { /* it led back to a node that is lost: now it leads to this one */
                hw_header h = *hw_own(pool, next);
                h.prev_size = s.header.size;
                h.check = hw_keyed(pool->secret, h.size, h.prev_size, h.meta, next);
                *hw_own(pool, next) = h;
            } else {
                hw_header h = {.size = pool->size - end, .prev_size = s.header.size, .meta = hw_meta(0, HW_ENDNODE, 0, 0)};
                h.check = hw_keyed(pool->secret, h.size, h.prev_size, h.meta, next);
                *hw_own(pool, next) = h;
            }
        } else {
            outcome->headers += !s.own;
            outcome->backups += !s.kept;
        }
        if (!s.own || !s.kept)
            hw_save(pool, node, s.header);
        if (node == end)
            break;
        uint32_t wrong = quarantined(s.header.meta) ? HW_NONE : payload_fault(pool, &s);
        switch (wrong) {
        case HW_SLACK:
            hw_slack_write(pool, node, &s.header);
            outcome->slacks++;
            break;
        case HW_POISON:
            hw_poison_write(pool, node, &s.header);
            outcome->poisons++;
            break;
        case HW_LINKS:
            outcome->links++;
            if (hw_state_of(s.header.meta) == HW_CACHED) {
                hw_cached_links_write(pool, node, false);
            }
            break;
        default:
            break;
        }
        prev = node;
        prev_size = s.header.size;
        node = next;
    }
    hw_index_clear(pool);
    pool->nodes = pool->used = 0;
    for (node = hw_first(pool); node != end; node += hw_own(pool, node)->size) {
        hw_fault none;
        pool->nodes++;
        if (hw_state_of(hw_own(pool, node)->meta) == HW_FREE)
            hw_index_insert(pool, node, &none);
        else
            pool->used++;
    }
    return true;
}

uint32_t hw_locate(const hw_pool *pool, size_t offset)
{
    uint32_t granule = (uint32_t)(offset >> HW_LOG2(pool)), node = hw_first(pool);
    while (node && node < hw_end(pool)) {
        uint32_t size = hw_own(pool, node)->size;
        if (granule >= node && granule < node + size)
            return node;
        node = hw_next(pool, node);
    }
    return 0;
}

uint32_t hw_next(const hw_pool *pool, uint32_t node)
{
    if (node == 0)
        return hw_first(pool);
    const hw_header *h = hw_own(pool, node);
    if (!hw_holds(pool, node, h) || h->size < hw_min_node(pool) || node + h->size >= hw_end(pool))
        return 0;
    return node + h->size;
}

bool hw_header_at(const hw_pool *pool, uint32_t node, hw_header *header)
{
    *header = *hw_own(pool, node);
    return hw_holds(pool, node, header) && hw_state_of(header->meta) != HW_ENDNODE;
}

bool hw_tombstone_at(const hw_pool *pool, uint32_t node, hw_header *header)
{
    *header = *hw_own(pool, node);
    header->check = ~header->check;
    return hw_holds(pool, node, header);
}
