/* Random operations and random damage on pools of both layouts, to be run under ASan and UBSan.
   The pool fills its allocation exactly, so that whatever is read beyond it is seen. Everything comes
   from the seed. Usage: stress SEED ROUNDS; the first broken promise is told and ends with status 1. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node.h"

enum { ROOM = 24 << 10, BLOCKS = 256, STEPS = 400, FAULTS = 64 };

typedef struct block {
    uint32_t node;
    size_t bytes;
    unsigned char fill;
    bool cached;
} block;

static uint64_t state;
static unsigned char before[ROOM];
static block blocks[BLOCKS];
static unsigned count, log2_;
static size_t size;

static uint32_t pick(uint32_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32) % below;
}

static void expect(bool holds, const char *promise)
{
    if (holds)
        return;
    fprintf(stderr, "broken: %s\n", promise);
    exit(1);
}

static size_t some_size(void)
{
    if (pick(64) == 0)
        return SIZE_MAX >> pick(20);
    return pick(4) ? pick(200) : pick(3000);
}

/* The smallest free node that fits, found by looking at all of them. */
static uint32_t best(const hw_pool *pool, size_t bytes)
{
    uint32_t need = hw_granules(log2_, bytes), found = 0, smallest = UINT32_MAX;
    for (uint32_t node = hw_next(pool, 0); node; node = hw_next(pool, node)) {
        const hw_header *h = hw_own(pool, node);
        if (need && hw_state_of(h->meta) == HW_FREE && h->size < smallest &&
            (h->size == need || h->size >= need + hw_min_node(pool))) {
            smallest = h->size;
            found = node;
        }
    }
    return found;
}

static void fill(hw_pool *pool, block *b)
{
    b->fill = (unsigned char)pick(128);
    memset(hw_payload(pool, b->node), b->fill, b->bytes);
}

static void expect_content(const hw_pool *pool, const block *b)
{
    for (size_t i = 0; i < b->bytes; i++)
        expect(hw_payload(pool, b->node)[i] == b->fill, "a payload is its owner's");
}

static void allocate(hw_pool *pool)
{
    hw_fault fault;
    size_t bytes = some_size(), align = (size_t)1 << pick(9);
    uint32_t wanted = best(pool, bytes);
    uint32_t node = hw_allocate(pool, bytes, align, pick(4), pick(1000), &fault);
    expect(fault.reason == HW_NONE, "an allocation finds no damage where none is");
    if (align >> log2_ <= 1)
        expect(node == wanted, "best fit is exact");
    if (node == 0)
        return;
    expect(((uintptr_t)hw_payload(pool, node) & (align - 1)) == 0 || align < 8, "payloads are aligned");
    blocks[count] = (block){.node = node, .bytes = bytes ? bytes : 1};
    fill(pool, &blocks[count++]);
}

static void change(hw_pool *pool)
{
    hw_fault fault;
    block *b = &blocks[pick(count)];
    size_t bytes = some_size();
    int status = HW_OK;
    switch (pick(4)) {
    case 0:
        if (!b->cached && (status = hw_cache(pool, b->node, 9, pick(2), &fault)) == HW_OK)
            b->cached = true;
        break;
    case 1:
        if (b->cached && (status = hw_uncache(pool, b->node, b->bytes, HW_NEW, 9, &fault)) == HW_OK) {
            b->cached = false;
            fill(pool, b);
        }
        break;
    case 2:
        if (!b->cached && (status = hw_resize(pool, b->node, bytes, 9, &fault)) == HW_OK) {
            b->bytes = b->bytes < bytes ? b->bytes : bytes;
            expect_content(pool, b);
            b->bytes = bytes ? bytes : 1;
            fill(pool, b);
        }
        break;
    default:
        if (!b->cached)
            expect_content(pool, b);
        status = hw_release(pool, b->node, 9, &fault);
        *b = blocks[--count];
    }
    expect(status == HW_OK || status == HW_NOMEM, "an operation finds no damage where none is");
}

static bool is_free_payload(const hw_pool *pool, size_t byte)
{
    uint32_t node = hw_locate(pool, byte);
    return node && hw_state_of(hw_own(pool, node)->meta) != HW_USED;
}

