/* Whether all of a pool is as it should be: one pass that compares everything and explains nothing. What
   it does not like, check.c looks at again.

   Where a node ends is known only from its header, so a walk waits for memory at every node. This one goes
   through several stretches of the pool by turns, one node of each, and asks for what it will read next a turn
   before. A stretch starts where a header is seen to hold; that the one before it ends just there makes the
   stretches one walk. */
#include "walk.h"

/* In granules: how far apart stretches start, and how far on a start is looked for. Where nodes are larger
   than that, few of them fill a pool. */
#ifndef HW_STRETCH
#define HW_STRETCH 8192
#endif
/* The same where only a part of a pool is gone through. */
#ifndef HW_STRETCH_OF_PART
#define HW_STRETCH_OF_PART 2048
#endif
/* Where nodes are larger than so many on average, stretches bring nothing. */
#ifndef HW_LARGE_NODES
#define HW_LARGE_NODES 2048
#endif
enum { LANES = 8, STRETCH = HW_STRETCH, STRETCH_OF_PART = HW_STRETCH_OF_PART, LEAST_PAGE = 4096 };

/* The next node to look at, the size of the node before (whose header holds), and the node to stop at. */
typedef struct lane {
    uint32_t node, before, stop;
} lane;

typedef struct walk {
    const hw_pool *pool;
    hw_factors key;
    uint32_t first, end, least, stretch;
    hw_tally tally;
} walk;

static inline uint64_t word(const unsigned char *at)
{
    uint64_t v;
    __builtin_memcpy(&v, at, 8);
    return v;
}

/* Not 0: slack of a used node is not as usual. `end`: of its payload, `offset_sum`: the offset's part of the sum. Of a
   payload that ends with a page nothing is read where it has no slack: that page may be the program's alone, and shut.
 */
static inline uint64_t slack_damage(const unsigned char *end, uint64_t offset_sum, unsigned slack)
{
    if (__builtin_expect(((uintptr_t)end & (LEAST_PAGE - 1)) == 0, 0) && slack == 0)
        return 0;
    uint64_t pattern = hw_pattern_of(offset_sum), part = ~(~UINT64_C(0) >> 8 * (slack & 7)),
             most = -(uint64_t)(slack >> 3);
    return ((word(end - 8) ^ pattern) & (part | most)) | ((word(end - 16) ^ pattern) & part & most);
}

/* A node that is not as most are: free, poisoned, handed over, or damaged. */
static bool is_sound(walk *w, uint32_t node, uint32_t size)
{
    hw_step step = {.node = node, .header = *hw_own(w->pool, node), .own = true, .kept = true};
    uint32_t state = hw_state_of(step.header.meta);
    if (step.header.size != size || state == HW_ENDNODE || hw_payload_fault(w->pool, node, &step.header) != HW_NONE ||
        (state == HW_FREE && !hw_index_leads_to(w->pool, node)))
        return false;
    hw_tally_add(&w->tally, w->pool, &step, false);
    return true;
}

/* The payload of the node of `size` granules that ends at `next`. */
static inline __attribute__((always_inline)) bool payload_is_sound(walk *w, uint32_t next, uint32_t size)
{
    const unsigned char *end = hw_at(w->pool, next);
    uint32_t node = next - size, meta = hw_own(w->pool, node)->meta;
    uint64_t offset_sum = node * w->key.offset, unusual = 1;
    if (hw_state_of(meta) == HW_USED)
        unusual = slack_damage(end, offset_sum, hw_slack_of(meta));
    else if (hw_state_of(meta) == HW_CACHED)
        unusual = hw_unlike_cached(hw_links_at(w->pool, node), &w->key, offset_sum);
    if (__builtin_expect(unusual != 0, 0))
        return is_sound(w, node, size);
    w->tally.nodes++;
    w->tally.used++;
    return true;
}

/* The payload of the node before comes with this node's header, for the sake of the cache line that holds both. */
static inline bool step(walk *w, lane *l)
{
    uint32_t size = hw_own(w->pool, l->node)->size;
    if (hw_disagreement(w->pool, &w->key, l->node, l->before) || size < w->least || size > w->end - l->node ||
        !payload_is_sound(w, l->node, l->before))
        return false;
    l->node += size;
    l->before = size;
    __builtin_prefetch(hw_at(w->pool, l->node) - 16);
    __builtin_prefetch(hw_at(w->pool, l->node) + 31);
    return true;
}

/* Another lane where the next header that holds is found, from `from` on. Payloads are read, which threads may be
   writing: what is torn fails its check. */
__attribute__((no_sanitize("thread"))) static bool resync(const walk *w, uint32_t from, lane *found)
{
    for (uint32_t at = from, known = from; at < from + HW_SEARCHED && at < w->end; at++) {
        hw_header h;
        if (at >= known && !hw_may_search(w->pool, at, &known))
            return false;
        h = *hw_own(w->pool, at);
        if (hw_sum(&w->key, h.size, h.prev_size, h.meta, at) >> 32 == h.check && h.prev_size >= w->least &&
            h.prev_size <= at - w->first) {
            *found = (lane){.node = at, .before = h.prev_size};
            return true;
        }
    }
    return false;
}

/* As many stretches side by side as are found, `most` of them; `l` goes from the start of the first to the end of
   the last. */
