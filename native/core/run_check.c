/* Looking at a whole run. */
#include "run_walk.h"

#if HW_HAS_RUNS

static bool holds(const hw_run *run, const hw_run_key *key, uint32_t node, uint64_t header)
{
    bool edge = node == 0 || node == hw_run_end(run);
    return hw_run_unlike(hw_place(run->salt, key, hw_run_at(run, node)), key, header) == 0 &&
           (edge ? (uint32_t)header == HW_RUN_END_META : hw_state_of((uint32_t)header) != HW_ENDNODE);
}

hw_run_step hw_run_step_at(const hw_run *run, const hw_run_key *key, uint32_t node)
{
    uint64_t own = hw_word(hw_run_at(run, node));
    uint64_t kept = hw_word(hw_run_at(run, hw_run_keeper(run, node)) + HW_RUN_BACKUP);
    hw_run_step s = {.node = node, .own = holds(run, key, node, own)};
    s.kept = s.own ? own == kept : holds(run, key, node, kept);
    s.meta = (uint32_t)(s.own ? own : kept);
    s.lost = !s.own && !s.kept;
    return s;
}

static bool tail_is_whole(const hw_run *run, const hw_run_key *key)
{
    const char *end = hw_run_at(run, hw_run_end(run));
    return run->formatted < run->capacity || hw_run_is_filled(end + HW_RUN_OVERHEAD, run->base + HW_RUN_BYTES,
                                                              hw_pattern_of(hw_place(run->salt, key, end)));
}

uint32_t hw_run_step_fault(const hw_run *run, const hw_run_key *key, const hw_run_step *step)
{
    if (step->node == 0)
        return HW_NONE;
    if (step->node == hw_run_end(run))
        return tail_is_whole(run, key) ? HW_NONE : HW_SLACK;
    return hw_run_payload_fault(run, key, step->node, step->meta);
}

/* How many headers more have a copy that holds than have none; none does where there is no END. */
static int standing(const hw_run *run, const hw_run_key *key)
{
    int balance = 0;
    if (hw_run_step_at(run, key, hw_run_end(run)).lost)
        return 0;
    uint32_t node = 0;
    do {
        balance += hw_run_step_at(run, key, node).lost ? -1 : 1;
        node = hw_run_next(run, node);
    } while (node);
    return balance;
}

bool hw_run_see(const hw_run *run, const hw_run_key *key, hw_run *seen)
{
    const hw_run_aside *copy = run->aside;
    int best = 0;
    if (!hw_run_is_bound(run))
        return false;
    *seen = hw_run_values(run);
    for (unsigned from = 0; from < 8; from++) {
        hw_run one = hw_run_values(run);
        if (hw_run_describe(&one, from & 1 ? copy->salt : run->salt, from & 2 ? copy->class : run->class,
                            from & 4 ? copy->formatted : run->formatted)) {
            int balance = standing(&one, key);
            if (balance > best) {
                best = balance;
                *seen = one;
            }
        }
    }
    return best > 0;
}

/* --- what is wrong -------------------------------------------------------------------------------- */

/* The stretch of damaged headers that is being gone through. */
typedef struct stretch {
    bool open;
    uint32_t first, low;
} stretch;

typedef struct findings {
    hw_fault *fault;
    unsigned count, most;
} findings;

static void add(findings *f, hw_fault fault)
{
    if (f->count < f->most)
        f->fault[f->count++] = fault;
}

static void close(findings *f, stretch *s, uint32_t high)
{
    /* What is wrong in the payload of the node before a stretch is mostly of the same write. */
    if (f->count && f->fault[f->count - 1].reason != HW_HEADERS && f->fault[f->count - 1].node == s->low)
        f->count--;
    add(f, (hw_fault){.reason = HW_HEADERS, .node = s->first, .low = s->low, .high = high});
    s->open = false;
}

