#define _GNU_SOURCE
#include "tell/evidence.h"

#include "run_node.h"
#include "stacks/numbers.h"

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

/* A run is small: all of it that is formatted, what describes it, and the sites around the fault. */
static void put_run(hw_message *m, const hw_run *run, const hw_fault *fault)
{
    uint32_t end = hw_run_end(run), granules = run->stride >> HW_RUN_GRANULE_LOG2;
    uint32_t low = fault->low && fault->low < end ? fault->low : fault->node;
    uint32_t high = fault->high > low ? fault->high : low;
    hw_put_memory(m, (uintptr_t)run, sizeof *run);
    hw_put_memory(m, (uintptr_t)run->aside, sizeof *run->aside);
    hw_put_memory(m, (uintptr_t)run->base, HW_RUN_BYTES);
    low = low > HW_RUN_FIRST + granules ? low - granules : (uint32_t)HW_RUN_FIRST;
    low -= (low - HW_RUN_FIRST) % granules;
    for (unsigned i = 0; i < MOST_SITES && low < end && low <= high + granules; i++, low += granules) {
        uint64_t own = hw_word(hw_run_at(run, low));
        if (!hw_run_unlike(hw_place(run->salt, &hw_this_process.key, hw_run_at(run, low)), &hw_this_process.key, own))
            hw_put_site(m, (uint32_t)own >> 8);
        uint64_t kept = hw_word(hw_run_at(run, low) + HW_RUN_BACKUP);
        hw_put_site(m, (uint32_t)kept >> 8);
    }
}

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
        put_run(m, where->run, fault);
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

void hw_put_numbers(hw_message *m, const hw_where *where, const hw_fault *fault)
{
    enum { AROUND = 1024 };
    const hw_pool *pool = where->pool;
    uint32_t low = fault->low ? fault->low : fault->node, high = fault->high ? fault->high : fault->node;
    high = high < low ? low : high;
    if (where->run) {
        size_t stride = where->run->stride;
        uintptr_t start = (uintptr_t)hw_run_at(where->run, low), end = (uintptr_t)hw_run_at(where->run, high);
        put_numbers_between(m, start - AROUND - stride, end + AROUND + stride);
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
