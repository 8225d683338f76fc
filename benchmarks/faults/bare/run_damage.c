#include "count.h"
#include "damage.h"
#include "run.h"
#include "run_node.h"

#include <string.h>

enum { FAULTS = 64 };

/* --- damage, as bytes from a place on ------------------------------------------------------------- */

static void put(char *at, size_t from, size_t length)
{
    memcpy(at, content + from, length);
}

/* Into the run's memory, or what lies behind it; notes the blocks whose content it hits. */
static void put_at(size_t at, size_t from, size_t length)
{
    put(run_memory() + at, from, length);
    for (unsigned k = 0; k < one.count; k++) {
        run_block *b = &one.blocks[k];
        b->hit |= run_start_of(b) + b->bytes > at && run_start_of(b) < at + length;
    }
}

static const run_block *some_used(void)
{
    for (int tries = 0; tries < 50 && one.count; tries++) {
        const run_block *b = &one.blocks[pick(one.count)];
        if (!b->held)
            return b;
    }
    return NULL;
}

static uint32_t node_of(unsigned number)
{
    return HW_RUN_FIRST + number * (one.run.stride >> HW_RUN_GRANULE_LOG2);
}

static size_t at_of_header(unsigned number)
{
    return (size_t)node_of(number) << HW_RUN_GRANULE_LOG2;
}

static bool beside(unsigned row, size_t length)
{
    const run_block *b = some_used();
    if (!b)
        return false;
    size_t start = run_start_of(b), end = start + b->bytes, slack = one.most - b->bytes;
    switch (row) {
    case RUN_SLACK:
        compose(1, 2);
        if (slack)
            put_at(end + pick((uint32_t)slack), 0, 1);
        return slack;
    case RUN_UNDERFLOW:
        length = length < start ? length : start;
        compose(length, pick(2) * 2);
        put_at(start - length, 0, length);
        return true;
    case RUN_SKIPPING:
        compose(64, 2);
        put_at(end + 1 + pick(15), 0, (size_t)1 << pick(6));
        return true;
    default:
        compose(length, row);
        put_at(end, 0, length);
        return true;
    }
}

/* One copy of a header, or both; the sentinel's and the END's, too. */
static void header(unsigned row)
{
    unsigned number = pick(one.run.formatted + 1u), width = 1u << pick(4);
    size_t at = pick(16) ? at_of_header(number) : 0;
    size_t keeper = at && number ? at_of_header(number - 1) : 0;
    switch (row) {
    case RUN_BIT:
        at += pick(HW_RUN_OVERHEAD);
        content[0] = (unsigned char)(run_memory()[at] ^ 1u << pick(8));
        put_at(at, 0, 1);
        break;
    case RUN_WORD:
        compose(width, pick(2) * 2);
        put_at(at + width * pick(HW_RUN_OVERHEAD / width), 0, width);
        break;
    case RUN_BOTH:
        compose(16, pick(2) * 2);
        put_at(keeper + HW_RUN_BACKUP, 0, 8);
        put_at(at, 8, 8);
        break;
    default:
        compose(8, pick(2) * 2);
        put_at(row == RUN_HEADER ? at : at + HW_RUN_BACKUP, 0, 8);
    }
}

static bool after_free(bool poison, size_t length)
{
    for (int tries = 0; tries < 50 && one.run.formatted; tries++) {
        size_t at = at_of_header(pick(one.run.formatted)), payload = one.most;
        unsigned state = hw_state_of((uint32_t)hw_word(run_memory() + at));
        if (state == HW_USED || (poison && (state != HW_CACHED || payload == 16)))
            continue;
        size_t begin = poison ? 16 + pick((uint32_t)payload - 16) : pick(16);
        length = 1 + (length - 1) % 64;
        length = length < payload - begin ? length : payload - begin;
        compose(length, pick(3));
        put_at(at + HW_RUN_OVERHEAD + begin, 0, length);
        return true;
    }
    return false;
}

/* One value of what describes it, or some bytes of that. */
static void description(void)
{
    static const struct {
        size_t at, length;
    } value[] = {
        {offsetof(hw_run, base), 8},      {offsetof(hw_run, salt), 8},     {offsetof(hw_run, aside), 8},
        {offsetof(hw_run, stride), 4},    {offsetof(hw_run, head), 2},     {offsetof(hw_run, used), 2},
        {offsetof(hw_run, formatted), 2}, {offsetof(hw_run, capacity), 2}, {offsetof(hw_run, class), 1},
        {offsetof(hw_run, where), 2},
    };
    unsigned which = pick(sizeof value / sizeof *value);
    size_t length = pick(2) ? 1 : value[which].length;
    compose(8, pick(2) * 2);
    put((char *)&one.run + value[which].at + pick((uint32_t)(value[which].length - length) + 1), 0, length);
}

