/* The checked best-fit heap: one pool of nodes whose headers are backed up in the node before.
   Freestanding C11: no libc, no globals, no allocation. Format: docs/format.md, `witness/1`.

   A pool is not thread safe: its caller holds one lock for every call on it. No call goes on over
   damage: it returns HW_DAMAGED with a fault, having changed no header; the caller may then look at
   the whole pool (hw_check), mend it (hw_repair) and call again.

   A node is named by its offset in granules. One that a caller passes lies in the pool; whether it is
   a node, and in a state for the call, is found out: HW_REFUSED, with nothing changed, when it is not. */
#ifndef HEAPWITNESS_CORE_H
#define HEAPWITNESS_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HW_BINS = 64, HW_HEADER = 16, HW_OVERHEAD = 32, HW_MIN_NODE = 48, HW_CONTROL = 320, HW_END = 64 };
/* Of a pool's format; and where in a node the backup of the next header lies, behind the node's own. */
enum { HW_VERSION = 2, HW_BACKUP = 16 };
enum hw_state { HW_FREE, HW_USED, HW_CACHED, HW_ENDNODE };
enum hw_origin { HW_MALLOC, HW_NEW, HW_NEW_ARRAY, HW_ALIGNED };
enum hw_status { HW_OK, HW_NOMEM, HW_DAMAGED, HW_REFUSED };
enum hw_reason { HW_NONE, HW_HEADERS, HW_SLACK, HW_LINKS, HW_POISON, HW_CONTROL_BLOCK };
enum { HW_SITE_QUARANTINE = 0xFFFFFF };

typedef struct hw_header {
    uint32_t size, prev_size, meta, check;
} hw_header;

typedef struct hw_links {
    uint32_t left, right, parent, check;
} hw_links;

typedef struct hw_pool {
    uint32_t magic, shape, size, check;
    uint32_t secret[4];
    uint32_t large, flags, nodes, used;
    uint32_t bitmap[2];
    uint32_t bins[HW_BINS];
    uint32_t reserved[2];
} hw_pool;

/* One place where the pool is not what it should be. For HW_HEADERS `low` and `high` bound the
   damage as docs/format.md says under "window"; else the damage lies in `node`. */
typedef struct hw_fault {
    uint32_t reason, node, low, high;
} hw_fault;

/* What hw_repair put right. */
typedef struct hw_outcome {
    uint64_t headers, backups, slacks, links, poisons, controls, quarantined;
} hw_outcome;

/* Lay out an empty pool over `bytes` at `memory` (16-byte aligned). `log2` of the granule is 3 or 4.
   NULL when that is too small or too large. */
hw_pool *hw_pool_init(void *memory, size_t bytes, unsigned log2, const uint32_t secret[4]);

/* Let the pool grow to `bytes` in all; the memory behind it must be there. HW_NOMEM when that is not
   room for one more node, or too large. */
int hw_pool_extend(hw_pool *pool, size_t bytes, hw_fault *fault);

/* Take a block of `bytes` whose payload address is a multiple of `align` (a power of two): from the
   smallest free node that fits, the one at the lowest address among equals. For an alignment above
   the granule that node is taken if it happens to be aligned, else the smallest that has room for
   the block wherever it lies. Returns the node; 0 with fault->reason HW_NONE when nothing fits, else
   on damage. */
uint32_t hw_allocate(hw_pool *pool, size_t bytes, size_t align, unsigned origin, uint32_t site, hw_fault *fault);

/* Take the smallest free node with room for `least` bytes as a cached one: all of it, or its beginning
   where it has room for many more than `most`. Returns the node; 0 as hw_allocate. */
uint32_t hw_take(hw_pool *pool, size_t least, size_t most, hw_fault *fault);

/* Make a used node of the first part of a cached one, which goes on behind it as a cached node. HW_NOMEM
   when that leaves no room for one. */
