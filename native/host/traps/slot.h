/* One trapped block (blocks.h): the slack in its pages, and what was told of accesses that missed it. */
#ifndef HEAPWITNESS_TRAPS_SLOT_H
#define HEAPWITNESS_TRAPS_SLOT_H

#include "tell/channel.h"

/* Accesses to one block that are stepped over; then what they lead to stays open. */
enum { HW_STEPS_MOST = 512 };
/* So many named sites are counted apart. */
enum { HW_SHARING = 32 };

/* HW_SLOT_BUSY: somebody is changing it. */
enum hw_slot_state { HW_SLOT_UNUSED, HW_SLOT_BUSY, HW_SLOT_LIVE, HW_SLOT_GONE };

/* What is known of a slot's block, which stays known after the release. */
typedef struct hw_slot {
    _Atomic uint32_t state, stepped; /* how often a trapped access was let through */
    uint32_t site, gone_site;
    uint32_t origin, kept; /* bytes of a released one whose content is still there */
    uint32_t name;         /* of its site, modulo HW_SHARING */
    uint64_t address, size, pattern;
    void *stand_in; /* what lies where the block would without its trap, so that all others do (named.h); or NULL */
    struct {        /* the instructions whose accesses were told, how often they came, and how far from the block */
        _Atomic uint64_t pc, times, farthest, line; /* and the site of the Python line that led there */
    } told[8];
} hw_slot;

/* Whether the instruction's accesses around the block were told already, from that Python line; this one counts. */
bool hw_trap_is_told(hw_slot *slot, uint64_t pc, uint32_t line, uintptr_t address);
/* The pages of the slot's block, which may be touched while it is in use. */
void hw_trap_pages(const hw_slot *slot, uintptr_t *start, uintptr_t *end);
/* Bytes from the block to an address outside of it, 0 inside. */
size_t hw_slot_distance(const hw_slot *slot, uintptr_t address);
/* What of a slot is checked, as a section tells it. */
hw_unpooled hw_trap_told(const hw_slot *slot);

/* The rest is by who has the slot. */
/* Before the block, and behind it. */
void hw_slot_fill_slack(const hw_slot *slot);
/* Compare it, tell what is damaged, and put it right. */
void hw_slot_inspect(const hw_slot *slot, const hw_context *context);
/* Another block is in the slot now. */
void hw_slot_forget_told(hw_slot *slot);
/* What is to be said when no more of it can come: of loops, where they ended. */
void hw_slot_tell_ends(hw_slot *slot);

#endif