static bool inflict_on_run(unsigned row, size_t length)
{
    size_t end = at_of_header(one.run.formatted) + HW_RUN_OVERHEAD;
    switch (row) {
    case RUN_FILL:
    case RUN_TEXT:
    case RUN_WORDS:
    case RUN_SKIPPING:
    case RUN_SLACK:
    case RUN_UNDERFLOW:
        return beside(row, length);
    case RUN_LINKS:
    case RUN_POISON:
        return after_free(row == RUN_POISON, length);
    case RUN_DESCRIPTION:
        description();
        return true;
    case RUN_ASIDE:
        compose(16, pick(2) * 2);
        length = (size_t)1 << pick(5);
        put((char *)&one.aside + pick(16 - (uint32_t)length + 1), 0, length);
        return true;
    case RUN_ENTRY:
        compose(2, pick(2) * 2);
        length = 1 + pick(3);
        put((char *)one.aside.slack[pick(HW_RUN_MIDS)] + pick(4 - (uint32_t)length), 0, length);
        return true;
    case RUN_TAIL:
        if (one.run.formatted < one.run.capacity || end >= HW_RUN_BYTES)
            return false;
        length = 1 + length % 16;
        compose(length, pick(3));
        put_at(end + pick((uint32_t)(HW_RUN_BYTES - end)), 0, length);
        return true;
    default:
        header(row);
        return true;
    }
}

/* --- what comes of it ----------------------------------------------------------------------------- */

static unsigned faults_found(void)
{
    static const char *const told[] = {"told nothing", "told headers", "told slack",
                                       "told links",   "told poison",  "told control block"};
    hw_fault faults[FAULTS];
    unsigned count = hw_run_check(&one.run, &one.key, faults, FAULTS);
    if ((count == 0) != hw_run_sound(&one.run, &one.key))
        miss("check and sound differ");
    bool same = true;
    for (unsigned i = 1; i < count; i++)
        same &= faults[i].reason == faults[0].reason;
    if (count)
        note(same ? told[faults[0].reason] : "told several");
    return count;
}

static void finish(bool well)
{
    if (well && run_can_be_given_back())
        note("finished");
    else
        miss("not finished");
}

static void check_and_mend(run_loss l)
{
    bool lost = l.header || l.list;
    if (faults_found()) {
        note("detected");
        note("when check");
    } else {
        miss("not detected");
    }
    bool usable = run_repair();
    if (lost) {
        note("repair lost");
    } else {
        note("mended");
        if (usable && look_at_run().bytes == 0)
            note("repair yes");
        else
            miss("not restored");
    }
    for (int i = 0; usable && !l.header && i < STEPS; i++)
        usable = run_step() == DONE;
    finish(usable);
}

static void use_and_mend(void)
{
    bool found = false, well = true;
    for (int i = 0; well && i < STEPS; i++) {
        enum did did = run_step();
        well = did == DONE || (did == DAMAGED && !found);
        if (did == DAMAGED && !found) {
            found = true;
            well = faults_found() && run_repair();
            note("when operation");
        }
    }
    bool at_exit = !found && faults_found();
    if (at_exit) {
        note("when exit");
        well &= run_repair();
    }
    if (found || at_exit)
        note("detected");
    else
        miss("not detected");
    finish(well);
}

static void overwrite(unsigned row, size_t length)
{
    for (int tries = 0; tries < TRIES; tries++, restore_run()) {
        if (!inflict_on_run(row, length))
            continue;
        run_loss l = look_at_run();
        if (l.bytes == 0)
            continue;
        note("runs");
        if (l.header || pick(5) < 3)
            check_and_mend(l);
        else
            use_and_mend();
        return;
    }
}

/* A node that is free, or held back and then taken for a used one; or what is no node. */
static uint32_t wrong_node(unsigned row)
{
    if (row == RUN_NOWHERE) {
        uint32_t node = pick(HW_RUN_BYTES >> HW_RUN_GRANULE_LOG2);
        return hw_run_is_node(&one.run, node) ? 0 : node;
    }
    const run_block *b = some_used();
    if (!b)
        return 0;
    uint32_t node = b->node;
    one.blocks[b - one.blocks] = one.blocks[--one.count];
    return hw_run_give(&one.run, &one.key, node, 3) == HW_OK ? node : 0;
}

static void release_wrongly_in_run(unsigned row)
{
    uint32_t node = 0;
    for (int tries = 0; tries < TRIES && !node; tries++)
        node = wrong_node(row);
    if (!node)
        return;
    run_state was = one;
    note("runs");
    bool refused = hw_run_give(&one.run, &one.key, node, 3) == HW_REFUSED &&
                   hw_run_hold(&one.run, &one.key, node, 3) == HW_REFUSED;
    if (refused && memcmp(&was, &one, sizeof was) == 0 && !faults_found()) {
        note("detected");
        note("when operation");
    } else {
        miss("not detected");
    }
    bool well = true;
    for (int i = 0; well && i < STEPS; i++)
        well = run_step() == DONE;
    finish(well);
}

void damage_run(unsigned row, size_t length)
{
    if (row < RUN_DOUBLE)
        overwrite(row, length);
    else
        release_wrongly_in_run(row);
}