/* Whether anything is. */
static bool find(findings *f, const hw_run *run, const hw_run_key *key, hw_run_tally *tally)
{
    uint32_t end = hw_run_end(run), node = 0;
    stretch bad = {.low = end};
    bool damaged = false;
    do {
        uint32_t behind = hw_run_next(run, node);
        hw_run_step s = hw_run_step_at(run, key, node);
        /* A node is sound when its own header holds and so does the backup that it keeps. */
        bool sound = s.own && hw_run_step_at(run, key, behind).kept;
        uint32_t wrong = sound ? hw_run_step_fault(run, key, &s) : (uint32_t)HW_NONE;
        damaged |= !sound || wrong;
        if (!sound && !bad.open) {
            bad.open = true;
            bad.first = node ? node : (uint32_t)HW_RUN_FIRST;
        }
        if (sound && bad.open)
            close(f, &bad, node);
        if (wrong)
            add(f, (hw_fault){.reason = wrong, .node = node, .low = node, .high = node == end ? end : behind});
        if (sound)
            bad.low = node ? node : end;
        if (sound && node && node != end)
            hw_run_count(tally, node, s.meta, hw_word(hw_run_at(run, node) + HW_RUN_OVERHEAD));
        node = behind;
    } while (node);
    if (bad.open)
        close(f, &bad, end);
    return damaged;
}

unsigned hw_run_check(const hw_run *run, const hw_run_key *key, hw_fault *faults, unsigned most)
{
    findings f = {faults, 0, most};
    hw_run seen = hw_run_values(run);
    hw_run_tally tally = {0};
    const hw_fault control = {.reason = HW_CONTROL_BLOCK};
    bool described = hw_run_is_described(run);
    if (!described)
        add(&f, control);
    if (!described && !hw_run_see(run, key, &seen))
        return f.count;
    if (!find(&f, &seen, key, &tally) && described && !hw_run_counts(run, &tally))
        add(&f, control);
    return f.count;
}

/* --- whether anything is wrong, fast -------------------------------------------------------------- */

bool hw_run_sound(const hw_run *run, const hw_run_key *key)
{
    if (!hw_run_is_described(run))
        return false;
    char *at = run->base;
    const char *stop = hw_run_at(run, hw_run_end(run)), *kept = stop + HW_RUN_BACKUP;
    uint64_t place = hw_place(run->salt, key, at), wrong = hw_word(at) ^ hw_run_header(place, key, HW_RUN_END_META);
    hw_run_tally tally = {0};
    bool small = hw_run_is_small(run);
    wrong |= hw_word(at) ^ hw_word(kept);
    kept = at + HW_RUN_BACKUP;
    at += HW_RUN_OVERHEAD;
    place += HW_RUN_OVERHEAD * key->place;
    for (uint32_t node = HW_RUN_FIRST; at < stop; node += run->stride >> HW_RUN_GRANULE_LOG2) {
        uint64_t own = hw_word(at);
        uint32_t meta = (uint32_t)own;
        wrong |= hw_run_unlike(place, key, own) | (own ^ hw_word(kept)) | (hw_state_of(meta) == HW_ENDNODE);
        const hw_run_looked n = {.at = at, .place = place};
        uint64_t first = 0;
        if (small && hw_state_of(meta) == HW_USED)
            wrong |= hw_short_slack_wrong(at + run->stride, hw_pattern_of(place), hw_slack_of(meta));
        else if (hw_state_of(meta) == HW_FREE)
            wrong |= hw_run_links_wrong(key, &n, &first);
        else
            wrong |= hw_run_payload_fault(run, key, node, meta);
        if (wrong)
            return false;
        hw_run_count(&tally, node, meta, first);
        kept = at + HW_RUN_BACKUP;
        at += run->stride;
        place += run->stride * key->place;
    }
    wrong |= (hw_word(at) ^ hw_word(kept)) | (hw_word(at) ^ hw_run_header(place, key, HW_RUN_END_META));
    return !wrong && hw_run_counts(run, &tally) && tail_is_whole(run, key);
}

#endif