static bool advance(walk *w, lane *l, unsigned most)
{
    lane lanes[LANES];
    unsigned count = 1;
    lanes[0] = *l;
    uint32_t at = l->node;
    for (; count < most && w->end - at > w->stretch && resync(w, at + w->stretch, &lanes[count]); count++)
        lanes[count - 1].stop = at = lanes[count].node;
    lanes[count - 1].stop = w->end - at > w->stretch ? at + w->stretch : w->end;
    for (unsigned running = count; running;) {
        running = 0;
        for (unsigned i = 0; i < count; i++) {
            if (lanes[i].node >= lanes[i].stop)
                continue;
            if (!step(w, &lanes[i]))
                return false;
            running++;
        }
    }
    for (unsigned i = 0; i + 1 < count; i++)
        if (lanes[i].node != lanes[i].stop || lanes[i].before != hw_own(w->pool, lanes[i].stop)->prev_size)
            return false;
    *l = lanes[count - 1];
    return true;
}

static void prepare(walk *w, const hw_pool *pool, uint32_t stretch)
{
    hw_clear(&w->tally, sizeof w->tally);
    w->pool = pool;
    w->key = hw_factors_of(pool->secret);
    w->first = hw_first(pool);
    w->end = hw_end(pool);
    w->least = hw_min_node(pool);
    w->stretch = stretch;
}

/* Behind the first node. */
static bool begin(const walk *w, lane *l)
{
    uint32_t size = hw_own(w->pool, w->first)->size;
    *l = (lane){.node = w->first + size, .before = size};
    return !hw_disagreement(w->pool, &w->key, w->first, 0) && size >= w->least && size <= w->end - w->first;
}

static bool comes_to_its_end(walk *w, const lane *l)
{
    const hw_header *end = hw_own(w->pool, w->end);
    return l->node == w->end && !hw_disagreement(w->pool, &w->key, w->end, l->before) &&
           payload_is_sound(w, w->end, l->before) && hw_state_of(end->meta) == HW_ENDNODE &&
           end->size == w->pool->size - w->end;
}

static bool walk_by(const hw_pool *pool, unsigned lanes)
{
    walk w;
    lane l;
    prepare(&w, pool, STRETCH);
    if (!begin(&w, &l))
        return false;
    if (pool->nodes < (w.end - w.first) / HW_LARGE_NODES)
        lanes = 1;
    while (l.node < w.end)
        if (!advance(&w, &l, lanes))
            return false;
    return comes_to_its_end(&w, &l) && hw_derived_is_valid(pool, &w.tally);
}

/* Where a walk goes on that stopped at `from`, which may lie within a node by now. What holds as a header there or
   behind leads to it; payloads are read, as above. */
__attribute__((no_sanitize("thread"))) static bool resume(const walk *w, uint32_t from, lane *l)
{
    for (uint32_t at = from, known = from; at <= w->end; at++) {
        hw_header h;
        if (at >= known && !hw_may_search(w->pool, at, &known)) {
            at = known - 1;
            continue;
        }
        h = *hw_own(w->pool, at);
        if (hw_sum(&w->key, h.size, h.prev_size, h.meta, at) >> 32 != h.check || h.prev_size < w->least ||
            h.prev_size > at - w->first)
            continue;
        uint32_t node = at == from ? at : at - h.prev_size;
        if (node == w->first)
            return begin(w, l);
        *l = (lane){.node = node, .before = at == from ? h.prev_size : hw_own(w->pool, node)->prev_size};
        return node <= from && l->before >= w->least && l->before <= node - w->first;
    }
    return false;
}

static bool part_by(const hw_pool *pool, uint32_t *from, unsigned lanes)
{
    walk w;
    lane l;
    prepare(&w, pool, STRETCH_OF_PART);
    bool found = *from <= w.first ? begin(&w, &l) : *from < w.end && resume(&w, *from, &l);
    if (!found || (l.node < w.end && !advance(&w, &l, lanes)) || (l.node >= w.end && !comes_to_its_end(&w, &l)))
        return false;
    *from = l.node < w.end ? l.node : 0;
    return true;
}

/* The control block and its copy. */
static bool fixed_part_is_sound(const hw_pool *pool, size_t bytes, unsigned log2)
{
    bytes &= ~(size_t)15;
    if (!hw_control_fits(pool, bytes, log2) || pool->flags & HW_FLAG_STALE)
        return false;
    const uint32_t *fixed = (const uint32_t *)pool,
                   *copy = (const uint32_t *)((uintptr_t)pool + bytes) - HW_WITNESSED / 4;
    for (unsigned i = 0; i < HW_WITNESSED / 4; i++)
        if (fixed[i] != copy[i])
            return false;
    return true;
}

bool hw_sound(const hw_pool *pool, size_t bytes, unsigned log2)
{
    /* What holds as a header may yet be bytes of a block: without other lanes nothing is looked for. */
    return fixed_part_is_sound(pool, bytes, log2) && (walk_by(pool, LANES) || walk_by(pool, 1));
}

bool hw_sound_part(const hw_pool *pool, size_t bytes, unsigned log2, uint32_t *node)
{
    return fixed_part_is_sound(pool, bytes, log2) && (part_by(pool, node, LANES) || part_by(pool, node, 1));
}
