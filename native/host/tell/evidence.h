/* What a record needs of the memory, since nobody can look at it later. */
#ifndef HEAPWITNESS_EVIDENCE_H
#define HEAPWITNESS_EVIDENCE_H

#include "tell/message.h"

/* Of a pool or a run with a fault: its ends, the nodes around the fault and their sites. */
void hw_put_evidence(hw_message *m, const hw_where *where, const hw_fault *fault);
/* Of a block without a pool. */
void hw_put_unpooled(hw_message *m, const hw_unpooled *block);
/* Of an allocation site: its record, and those that it names. */
void hw_put_site(hw_message *m, uint32_t site);
/* The site of what the thread is at, with its Python lines; 0 where it runs no Python, or that is not known. */
uint32_t hw_noticed_at(const hw_caller *caller);
/* Which numbers blocks have at their sites: around a fault, and the one at an address. */
void hw_put_numbers(hw_message *m, const hw_where *where, const hw_fault *fault);
void hw_put_number_of(hw_message *m, uint64_t address);

#endif