int hw_cut(hw_pool *pool, uint32_t node, size_t bytes, unsigned origin, uint32_t site, hw_fault *fault);

/* Give a used or cached node back and merge it with its free neighbours. Its slack, or its links and
   poison, are verified first. What is quarantined stays as it is. */
int hw_release(hw_pool *pool, uint32_t node, uint32_t site, hw_fault *fault);

/* Give `count` cached nodes back that lie side by side, in order of address: one merge for all. */
int hw_release_run(hw_pool *pool, const uint32_t *nodes, unsigned count, hw_fault *fault);

/* Change a used node's requested size in place: HW_NOMEM when it cannot be done there. */
int hw_resize(hw_pool *pool, uint32_t node, size_t bytes, uint32_t site, hw_fault *fault);

/* A used node becomes a cached one; with `poison` its payload is filled with the pattern. */
int hw_cache(hw_pool *pool, uint32_t node, uint32_t site, bool poison, hw_fault *fault);

/* A cached node becomes a used one of `bytes`: HW_NOMEM when these do not need exactly its size. */
int hw_uncache(hw_pool *pool, uint32_t node, size_t bytes, unsigned origin, uint32_t site, hw_fault *fault);

/* Compare the headers of a node and its two neighbours with their backups, and verify the node's own
   slack, links or poison. */
int hw_verify(const hw_pool *pool, uint32_t node, hw_fault *fault);

/* Walk all of the pool; `bytes` is its true size. Writes at most `most` faults, returns how many.
   - HW_HEADERS, one for each stretch of nodes whose start (backup and header) is damaged: `node` the
     first of them, `low` the node before it (the end node for none), `high` the node behind the last
     (the end node when that is damaged itself). Slack, links and poison of `low`, and the payloads of the
     nodes between, are part of it.
   - HW_SLACK, HW_LINKS, HW_POISON: of `node`. Links are wrong when their check fails, or when what
     they name as parent does not lead to them.
   - HW_CONTROL_BLOCK: the fixed part or its copy (first of all; the rest is then looked at through the
     copy that holds), or else what is derived from the nodes and no other fault accounts for (last).
   Nothing is changed for good: a fixed part that is lost is exchanged while the call lasts. */
unsigned hw_check(const hw_pool *pool, size_t bytes, unsigned log2, hw_fault *faults, unsigned most);

/* Whether hw_check would find nothing: the same comparisons, made fast for a pool that is sound. */
bool hw_sound(const hw_pool *pool, size_t bytes, unsigned log2);

/* The same for a part of it, 256 KiB where nodes are small: from `*node` (0: the first one) on; `*node` becomes the one
   to go on with, 0 behind the last. Nodes may come and go meanwhile. What the control block counts is not compared, and
   a part that is not sound may yet be where a node was: hw_sound says. */
bool hw_sound_part(const hw_pool *pool, size_t bytes, unsigned log2, uint32_t *node);

/* Restore every damaged copy from its witness, quarantine what lost both, rebuild the index.
   False when the control block and its copy are both lost: the pool must not be used again. */
bool hw_repair(hw_pool *pool, size_t bytes, unsigned log2, hw_outcome *outcome);

/* The node whose extent holds byte `offset` of the pool, 0 for none; call it on a mended pool. */
uint32_t hw_locate(const hw_pool *pool, size_t offset);

/* The node after `node` (0: the first node); 0 when `node` is the last or its header is damaged. */
uint32_t hw_next(const hw_pool *pool, uint32_t node);

/* Whether a node stands at `node` by its own header's word, and that header. */
bool hw_header_at(const hw_pool *pool, uint32_t node, hw_header *header);

/* Whether a tombstone stands there: a node that was released and merged. */
bool hw_tombstone_at(const hw_pool *pool, uint32_t node, hw_header *header);

/* Granules that a request of `bytes` needs; 0 when it is too large for any pool. */
uint32_t hw_granules(unsigned log2, size_t bytes);

#endif
