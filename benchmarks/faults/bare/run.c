#include "run.h"

#include "run_node.h"

#include <string.h>

/* Behind it bytes that overflows may reach. */
static _Alignas(HW_RUN_BYTES) char memory[HW_RUN_BYTES + SPARE];
static char kept[HW_RUN_BYTES];
run_state one;
static run_state before;

char *run_memory(void)
{
    return memory;
}

const run_state *saved_run(void)
{
    return &before;
}

size_t run_start_of(const run_block *b)
{
    return ((size_t)b->node << HW_RUN_GRANULE_LOG2) + HW_RUN_OVERHEAD;
}

/* --- a random program ----------------------------------------------------------------------------- */

static void fill(run_block *b)
{
    b->fill = (unsigned char)pick(256);
    b->hit = false;
    memset(memory + run_start_of(b), b->fill, b->bytes);
}

static bool is_right(const run_block *b)
{
    const char *p = memory + run_start_of(b);
    return b->hit || b->held || ((unsigned char)p[0] == b->fill && memcmp(p, p + 1, b->bytes - 1) == 0);
}

static size_t some_size(void)
{
    return one.least + pick((uint32_t)(one.most - one.least) + 1);
}

static enum did did(int status)
{
    return status == HW_DAMAGED ? DAMAGED : status == HW_OK || status == HW_NOMEM ? DONE : WRONG;
}

static enum did take(void)
{
    size_t bytes = some_size();
    if (!one.run.head) {
        int status = hw_run_format(&one.run, &one.key, pick(6) * one.run.stride);
        if (status != HW_OK)
            return did(status);
    }
    uint32_t node = hw_run_take(&one.run, &one.key, bytes, pick(4), 2);
    if (!node)
        return DAMAGED;
    run_block *b = &one.blocks[one.count++];
    *b = (run_block){.node = node, .bytes = bytes};
    fill(b);
    return DONE;
}

static enum did give(run_block *b)
{
    if (!is_right(b))
        return WRONG;
    int status = hw_run_give(&one.run, &one.key, b->node, 3);
    if (status == HW_OK)
        *b = one.blocks[--one.count];
    return did(status);
}

static enum did resize(run_block *b)
{
    size_t bytes = some_size();
    if (!is_right(b))
        return WRONG;
    int status = hw_run_resize(&one.run, &one.key, b->node, bytes, 6);
    if (status == HW_OK) {
        b->bytes = b->bytes < bytes ? b->bytes : bytes;
        if (!is_right(b))
            return WRONG;
        b->bytes = bytes;
        fill(b);
    }
    return did(status);
}

static enum did hold(run_block *b)
{
    int status = hw_run_hold(&one.run, &one.key, b->node, 7);
    b->held |= status == HW_OK;
    return did(status);
}

enum did run_step(void)
{
    uint32_t what = pick(100);
    if (one.count == 0 || (what < 45 && one.count < RUN_BLOCKS))
        return take();
    run_block *b = &one.blocks[pick(one.count)];
    return b->held || what < 70 ? give(b) : what < 85 ? resize(b) : hold(b);
}

void make_run(void)
{
    static const uint32_t steps[] = {10, 60, 300};
    unsigned class = pick(3) ? pick(HW_RUN_SMALL) : HW_RUN_SMALL + pick(HW_RUN_CLASSES - HW_RUN_SMALL);
    uint64_t word[3];
    for (int i = 0; i < 3; i++)
        word[i] = (uint64_t)pick(UINT32_MAX) << 32 | pick(UINT32_MAX);
    memset(memory, 0, sizeof memory);
    one = (run_state){.key = {word[0] | 1, word[1] | 1}};
    one.least = class ? hw_run_payload(class - 1) + 1 : 1;
    one.most = hw_run_payload(class);
    hw_run_init(&one.run, &one.aside, memory, class, word[2], &one.key);
    if (pick(4) == 0)
        hw_run_format(&one.run, &one.key, HW_RUN_BYTES);
    for (uint32_t left = steps[pick(3)]; left; left--)
        run_step();
}

