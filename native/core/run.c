/* A run's operations: formatting, and one node at a time. */
#include "run_node.h"

#if HW_HAS_RUNS

enum { MID_STEPS = 8, MID_STEP = 128, MID_FIRST = 1024 };

unsigned hw_run_class(size_t bytes)
{
    return hw_class_for(bytes);
}

uint32_t hw_run_payload(unsigned class)
{
    if (class < HW_RUN_SMALL)
        return (class + 1) << HW_RUN_GRANULE_LOG2;
    unsigned doubling = (class - HW_RUN_SMALL) / MID_STEPS, step = (class - HW_RUN_SMALL) % MID_STEPS;
    return ((uint32_t)MID_FIRST << doubling) + (step + 1) * ((uint32_t)MID_STEP << doubling);
}

/* --- filled with the pattern ---------------------------------------------------------------------- */

enum { FOUR = 32 }; /* words at once, in bytes */

/* The first word may begin before `from`: what is there is another's. */
static uint64_t mask_from(const char *from)
{
    return ~UINT64_C(0) << 8 * ((uintptr_t)from & 7);
}
static const char *word_of(const char *at)
{
    return at - ((uintptr_t)at & 7);
}

bool hw_run_is_filled(const char *from, const char *to, uint64_t pattern)
{
    if (from >= to)
        return true;
    const char *at = word_of(from);
    uint64_t wrong = (hw_word(at) ^ pattern) & mask_from(from);
    for (at += 8; to - at >= FOUR; at += FOUR)
        wrong |= (hw_word(at) ^ pattern) | (hw_word(at + 8) ^ pattern) | (hw_word(at + 16) ^ pattern) |
                 (hw_word(at + 24) ^ pattern);
    for (; at < to; at += 8)
        wrong |= hw_word(at) ^ pattern;
    return wrong == 0;
}

void hw_run_fill(char *from, char *to, uint64_t pattern)
{
    if (from >= to)
        return;
    const uint64_t four[4] = {pattern, pattern, pattern, pattern}, mask = mask_from(from);
    char *at = from - ((uintptr_t)from & 7);
    hw_put_word(at, (hw_word(at) & ~mask) | (pattern & mask));
    for (at += 8; to - at >= FOUR; at += FOUR)
        __builtin_memcpy(at, four, FOUR);
    for (; at < to; at += 8)
        hw_put_word(at, pattern);
}

/* --- what describes a run ------------------------------------------------------------------------- */

static uint32_t stride_of(unsigned class)
{
    return hw_run_payload(class) + HW_RUN_OVERHEAD;
}

static uint16_t capacity_of(uint32_t stride)
{
    return (uint16_t)((HW_RUN_BYTES - 2 * HW_RUN_OVERHEAD) / stride);
}

bool hw_run_is_bound(const hw_run *run)
{
    return run->where == hw_run_where(run);
}

void hw_run_bind(hw_run *run, hw_run_aside *aside, void *base)
{
    run->base = base;
    run->aside = aside;
    run->where = hw_run_where(run);
}

static bool is_copied(const hw_run_aside *copy, const hw_run *run)
{
    return copy->salt == run->salt && copy->formatted == run->formatted && copy->class == run->class &&
           (copy->zero | copy->zeros) == 0;
}

bool hw_run_is_described(const hw_run *run)
{
    return hw_run_is_bound(run) && run->class < HW_RUN_CLASSES && run->stride == stride_of(run->class) &&
           run->capacity == capacity_of(run->stride) && run->formatted <= run->capacity && is_copied(run->aside, run);
}

/* Headers hardly tell of a salt's lower half: it is the complement of the upper one. */
static uint64_t whole_salt(uint64_t salt)
{
    return salt >> 32 << 32 | (uint32_t)~(salt >> 32);
}

bool hw_run_describe(hw_run *run, uint64_t salt, unsigned class, unsigned formatted)
{
    if (salt != whole_salt(salt) || class >= HW_RUN_CLASSES || formatted > capacity_of(stride_of(class)))
        return false;
    run->salt = salt;
    run->class = (uint8_t)class;
    run->stride = stride_of(class);
    run->capacity = capacity_of(run->stride);
    run->formatted = (uint16_t)formatted;
    return true;
}

