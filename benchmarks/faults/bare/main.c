/* Damage on the core alone, hundreds of thousands a second: what is found, restored and gone on with.

   Usage: bare SEED FIRST COUNT. Runs FIRST to before FIRST + COUNT; everything follows from the seed and the number.
   Lengths of overflows and underflows go through all from 1 to 4096 in turn. On standard output, for each row, tab
   separated: "count ROW LABEL NUMBER" and, for a few runs that are not as they should be, "miss ROW LABEL RUN". */
#include "count.h"
#include "damage.h"
#include "run.h"

#include <stdio.h>
#include <stdlib.h>

enum { DAMAGES = 64, FAULTS = 64, LABELS = 32, SHOWN = 4, ALL = ROWS + RUN_ROWS };

static const char *const rows[ALL] = {
    "overflow: a fill (memset)",
    "overflow: text (strcpy)",
    "overflow: words (structs, arrays)",
    "overflow that leaves bytes out",
    "slack, one byte",
    "underflow",
    "header or backup, one bit",
    "header or backup, 1 to 8 bytes",
    "header, whole",
    "backup, whole",
    "header and its backup",
    "use after free: links",
    "use after free: poison",
    "control block, fixed part",
    "control block, derived part",
    "control block, its copy",
    "double free",
    "free of no block",
    "run: overflow, a fill (memset)",
    "run: overflow, text (strcpy)",
    "run: overflow, words (structs, arrays)",
    "run: overflow that leaves bytes out",
    "run: slack, one byte",
    "run: underflow",
    "run: header or backup, one bit",
    "run: header or backup, 1 to 8 bytes",
    "run: header, whole",
    "run: backup, whole",
    "run: header and its backup",
    "run: use after free, links",
    "run: use after free, poison",
    "run: description",
    "run: second copy of the description",
    "run: entry of slack",
    "run: tail",
    "run: double free",
    "run: free of no block",
};

static unsigned row_;
static unsigned long number_;
static struct counter {
    const char *label;
    unsigned long count;
} counters[ALL][LABELS];

unsigned long note(const char *label)
{
    struct counter *c = counters[row_];
    while (c->label && c->label != label)
        c++;
    c->label = label;
    return ++c->count;
}

void miss(const char *label)
{
    if (note(label) <= SHOWN)
        printf("miss\t%s\t%s\t%lu\n", rows[row_], label, number_);
}

static unsigned faults_found(void)
{
    static const char *const told[] = {"told nothing", "told headers", "told slack",
                                       "told links",   "told poison",  "told control block"};
    hw_fault faults[FAULTS];
    unsigned count = hw_check(POOL, now.size, now.log2, faults, FAULTS);
    if ((count == 0) != hw_sound(POOL, now.size, now.log2))
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
    if (well && can_be_given_back())
        note("finished");
    else
        miss("not finished");
}

/* Look at all of the pool at once, mend it, and hold it against what it was. */
static void check_and_mend(bool lost)
{
    hw_outcome outcome;
    if (faults_found()) {
        note("detected");
        note("when check");
    } else {
        miss("not detected");
    }
    bool usable = hw_repair(POOL, now.size, now.log2, &outcome);
    loss left = look();
    if (lost) {
        note("repair lost");
    } else {
        note("mended");
        if (usable && left.bytes == 0)
            note("repair yes");
        else
            miss(left.beyond ? "not restored" : "poison in doubt");
    }
    for (int i = 0; usable && !lost && i < STEPS; i++)
        usable = step() == DONE;
    finish(usable);
}

/* Go on using the heap until an operation meets the damage, and to the end. */
static void use_and_mend(void)
{
    hw_outcome outcome;
    bool found = false, well = true;
    for (int i = 0; well && i < STEPS; i++) {
        enum did did = step();
        well = did == DONE || (did == DAMAGED && !found);
        if (did == DAMAGED && !found) {
            found = true;
            well = faults_found() && hw_repair(POOL, now.size, now.log2, &outcome);
            note("when operation");
        }
    }
    bool at_exit = !found && faults_found();
    if (at_exit) {
        note("when exit");
        well &= hw_repair(POOL, now.size, now.log2, &outcome);
    }
    if (found || at_exit)
        note("detected");
    else
        miss("not detected");
    finish(well);
}

static bool damage_once(size_t length)
{
    damage d;
    for (int tries = 0; tries < TRIES; tries++, restore_heap()) {
        if (!plan(row_, length, &d))
            continue;
        inflict(&d);
        loss l = look();
        if (l.bytes == 0)
            continue;
        note("runs");
        if (l.header || pick(5) < 3)
            check_and_mend(l.header);
        else
            use_and_mend();
        return true;
    }
    return false;
}

static void release_once(void)
{
    bool done = false, refused = false;
    for (int tries = 0; tries < TRIES && !done; tries++)
        refused = release_wrongly(row_, &done);
    if (!done)
        return;
    note("runs");
    if (refused) {
        note("detected");
        note("when operation");
    } else {
        miss("not detected");
    }
    bool well = true;
    for (int i = 0; well && i < STEPS; i++)
        well = step() == DONE;
    finish(well);
}

static void run(uint64_t base, unsigned long number)
{
    static unsigned long made = (unsigned long)-1;
    if (made != number / DAMAGES) {
        made = number / DAMAGES;
        seed(base * UINT64_C(0x9E3779B97F4A7C15) + made);
        make_heap();
        save_heap();
        make_run();
        save_run();
    } else {
        restore_heap();
        restore_run();
    }
    seed((base * UINT64_C(0x9E3779B97F4A7C15) + number) ^ UINT64_C(0xA5A5A5A5A5A5A5A5));
    number_ = number;
    row_ = (unsigned)(number % ALL);
    unsigned long turn = number / ALL;
    size_t length = turn % 2 ? 1 + pick(64) : 1 + turn / 2 % LONGEST;
    if (row_ >= ROWS)
        damage_run(row_ - ROWS, length);
    else if (row_ < WRITES) /* long ones leave no header a good copy: every second one is short */
        damage_once(length);
    else
        release_once();
}

int main(int count, char **words)
{
    if (count != 4)
        return 2;
    uint64_t base = strtoull(words[1], NULL, 0);
    unsigned long first = strtoul(words[2], NULL, 0), runs = strtoul(words[3], NULL, 0);
    for (unsigned long number = first; number < first + runs; number++)
        run(base, number);
    for (unsigned row = 0; row < ALL; row++)
        for (const struct counter *c = counters[row]; c->label; c++)
            printf("count\t%s\t%s\t%lu\n", rows[row], c->label, c->count);
    return 0;
}
