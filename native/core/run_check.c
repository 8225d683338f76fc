/* Looking at a whole run. Nodes are looked at by place: the sentinel, node after node, the END. Each keeps the backup
   of the next, the END that of the sentinel. */
#include "run_node.h"

typedef struct step {
    uint32_t node; /* 0 for the sentinel */
    uint32_t meta; /* the one to believe, where `lost` is not set */
    bool own, kept, lost;
} step;

static uint32_t keeper_of(const hw_run *run, uint32_t node)
{
    if (node == 0)
        return hw_run_end(run);
    return node == HW_RUN_FIRST ? 0 : node - (run->stride >> HW_RUN_GRANULE_LOG2);
}

static bool holds(const hw_run *run, const hw_run_key *key, uint32_t node, uint64_t header)
{
    bool edge = node == 0 || node == hw_run_end(run);
    return hw_run_unlike(hw_place(run->salt, key, hw_run_at(run, node)), key, header) == 0 &&
           (edge ? (uint32_t)header == (uint32_t)HW_ENDNODE << 4 : hw_state_of((uint32_t)header) != HW_ENDNODE);
}

static step look(const hw_run *run, const hw_run_key *key, uint32_t node)
{
    uint64_t own = hw_word(hw_run_at(run, node));
    uint64_t kept = hw_word(hw_run_at(run, keeper_of(run, node)) + HW_RUN_BACKUP);
    step s = {.node = node, .own = holds(run, key, node, own)};
    s.kept = s.own ? own == kept : holds(run, key, node, kept);
    s.meta = (uint32_t)(s.own ? own : kept);
    s.lost = !s.own && !s.kept;
    return s;
}

static uint32_t next_of(const hw_run *run, uint32_t node)
{
    return node == 0 ? (uint32_t)HW_RUN_FIRST : node + (run->stride >> HW_RUN_GRANULE_LOG2);
}

static bool tail_is_whole(const hw_run *run, const hw_run_key *key)
{
    const char *end = hw_run_at(run, hw_run_end(run));
    return run->formatted < run->capacity || hw_run_is_filled(end + HW_RUN_OVERHEAD, run->base + HW_RUN_BYTES,
                                                              hw_pattern_of(hw_place(run->salt, key, end)));
}

static uint32_t payload_fault(const hw_run *run, const hw_run_key *key, const step *s)
{
    if (s->node == 0)
        return HW_NONE;
    if (s->node == hw_run_end(run))
        return tail_is_whole(run, key) ? HW_NONE : HW_SLACK;
    return hw_run_payload_fault(run, key, s->node, s->meta);
}