/* One damaged copy, links or slack: repaired to the byte. */
static void damage_once(hw_pool *pool)
{
    hw_fault faults[FAULTS];
    hw_outcome outcome;
    size_t at = pick(HW_CONTROL);
    if (count && pick(4)) {
        const block *b = &blocks[pick(count)];
        const unsigned char *node = hw_at(pool, b->node);
        at = (size_t)(node - (unsigned char *)pool) + pick(b->cached ? HW_OVERHEAD + HW_HEADER : HW_OVERHEAD);
    }
    memcpy(before, pool, size);
    ((unsigned char *)pool)[at] ^= (unsigned char)(1 + pick(255));
    expect(hw_check(pool, size, log2_, faults, FAULTS) == 1, "a damaged byte is one fault");
    expect(!hw_sound(pool, size, log2_), "a pool with a damaged byte is not sound");
    expect(hw_repair(pool, size, log2_, &outcome), "a pool with one damaged byte can be repaired");
    expect(memcmp(before, pool, size) == 0, "repair gives back every byte");
}

/* Anything anywhere: the pool can be used again, and every operation meanwhile comes back. */
static void ravage(hw_pool *pool)
{
    hw_fault faults[FAULTS];
    hw_outcome outcome;
    for (unsigned turns = 1 + pick(6); turns; turns--) {
        size_t at = 32 + pick((uint32_t)size - 64), length = 1 + pick(pick(2) ? 40 : 2000);
        unsigned value = pick(257);
        for (size_t i = at; i < at + length && i < size - 32; i++)
            ((unsigned char *)pool)[i] = (unsigned char)(value < 256 ? value : pick(256));
    }
    for (unsigned turns = pick(20); turns; turns--) {
        uint32_t node = count ? blocks[pick(count)].node : hw_first(pool);
        switch (pick(5)) {
        case 0:
            hw_allocate(pool, some_size(), 16, HW_MALLOC, 0, faults);
            break;
        case 1:
            hw_release(pool, node, 0, faults);
            break;
        case 2:
            hw_resize(pool, node, some_size(), 0, faults);
            break;
        case 3:
            hw_cache(pool, node, 0, pick(2), faults);
            break;
        default:
            hw_locate(pool, pick((uint32_t)size));
        }
    }
    bool faultless = hw_check(pool, size, log2_, faults, FAULTS) == 0;
    expect(hw_sound(pool, size, log2_) == faultless, "a pool is sound when it has no fault");
    expect(hw_repair(pool, size, log2_, &outcome), "a pool whose control block holds can be repaired");
    expect(hw_check(pool, size, log2_, faults, FAULTS) == 0, "a repaired pool has no fault");
    count = 0;
    for (uint32_t node = hw_next(pool, 0), next; node; node = next) {
        next = hw_next(pool, node);
        if (is_free_payload(pool, (size_t)node << log2_) || hw_quarantined(hw_own(pool, node)->meta))
            continue;
        expect(hw_release(pool, node, 0, faults) == HW_OK, "what is left can be released");
        next = hw_next(pool, 0);
    }
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    state = strtoull(argv[1], NULL, 0) * UINT64_C(0x9E3779B97F4A7C15) | 1;
    for (long rounds = atol(argv[2]); rounds > 0; rounds--) {
#ifdef HW_FIXED_GRANULE_LOG2
        log2_ = HW_FIXED_GRANULE_LOG2;
#else
        log2_ = 3 + pick(2);
#endif
        size = (1024 + pick(ROOM - 1024)) & ~(size_t)15;
        unsigned char *memory = aligned_alloc(16, size);
        uint32_t secret[4] = {pick(UINT32_MAX), pick(UINT32_MAX), pick(UINT32_MAX), pick(UINT32_MAX)};
        size_t start = pick(2) ? size : (size / 2 + 512) & ~(size_t)15;
        hw_pool *pool = hw_pool_init(memory, start, log2_, secret);
        expect(pool != NULL, "a pool is laid out");
        count = 0;
        size_t whole = size;
        size = start;
        for (unsigned step = 0; step < STEPS; step++) {
            hw_fault fault;
            if (step == STEPS / 2 && hw_pool_extend(pool, whole, &fault) == HW_OK)
                size = whole;
            uint32_t what = pick(100);
            if (what < 50 && count < BLOCKS)
                allocate(pool);
            else if (what < 94 && count)
                change(pool);
            else if (what < 99)
                damage_once(pool);
            else
                ravage(pool);
            expect(hw_check(pool, size, log2_, &fault, 1) == 0 && hw_sound(pool, size, log2_),
                   "operations leave no fault");
        }
        free(memory);
    }
    return 0;
}
