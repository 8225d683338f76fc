/* Looking at a whole pool: every damaged copy, slack, link and poison, and the control block. */
#include "walk.h"

typedef struct findings {
    hw_fault *out;
    unsigned count, most;
} findings;

static void add(findings *f, uint32_t reason, uint32_t node, uint32_t low, uint32_t high)
{
    if (f->count < f->most)
        f->out[f->count++] = (hw_fault){.reason = reason, .node = node, .low = low, .high = high};
}

static uint32_t wrong_in(const hw_pool *pool, const hw_step *s)
{
    uint32_t wrong = hw_payload_fault(pool, s->node, &s->header);
    if (wrong == HW_NONE && hw_state_of(s->header.meta) == HW_FREE && !(pool->flags & HW_FLAG_STALE) &&
        !hw_index_leads_to(pool, s->node))
        return HW_LINKS;
    return wrong;
}

/* What is wrong in the payload of the node before a stretch is mostly of the same write. */
static void add_stretch(findings *f, const hw_fault *stretch)
{
    const hw_fault *last = f->count ? &f->out[f->count - 1] : NULL;
    if (last && last->node == stretch->low && last->reason >= HW_SLACK && last->reason <= HW_POISON)
        f->count--;
    add(f, HW_HEADERS, stretch->node, stretch->low, stretch->high);
}

static void check_nodes(const hw_pool *pool, findings *f, hw_tally *tally)
{
    uint32_t end = hw_end(pool);
    hw_step s = hw_walk_first(pool), next = {0};
    bool first_kept = s.kept; /* it lies in the end node */
    hw_fault stretch = {.low = end};
    for (;;) {
        bool last = s.node == end;
        if (!last)
            next = hw_walk_next(pool, &s);
        bool sound = s.own && (last ? first_kept : next.kept);
        uint32_t wrong = HW_NONE;
        if (!sound && stretch.node == 0)
            stretch.node = s.node;
        if (!sound)
            stretch.high = last ? end : next.node;
        if (stretch.node && (sound || last)) {
            add_stretch(f, &stretch);
            stretch.node = 0;
        }
        if (sound) {
            wrong = wrong_in(pool, &s);
            if (wrong != HW_NONE)
                add(f, wrong, s.node, s.node, next.node);
            stretch.low = s.node;
        }
        hw_tally_add(tally, pool, &s, !sound || wrong != HW_NONE);
        if (last)
            return;
        s = next;
    }
}

unsigned hw_check(const hw_pool *pool, size_t bytes, unsigned log2, hw_fault *faults, unsigned most)
{
    findings f = {.out = faults, .most = most};
    bytes &= ~(size_t)15;
    uint32_t *fixed = (uint32_t *)(uintptr_t)pool, lost[HW_WITNESSED / 4];
    const uint32_t *copy = (const uint32_t *)((uintptr_t)pool + bytes) - HW_WITNESSED / 4;
    enum { WORDS = HW_WITNESSED / 4 };
    bool same = bytes >= HW_LEAST, here = hw_control_fits(pool, bytes, log2);
    for (unsigned i = 0; same && i < WORDS; i++)
        same = fixed[i] == copy[i];
    if (!here || !same)
        add(&f, HW_CONTROL_BLOCK, 0, 0, 0);
    if (!here) {
        hw_pool witness;
        if (bytes < HW_LEAST)
            return f.count;
        for (unsigned i = 0; i < WORDS; i++)
            ((uint32_t *)&witness)[i] = copy[i];
        if (!hw_control_fits(&witness, bytes, log2))
            return f.count;
        for (unsigned i = 0; i < WORDS; i++) {
            lost[i] = fixed[i];
            fixed[i] = copy[i];
        }
    }
    hw_tally tally;
    hw_clear(&tally, sizeof tally);
    check_nodes(pool, &f, &tally);
    if (here && same && !hw_derived_is_valid(pool, &tally))
        add(&f, HW_CONTROL_BLOCK, 0, 0, 0);
    for (unsigned i = 0; !here && i < WORDS; i++)
        fixed[i] = lost[i];
    return f.count;
}
