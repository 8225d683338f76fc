#include "damage.h"

#include <string.h>

/* A block that ends so close before damage is named as the nearest one. */
enum { NEAR = 16 };

/* Whether a write behind a node up to `stop` meets no content of libraries, which they would stumble over, and stays in
   what is known of the heap. */
static bool is_harmless(node n, const unsigned char *stop)
{
    while (stop_of(n) < stop) {
        if (state_of(n) == EDGE && !in_run(n))
            return true;
        n = next_of(n);
        if (!n.at || (payload_of(n) < stop && state_of(n) == USED && !our_block(payload_of(n))))
            return false;
    }
    return true;
}

static bool has_slack(const block *b)
{
    return is_small(b) && slack_of(node_of(b->at));
}
static bool is_cachable(const block *b)
{
    return b->size <= 1000;
}

/* What begins with a run may be what ran over the end of the one before, and went on there. */
static unsigned begins_run(node n, unsigned char *start)
{
    enum { CHANCE = 2 };
    return is_sentinel(n) && start - n.at <= CHANCE ? OVERFLOW : 0;
}

/* Kinds by which a write from `start` to `stop` between two nodes would look the same. */
static unsigned alike(node n, unsigned char *start, unsigned char *stop)
{
    unsigned kinds = 0;
    node before = before_of(n);
    if (before.at && state_of(before) != EDGE) {
        size_t slack = slack_of(before);
        if (n.at - slack <= start && start <= n.at)
            kinds |= OVERFLOW;
        else if (start < n.at - slack + NEAR)
            kinds |= HEADER;
    }
    if (stop == payload_of(n) && state_of(n) == USED)
        kinds |= UNDERFLOW;
    return kinds | begins_run(n, start);
}

static bool overflow(worker *w, truth *t, const char *what, bool (*fits)(const block *), unsigned long number)
{
    block *b = some_block(w, fits);
    if (!b)
        return false;
    t->of = *b;
    t->kinds = OVERFLOW;
    size_t length = some_length(w, LONGEST);
    node n = node_of(b->at);
    if (!is_harmless(n, b->at + b->size + length))
        return false;
    compose(w, length, what);
    watch_nodes(n, b->at + b->size + length);
    t->flags |= LINEAR | (*what == 't' && length > 1 ? TERMINATED : 0u);
    return inflict(t, b->at + b->size, length, number);
}

static bool skipping(worker *w, truth *t, unsigned long number)
{
    block *b = some_block(w, is_small);
    if (!b)
        return false;
    size_t gap = 1 + pick(w, 15), length = (size_t)1 << pick(w, 6);
    t->of = *b;
    t->kinds = t->alike = OVERFLOW | HEADER;
    node n = node_of(b->at);
    if (!is_harmless(n, b->at + b->size + gap + length))
        return false;
    compose(w, length, "words");
    watch_nodes(n, b->at + b->size + gap + length);
    /* What begins inside of the next header's two copies and leads into that block may as well belong to it. */
    if (b->at + b->size + gap + length >= payload_of(next_of(n))) {
        t->kinds |= UNDERFLOW;
        t->alike |= UNDERFLOW;
    }
    return inflict(t, b->at + b->size + gap, length, number);
}

static bool slack(worker *w, truth *t, unsigned long number)
{
    block *b = some_block(w, has_slack);
    if (!b)
        return false;
    t->of = *b;
    t->kinds = OVERFLOW;
    t->flags |= LINEAR;
    content[0] = (unsigned char)pick(w, 256);
    node n = node_of(b->at);
    watch_nodes(n, b->at);
    return inflict(t, b->at + b->size + pick(w, (uint32_t)slack_of(n)), 1, number);
}

static bool underflow(worker *w, truth *t, unsigned long number)
{
    block *b = some_block(w, is_small);
    if (!b)
        return false;
    node n = node_of(b->at), before = before_of(n);
    if (!before.at || (state_of(before) != USED && state_of(before) != EDGE))
        return false;
    size_t reach = overhead_of(n) + (state_of(before) == EDGE ? overhead_of(n) : slack_of(before));
    if (our_block(payload_of(before)))
        reach = (size_t)(n.at - before.at);
    size_t length = some_length(w, 64);
    length = length < reach ? length : reach;
    t->of = *b;
    t->kinds = UNDERFLOW;
    t->flags |= LINEAR;
    compose(w, length, pick(w, 2) ? "fill" : "words");
    watch_nodes(before, b->at);
    if (state_of(before) == USED && length >= overhead_of(n) + slack_of(before)) {
        t->kinds |= OVERFLOW; /* all from the end of the block before to the start of this one */
        t->alike |= OVERFLOW;
    }
    t->kinds |= begins_run(before, b->at - length);
    t->alike |= begins_run(before, b->at - length);
    t->flags |= BACKWARD;
    return inflict(t, b->at - length, length, number);
}

/* A write of its own to bytes between two nodes. */
static bool hit(worker *w, truth *t, node n, unsigned from, unsigned length, bool bit, unsigned long number)
{
    unsigned char *at = n.at + from;
    node before = before_of(n);
    watch_nodes(before.at ? before : n, stop_of(n));
    compose(w, length, pick(w, 2) ? "fill" : "words");
    if (bit)
        content[0] = (unsigned char)(*at ^ 1 << pick(w, 8));
    unsigned char *start = at, *stop = at + length;
    while (start < stop && *start == content[start - at])
        start++;
    while (stop > start && stop[-1] == content[stop - 1 - at])
        stop--;
    /* Bytes at its ends that were written with the value that they had may be counted or not. */
    t->alike = alike(n, start, stop) | alike(n, at, at + length);
    t->kinds = HEADER | t->alike;
    t->flags |= LINEAR | NO_CULPRIT;
    return inflict(t, at, length, number);
}

