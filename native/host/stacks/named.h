/* Allocation sites by names that hold in every run: of each frame its module's build id (or file name) and the offset
   in it (docs/hunt.md, "Names of sites"). HEAPWITNESS_TRAPS lists those whose blocks are to be trapped. */
#ifndef HEAPWITNESS_TRAPS_NAMED_H
#define HEAPWITNESS_TRAPS_NAMED_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where a trapped block lies: its end at a guard, so aligned that programs notice nothing; its start at one; its very
   end at one, whatever that does to alignment. A watched one lies where it would without that, and the processor
   watches some bytes around it (traps/watch.h). */
enum hw_trap_how { HW_TRAP_NOT, HW_TRAP_END, HW_TRAP_START, HW_TRAP_TIGHT, HW_TRAP_WATCH };

/* Some sites are to be trapped, or those at which damage will be found. Set once, when the library is initialised. */
extern bool hw_traps_on;

/* Of blocks whose sites are not named one in so many is trapped, of those that take the long way; 0: none, 1: every
   block, as long as there is room. Set as the above. */
extern unsigned hw_traps_sample;

/* Some blocks are trapped and others watched: then each trapped one has a stand-in where it would lie without its trap,
   so that what is watched lies where it did before. Set as the above. */
extern bool hw_traps_stand_in;

/* Read a list: `how:frame,frame...` for each site, with `;` between them, `how` one of end, start, tight, and watch
   with what is asked of it. What makes no sense is passed over. `found`: sites may be added. */
void hw_traps_read(const char *list, bool found, unsigned sample);
/* Trap what sites allocate from now on that damage was found to come from. `list`: for each the word `how | frames <<
   8` and its return addresses, as the answer to a finding has them. */
void hw_traps_add(const uint64_t *list, size_t words);
/* How the blocks of a site are trapped, by its return addresses, innermost first; enum hw_trap_how. Of frames that only
   the name or only the site has nothing is asked. *name: which of the list's it has, 0 for none. */
unsigned hw_trap_named(const uint64_t *pc, unsigned frames, uint32_t *name);
/* Count one more block of the sites of that name: 1 for the first. 0: not all of them are counted any more. */
uint64_t hw_trap_count(uint32_t name);

/* What is to be watched of a name's blocks: the bytes `offset` from a block's end on, or, where that is negative, from
   its start. Of the block with that `number`, or that lies at that `place`; each may be any. */
typedef struct hw_watch_wish {
    int32_t offset;
    uint32_t place; /* its address modulo HW_PLACES */
    uint64_t number;
} hw_watch_wish;
enum { HW_PLACES = 1 << 20, HW_ANY_PLACE = HW_PLACES };
/* The next after one of a list for the blocks of a name, NULL at first and after the last. */
const hw_watch_wish *hw_trap_next_wish(uint32_t name, const hw_watch_wish *last);

/* What was trapped and what was not though its site is, for the last message of the process. */
typedef struct hw_trap_counts {
    _Atomic uint64_t trapped, too_often, too_many;
    _Atomic uint64_t watched, unwatched; /* unwatched: the first error number that stood against it */
} hw_trap_counts;
extern hw_trap_counts hw_trap_counted;
/* So many were trapped that sites which go on allocating are left alone, but for some of their blocks. */
enum { HW_TRAPPED_FREELY = 50000 };
bool hw_trap_is_enough(void);

#endif