void hw_run_note(hw_run *run)
{
    hw_run_aside *copy = run->aside;
    copy->salt = run->salt;
    copy->formatted = run->formatted;
    copy->class = run->class;
    copy->zero = 0;
    copy->zeros = 0;
}

bool hw_run_is_node(const hw_run *run, uint32_t node)
{
    uint32_t granules = run->stride >> HW_RUN_GRANULE_LOG2;
    return granules && node >= HW_RUN_FIRST && node < hw_run_end(run) && node < HW_RUN_BYTES >> HW_RUN_GRANULE_LOG2 &&
           (node - HW_RUN_FIRST) % granules == 0;
}

static uint64_t header_at(const hw_run *run, const hw_run_key *key, const char *at, uint32_t meta)
{
    return hw_run_header(hw_place(run->salt, key, at), key, meta);
}

/* The END behind the last node; `last` is what keeps its backup. */
static void put_end(const hw_run *run, const hw_run_key *key, char *at, char *last)
{
    uint64_t header = header_at(run, key, at, HW_RUN_END_META);
    hw_put_word(at, header);
    hw_put_word(last + HW_RUN_BACKUP, header);
    hw_put_word(at + HW_RUN_BACKUP, header_at(run, key, run->base, HW_RUN_END_META));
}

void hw_run_init(hw_run *run, hw_run_aside *aside, void *base, unsigned class, uint64_t salt, const hw_run_key *key)
{
    hw_run_bind(run, aside, base);
    hw_run_describe(run, whole_salt(salt), class, 0);
    run->head = run->used = 0;
    hw_run_note(run);
    hw_put_word(run->base, header_at(run, key, run->base, HW_RUN_END_META));
    put_end(run, key, run->base + HW_RUN_OVERHEAD, run->base);
}

/* --- formatting ----------------------------------------------------------------------------------- */

/* Where nothing more can be formatted, what is left of the run is watched, too. */
void hw_run_finish(const hw_run *run, const hw_run_key *key)
{
    char *end = hw_run_at(run, hw_run_end(run));
    if (run->formatted == run->capacity)
        hw_run_fill(end + HW_RUN_OVERHEAD, run->base + HW_RUN_BYTES, hw_pattern_of(hw_place(run->salt, key, end)));
}

/* The END and what keeps its backup are as they were written. */
static bool end_is_whole(const hw_run *run, const hw_run_key *key, const char *end, const char *last)
{
    uint64_t header = header_at(run, key, end, HW_RUN_END_META);
    return hw_word(end) == header && hw_word(last + HW_RUN_BACKUP) == header &&
           hw_word(end + HW_RUN_BACKUP) == header_at(run, key, run->base, HW_RUN_END_META);
}

int hw_run_format(hw_run *run, const hw_run_key *key, size_t bytes)
{
    if (!hw_run_is_described(run))
        return HW_DAMAGED;
    unsigned room = (unsigned)(run->capacity - run->formatted), count = (unsigned)(bytes / run->stride);
    uint32_t first = hw_run_end(run), granules = run->stride >> HW_RUN_GRANULE_LOG2;
    char *at = hw_run_at(run, first), *last = at - hw_run_back(run->stride, run->formatted == 0);
    if (room == 0)
        return HW_NOMEM;
    if (!end_is_whole(run, key, at, last))
        return HW_DAMAGED;
    count = count < 1 ? 1 : count > room ? room : count;
    for (unsigned i = 1; i <= count; i++, at += run->stride) {
        hw_run_looked n = {.at = at, .kept = last + HW_RUN_BACKUP, .place = hw_place(run->salt, key, at)};
        /* Not all 0, as what comes to lie over its first bytes may be: numbers such as 1.0 begin so. */
        hw_run_write(key, &n, hw_meta(0, HW_FREE, HW_ALIGNED, 0));
        hw_run_link(key, &n, hw_free_word(n.place, i < count ? first + i * granules : run->head));
        last = at;
    }
    put_end(run, key, at, last);
    run->head = (uint16_t)first;
    run->formatted = (uint16_t)(run->formatted + count);
    hw_run_note(run);
    hw_run_finish(run, key);
    return HW_OK;
}

