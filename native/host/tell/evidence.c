#define _GNU_SOURCE
#include "tell/evidence.h"

#include "arena/arena.h"
#include "run_node.h"
#include "stacks/numbers.h"
#include "stacks/python_sites.h"

enum { WINDOW_MOST = 4 << 20, MOST_SITES = 64 };

static void put_record(hw_message *m, const hw_site_record *record)
{
    hw_put_memory(m, (uintptr_t)record, sizeof *record + record->count * sizeof *record->word);
}

/* With what it names: the native site and the code of its frames, and the allocation's site. */
void hw_put_site(hw_message *m, uint32_t site)
{
    const hw_site_record *record = hw_site_at(site);
    for (int depth = 0; depth < 2 && record; depth++) {
        put_record(m, record);
        for (unsigned i = 0; record->kind == HW_SITE_PYTHON && i < record->count; i++) {
            const hw_site_record *named = hw_site_at((uint32_t)record->word[i] & HW_SITE_NUMBER);
            if (named)
                put_record(m, named);
        }
        record = hw_site_at(record->prior);
    }
}

uint32_t hw_noticed_at(const hw_caller *caller)
{
    hw_arena *arena = hw_is_foreign() ? NULL : hw_this_thread.arena;
    return arena && arena->sites.python ? hw_python_learn(&arena->sites, caller, 0) : 0;
}

static void put_sites_of(hw_message *m, const hw_pool *pool, uint32_t node)
{
    const hw_header *own = hw_own(pool, node), *kept = hw_backup_in(pool, node);
    if (hw_is_valid(pool, node, own))
        hw_put_site(m, own->meta >> 8);
    hw_put_site(m, kept->meta >> 8);
    const hw_links *links = hw_links_at(pool, node);
    if (links->parent == HW_PENDING_PARENT)
        hw_put_site(m, links->right);
}

/* --- runs ----------------------------------------------------------------------------------------- */

/* Nodes of a run, from one up to another. */
typedef struct hw_nodes {
    const hw_run *run;
    uint32_t low, high;
} hw_nodes;

/* What describes a run can be damaged, too; by no such words anything is found. */
static bool is_described(const hw_run *run)
{
    const hw_book *book = (const hw_book *)(const void *)run;
    return run->stride && run->aside == &book->aside && hw_run_is_described(run) && run->formatted;
}

static uint32_t granules_of(const hw_run *run)
{
    return run->stride >> HW_RUN_GRANULE_LOG2;
}

static uint32_t last_of(const hw_run *run)
{
    return hw_run_end(run) - granules_of(run);
}

/* What the fault is about, with a node on both sides. Damage that begins before the first node, or ends behind the
   last, has no node there (heapwitness/run.h). */
static hw_nodes nodes_around(const hw_run *run, const hw_fault *fault)
{
    uint32_t granules = granules_of(run), end = hw_run_end(run), last = last_of(run);
    bool from_start = !fault->low || (fault->reason == HW_HEADERS && fault->low == end);
    uint32_t low = from_start ? fault->node : fault->low, high = fault->high > low ? fault->high : low;
    low = low > HW_RUN_FIRST + granules ? low - granules : (uint32_t)HW_RUN_FIRST;
    low -= (low - HW_RUN_FIRST) % granules;
    high = high < last ? high + granules - (high + granules - HW_RUN_FIRST) % granules : last;
    return (hw_nodes){run, low < last ? low : last, high < last ? high : last};
}

/* The run that lies right before or behind; NULL: it is not in use, or there is none. */
static const hw_run *neighbour(const hw_where *where, int way)
{
    const hw_region *region = hw_region_at(where->region);
    uintptr_t base = (uintptr_t)atomic_load(&region->base);
    size_t number = ((uintptr_t)where->run->base - base) >> HW_RUN_LOG2;
    size_t count = (size_t)atomic_load(&region->bytes) >> HW_RUN_LOG2;
    if (!where->region || number + (size_t)way >= count)
        return NULL;
    const hw_book *book = (const hw_book *)(const void *)where->run + way;
    return is_described(&book->run) ? &book->run : NULL;
}