void save_run(void)
{
    memcpy(kept, memory, sizeof kept);
    before = one;
}

void restore_run(void)
{
    one = before;
    memcpy(memory, kept, sizeof kept);
    memset(memory + HW_RUN_BYTES, 0, SPARE);
}

/* --- what is left of it --------------------------------------------------------------------------- */

static size_t differing(size_t at, size_t length)
{
    size_t count = 0;
    if (memcmp(memory + at, kept + at, length) != 0)
        for (size_t i = at; i < at + length; i++)
            count += memory[i] != kept[i];
    return count;
}

static size_t differing_bytes(const void *a, const void *b, size_t length)
{
    size_t count = 0;
    for (size_t i = 0; i < length; i++)
        count += ((const char *)a)[i] != ((const char *)b)[i];
    return count;
}

/* What vouches for a node's payload, in the run as it was. */
static size_t payload_loss(size_t at, uint32_t meta, unsigned number, unsigned *links)
{
    const hw_run *was = &before.run;
    size_t payload = at + HW_RUN_OVERHEAD, behind = at + was->stride;
    const uint8_t *entry = one.aside.slack[number % HW_RUN_MIDS], *old = before.aside.slack[number % HW_RUN_MIDS];
    uint32_t slack;
    switch (hw_state_of(meta)) {
    case HW_FREE:
        *links += differing(payload, 16) != 0;
        return differing(payload, 16);
    case HW_CACHED:
        return differing(payload, behind - payload);
    default:
        slack = hw_slack_of(meta);
        if (hw_run_is_small(was))
            return differing(behind - slack, slack);
        hw_slack_noted(old, hw_place(was->salt, &one.key, memory + at), slack, &slack);
        return differing(behind - slack, slack) + differing_bytes(entry, old, sizeof *one.aside.slack);
    }
}

run_loss look_at_run(void)
{
    run_loss l = {0};
    const hw_run *was = &before.run;
    size_t end = (size_t)hw_run_end(was) << HW_RUN_GRANULE_LOG2, keeper = 0;
    unsigned links = one.run.head != was->head;
    l.bytes = differing(0, HW_RUN_OVERHEAD) + differing(end, HW_RUN_OVERHEAD);
    l.bytes += differing_bytes(&one.run, was, offsetof(hw_run, listed)) + (one.run.where != was->where);
    l.bytes += differing_bytes(&one.aside, &before.aside, offsetof(hw_run_aside, slack));
    if (was->formatted == was->capacity)
        l.bytes += differing(end + HW_RUN_OVERHEAD, HW_RUN_BYTES - end - HW_RUN_OVERHEAD);
    for (unsigned number = 0; number < was->formatted; number++) {
        size_t at = HW_RUN_OVERHEAD + (size_t)number * was->stride;
        uint32_t meta = (uint32_t)hw_word(kept + at);
        l.bytes += differing(at, HW_RUN_OVERHEAD) + payload_loss(at, meta, number, &links);
        l.header |= differing(at, 8) && differing(keeper + HW_RUN_BACKUP, 8);
        keeper = at;
    }
    l.list = links > 1;
    return l;
}

/* Where a run lies is known to whoever has it. */
bool run_repair(void)
{
    hw_outcome outcome;
    hw_run_bind(&one.run, &one.aside, memory);
    return hw_run_repair(&one.run, &one.key, &outcome);
}

bool run_can_be_given_back(void)
{
    hw_fault faults[2];
    for (unsigned i = 0; i < one.count; i++) {
        const run_block *b = &one.blocks[i];
        uint32_t meta;
        if (!is_right(b) || !hw_run_meta(&one.run, &one.key, b->node, &meta))
            return false;
        if (!hw_quarantined(meta) && hw_run_give(&one.run, &one.key, b->node, 8) != HW_OK)
            return false;
    }
    return hw_run_check(&one.run, &one.key, faults, 2) == 0;
}
