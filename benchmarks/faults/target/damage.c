#include "damage.h"

#include <string.h>

/* Whether a write from the end of a block up to `stop` meets no content of libraries, which they would stumble over. */
static bool is_harmless(unsigned char *node, const unsigned char *stop)
{
    for (node = next_of(node); node + 32 < stop && state_of(node) != 3; node = next_of(node))
        if (state_of(node) == 1 && !is_ours(node + 32))
            return false;
    return true;
}

static bool has_slack(const block *b)
{
    return is_small(b) && own(b->at - 32)->meta & 15;
}
static bool is_cachable(const block *b)
{
    return b->size <= 1000;
}

/* Kinds by which a write from `start` to `stop` between two nodes would look the same. */
static unsigned alike(unsigned char *node, unsigned char *start, unsigned char *stop)
{
    unsigned kinds = 0;
    if (own(node)->prev_size) {
        unsigned char *before = node - (size_t)own(node)->prev_size * 16;
        unsigned slack = state_of(before) == 1 ? own(before)->meta & 15 : 0;
        if (node - slack <= start && start <= node)
            kinds |= OVERFLOW;
        else if (start < node - slack + 16)
            kinds |= HEADER;
    }
    if (stop == node + 32 && state_of(node) == 1)
        kinds |= UNDERFLOW;
    return kinds;
}

static bool overflow(worker *w, truth *t, const char *what, bool (*fits)(const block *), unsigned long number)
{
    block *b = some_block(w, fits);
    if (!b)
        return false;
    t->of = *b;
    t->kinds = OVERFLOW;
    size_t length = some_length(w, LONGEST);
    if (!is_harmless(b->at - 32, b->at + b->size + length))
        return false;
    compose(w, length, what);
    watch_nodes(b->at - 32, b->at + b->size + length);
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
    if (!is_harmless(b->at - 32, b->at + b->size + gap + length))
        return false;
    compose(w, length, "words");
    watch_nodes(b->at - 32, b->at + b->size + gap + length);
    /* What begins inside of the next header's two copies and leads into that block may as well belong to it. */
    if (b->at + b->size + gap + length >= next_of(b->at - 32) + 32) {
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
    watch_nodes(b->at - 32, b->at);
    return inflict(t, b->at + b->size + pick(w, own(b->at - 32)->meta & 15), 1, number);
}

static bool underflow(worker *w, truth *t, unsigned long number)
{
    block *b = some_block(w, is_small);
    if (!b)
        return false;
    unsigned char *node = b->at - 32, *before = node - (size_t)own(node)->prev_size * 16;
    if (before == node || state_of(before) != 1)
        return false;
    size_t reach = is_ours(before + 32) ? (size_t)(node - before) : 32 + (own(before)->meta & 15);
    size_t length = some_length(w, 64);
    length = length < reach ? length : reach;
    t->of = *b;
    t->kinds = UNDERFLOW;
    t->flags |= LINEAR;
    compose(w, length, pick(w, 2) ? "fill" : "words");
    watch_nodes(before, b->at);
    if (length >= 32 && length - 32 >= (own(before)->meta & 15)) {
        t->kinds |= OVERFLOW; /* all from the end of the block before to the start of this one */
        t->alike |= OVERFLOW;
    }
    return inflict(t, b->at - length, length, number);
}

static bool wild(worker *w, truth *t, unsigned from, unsigned length, bool bit, unsigned long number)
{
    block *b = some_block(w, is_small);
    if (!b)
        return false;
    unsigned char *node = b->at - 32, *at = node + from;
    watch_nodes(own(node)->prev_size ? node - (size_t)own(node)->prev_size * 16 : node, next_of(node));
    compose(w, length, pick(w, 2) ? "fill" : "words");
    if (bit)
        content[0] = (unsigned char)(*at ^ 1 << pick(w, 8));
    unsigned char *start = at, *stop = at + length;
    while (start < stop && *start == content[start - at])
        start++;
    while (stop > start && stop[-1] == content[stop - 1 - at])
        stop--;
    /* Bytes at its ends that were written with the value that they had may be counted or not. */
    t->alike = alike(node, start, stop) | alike(node, at, at + length);
    t->kinds = HEADER | t->alike;
    t->flags |= LINEAR | NO_CULPRIT;
    return inflict(t, at, length, number);
}

static bool both(worker *w, truth *t, unsigned long number)
{
    block *b = some_block(w, is_small);
    if (!b || own(b->at - 32)->prev_size == 0)
        return false;
    unsigned char *node = b->at - 32, *before = node - (size_t)own(node)->prev_size * 16;
    watch_nodes(before, next_of(node));
    compose(w, 32, "words");
    /* Two writes: the backup in the node before, and the header. The second is not part of the truth's extent. */
    t->kinds = HEADER | OVERFLOW | UNDERFLOW;
    t->alike = OVERFLOW | UNDERFLOW;
    t->flags |= NO_CULPRIT;
    t->lost = true;
    t->start = t->wrote = t->seen = before + 16;
    t->stop = t->wrote_end = t->seen_end = node + 16;
    tell(t, number);
    memcpy(before + 16, content, 16);
    memcpy(node, content + 16, 16);
    return true;
}

static bool after_free(worker *w, truth *t, bool poison, unsigned long number)
{
    block *b = some_block(w, is_cachable);
    if (!b || (poison && b->size <= 16))
        return false;
    t->of = *b;
    t->kinds = AFTER_FREE;
    t->flags |= LINEAR;
    unsigned char *node = b->at - 32;
    drop(b);
    *b = (block){.at = NULL};
    size_t most = poison ? t->of.size : t->of.size < 16 ? t->of.size : 16, begin = pick(w, (uint32_t)most);
    size_t length = some_length(w, t->of.size - begin);
    if (length > 2 * LONGEST || state_of(node) == 3)
        return false;
    compose(w, length, pick(w, 2) ? "fill" : "text");
    watch(t->of.at, 16);
    for (size_t at = 16; poison && at < t->of.size; at += 64)
        watch(t->of.at + at, (unsigned)(t->of.size - at < 64 ? t->of.size - at : 64));
    return inflict(t, t->of.at + begin, length, number);
}

static bool control(worker *w, truth *t, unsigned from, unsigned to, bool copy, unsigned long number)
{
    block *b = some_block(w, is_small);
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
        return wild(w, t, pick(w, 32), 1, true, number);
    case 8: {
        unsigned width = 1u << pick(w, 4);
        return wild(w, t, width * pick(w, 32 / width), width, false, number);
    }
    case 9:
        return wild(w, t, 0, 16, false, number);
    case 10:
        return wild(w, t, 16, 16, false, number);
    case 11:
        return both(w, t, number);
    case 12:
        t->row = poison ? "poison" : "links";
        return after_free(w, t, poison, number);
    case 13:
        return control(w, t, 0, 32, false, number);
    case 14:
        return control(w, t, 32, 320, false, number);
    default:
        return control(w, t, 0, 32, true, number);
    }
}
