/* The core's runs, on bytes that an attacker chose who knows the key: headers and links with checks that hold, and
   damage in what describes a run. To be compiled with ASan and UBSan; the run fills its allocation exactly.

   Usage: forged_run SEED SECONDS. No call may read or write outside of the run and of what describes it, or take longer
   than a second; a repaired run has no fault. Where a run lies is for its owner to say (hw_run_bind). */
#include "forging.h"
#include "run_node.h"

#include <string.h>

#if HW_HAS_RUNS

enum { FAULTS = 32 };

static hw_run_key key;
static hw_run *run;
static hw_run_aside *aside;
static char *base;

/* A node of the run as it was laid out, or any granule at all. */
static uint32_t some_node(void)
{
    uint32_t granules = run->stride >> HW_RUN_GRANULE_LOG2;
    if (granules && run->formatted && pick(4))
        return (HW_RUN_FIRST + pick(run->formatted) * granules) & 0xFFF;
    return pick(8) ? pick(HW_RUN_BYTES >> HW_RUN_GRANULE_LOG2) : UINT32_MAX - pick(9);
}

static size_t some_bytes(void)
{
    return pick(6) == 0 ? 1 + pick(HW_RUN_MOST) : 1 + pick(hw_run_payload(run->class % HW_RUN_CLASSES));
}

static void forge_header(uint32_t node)
{
    if (node >= (HW_RUN_BYTES >> HW_RUN_GRANULE_LOG2) - 1)
        return;
    char *at = base + ((size_t)node << HW_RUN_GRANULE_LOG2);
    uint32_t meta = hw_meta(pick(16), pick(4), pick(4), pick(3) ? pick(100) : HW_SITE_QUARANTINE);
    uint64_t header = hw_run_header(hw_place(run->salt, &key, at), &key, meta);
    size_t back = node == HW_RUN_FIRST ? HW_RUN_OVERHEAD : run->stride;
    hw_put_word(at, header);
    if (pick(4) && (size_t)(at - base) >= back)
        hw_put_word(at - back + HW_RUN_BACKUP, header);
}

static void forge_links(uint32_t node)
{
    if (node >= (HW_RUN_BYTES >> HW_RUN_GRANULE_LOG2) - 2)
        return;
    char *at = base + ((size_t)node << HW_RUN_GRANULE_LOG2);
    uint64_t place = hw_place(run->salt, &key, at);
    uint64_t first = pick(4) ? hw_free_word(place, pick(2) ? some_node() & 0xFFFF : pick(1 << 16)) : HW_RUN_HELD;
    hw_put_word(at + HW_RUN_OVERHEAD, first);
    hw_put_word(at + HW_RUN_OVERHEAD + 8, hw_second_word(place, &key, first));
}

static void damage(unsigned char *bytes, size_t size)
{
    for (unsigned count = 1 + pick(8); count; count--)
        bytes[pick((uint32_t)size)] = (unsigned char)pick(256);
}

static void forge(void)
{
    switch (pick(8)) {
    case 0:
        damage((unsigned char *)base, HW_RUN_BYTES);
        break;
    case 1:
        /* The head is a number of its own that no copy has. */
        run->head = (uint16_t)(pick(2) ? some_node() : pick(1 << 16));
        break;
    case 2:
        if (pick(8) == 0)
            damage((unsigned char *)run, sizeof *run);
        break;
    case 3:
        if (pick(4) == 0)
            damage((unsigned char *)aside, sizeof *aside);
        break;
    case 4:
    case 5:
        forge_links(some_node());
        break;
    default:
        forge_header(some_node());
    }
    if (pick(4) || run->base != base || run->aside != aside)
        hw_run_bind(run, aside, base);
}

static void operate(void)
{
    hw_fault faults[FAULTS];
    hw_outcome outcome;
    uint32_t node = some_node(), meta;
    switch (pick(10)) {
    case 0:
    case 1:
        call("take");
        node = hw_run_take(run, &key, hw_run_payload(run->class % HW_RUN_CLASSES) - pick(16), pick(4), pick(9));
        if (node && !hw_run_is_node(run, node))
            abort();
        break;
    case 2:
        call("give");
        hw_run_give(run, &key, node, pick(9));
        break;
    case 3:
        call("hold");
        hw_run_hold(run, &key, node, pick(9));
        break;
    case 4:
        call("resize");
        hw_run_resize(run, &key, node, some_bytes(), pick(9));
        break;
    case 5:
        call("format");
        hw_run_format(run, &key, some_bytes());
        break;
    case 6:
        call("verify, meta and requested");
        hw_run_verify(run, &key, node);
        if (hw_run_meta(run, &key, node, &meta))
            hw_run_requested(run, &key, node, meta);
        break;
    case 7:
        call("check and sound");
        if ((hw_run_check(run, &key, faults, FAULTS) == 0) != hw_run_sound(run, &key)) {
            fprintf(stderr, "check and sound differ, seed %llu\n", (unsigned long long)seed);
            _exit(1);
        }
        break;
    case 8:
        call("locate");
        hw_run_locate(run, pick(HW_RUN_BYTES));
        break;
    default:
        call("repair");
        hw_run_bind(run, aside, base);
        if (hw_run_repair(run, &key, &outcome) && hw_run_check(run, &key, faults, FAULTS) != 0) {
            fprintf(stderr, "a repaired run has a fault, seed %llu\n", (unsigned long long)seed);
            _exit(1);
        }
    }
    allow(0);
}

static void play(void)
{
    key = (hw_run_key){.place = ((uint64_t)pick(UINT32_MAX) << 32 | pick(UINT32_MAX)) | 1,
                       .meta = ((uint64_t)pick(UINT32_MAX) << 32 | pick(UINT32_MAX)) | 1};
    run = malloc(sizeof *run);
    aside = malloc(sizeof *aside);
    base = aligned_alloc(HW_RUN_BYTES, HW_RUN_BYTES);
    if (!run || !aside || !base)
        abort();
    memset(base, (int)pick(256), HW_RUN_BYTES);
    memset(run, 0, sizeof *run);
    memset(aside, 0, sizeof *aside);
    hw_run_init(run, aside, base, pick(HW_RUN_CLASSES), (uint64_t)pick(UINT32_MAX) << 32, &key);
    hw_run_format(run, &key, pick(pick(4) ? 4096 : HW_RUN_BYTES));
    for (unsigned blocks = pick(40); blocks; blocks--) {
        uint32_t node = hw_run_take(run, &key, hw_run_payload(run->class) - pick(16), pick(3), 1);
        if (node && pick(2))
            (pick(2) ? hw_run_give : hw_run_hold)(run, &key, node, 2);
    }
    for (unsigned turns = 30; turns; turns--) {
        for (unsigned count = pick(4); count; count--)
            forge();
        for (unsigned count = 1 + pick(6); count; count--)
            operate();
    }
    free(base);
    free(aside);
    free(run);
}

int main(int count, char **words)
{
    return play_for(count, words, play, "runs");
}

#else

int main(void)
{
    puts("no runs here");
    return 0;
}

#endif