/* --- slack, links, poison of one node ------------------------------------------------------------- */

bool hw_run_slack(const hw_run *run, const hw_run_key *key, uint32_t node, uint32_t meta, uint32_t *slack)
{
    *slack = hw_slack_of(meta);
    if (hw_run_is_small(run) || hw_quarantined(meta))
        return true;
    uint64_t place = hw_place(run->salt, key, hw_run_at(run, node));
    return hw_slack_noted(hw_run_entry(run, node), place, *slack, slack) == 0 &&
           *slack < stride_of(run->class) - stride_of(run->class - 1u);
}

size_t hw_run_requested(const hw_run *run, const hw_run_key *key, uint32_t node, uint32_t meta)
{
    uint32_t slack;
    /* By any thread: how many nodes there are may change meanwhile. */
    return hw_run_is_bound(run) && run->stride >> HW_RUN_GRANULE_LOG2 && hw_run_slack(run, key, node, meta, &slack)
               ? run->stride - HW_RUN_OVERHEAD - slack
               : 0;
}

static bool slack_is_whole(const hw_run *run, const hw_run_key *key, uint32_t node, uint32_t meta)
{
    uint32_t slack;
    const char *end = hw_run_at(run, node) + run->stride;
    uint64_t pattern = hw_pattern_of(hw_place(run->salt, key, hw_run_at(run, node)));
    return hw_run_slack(run, key, node, meta, &slack) && hw_run_is_filled(end - slack, end, pattern);
}

uint32_t hw_run_payload_fault(const hw_run *run, const hw_run_key *key, uint32_t node, uint32_t meta)
{
    char *at = hw_run_at(run, node);
    hw_run_looked n = {.at = at, .place = hw_place(run->salt, key, at)};
    uint64_t first;
    switch (hw_state_of(meta)) {
    case HW_USED:
        return slack_is_whole(run, key, node, meta) ? HW_NONE : HW_SLACK;
    case HW_CACHED:
        first = hw_word(at + HW_RUN_OVERHEAD);
        if (first != HW_RUN_HELD || hw_word(at + HW_RUN_OVERHEAD + 8) != hw_second_word(n.place, key, first))
            return HW_LINKS;
        return hw_run_is_filled(at + HW_RUN_OVERHEAD + 16, at + run->stride, hw_poison_of(n.place)) ? HW_NONE
                                                                                                    : HW_POISON;
    case HW_FREE:
        return hw_run_links_wrong(key, &n, &first) ? HW_LINKS : HW_NONE;
    default:
        return HW_NONE;
    }
}

static void put_slack(const hw_run *run, const hw_run_looked *n, uint32_t slack)
{
    char *end = n->at + run->stride;
    hw_run_fill(end - slack, end, hw_pattern_of(n->place));
    if (!hw_run_is_small(run)) {
        uint32_t node = (uint32_t)((n->at - run->base) >> HW_RUN_GRANULE_LOG2);
        hw_slack_note(hw_run_entry(run, node), n->place, slack);
    }
}

/* --- one node ------------------------------------------------------------------------------------- */

static bool look(const hw_run *run, const hw_run_key *key, uint32_t node, hw_run_looked *n)
{
    return hw_run_look(key, run->salt, hw_run_at(run, node), run->stride, node == HW_RUN_FIRST, n) == 0;
}

int hw_run_verify(const hw_run *run, const hw_run_key *key, uint32_t node)
{
    hw_run_looked n;
    if (!hw_run_is_described(run))
        return HW_DAMAGED;
    if (!hw_run_is_node(run, node))
        return HW_REFUSED;
    return look(run, key, node, &n) && !hw_run_behind_wrong(key, &n, run->stride) &&
                   hw_run_payload_fault(run, key, node, (uint32_t)n.own) == HW_NONE
               ? HW_OK
               : HW_DAMAGED;
}

bool hw_run_meta(const hw_run *run, const hw_run_key *key, uint32_t node, uint32_t *meta)
{
    if (!hw_run_is_bound(run) || !hw_run_is_node(run, node))
        return false;
    const char *at = hw_run_at(run, node);
    uint64_t own = __atomic_load_n((const uint64_t *)(const void *)at, __ATOMIC_RELAXED);
    *meta = (uint32_t)own;
    return hw_run_unlike(hw_place(run->salt, key, at), key, own) == 0 && hw_state_of(*meta) != HW_ENDNODE;
}

