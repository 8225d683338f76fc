#include "heap.h"

#include <string.h>

_Alignas(4096) unsigned char room[LARGEST + SPARE];
heap now;
static unsigned char kept[LARGEST];
static heap before;
static uint64_t state;

void seed(uint64_t value)
{
    value = (value ^ value >> 31) * UINT64_C(0xBF58476D1CE4E5B9);
    state = (value ^ value >> 29) * UINT64_C(0x94D049BB133111EB) | 1;
}

uint32_t pick(uint32_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state * UINT64_C(0x2545F4914F6CDD1D) >> 32) % below;
}

static size_t some_size(void)
{
    static const uint32_t most[] = {64, 300, 2000};
    return 1 + pick(most[pick(3)]);
}

static void fill(block *b)
{
    b->fill = (unsigned char)pick(256);
    b->hit = false;
    memset(start_of(b), b->fill, b->bytes);
}

bool is_content_right(const block *b)
{
    const unsigned char *p = start_of(b);
    return b->hit || b->cached || (p[0] == b->fill && memcmp(p, p + 1, b->bytes - 1) == 0);
}

static enum did did(int status)
{
    return status == HW_DAMAGED ? DAMAGED : status == HW_OK || status == HW_NOMEM ? DONE : WRONG;
}

static enum did allocate(void)
{
    hw_fault fault;
    size_t bytes = some_size(), align = pick(3) ? 1 : (size_t)32 << pick(2);
    uint32_t node = hw_allocate(POOL, bytes, align, pick(4), 2, &fault);
    if (node == 0)
        return fault.reason == HW_NONE ? DONE : DAMAGED;
    block *b = &now.blocks[now.count++];
    *b = (block){.node = node, .bytes = bytes};
    fill(b);
    return DONE;
}

static enum did release(block *b)
{
    hw_fault fault;
    if (!is_content_right(b))
        return WRONG;
    int status = hw_release(POOL, b->node, 3, &fault);
    if (status == HW_OK)
        *b = now.blocks[--now.count];
    return did(status);
}

static enum did resize(block *b)
{
    hw_fault fault;
    size_t bytes = pick(2) ? 1 + pick(400) : b->bytes + pick(40);
    if (!is_content_right(b))
        return WRONG;
    int status = hw_resize(POOL, b->node, bytes, 6, &fault);
    if (status == HW_OK) {
        b->bytes = b->bytes < bytes ? b->bytes : bytes;
        if (!is_content_right(b))
            return WRONG;
        b->bytes = bytes;
        fill(b);
    }
    return did(status);
}

static enum did cache(block *b)
{
    hw_fault fault;
    int status = hw_cache(POOL, b->node, 7, pick(2), &fault);
    b->cached |= status == HW_OK;
    return did(status);
}

static enum did uncache(block *b)
{
    hw_fault fault;
    int status = hw_uncache(POOL, b->node, b->bytes, HW_NEW, 5, &fault);
    if (status == HW_OK) {
        b->cached = false;
        fill(b);
    }
    return did(status);
}

enum did step(void)
{
    uint32_t what = pick(100);
    if (now.count == 0 || (what < 45 && now.count < BLOCKS))
        return allocate();
    block *b = &now.blocks[pick(now.count)];
    if (b->cached)
        return what < 75 ? uncache(b) : release(b);
    return what < 65 ? release(b) : what < 85 ? resize(b) : cache(b);
}

void make_heap(void)
{
    static const uint32_t steps[] = {20, 60, 120};
    uint32_t secret[4];
    for (int i = 0; i < 4; i++)
        secret[i] = pick(UINT32_MAX);
    memset(room, 0, sizeof room);
    now = (heap){.log2 = pick(3) ? 4 : 3, .size = (size_t)4096 << pick(4)};
    hw_pool_init(room, now.size, now.log2, secret);
    for (uint32_t left = steps[pick(3)]; left; left--)
        step();
}

void save_heap(void)
{
    now.nodes = 0;
    for (uint32_t node = hw_next(POOL, 0); node; node = hw_next(POOL, node))
        now.node[now.nodes++] = node;
    now.node[now.nodes++] = hw_end(POOL);
    memcpy(kept, room, now.size);
    before = now;
}

void restore_heap(void)
{
    now = before;
    memcpy(room, kept, now.size);
    memset(room + now.size, 0, SPARE);
}

const unsigned char *saved(void)
{
    return kept;
}

static size_t differing(size_t at, size_t length)
{
    size_t count = 0;
    if (memcmp(room + at, kept + at, length) != 0)
        for (size_t i = at; i < at + length; i++)
            count += room[i] != kept[i];
    return count;
}

loss look(void)
{
    loss l = {0};
    size_t end = now.size - HW_END;
    l.beyond = differing(0, HW_CONTROL) + differing(end, HW_END);
    l.header = differing(0, HW_WITNESSED) && differing(now.size - HW_WITNESSED, HW_WITNESSED);
    size_t keeper = end;
    for (unsigned i = 0; i < now.nodes; i++) {
        size_t at = at_of(now.node[i]);
        l.header |= differing(at, HW_HEADER) && differing(keeper + HW_BACKUP, HW_HEADER);
        keeper = at;
        if (at == end)
            break;
        const hw_header *h = (const hw_header *)(const void *)(kept + at);
        const hw_links *links = (const hw_links *)(const void *)(kept + at + HW_OVERHEAD);
        size_t behind = at_of(now.node[i + 1]), payload = at + HW_OVERHEAD;
        l.beyond += differing(at, HW_OVERHEAD);
        switch (hw_state_of(h->meta)) {
        case HW_USED:
            l.beyond += differing(behind - hw_slack_of(h->meta), hw_slack_of(h->meta));
            break;
        case HW_FREE:
            l.beyond += differing(payload, sizeof *links);
            break;
        default:
            l.bytes += differing(payload, links->left ? behind - payload : sizeof *links);
        }
    }
    l.bytes += l.beyond;
    return l;
}

/* What was given up is kept: whoever releases it has nothing to fear. */
static bool is_quarantined(uint32_t node)
{
    for (uint32_t one = hw_next(POOL, 0); one; one = hw_next(POOL, one))
        if (one <= node && node < one + hw_own(POOL, one)->size)
            return hw_quarantined(hw_own(POOL, one)->meta);
    return false;
}

bool can_be_given_back(void)
{
    hw_fault faults[2];
    for (unsigned i = 0; i < now.count; i++) {
        const block *b = &now.blocks[i];
        if (!is_content_right(b))
            return false;
        if (hw_release(POOL, b->node, 8, faults) != HW_OK && !is_quarantined(b->node))
            return false;
    }
    return hw_check(POOL, now.size, now.log2, faults, 2) == 0;
}
