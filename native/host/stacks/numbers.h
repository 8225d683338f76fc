/* Blocks by how many their site had allocated before: what a program that repeats itself does again. Only sites that
   are named to be trapped are counted (named.h), so all others pay nothing. */
#ifndef HEAPWITNESS_NUMBERS_H
#define HEAPWITNESS_NUMBERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A site's record belongs to that name; 0: to none. */
void hw_number_site(uint32_t site, uint32_t name);
uint32_t hw_number_name(uint32_t site);
/* Count a block that was just allocated at a site: 1 for the first. 0: the site is not counted. `stand_in`: what stands
   in for it elsewhere has the same number; or NULL. */
uint64_t hw_number_block(const void *payload, const void *stand_in, uint32_t site);

typedef struct hw_numbered {
    uint64_t address, site, number;
} hw_numbered;
/* Blocks of counted sites that were the last to begin at addresses from `low` up to before `high`; returns how many. */
size_t hw_numbers_between(uintptr_t low, uintptr_t high, hw_numbered *into, size_t most);

#endif
