/* Runs: small blocks in nodes of one stride, whose headers are backed up in the node before.
   Freestanding C11: no libc, no globals, no allocation. Format: docs/format.md, `witness/2`.

   A node is named by its offset in granules of 16 bytes from its run's start. What describes a run (hw_run) and the
   second copy of that (hw_run_aside) lie apart from the nodes, where no overflow reaches. A run is not thread safe, and
   no call goes on over damage: it returns HW_DAMAGED, or 0, having changed nothing; the caller may then look at the
   whole run (hw_run_check), mend it (hw_run_repair) and call again.

   Only where addresses have 64 bits and the lowest byte of a word comes first (HW_HAS_RUNS). */
#ifndef HEAPWITNESS_RUN_H
#define HEAPWITNESS_RUN_H

#include "heapwitness/core.h"

#define HW_HAS_RUNS (UINTPTR_MAX > UINT32_MAX && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)
#if HW_HAS_RUNS

enum {
    HW_RUN_LOG2 = 16,
    HW_RUN_BYTES = 1 << HW_RUN_LOG2,
    HW_RUN_GRANULE_LOG2 = 4,
    HW_RUN_FIRST = 1,     /* the first node */
    HW_RUN_OVERHEAD = 16, /* of a node: its header and the backup of the next one */
    HW_RUN_BACKUP = 8,    /* where in a node that backup lies */
    HW_RUN_SMALL = 64,    /* classes whose slack stands in the header alone */
    HW_RUN_CLASSES = 88,
    HW_RUN_MOST = 8192,  /* bytes of the largest class */
    HW_RUN_NODES = 2048, /* no run has so many */
    HW_RUN_MIDS = 56     /* no run has more nodes of a class above the small ones */
};

/* What the checks of all runs of a process depend on: two odd numbers. */
typedef struct hw_run_key {
    uint64_t place, meta;
} hw_run_key;

typedef struct hw_run_aside {
    uint64_t salt;
    uint16_t formatted;
    uint8_t class, zero;
    uint32_t zeros;
    uint8_t slack[HW_RUN_MIDS][3]; /* entries, by number of the node */
} hw_run_aside;

typedef struct hw_run {
    char *base;
    uint64_t salt;
    hw_run_aside *aside;
    uint32_t stride;
    uint16_t head, used, formatted, capacity;
    uint8_t class;
    uint8_t listed; /* this, and what follows `where`, is for whoever has the runs; nothing here touches it */
    uint16_t where; /* vouches for `base` and `aside` */
    _Atomic uint64_t waiting;
    uint32_t next, previous;
    _Atomic uint32_t next_waiting, queued;
} hw_run;

/* The class of a request of 1 to HW_RUN_MOST bytes, and the bytes of a class's payload. */
unsigned hw_run_class(size_t bytes);
uint32_t hw_run_payload(unsigned class);

/* Lay out an empty run at `base`, a multiple of HW_RUN_BYTES of which 32 bytes can be written; of the salt
   the upper half counts. */
void hw_run_init(hw_run *run, hw_run_aside *aside, void *base, unsigned class, uint64_t salt, const hw_run_key *key);

/* Say anew where a run and its second copy lie, which is for whoever has the runs to know: before a repair. */
void hw_run_bind(hw_run *run, hw_run_aside *aside, void *base);

/* Make free nodes of so many bytes more, of one at least. HW_NOMEM: there is no room; HW_DAMAGED. */
int hw_run_format(hw_run *run, const hw_run_key *key, size_t bytes);

/* The free node at the run's head becomes a used one of `bytes`, which are of its class. 0: none, or damage. */
uint32_t hw_run_take(hw_run *run, const hw_run_key *key, size_t bytes, unsigned origin, uint32_t site);

/* A used node, or one that is held back, becomes a free one. HW_REFUSED: no such node is there. */
int hw_run_give(hw_run *run, const hw_run_key *key, uint32_t node, uint32_t site);

/* A used node becomes a cached one, filled with poison. */
int hw_run_hold(hw_run *run, const hw_run_key *key, uint32_t node, uint32_t site);

/* Change a used node's requested size to another one of its class, and its site. */
int hw_run_resize(hw_run *run, const hw_run_key *key, uint32_t node, size_t bytes, uint32_t site);

/* Compare a node and its neighbours, and verify the node's own slack, links or poison. */
int hw_run_verify(const hw_run *run, const hw_run_key *key, uint32_t node);

/* The `meta` of the node there, by its own header alone. False: no node is there, or its header is damaged. */
bool hw_run_meta(const hw_run *run, const hw_run_key *key, uint32_t node, uint32_t *meta);

/* The requested bytes of a node with this `meta`; 0: they are not known. */
size_t hw_run_requested(const hw_run *run, const hw_run_key *key, uint32_t node, uint32_t meta);

/* The node that the byte at `offset` belongs to: 0 for the sentinel, the END for what lies behind all nodes. */
uint32_t hw_run_locate(const hw_run *run, size_t offset);

/* As hw_check. HW_HEADERS: `low` is the last node before the damage that can be trusted, the END for none, and then
   `node` is the first node and the sentinel may be part of the damage; `high` is the first one behind it, the END for
   none. HW_SLACK of the END is the tail. HW_CONTROL_BLOCK: what describes the run (first of all; the rest is then
   looked at with what its headers bear out of the two copies, if anything), or what it counts and links, where no other
   fault accounts for that (last). */
unsigned hw_run_check(const hw_run *run, const hw_run_key *key, hw_fault *faults, unsigned most);

/* Whether hw_run_check would find nothing. */
bool hw_run_sound(const hw_run *run, const hw_run_key *key);

/* Restore every damaged copy from its witness, quarantine what lost both, and link the free nodes anew where their list
   is lost. False when nothing says any more what the run was: it must not be used again, nor what is in it. */
bool hw_run_repair(hw_run *run, const hw_run_key *key, hw_outcome *outcome);

#endif
#endif
