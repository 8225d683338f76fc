/* Trapped blocks: of the sites that HEAPWITNESS_TRAPS names, each in pages of its own, so that a store that leaves it
   faults (fault.h). It ends at pages that nothing can touch, or starts behind some; what is left of its own pages is
   slack, which is compared as a block's without a pool (heap/huge.h). After its release nothing can touch any of it,
   until its slot is the oldest of its class that is free.

   Slots lie in one region, in classes by how many pages a block may have. A slot is taken, changed and given by who
   changed its state by compare-and-exchange; there is no lock, so signal handlers and children of forks may allocate.
 */
#ifndef HEAPWITNESS_TRAPS_BLOCKS_H
#define HEAPWITNESS_TRAPS_BLOCKS_H

#include "traps/slot.h"

/* Have the region. False: there is no address space for it, and nothing is trapped. */
bool hw_traps_init(void);
/* NULL: the site is not trapped, or nothing more can be trapped now; then the block is as any other. */
void *hw_trap_allocate(size_t bytes, size_t align, unsigned origin, uint32_t site, uint64_t number, bool sampled);
/* The how manieth allocation of a thread from now on is to be `sampled`: in the mean hw_traps_sample, at least 1. */
uint32_t hw_trap_gap(void);
/* A block that is trapped whatever its site: where it lies, as enum hw_trap_how has it. NULL: there is no room. */
void *hw_trap_fence(size_t bytes, uint32_t site, unsigned how);
/* The rest is about pointers into the region. */
bool hw_trap_holds(const void *pointer);
/* Returns the block's stand-in, which is to be released, too; NULL: it has none. */
void *hw_trap_release(void *pointer, const hw_context *context);
/* The block that was just allocated has a stand-in. */
void hw_trap_keep(const void *pointer, void *stand_in);
/* Bytes that were requested; 0: the pointer is no block in use. */
size_t hw_trap_size(const void *pointer);
/* The same for a resize, which always moves the block; what is wrong with the pointer was told, and so was damage. */
size_t hw_trap_judge_resize(void *pointer, const hw_context *context);
/* Whether so many bytes from there on leave the pages of a block, or that is gone; any pointer. */
bool hw_trap_leaves(const void *start, size_t bytes);
/* Compare the slack of all blocks. */
void hw_trap_check(const hw_context *context);
/* Let everything be touched that slots have guarded so far: nothing is trapped any more. */
void hw_traps_open(void);
/* Bytes and number of the blocks in use. */
void hw_trap_measure(size_t *bytes, size_t *blocks);

/* For the handler of faults: the block that an access to the address misses or comes too late for. `near`: that is
   likely; else another block lies about as near. NULL: no block was ever there. */
hw_slot *hw_trap_slot_at(uintptr_t address, bool *near);
/* The state of a slot. One that is busy is looked at by a check mostly, which is nothing to be told of, and is waited
   for; a handler may have interrupted just that thread, and does not wait for long. HW_SLOT_BUSY: it was in vain. */
uint32_t hw_trap_state(const hw_slot *slot);

#endif