uint32_t hw_run_take(hw_run *run, const hw_run_key *key, size_t bytes, unsigned origin, uint32_t site)
{
    hw_run_looked n;
    uint64_t first;
    uint32_t node = run->head, slack = run->stride - HW_RUN_OVERHEAD - (uint32_t)(bytes ? bytes : 1);
    if (!hw_run_is_described(run) || !hw_run_is_node(run, node) || !look(run, key, node, &n) ||
        hw_state_of((uint32_t)n.own) != HW_FREE || hw_run_links_wrong(key, &n, &first))
        return 0;
    run->head = (uint16_t)first;
    run->used++;
    put_slack(run, &n, slack);
    hw_run_write(key, &n, hw_meta(slack & 15, HW_USED, origin, site));
    return node;
}

/* A used node that nothing is wrong with, or one that is held back. */
static int look_at_taken(const hw_run *run, const hw_run_key *key, uint32_t node, bool held, hw_run_looked *n)
{
    if (!hw_run_is_described(run))
        return HW_DAMAGED;
    if (!hw_run_is_node(run, node))
        return HW_REFUSED;
    if (!look(run, key, node, n) || hw_run_behind_wrong(key, n, run->stride))
        return HW_DAMAGED;
    uint32_t meta = (uint32_t)n->own;
    if (hw_quarantined(meta) || !(hw_state_of(meta) == HW_USED || (held && hw_state_of(meta) == HW_CACHED)))
        return HW_REFUSED;
    return hw_run_payload_fault(run, key, node, meta) == HW_NONE ? HW_OK : HW_DAMAGED;
}

int hw_run_give(hw_run *run, const hw_run_key *key, uint32_t node, uint32_t site)
{
    hw_run_looked n;
    int status = look_at_taken(run, key, node, true, &n);
    if (status != HW_OK)
        return status;
    hw_run_write(key, &n, ((uint32_t)n.own & 0xCF) | (uint32_t)HW_FREE << 4 | site << 8);
    hw_run_link(key, &n, hw_free_word(n.place, run->head));
    run->head = (uint16_t)node;
    run->used--;
    return HW_OK;
}

int hw_run_hold(hw_run *run, const hw_run_key *key, uint32_t node, uint32_t site)
{
    hw_run_looked n;
    int status = look_at_taken(run, key, node, false, &n);
    if (status != HW_OK)
        return status;
    hw_run_fill(n.at + HW_RUN_OVERHEAD + 16, n.at + run->stride, hw_poison_of(n.place));
    hw_run_write(key, &n, ((uint32_t)n.own & 0xCF) | (uint32_t)HW_CACHED << 4 | site << 8);
    hw_run_link(key, &n, HW_RUN_HELD);
    return HW_OK;
}

int hw_run_resize(hw_run *run, const hw_run_key *key, uint32_t node, size_t bytes, uint32_t site)
{
    hw_run_looked n;
    int status = look_at_taken(run, key, node, false, &n);
    if (status != HW_OK)
        return status;
    if (bytes == 0 || bytes > HW_RUN_MOST || hw_run_class(bytes) != run->class)
        return HW_NOMEM;
    uint32_t slack = run->stride - HW_RUN_OVERHEAD - (uint32_t)bytes;
    put_slack(run, &n, slack);
    hw_run_write(key, &n, hw_meta(slack & 15, HW_USED, (uint32_t)n.own >> 6 & 3, site));
    return HW_OK;
}

uint32_t hw_run_locate(const hw_run *run, size_t offset)
{
    uint32_t granules = run->stride >> HW_RUN_GRANULE_LOG2, at = (uint32_t)(offset >> HW_RUN_GRANULE_LOG2);
    if (at < HW_RUN_FIRST || !granules)
        return 0;
    uint32_t node = at - (at - HW_RUN_FIRST) % granules;
    return node < hw_run_end(run) ? node : hw_run_end(run);
}

#endif
