/* Mending a whole run. Everything that had one good copy is again what it was, byte for byte; so is the
   one number of the list of free nodes that was lost. */
#include "run_walk.h"

#if HW_HAS_RUNS

static bool mend_description(hw_run *run, const hw_run_key *key, hw_outcome *outcome)
{
    hw_run seen;
    if (hw_run_is_described(run))
        return true;
    if (!hw_run_see(run, key, &seen))
        return false;
    hw_run_describe(run, seen.salt, seen.class, seen.formatted);
    hw_run_note(run);
    outcome->controls++;
    return true;
}

/* After this a node has two good copies. */
static hw_run_step mend_headers(const hw_run *run, const hw_run_key *key, uint32_t node, hw_outcome *outcome)
{
    hw_run_step s = hw_run_step_at(run, key, node);
    bool edge = node == 0 || node == hw_run_end(run);
    if (s.lost && !edge)
        outcome->quarantined++;
    outcome->headers += !s.own && (edge || !s.lost);
    outcome->backups += !s.kept && (edge || !s.lost);
    if (s.lost)
        s.meta = edge ? HW_RUN_END_META : hw_meta(0, HW_USED, HW_MALLOC, HW_SITE_QUARANTINE);
    if (!s.own || !s.kept) {
        char *at = hw_run_at(run, node);
        const hw_run_looked n = {.at = at,
                                 .kept = hw_run_at(run, hw_run_keeper(run, node)) + HW_RUN_BACKUP,
                                 .place = hw_place(run->salt, key, at)};
        hw_run_write(key, &n, s.meta);
    }
    return s;
}

/* Where the entry is lost, what is left of the pattern says how much slack there is. */
static void mend_slack(const hw_run *run, const hw_run_key *key, uint32_t node, uint32_t meta)
{
    char *at = hw_run_at(run, node), *end = at + run->stride;
    uint64_t place = hw_place(run->salt, key, at), pattern = hw_pattern_of(place);
    uint32_t slack;
    if (!hw_run_slack(run, key, node, meta, &slack)) {
        uint32_t step = run->stride - HW_RUN_OVERHEAD - hw_run_payload(run->class - 1u);
        slack = hw_slack_of(meta);
        while (slack + 16 < step && hw_run_is_filled(end - slack - 16, end, pattern))
            slack += 16;
        hw_slack_note(hw_run_entry(run, node), place, slack);
    }
    hw_run_fill(end - slack, end, pattern);
}

static void mend_payload(const hw_run *run, const hw_run_key *key, const hw_run_step *s, hw_outcome *outcome)
{
    char *at = hw_run_at(run, s->node);
    const hw_run_looked n = {.at = at, .place = hw_place(run->salt, key, at)};
    uint32_t wrong = hw_run_step_fault(run, key, s);
    outcome->slacks += wrong == HW_SLACK;
    outcome->links += wrong == HW_LINKS;
    outcome->poisons += wrong == HW_POISON;
    if (wrong == HW_SLACK && s->node == hw_run_end(run)) {
        hw_run_finish(run, key);
    } else if (wrong == HW_SLACK) {
        mend_slack(run, key, s->node, s->meta);
    } else if (wrong && hw_state_of(s->meta) == HW_CACHED) {
        hw_run_fill(at + HW_RUN_OVERHEAD + 16, at + run->stride, hw_poison_of(n.place));
        hw_run_link(key, &n, HW_RUN_HELD);
    }
}

/* --- the list of free nodes ----------------------------------------------------------------------- */

static bool is_free(const hw_run *run, const hw_run_key *key, uint32_t node)
{
    uint32_t meta;
    return hw_run_meta(run, key, node, &meta) && hw_state_of(meta) == HW_FREE;
}

static void link(const hw_run *run, const hw_run_key *key, uint32_t node, uint32_t next)
{
    const hw_run_looked n = {.at = hw_run_at(run, node), .place = hw_place(run->salt, key, hw_run_at(run, node))};
    hw_run_link(key, &n, hw_free_word(n.place, next));
}

/* From the head it leads over all `count` free nodes to its end. */
static bool list_is_whole(const hw_run *run, const hw_run_key *key, uint32_t count)
{
    uint32_t node = run->head;
    for (; count && is_free(run, key, node); count--) {
        const hw_run_looked n = {.at = hw_run_at(run, node), .place = hw_place(run->salt, key, hw_run_at(run, node))};
        uint64_t first;
        if (hw_run_links_wrong(key, &n, &first))
            return false;
        node = (uint32_t)(first & 0xFFFF);
    }
    return count == 0 && node == 0;
}

/* The first one on top. */
static void link_anew(hw_run *run, const hw_run_key *key)
{
    uint32_t next = 0;
    for (uint32_t node = hw_run_keeper(run, hw_run_end(run)); node; node = hw_run_keeper(run, node))
        if (is_free(run, key, node)) {
            link(run, key, node, next);
            next = node;
        }
    run->head = (uint16_t)next;
}

/* What the nodes themselves say. */
typedef struct census {
    hw_run_tally tally;
    uint32_t free, unlinked; /* how many; the last one whose links are lost */
} census;

static void count(census *c, const hw_run *run, const hw_run_key *key, const hw_run_step *s)
{
    const hw_run_looked n = {.at = hw_run_at(run, s->node), .place = hw_place(run->salt, key, hw_run_at(run, s->node))};
    uint64_t first = 0;
    if (hw_state_of(s->meta) == HW_FREE) {
        c->free++;
        if (hw_run_links_wrong(key, &n, &first)) {
            c->unlinked = s->node;
            first = 0;
        }
    }
    hw_run_count(&c->tally, s->node, s->meta, first);
}

/* Whether it was as it should be, but for links that are lost. The one number of a list that is lost is that of the
   node which nothing else names. */
static bool mend_list(hw_run *run, const hw_run_key *key, const census *c)
{
    uint32_t missing = 0u - c->tally.owed;
    bool right = run->used == c->tally.used;
    run->used = (uint16_t)c->tally.used;
    if (c->unlinked) {
        link(run, key, c->unlinked, (missing - run->head) & 0xFFFF);
    } else {
        right &= run->head == missing;
        run->head = (uint16_t)missing;
    }
    if (list_is_whole(run, key, c->free))
        return right;
    link_anew(run, key);
    return false;
}

bool hw_run_repair(hw_run *run, const hw_run_key *key, hw_outcome *outcome)
{
    census c = {0};
    uint32_t node = 0;
    *outcome = (hw_outcome){0};
    if (!mend_description(run, key, outcome))
        return false;
    do {
        hw_run_step s = mend_headers(run, key, node, outcome);
        mend_payload(run, key, &s, outcome);
        if (node && node != hw_run_end(run))
            count(&c, run, key, &s);
        node = hw_run_next(run, node);
    } while (node);
    /* Otherwise it follows from what was lost. */
    if (!mend_list(run, key, &c) && !outcome->quarantined && !c.unlinked)
        outcome->controls += !outcome->controls;
    return true;
}

#endif
