/* --poison: where big blocks lay that were released, or moved by a resize. For a while nothing else is placed there,
   and nothing can be touched, so that a stale pointer faults at its first use. They hold address space and no memory.
 */
#ifndef HEAPWITNESS_GRAVES_H
#define HEAPWITNESS_GRAVES_H

#include "tell/channel.h"

/* The space of a block that is gone becomes its grave, instead of being given back; the oldest make room. */
void hw_make_grave(const hw_space *space, const hw_released *block);
/* The block in whose grave the address lies; false: in none. */
bool hw_grave_at(uint64_t address, hw_released *block);
/* In the child of a fork: what another thread was digging at is left as it is. */
void hw_graves_after_fork(void);

#endif
