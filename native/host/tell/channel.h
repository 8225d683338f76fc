/* Telling what was found: a message to the supervisor over a socket of its own for each event, or a
   record appended to a file where nobody answers (docs/format.md, "Events" and "Records"). */
#ifndef HEAPWITNESS_CHANNEL_H
#define HEAPWITNESS_CHANNEL_H

#include "arena/arena.h"

enum hw_event_type {
    HW_HELLO = 1,
    HW_FINDING,
    HW_EXIT,
    HW_OUTCOME,
    HW_STRANGER,
    HW_CRASHED,
    HW_CHECKED,
    HW_WATCHED_STORE
};
enum hw_when { HW_AT_MALLOC, HW_AT_FREE, HW_AT_REALLOC, HW_AT_CHECK, HW_AT_EXIT, HW_AT_TRAP, HW_AT_CRASH };
/* The reasons after those of the core (core.h, enum hw_reason). */
enum { HW_DOUBLE = 6, HW_INVALID, HW_MISMATCH, HW_GUARD };

/* In an event's `family`: above the origin stands the domain that the release belongs to. */
enum { HW_FAMILY_BITS = 8 };

typedef struct hw_event {
    uint32_t magic;
    uint16_t version, type;
    uint32_t length, pid, tid, ppid, when, reason;
    uint64_t process, pool, pool_bytes, pointer;
    uint32_t node, family;
    char thread[16];
    uint32_t windows, frames;
    uint64_t dropped;
} hw_event;

typedef struct hw_section {
    uint32_t kind, zero;
    uint64_t address, length;
} hw_section;
enum hw_section_kind {
    HW_MEMORY = 1,
    HW_MAPS,
    HW_COMMAND,
    HW_STATS,
    HW_RELEASED,
    HW_MENDED,
    HW_CRASH,
    HW_TRAPPED,
    HW_UNPOOLED,
    HW_STORED,
    HW_HELD,
    HW_LEFT,
    HW_WENT_ON,
    HW_FRAME,
    HW_WATCHED,
    HW_NUMBERED,
    HW_RUN_AT,
    HW_NOTICED
};

/* A block without a pool (huge.h, traps/blocks.h), as a section tells it. `before`: bytes before it that have the
   pattern, too. */
typedef struct hw_unpooled {
    uint64_t address, size, site, origin, pattern, before, page;
} hw_unpooled;

/* What an operation was about when it met damage. `site` is that of the operation itself. */
typedef struct hw_context {
    enum hw_when when;
    hw_caller caller;
    const void *pointer;
    unsigned family;
    bool trapped;                /* of a resize: its site is, so the block has to move */
    const hw_unpooled *unpooled; /* the block concerned, if it is such a one */
    bool left;                   /* an operation was left in the middle, which may have done it */
    const struct hw_trap *trap;  /* the access, and what the processor held, where the program goes on after it */
    const struct hw_crash *held;
} hw_context;

/* A big block that is gone, as a section tells it. */
typedef struct hw_released {
    uint64_t address, size, site, origin;
} hw_released;

/* A crash, as a section tells it. `machine` as ELF numbers them; `sender`: the process that sent the signal; `trap` and
   `error` are the processor's own words; general registers as DWARF numbers them. */
typedef struct hw_crash {
    uint64_t machine, signal, code, address, sender, state, nodes, pc, sp, trap, error, registers[31];
} hw_crash;
enum hw_crash_state {
    HW_CRASH_LOOKED = 1,  /* the heap, as far as that could be; else this is the first word of the crash */
    HW_CRASH_CHECKED = 2, /* every node was compared */
    HW_CRASH_ENGAGED = 4, /* the thread was in an operation of the heap */
    HW_CRASH_BROKE = 8,   /* the check itself met memory that is not there */
    HW_CRASH_FOUND = 16   /* it found damage */
};

/* A fault, as a section tells it: its address, the instruction, whether that wrote, and the pool of the big block whose
   guard it lies in. 0 for what is not known. */
enum hw_access { HW_ACCESSES, HW_READS, HW_WRITES };
enum hw_trap_state {
    HW_TRAP_GOES_ON = 1, /* the access was let through; else the program dies of it */
    HW_TRAP_IS_NEAR = 2  /* no other block is about as near to it */
};
typedef struct hw_trap {
    uint64_t address, pc, access, pool, state;
} hw_trap;

/* Findings that are told from now on come with this. */
void hw_tell_with(const hw_trap *trap);
/* Where a finding is: in a pool, in a run, or in neither. `region` is 0 where it is none's. */
typedef struct hw_where {
    const hw_pool *pool;
    size_t bytes; /* of the pool */
    uint32_t region;
    const hw_run *run;
} hw_where;

/* Tell a finding and wait for the answer: 'g', 'a' or 's'. */
char hw_tell_finding(const hw_context *context, const hw_where *where, const hw_fault *fault,
                     const hw_released *released);
/* Tell what was put right after the findings that this thread told last. */
void hw_tell_outcome(const hw_outcome *outcome);
/* Tell what the memory holds after the access that this thread told last, which was let through. */
void hw_tell_stored(uintptr_t address, size_t length);
/* Tell how far an instruction's accesses around a block went that was told, and how many there were. */
void hw_tell_end_of_access(uintptr_t block, uint64_t pc, uint64_t farthest, uint64_t times);
void hw_tell_hello(void);
/* Tell of a crash; once the heap was looked at with the stack and the site that it has, 0 for none, and wait until it
   was examined. */
void hw_tell_crash(const hw_crash *crash, const hw_caller *caller, uint32_t site);
enum { HW_STATS_WORDS = 15 };
void hw_tell_exit(const uint64_t stats[HW_STATS_WORDS]);
/* The heap was checked because a signal asked for it; told only to who draws the heap. */
void hw_tell_checked(void);
/* A program is started without the engine (`why`: enum hw_stranger); `replaces`: in this process. */
void hw_tell_stranger(const char *file, unsigned why, bool replaces);
/* A finding that is not told, because there were too many. */
bool hw_tell_exceeds_budget(void);

extern _Atomic uint64_t hw_findings, hw_repairs;

#endif