/* The stretch of damaged headers that is being gone through. */
typedef struct stretch {
    bool open, from_start;
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

static bool is_payload(uint32_t reason)
{
    return reason == HW_SLACK || reason == HW_LINKS || reason == HW_POISON;
}

static void close(findings *f, stretch *s, uint32_t high)
{
    /* What is wrong in the payload of the node before a stretch is mostly of the same write. */
    if (f->count && is_payload(f->fault[f->count - 1].reason) && f->fault[f->count - 1].node == s->low)
        f->count--;
    add(f, (hw_fault){.reason = HW_HEADERS, .node = s->first, .low = s->low, .high = high});
    s->open = false;
}

static bool is_free_node(const hw_run *run, const hw_run_key *key, uint32_t node)
{
    uint32_t meta;
    return hw_run_meta(run, key, node, &meta) && hw_state_of(meta) == HW_FREE;
}

unsigned hw_run_check(const hw_run *run, const hw_run_key *key, hw_fault *faults, unsigned most)
{
    findings f = {faults, 0, most};
    if (!hw_run_is_described(run)) {
        add(&f, (hw_fault){.reason = HW_CONTROL_BLOCK});
        return f.count;
    }
    uint32_t end = hw_run_end(run), used = 0;
    stretch bad = {.low = end};
    bool damaged = false;
    for (uint32_t node = 0;; node = next_of(run, node)) {
        step s = look(run, key, node);
        /* A node is sound when its own header holds and so does the backup that it keeps. */
        step behind = look(run, key, node == end ? 0 : next_of(run, node));
        bool sound = s.own && behind.kept;
        uint32_t wrong = sound ? payload_fault(run, key, &s) : (uint32_t)HW_NONE;
        damaged |= !sound || wrong;
        if (!sound && !bad.open) {
            bad.open = true;
            bad.first = node ? node : (uint32_t)HW_RUN_FIRST;
        }
        if (sound && bad.open)
            close(&f, &bad, node);
        if (sound) {
            if (wrong)
                add(&f,
                    (hw_fault){
                        .reason = wrong, .node = node, .low = node, .high = node == end ? node : next_of(run, node)});
            bad.low = node ? node : end;
        }
        used += node && node != end && !s.lost && hw_state_of(s.meta) != HW_FREE;
        if (node == end)
            break;
    }
    if (bad.open)
        close(&f, &bad, end);
    if (!damaged && (used != run->used || (run->head ? !is_free_node(run, key, run->head) : used != run->formatted)))
        add(&f, (hw_fault){.reason = HW_CONTROL_BLOCK});
    return f.count;
}

bool hw_run_sound(const hw_run *run, const hw_run_key *key)
{
    if (!hw_run_is_described(run))
        return false;
    uint32_t used = 0, end = hw_run_end(run);
    const char *at = run->base, *stop = hw_run_at(run, end);
    uint64_t place = hw_place(run->salt, key, at),
             wrong = hw_word(at) ^ hw_run_header(place, key, (uint32_t)HW_ENDNODE << 4);
    wrong |= hw_word(stop + HW_RUN_BACKUP) ^ hw_word(at);
    const char *kept = at + HW_RUN_BACKUP;
    place += (uint64_t)HW_RUN_OVERHEAD * key->place;
    at += HW_RUN_OVERHEAD;
    for (uint32_t node = HW_RUN_FIRST; at < stop; at += run->stride, node += run->stride >> HW_RUN_GRANULE_LOG2) {
        uint64_t own = hw_word(at);
        uint32_t meta = (uint32_t)own;
        wrong |= hw_run_unlike(place, key, own) | (own ^ hw_word(kept)) | (hw_state_of(meta) == HW_ENDNODE);
        if (wrong)
            return false;
        used += hw_state_of(meta) != HW_FREE;
        if (hw_run_is_small(run) && hw_state_of(meta) == HW_USED)
            wrong |= hw_short_slack_wrong(at + run->stride, hw_pattern_of(place), hw_slack_of(meta));
        else
            wrong |= hw_run_payload_fault(run, key, node, meta);
        kept = at + HW_RUN_BACKUP;
        place += (uint64_t)run->stride * key->place;
    }
    wrong |= (hw_word(at) ^ hw_word(kept)) | (hw_word(at) ^ hw_run_header(place, key, (uint32_t)HW_ENDNODE << 4));
    return !wrong && used == run->used && tail_is_whole(run, key) &&
           (run->head ? is_free_node(run, key, run->head) : used == run->formatted);
}

/* --- mending -------------------------------------------------------------------------------------- */

/* The one of the two that the sentinel and the END stand for. */
static bool describes(const hw_run *run, const hw_run_key *key, uint64_t salt, unsigned formatted, unsigned class)
{
    hw_run r = *run;
    if (class >= HW_RUN_CLASSES)
        return false;
    r.salt = salt;
    r.class = (uint8_t)class;
    r.stride = hw_run_payload(class) + HW_RUN_OVERHEAD;
    r.capacity = (uint16_t)((HW_RUN_BYTES - 2 * HW_RUN_OVERHEAD) / r.stride);
    r.formatted = (uint16_t)formatted;
    if (formatted > r.capacity)
        return false;
    step first = look(&r, key, 0), last = look(&r, key, hw_run_end(&r));
    return !first.lost && !last.lost;
}

static void mend_description(hw_run *run, const hw_run_key *key, hw_outcome *outcome)
{
    const hw_run_aside *copy = run->aside;
    if (hw_run_is_described(run))
        return;
    outcome->controls++;
    if (describes(run, key, run->salt, run->formatted, run->class)) {
        /* The copy is what is wrong. */
    } else {
        run->salt = copy->salt;
        run->class = copy->class < HW_RUN_CLASSES ? copy->class : 0;
        run->formatted = copy->formatted;
    }
    run->stride = hw_run_payload(run->class) + HW_RUN_OVERHEAD;
    run->capacity = (uint16_t)((HW_RUN_BYTES - 2 * HW_RUN_OVERHEAD) / run->stride);
    if (run->formatted > run->capacity)
        run->formatted = run->capacity;
    hw_run_note(run);
}

static void put_header(const hw_run *run, const hw_run_key *key, uint32_t node, uint32_t meta)
{
    char *at = hw_run_at(run, node);
    uint64_t header = hw_run_header(hw_place(run->salt, key, at), key, meta);
    hw_put_word(at, header);
    hw_put_word(hw_run_at(run, keeper_of(run, node)) + HW_RUN_BACKUP, header);
}

/* Slack whose entry is lost is as long as what is left of its pattern. */
static void mend_slack(const hw_run *run, const hw_run_key *key, uint32_t node, uint32_t meta)
{
    char *at = hw_run_at(run, node), *end = at + run->stride;
    uint64_t place = hw_place(run->salt, key, at), pattern = hw_pattern_of(place);
    uint32_t slack, most = (1u << HW_RUN_SLACK_BITS) - 1, payload = run->stride - HW_RUN_OVERHEAD;
    if (!hw_run_slack(run, key, node, meta, &slack)) {
        for (slack = 0; slack < most && slack + 1 < payload; slack++) {
            unsigned char byte = (unsigned char)(pattern >> 8 * ((uintptr_t)(end - slack - 1) & 7));
            if ((unsigned char)end[-(ptrdiff_t)slack - 1] != byte)
                break;
        }
        run->aside->slack[hw_run_number(run, node) % HW_RUN_MIDS] = hw_slack_entry(place, key, slack);
    }
    hw_run_fill(end - slack, end, pattern);
}

static void mend_payload(const hw_run *run, const hw_run_key *key, const step *s, hw_outcome *outcome)
{
    char *at = hw_run_at(run, s->node);
    hw_run_looked n = {.at = at, .place = hw_place(run->salt, key, at)};
    uint32_t wrong = payload_fault(run, key, s);
    outcome->slacks += wrong == HW_SLACK;
    outcome->links += wrong == HW_LINKS;
    outcome->poisons += wrong == HW_POISON;
    if (wrong == HW_SLACK && s->node == hw_run_end(run)) {
        hw_run_finish(run, key);
    } else if (wrong == HW_SLACK) {
        mend_slack(run, key, s->node, s->meta);
    } else if (wrong && hw_state_of(s->meta) == HW_CACHED) {
        hw_run_fill(at + HW_RUN_OVERHEAD + 16, at + run->stride, hw_pattern_of(n.place));
        hw_run_link(key, &n, HW_RUN_HELD);
    }
}

/* Every free node on the list, the first on top; what is counted, too. */
static void link_anew(hw_run *run, const hw_run_key *key)
{
    uint32_t granules = run->stride >> HW_RUN_GRANULE_LOG2, next = 0;
    run->used = 0;
    for (uint32_t node = hw_run_end(run); node > HW_RUN_FIRST;) {
        node -= granules;
        char *at = hw_run_at(run, node);
        hw_run_looked n = {.at = at, .place = hw_place(run->salt, key, at)};
        if (hw_state_of((uint32_t)hw_word(at)) != HW_FREE) {
            run->used++;
            continue;
        }
        hw_run_link(key, &n, hw_free_word(n.place, next));
        next = node;
    }
    run->head = (uint16_t)next;
}

void hw_run_repair(hw_run *run, const hw_run_key *key, hw_outcome *outcome)
{
    *outcome = (hw_outcome){0};
    mend_description(run, key, outcome);
    uint32_t end = hw_run_end(run);
    for (uint32_t node = 0;; node = next_of(run, node)) {
        step s = look(run, key, node);
        bool edge = node == 0 || node == end;
        if (s.lost)
            s.meta = edge ? (uint32_t)HW_ENDNODE << 4 : hw_meta(0, HW_USED, HW_MALLOC, HW_SITE_QUARANTINE);
        outcome->quarantined += s.lost && !edge;
        outcome->headers += !s.own && (!s.lost || edge);
        outcome->backups += !s.kept && (!s.lost || edge);
        if (!s.own || !s.kept)
            put_header(run, key, node, s.meta);
        if (s.lost && !edge && !hw_run_is_small(run))
            run->aside->slack[hw_run_number(run, node) % HW_RUN_MIDS] =
                hw_slack_entry(hw_place(run->salt, key, hw_run_at(run, node)), key, 0);
        else
            mend_payload(run, key, &s, outcome);
        if (node == end)
            break;
    }
    uint16_t head = run->head, used = run->used;
    link_anew(run, key);
    if (!outcome->links && !outcome->quarantined && !outcome->headers && used != run->used)
        outcome->controls += outcome->controls == 0;
    (void)head;
}
