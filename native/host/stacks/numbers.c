#define _GNU_SOURCE
#include "stacks/numbers.h"

#include "os/system.h"
#include "stacks/named.h"
#include "stacks/sites.h"

enum { SITES = 1 << 14, BLOCKS = 1 << 16, PROBES = 16 };
#define MIX UINT64_C(0x9E3779B97F4A7C15)

/* Both are open addressing. Of sites each word is `site | name << 32`, written once. A block's words belong to who set
   its address, and say what the last one was that began there; where many have one place, the newest takes another's.
 */
static _Atomic(_Atomic uint64_t *) sites;
typedef struct entry {
    _Atomic uint64_t address, what; /* site | number << 24 */
} entry;
static _Atomic(entry *) blocks;
enum { NUMBER_SHIFT = 24 };

static void *have(_Atomic(void *) *place, size_t bytes)
{
    void *known = atomic_load_explicit(place, memory_order_acquire), *fresh;
    if (known || !(fresh = hw_map(bytes)))
        return known;
    if (atomic_compare_exchange_strong(place, &known, fresh))
        return fresh;
    hw_unmap(fresh, bytes);
    return known;
}

void hw_number_site(uint32_t site, uint32_t name)
{
    _Atomic uint64_t *table = name ? have((_Atomic(void *) *)(void *)&sites, SITES * sizeof *table) : NULL;
    uint64_t word = site | (uint64_t)name << 32, at = (site * MIX) >> 50;
    for (unsigned probe = 0; table && probe < PROBES; probe++) {
        uint64_t none = 0;
        if (atomic_compare_exchange_strong(&table[(at + probe) % SITES], &none, word) || none == word)
            return;
    }
}

uint32_t hw_number_name(uint32_t site)
{
    const _Atomic uint64_t *table = atomic_load_explicit(&sites, memory_order_acquire);
    uint64_t at = (site * MIX) >> 50, word;
    for (unsigned probe = 0; table && probe < PROBES; probe++) {
        word = atomic_load_explicit(&table[(at + probe) % SITES], memory_order_acquire);
        if ((uint32_t)word == site || !word)
            return (uint32_t)(word >> 32);
    }
    return 0;
}

static uint64_t place_of(uint64_t address)
{
    return (address * MIX) >> 48;
}

static void note(uint64_t address, uint32_t site, uint64_t number)
{
    entry *table = have((_Atomic(void *) *)(void *)&blocks, BLOCKS * sizeof *table);
    uint64_t at = place_of(address);
    entry *taken = table ? &table[(at + number % PROBES) % BLOCKS] : NULL;
    for (unsigned probe = 0; table && probe < PROBES; probe++) {
        entry *e = &table[(at + probe) % BLOCKS];
        uint64_t there = 0;
        if (atomic_compare_exchange_strong(&e->address, &there, address) || there == address) {
            taken = e;
            break;
        }
    }
    if (!taken)
        return;
    atomic_store(&taken->what, 0);
    atomic_store(&taken->address, address);
    atomic_store(&taken->what, site | number << NUMBER_SHIFT);
}

uint64_t hw_number_block(const void *payload, const void *stand_in, uint32_t site)
{
    uint32_t name = hw_number_name(site);
    uint64_t number = name ? hw_trap_count(name) : 0;
    if (number)
        note((uint64_t)(uintptr_t)payload, site, number);
    if (number && stand_in)
        note((uint64_t)(uintptr_t)stand_in, site, number);
    return number;
}

size_t hw_numbers_between(uintptr_t low, uintptr_t high, hw_numbered *into, size_t most)
{
    entry *table = atomic_load_explicit(&blocks, memory_order_acquire);
    size_t count = 0;
    for (size_t i = 0; table && i < BLOCKS && count < most; i++) {
        uint64_t what = atomic_load(&table[i].what), address = atomic_load(&table[i].address);
        if (what && address >= low && address < high)
            into[count++] = (hw_numbered){address, what & HW_SITE_NUMBER, what >> NUMBER_SHIFT};
    }
    return count;
}
