/* Random operations and damage on a run, whose promises it checks. Built with sanitizers by
   tests/unit/test_build_core.py. Usage: runs SEED ROUNDS */
#include "run_node.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if HW_HAS_RUNS

enum { STEPS = 60, FAULTS = 2 * HW_RUN_NODES };

typedef struct block {
    size_t bytes; /* 0: none */
    unsigned char fill;
    bool held;
} block;

static uint64_t state;
static hw_run_key key;
static hw_run *run;
static hw_run_aside *aside;
static char *base;
static size_t least, most; /* bytes of the class */
static block blocks[HW_RUN_NODES];

static uint32_t pick(uint32_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32) % below;
}
static uint64_t pick_word(void)
{
    return (uint64_t)pick(UINT32_MAX) << 32 | pick(UINT32_MAX);
}

static void expect(bool holds, const char *promise)
{
    if (holds)
        return;
    fprintf(stderr, "broken: %s\n", promise);
    exit(1);
}

static uint32_t some_node(void)
{
    return run->formatted ? HW_RUN_FIRST + pick(run->formatted) * (run->stride >> HW_RUN_GRANULE_LOG2) : 1;
}
static size_t some_size(void)
{
    return least + pick((uint32_t)(most - least) + 1);
}

static void fill(uint32_t node, block *b, size_t bytes)
{
    *b = (block){.bytes = bytes, .fill = (unsigned char)pick(128)};
    memset(hw_run_at(run, node) + HW_RUN_OVERHEAD, b->fill, bytes);
}
static void expect_content(uint32_t node, const block *b)
{
    const unsigned char *payload = (const unsigned char *)hw_run_at(run, node) + HW_RUN_OVERHEAD;
    for (size_t i = 0; i < b->bytes; i++)
        expect(b->held || payload[i] == b->fill, "a payload is its owner's");
}

static void operate(void)
{
    uint32_t node = some_node();
    block *b = &blocks[hw_run_number(run, node)];
    size_t bytes = some_size();
    int wanted = b->bytes ? HW_OK : HW_REFUSED;
    switch (pick(6)) {
    case 0:
        expect(hw_run_format(run, &key, pick(5) * run->stride) == (run->formatted < run->capacity ? HW_OK : HW_NOMEM) ||
                   run->formatted == run->capacity,
               "what has room can be formatted");
        break;
    case 1:
    case 2:
        node = hw_run_take(run, &key, bytes, pick(4), pick(1000));
        expect(!node == (run->used == run->formatted && !node), "a free node can be taken");
        if (node) {
            expect(!blocks[hw_run_number(run, node)].bytes, "it was free");
            fill(node, &blocks[hw_run_number(run, node)], bytes);
        }
        break;
    case 3:
        expect_content(node, b);
        expect(hw_run_give(run, &key, node, 7) == wanted, "what is used or held back can be given");
        b->bytes = 0;
        break;
    case 4:
        expect(hw_run_hold(run, &key, node, 8) == (b->held && b->bytes ? HW_REFUSED : wanted),
               "what is used can be held");
        b->held = true;
        break;
    default:
        if (!b->bytes || b->held)
            break;
        expect(hw_run_resize(run, &key, node, bytes, 9) == HW_OK, "within its class a block can be resized");
        b->bytes = b->bytes < bytes ? b->bytes : bytes;
        expect_content(node, b);
        fill(node, b, bytes);
    }
}

static void expect_whole(const char *promise)
{
    static hw_fault faults[FAULTS];
    expect(hw_run_check(run, &key, faults, FAULTS) == 0 && hw_run_sound(run, &key), promise);
}

/* A byte of a node's own words. */
static void damage_once(void)
{
    static char kept[HW_RUN_BYTES];
    hw_fault faults[4];
    hw_outcome outcome;
    uint32_t node = pick(8) ? some_node() : pick(2) ? 0 : hw_run_end(run);
    char *at = hw_run_at(run, node) + pick(HW_RUN_OVERHEAD);
    memcpy(kept, base, sizeof kept);
    *at = (char)(*at ^ (char)(1 + pick(255)));
    expect(hw_run_check(run, &key, faults, 4) == 1, "a damaged byte is one fault");
    expect(!hw_run_sound(run, &key), "a run with a damaged byte is not sound");
    expect(hw_run_repair(run, &key, &outcome), "a run with one damaged byte can be repaired");
    expect(memcmp(kept, base, sizeof kept) == 0, "repair gives back every byte");
}

