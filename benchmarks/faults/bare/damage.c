#include "damage.h"

#include <string.h>

unsigned char content[LONGEST];

void compose(size_t length, unsigned how)
{
    static const unsigned char usual[] = {0, 0xFF, 'A', ' '};
    unsigned char value = pick(5) ? usual[pick(4)] : (unsigned char)pick(256);
    uint64_t word = ((uint64_t)pick(UINT32_MAX) << 32 | pick(UINT32_MAX)) >> 8 * pick(7);
    unsigned shape = pick(3), width = 2u << pick(3);
    for (size_t i = 0; i < length; i++) {
        if (how == 0)
            content[i] = value;
        else if (how == 1)
            content[i] = i + 1 < length ? (unsigned char)('a' + pick(26)) : 0;
        else if (shape == 0)
            content[i] = (unsigned char)(word >> 8 * (i % width % 8));
        else if (shape == 1)
            content[i] = (unsigned char)((word + i / 8 * 48) >> 8 * (i % 8));
        else
            content[i] = (unsigned char)pick(256);
    }
}

static void part(damage *d, size_t at, size_t length)
{
    d->at[d->parts] = at;
    d->length[d->parts++] = length;
}

static const block *some_used(void)
{
    for (int tries = 0; tries < 50 && now.count; tries++) {
        const block *b = &now.blocks[pick(now.count)];
        if (!b->cached)
            return b;
    }
    return NULL;
}

static size_t end_of(const block *b)
{
    return (size_t)(start_of(b) + b->bytes - room);
}

static const hw_header *header_at(uint32_t node)
{
    return hw_own(POOL, node);
}

static bool overflow(size_t length, damage *d)
{
    const block *b = some_used();
    if (b)
        part(d, end_of(b), length);
    return b;
}

static bool skipping(damage *d)
{
    const block *b = some_used();
    if (!b)
        return false;
    size_t at = end_of(b) + 1 + pick(15);
    if (pick(2)) {
        part(d, at, (size_t)1 << pick(6));
        return true;
    }
    static const unsigned char strides[][2] = {{8, 4}, {16, 8}, {24, 16}, {12, 4}};
    const unsigned char *s = strides[pick(4)];
    for (unsigned count = 1 + pick(7); count; count--, at += s[0])
        part(d, at, s[1]);
    return true;
}

static bool slack(damage *d)
{
    const block *b = some_used();
    unsigned bytes = b ? hw_slack_of(header_at(b->node)->meta) : 0;
    if (bytes)
        part(d, end_of(b) + pick(bytes), 1);
    return bytes;
}

static bool underflow(size_t length, damage *d)
{
    const block *b = some_used();
    if (!b)
        return false;
    size_t start = (size_t)(start_of(b) - room);
    length = length < start ? length : start;
    part(d, start - length, length);
    return true;
}

/* A released node's first bytes, or its poison. */
static bool after_free(bool poison, size_t length, damage *d)
{
    for (int tries = 0; tries < 50; tries++) {
        uint32_t node = now.node[pick(now.nodes)];
        const hw_header *h = header_at(node);
        unsigned state = hw_state_of(h->meta);
        if (state != HW_CACHED && (poison || state != HW_FREE))
            continue;
        if (poison && !(hw_links_at(POOL, node)->left && h->size > hw_min_node(POOL)))
            continue;
        size_t payload = ((size_t)h->size << now.log2) - HW_OVERHEAD;
        size_t begin = poison ? HW_HEADER + pick((uint32_t)(payload - HW_HEADER)) : pick(HW_HEADER);
        part(d, at_of(node) + HW_OVERHEAD + begin, length < payload - begin ? length : payload - begin);
        return true;
    }
    return false;
}

static bool control(size_t from, size_t to, damage *d)
{
    size_t length = pick(4) ? (size_t)1 << pick(4) : to - from;
    part(d, length == to - from ? from : from + pick((uint32_t)(to - from - length + 1)), length);
    return true;
}