/* 0, or what stands there for a node that another thread released (docs/format.md). */
static const uint32_t *handed_of(const hw_where *where, const hw_run *run)
{
    const hw_region *region = hw_region_at(where->region);
    const hw_arena *arena = where->region ? hw_arena_numbered(atomic_load(&region->arena)) : NULL;
    size_t number = ((uintptr_t)run->base - (uintptr_t)atomic_load(&region->base)) >> HW_RUN_LOG2;
    uint64_t handed = atomic_load(&region->handed);
    if (!arena || !handed || number >= atomic_load(&arena->runs.handed_reach))
        return NULL;
    return (const uint32_t *)(uintptr_t)handed + number * HW_RUN_NODES;
}

static void put_sites_of_nodes(hw_message *m, const hw_where *where, hw_nodes nodes)
{
    const hw_run_key *key = &hw_this_process.key;
    const hw_run *run = nodes.run;
    const uint32_t *handed = handed_of(where, run);
    uint32_t node = nodes.low, granules = granules_of(run);
    for (unsigned i = 0; i < MOST_SITES && node <= nodes.high; i++, node += granules) {
        const char *at = hw_run_at(run, node);
        uint64_t own = hw_word(at), kept = hw_word(at - hw_run_back(run->stride, node == HW_RUN_FIRST) + HW_RUN_BACKUP);
        uint64_t place = hw_place(run->salt, key, at), header = hw_run_unlike(place, key, own) ? kept : own;
        if (!hw_run_unlike(place, key, header))
            hw_put_site(m, (uint32_t)header >> 8);
        if (handed && handed[hw_run_number(run, node)])
            hw_put_site(m, handed[hw_run_number(run, node)] & HW_SITE_NUMBER);
    }
}

static void put_described(hw_message *m, const hw_where *where, const hw_run *run)
{
    const uint32_t *handed = handed_of(where, run);
    hw_put_memory(m, (uintptr_t)run, sizeof(hw_book));
    if (handed)
        hw_put_memory(m, (uintptr_t)handed, HW_RUN_NODES * sizeof *handed);
}

/* The run before or behind, with the sites of these nodes. What is written over a run's end goes on in the next: then
   all of it is looked at. Else its ends are, by which it is known. */
static void put_neighbour(hw_message *m, const hw_where *where, hw_nodes nodes, bool whole)
{
    const hw_run *run = nodes.run;
    put_described(m, where, run);
    if (whole) {
        hw_put_memory(m, (uintptr_t)run->base, HW_RUN_BYTES);
    } else {
        hw_put_memory(m, (uintptr_t)run->base, HW_RUN_OVERHEAD);
        hw_put_memory(m, (uintptr_t)hw_run_at(run, hw_run_end(run)), HW_RUN_OVERHEAD);
    }
    put_sites_of_nodes(m, where, nodes);
}

/* A run is small: all of it, what describes it, and the sites around the fault. */
static void put_run(hw_message *m, const hw_where *where, const hw_fault *fault)
{
    enum { FEW_NODES = 8 };
    const hw_run *run = where->run, *before = neighbour(where, -1), *behind = neighbour(where, 1);
    put_described(m, where, run);
    hw_put_memory(m, (uintptr_t)run->base, HW_RUN_BYTES);
    if (!is_described(run))
        return;
    hw_nodes nodes = nodes_around(run, fault);
    put_sites_of_nodes(m, where, nodes);
    if (before) {
        uint32_t last = last_of(before);
        put_neighbour(m, where, (hw_nodes){before, last, last}, nodes.low == HW_RUN_FIRST);
    }
    if (behind) {
        uint32_t high = HW_RUN_FIRST + (FEW_NODES - 1) * granules_of(behind), last = last_of(behind);
        put_neighbour(m, where, (hw_nodes){behind, HW_RUN_FIRST, high < last ? high : last},
                      nodes.high == last_of(run));
    }
}

/* --- pools ---------------------------------------------------------------------------------------- */