static void damage_description(void)
{
    hw_run *values = run;
    switch (pick(9)) {
    case 0:
        values->salt = pick(2) ? pick_word() : values->salt ^ 1u << pick(32);
        break;
    case 1:
        values->stride = pick(2) ? pick(UINT32_MAX) : pick(64);
        break;
    case 2:
        values->head = (uint16_t)pick(65536);
        break;
    case 3:
        values->used = (uint16_t)pick(65536);
        break;
    case 4:
        values->formatted = (uint16_t)(pick(2) ? pick(65536) : pick(values->capacity + 2u));
        break;
    case 5:
        values->class = (uint8_t)pick(256);
        break;
    case 6:
        aside->salt = pick_word();
        break;
    case 7:
        aside->formatted = (uint16_t)pick(65536);
        break;
    default:
        aside->slack[pick(HW_RUN_MIDS)][pick(3)] = (uint8_t)pick(256);
    }
}

/* Anything anywhere: every operation meanwhile comes back, and what can be mended is used on. */
static bool ravage(void)
{
    static hw_fault faults[FAULTS];
    hw_outcome outcome;
    for (unsigned turns = pick(6); turns; turns--) {
        size_t at = pick(HW_RUN_BYTES), length = 1 + pick(pick(2) ? 40 : 5000);
        unsigned value = pick(257);
        for (size_t i = at; i < at + length && i < HW_RUN_BYTES; i++)
            base[i] = (char)(value < 256 ? value : pick(256));
    }
    for (unsigned turns = pick(3); turns; turns--)
        damage_description();
    for (unsigned turns = pick(20); turns; turns--) {
        uint32_t node = pick(2) ? pick(4100) : 1 + pick(64) * ((uint32_t)(most + 16) >> 4), meta;
        switch (pick(7)) {
        case 0:
            hw_run_take(run, &key, most, HW_NEW, 3);
            break;
        case 1:
            hw_run_give(run, &key, node, 3);
            break;
        case 2:
            hw_run_hold(run, &key, node, 3);
            break;
        case 3:
            hw_run_resize(run, &key, node, some_size(), 3);
            break;
        case 4:
            hw_run_format(run, &key, pick(5000));
            break;
        case 5:
            if (hw_run_meta(run, &key, node, &meta))
                hw_run_requested(run, &key, node, meta);
            break;
        default:
            hw_run_verify(run, &key, node);
            hw_run_locate(run, pick(HW_RUN_BYTES));
        }
    }
    bool faultless = hw_run_check(run, &key, faults, FAULTS) == 0;
    expect(hw_run_sound(run, &key) == faultless, "a run is sound when it has no fault");
    if (!hw_run_repair(run, &key, &outcome))
        return false;
    expect_whole("a repaired run has no fault");
    while (hw_run_take(run, &key, hw_run_payload(run->class), HW_MALLOC, 2))
        ;
    for (uint32_t number = 0, meta; number < run->formatted; number++) {
        uint32_t node = HW_RUN_FIRST + number * (run->stride >> HW_RUN_GRANULE_LOG2);
        expect(hw_run_meta(run, &key, node, &meta), "a repaired run has nodes");
        expect(hw_state_of(meta) != HW_FREE, "all that is free can be taken");
        expect(hw_run_give(run, &key, node, 0) == (hw_quarantined(meta) ? HW_REFUSED : HW_OK),
               "what is left can be given");
    }
    expect_whole("a run that was given back has no fault");
    return true;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    state = strtoull(argv[1], NULL, 0) * UINT64_C(0x9E3779B97F4A7C15) | 1;
    run = malloc(sizeof *run);
    aside = malloc(sizeof *aside);
    base = aligned_alloc(HW_RUN_BYTES, HW_RUN_BYTES);
    for (long rounds = atol(argv[2]); rounds > 0; rounds--) {
        unsigned class = pick(2) ? pick(HW_RUN_CLASSES) : pick(2) ? 64 + pick(24) : pick(4);
        key = (hw_run_key){pick_word() | 1, pick_word() | 1};
        memset(base, (int)pick(256), HW_RUN_BYTES);
        memset(blocks, 0, sizeof blocks);
        hw_run_init(run, aside, base, class, pick_word(), &key);
        least = class ? hw_run_payload(class - 1) + 1 : 1;
        most = hw_run_payload(class);
        for (unsigned step = 0; step < STEPS; step++) {
            if (pick(12))
                operate();
            else
                damage_once();
            expect_whole("operations leave no fault");
        }
        ravage();
    }
    free(base);
    free(aside);
    free(run);
    return 0;
}

#else

int main(void)
{
    return 0;
}

#endif