bool plan(unsigned row, size_t length, damage *d)
{
    *d = (damage){.parts = 0};
    unsigned place = pick(now.nodes);
    size_t at = at_of(now.node[place]), keeper = at_of(now.node[place ? place - 1 : now.nodes - 1]);
    switch (row) {
    case 0:
    case 1:
    case 2:
        compose(length, row);
        return overflow(length, d);
    case 3:
        compose(8 * HW_HEADER, 2);
        return skipping(d);
    case 4:
        compose(1, 2);
        return slack(d);
    case 5:
        compose(length, pick(2) * 2);
        return underflow(length, d);
    case 6:
        at = pick(2) ? at + HW_BACKUP : at;
        at += pick(HW_HEADER);
        content[0] = (unsigned char)(room[at] ^ 1u << pick(8));
        part(d, at, 1);
        return true;
    case 7: {
        size_t width = (size_t)1 << pick(4);
        compose(width, pick(2) * 2);
        part(d, at + width * pick((uint32_t)(HW_OVERHEAD / width)), width);
        return true;
    }
    case 8:
    case 9:
        compose(HW_HEADER, pick(2) * 2);
        part(d, row == 8 ? at : at + HW_BACKUP, HW_HEADER);
        return true;
    case 10:
        compose(2 * HW_HEADER, pick(2) * 2);
        part(d, keeper + HW_BACKUP, HW_HEADER);
        part(d, at, HW_HEADER);
        return true;
    case 11:
    case 12:
        length = 1 + (length - 1) % 64;
        compose(length, pick(3));
        return after_free(row == 12, length, d);
    case 13:
    case 14:
    case 15:
        compose(HW_CONTROL, pick(2) * 2);
        return row == 13   ? control(0, HW_WITNESSED, d)
               : row == 14 ? control(HW_WITNESSED, HW_CONTROL, d)
                           : control(now.size - HW_WITNESSED, now.size, d);
    default:
        return false;
    }
}

void inflict(const damage *d)
{
    const unsigned char *from = content;
    for (unsigned i = 0; i < d->parts; from += d->length[i++]) {
        memcpy(room + d->at[i], from, d->length[i]);
        for (unsigned k = 0; k < now.count; k++) {
            block *b = &now.blocks[k];
            b->hit |= end_of(b) > d->at[i] && (size_t)(start_of(b) - room) < d->at[i] + d->length[i];
        }
    }
}

/* A node that was released: as it is, merged into the one before, or kept as a cached one. */
static uint32_t released(bool *by_caching)
{
    hw_fault fault;
    const block *b = some_used();
    if (!b)
        return 0;
    block gone = *b;
    now.blocks[b - now.blocks] = now.blocks[--now.count];
    *by_caching = pick(3) == 0;
    int status = *by_caching ? hw_cache(POOL, gone.node, 7, pick(2), &fault) : hw_release(POOL, gone.node, 3, &fault);
    return status == HW_OK ? gone.node : 0;
}

static uint32_t nowhere(void)
{
    uint32_t node = hw_first(POOL) + pick(hw_end(POOL) - hw_first(POOL));
    for (unsigned i = 0; i < now.nodes; i++)
        if (now.node[i] == node)
            return 0;
    return node;
}

bool release_wrongly(unsigned row, bool *done)
{
    static unsigned char as_it_was[LARGEST];
    hw_fault fault;
    bool by_caching = false;
    uint32_t node = row == WRITES ? released(&by_caching) : nowhere();
    *done = node != 0;
    if (!*done)
        return false;
    memcpy(as_it_was, room, now.size);
    int status = by_caching ? hw_cache(POOL, node, 7, pick(2), &fault) : hw_release(POOL, node, 3, &fault);
    /* Where no node stands any more a release may only say that no header holds there: the caller looks, and finds
       a tombstone, or nothing wrong. */
    bool refused = status == HW_REFUSED || (status == HW_DAMAGED && hw_sound(POOL, now.size, now.log2));
    return refused && memcmp(as_it_was, room, now.size) == 0;
}