static void put_pool(hw_message *m, const hw_pool *pool, size_t bytes, const hw_fault *fault)
{
    uintptr_t base = (uintptr_t)pool;
    hw_put_memory(m, base, HW_CONTROL);
    hw_put_memory(m, base + bytes - HW_END, HW_END);
    uint32_t end = (uint32_t)((bytes - HW_END) >> HW_FIXED_GRANULE_LOG2);
    uint32_t low = fault->low ? fault->low : fault->node, high = fault->high ? fault->high : fault->node;
    if (low >= end)
        low = hw_first(pool);
    if (low && low < end) {
        if (high < low || high > end)
            high = low;
        /* With the node before, for its backup, and the whole of the last node. */
        const hw_header *h = hw_own(pool, low);
        uint32_t from = hw_is_valid(pool, low, h) ? low - h->prev_size : low;
        h = hw_own(pool, high);
        uint32_t to = high < end && hw_is_valid(pool, high, h) ? high + h->size : end;
        size_t span = (size_t)(to - from) << HW_FIXED_GRANULE_LOG2;
        hw_put_memory(m, base + ((size_t)from << HW_FIXED_GRANULE_LOG2), span < WINDOW_MOST ? span : WINDOW_MOST);
        if (span > WINDOW_MOST) {
            size_t at = (size_t)high << HW_FIXED_GRANULE_LOG2;
            size_t before = at < WINDOW_MOST ? at : WINDOW_MOST;
            hw_put_memory(m, base + at - before, before + HW_OVERHEAD + 64);
        }
        put_sites_of(m, pool, from);
        put_sites_of(m, pool, low);
        if (high != low && high < end)
            put_sites_of(m, pool, high);
        if (to < end)
            put_sites_of(m, pool, to);
    }
}

void hw_put_evidence(hw_message *m, const hw_where *where, const hw_fault *fault)
{
    hw_put_memory(m, (uintptr_t)&hw_this_process, sizeof hw_this_process);
    if (where->region)
        hw_put_memory(m, (uintptr_t)hw_region_at(where->region), sizeof(hw_region));
    if (where->pool)
        put_pool(m, where->pool, where->bytes, fault);
    if (where->run)
        put_run(m, where, fault);
}

void hw_put_unpooled(hw_message *m, const hw_unpooled *block)
{
    uintptr_t end = (uintptr_t)(block->address + block->size);
    hw_put_memory(m, end - hw_page(), hw_round_up(end, hw_page()) - end + hw_page()); /* up to its guard */
    if (block->before)
        hw_put_memory(m, (uintptr_t)(block->address - block->before), block->before + hw_page());
    hw_put_site(m, (uint32_t)block->site);
}

static void put_numbers_between(hw_message *m, uintptr_t low, uintptr_t high)
{
    enum { MOST = 128 };
    hw_numbered found[MOST];
    size_t count = hw_numbers_between(low, high, found, MOST);
    if (count)
        hw_put_section(m, HW_NUMBERED, 0, found, count * sizeof *found);
}

enum { AROUND = 1024 };

/* And of the runs beside it. */
static void put_numbers_of_run(hw_message *m, const hw_where *where, const hw_fault *fault)
{
    const hw_run *run = where->run, *before = neighbour(where, -1), *behind = neighbour(where, 1);
    if (!is_described(run))
        return;
    hw_nodes nodes = nodes_around(run, fault);
    uintptr_t low = (uintptr_t)hw_run_at(run, nodes.low), high = (uintptr_t)hw_run_at(run, nodes.high) + run->stride;
    if (nodes.low == HW_RUN_FIRST && before)
        low = (uintptr_t)hw_run_at(before, hw_run_end(before)) - before->stride;
    if (nodes.high == last_of(run) && behind)
        high = (uintptr_t)behind->base + behind->stride;
    put_numbers_between(m, low - AROUND, high + AROUND);
}

void hw_put_numbers(hw_message *m, const hw_where *where, const hw_fault *fault)
{
    const hw_pool *pool = where->pool;
    uint32_t low = fault->low ? fault->low : fault->node, high = fault->high ? fault->high : fault->node;
    high = high < low ? low : high;
    if (where->run) {
        put_numbers_of_run(m, where, fault);
        return;
    }
    const hw_header *h = hw_own(pool, low);
    if (low && hw_is_valid(pool, low, h))
        low -= h->prev_size;
    put_numbers_between(m, (uintptr_t)hw_at(pool, low) - AROUND, (uintptr_t)hw_at(pool, high) + AROUND);
}

void hw_put_number_of(hw_message *m, uint64_t address)
{
    put_numbers_between(m, (uintptr_t)address, (uintptr_t)address + 1);
}