enum { BIT, WORD, WHOLE_HEADER, WHOLE_BACKUP };

static bool wild(worker *w, truth *t, unsigned what, unsigned long number)
{
    block *b = some_block(w, is_small);
    if (!b)
        return false;
    node n = node_of(b->at);
    unsigned width = what == BIT ? 1 : what == WORD ? 1u << pick(w, 4) : width_of(n);
    unsigned from = what == WHOLE_HEADER   ? 0
                    : what == WHOLE_BACKUP ? width_of(n)
                                           : width * pick(w, overhead_of(n) / width);
    return hit(w, t, n, from, width, what == BIT, number);
}

/* The sentinel of the run of a block, or its END with what is vouched for behind it. */
static bool edge(worker *w, truth *t, unsigned long number)
{
    block *b = some_block(w, is_small);
    node n = b ? node_of(b->at) : (node){.at = NULL};
    if (!in_run(n))
        return false;
    bool ahead = pick(w, 3) != 0;
    while (ahead ? state_of(n) != EDGE : !is_sentinel(n))
        n = ahead ? next_of(n) : before_of(n);
    unsigned length = 1u << pick(w, 5), space = overhead_of(n) + (unsigned)(ahead && pick(w, 2) ? tail_of(n) : 0);
    return length <= space && hit(w, t, n, pick(w, space - length + 1), length, false, number);
}

static bool both(worker *w, truth *t, unsigned long number)
{
    block *b = some_block(w, is_small);
    node n = b ? node_of(b->at) : (node){.at = NULL}, before = b ? before_of(n) : n;
    if (!before.at)
        return false;
    unsigned width = width_of(n);
    watch_nodes(before, stop_of(n));
    compose(w, 2 * width, "words");
    /* Two writes: the backup in the node before, and the header. The second is not part of the truth's extent. */
    t->kinds = HEADER | OVERFLOW | UNDERFLOW;
    t->alike = OVERFLOW | UNDERFLOW;
    t->flags |= NO_CULPRIT;
    t->lost = true;
    t->start = t->wrote = t->seen = before.at + width;
    t->stop = t->wrote_end = t->seen_end = n.at + width;
    tell(t, number);
    memcpy(before.at + width, content, width);
    memcpy(n.at, content + width, width);
    return true;
}

/* A block of a run that another thread than its owner released is used, and nothing vouches for its content, until its
   owner takes it in; and a run without used blocks may become one of other blocks. */
static bool is_released(node n)
{
    if (!in_run(n))
        return state_of(n) != EDGE;
    return node_of(payload_of(n)).stride == n.stride && (state_of(n) == FREE || state_of(n) == CACHED);
}

static bool after_free(worker *w, truth *t, bool poison, unsigned long number)
{
    block *b = some_block(w, is_cachable);
    if (!b || (poison && b->size <= 16))
        return false;
    t->of = *b;
    t->kinds = AFTER_FREE;
    t->flags |= LINEAR;
    node n = node_of(b->at);
    drop(b);
    *b = (block){.at = NULL};
    size_t most = poison ? t->of.size : t->of.size < 16 ? t->of.size : 16, begin = pick(w, (uint32_t)most);
    size_t length = some_length(w, t->of.size - begin);
    if (length > 2 * LONGEST || !is_released(n))
        return false;
    compose(w, length, pick(w, 2) ? "fill" : "text");
    watch_links(n);
    if (poison)
        watch_many(t->of.at + 16, t->of.at + t->of.size);
    return inflict(t, t->of.at + begin, length, number);
}

static bool control(worker *w, truth *t, unsigned from, unsigned to, bool copy, unsigned long number)
{
    block *b = some_block(w, is_pooled);
    if (!b)
        return false;
    unsigned char *pool = pool_of(b->at);
    if (copy)
        pool += (size_t)((uint32_t *)(void *)pool)[2] * 16 - 32;
    unsigned length = pick(w, 2) ? to - from : 1u << pick(w, 4);
    unsigned at = length == to - from ? from : from + pick(w, to - from - length);
    compose(w, length, pick(w, 2) ? "fill" : "words");
    for (unsigned i = from; i < to; i += 32)
        watch(pool + i, 32);
    t->kinds = HEADER | (copy ? 0u : UNDERFLOW);
    t->flags |= LINEAR | NO_CULPRIT;
    return inflict(t, pool + at, length, number);
}

bool damage(worker *w, truth *t, unsigned row, bool poison, unsigned long number)
{
    switch (row) {
    case 0:
        return overflow(w, t, "fill", is_small, number);
    case 1:
        return overflow(w, t, "text", is_small, number);
    case 2:
        return overflow(w, t, "words", is_small, number);
    case 3:
        return overflow(w, t, pick(w, 2) ? "fill" : "words", is_big, number);
    case 4:
        return skipping(w, t, number);
    case 5:
        return slack(w, t, number);
    case 6:
        return underflow(w, t, number);
    case 7:
        return wild(w, t, BIT, number);
    case 8:
        return wild(w, t, WORD, number);
    case 9:
        return wild(w, t, WHOLE_HEADER, number);
    case 10:
        return wild(w, t, WHOLE_BACKUP, number);
    case 11:
        return both(w, t, number);
    case 12:
        t->row = poison ? "poison" : "links";
        return after_free(w, t, poison, number);
    case 13:
        return control(w, t, 0, 32, false, number);
    case 14:
        return control(w, t, 32, 320, false, number);
    case 15:
        return control(w, t, 0, 32, true, number);
    default:
        return edge(w, t, number);
    }
}
