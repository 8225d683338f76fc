/* One way through a whole run for those who look (run_check.c) and those who mend (run_repair.c): the sentinel, node
   after node, the END. Each keeps the backup of the next, the END that of the sentinel. A node's place never depends on
   what a header says. */
#ifndef HEAPWITNESS_RUN_WALK_H
#define HEAPWITNESS_RUN_WALK_H

#include "run_node.h"

#if HW_HAS_RUNS

typedef struct hw_run_step {
    uint32_t node;  /* 0 for the sentinel */
    uint32_t meta;  /* the one to believe, where `lost` is not set */
    bool own, kept; /* which copies are right */
    bool lost;      /* neither */
} hw_run_step;

HW_INLINE uint32_t hw_run_keeper(const hw_run *run, uint32_t node)
{
    if (node == 0)
        return hw_run_end(run);
    return node == HW_RUN_FIRST ? 0 : node - (run->stride >> HW_RUN_GRANULE_LOG2);
}
/* Behind the END there is the sentinel again. */
HW_INLINE uint32_t hw_run_next(const hw_run *run, uint32_t node)
{
    if (node == hw_run_end(run))
        return 0;
    return node == 0 ? (uint32_t)HW_RUN_FIRST : node + (run->stride >> HW_RUN_GRANULE_LOG2);
}

/* What describes it; of the rest others may be writing some. */
HW_INLINE hw_run hw_run_values(const hw_run *run)
{
    return (hw_run){.base = run->base,
                    .salt = run->salt,
                    .aside = run->aside,
                    .stride = run->stride,
                    .head = run->head,
                    .used = run->used,
                    .formatted = run->formatted,
                    .capacity = run->capacity,
                    .class = run->class,
                    .where = run->where};
}

hw_run_step hw_run_step_at(const hw_run *run, const hw_run_key *key, uint32_t node);
/* As hw_run_payload_fault, and of the END whether the tail is whole. */
uint32_t hw_run_step_fault(const hw_run *run, const hw_run_key *key, const hw_run_step *step);
/* `seen` is the run as what describes it says or its copy, each value from that of them for which the headers stand.
   False: they stand for none. */
bool hw_run_see(const hw_run *run, const hw_run_key *key, hw_run *seen);

/* To hold against what a run counts: each free node is named once, by the head or by another one's links. */
typedef struct hw_run_tally {
    uint32_t used;
    uint32_t owed; /* sum of what is named less that of the free nodes */
} hw_run_tally;

HW_INLINE void hw_run_count(hw_run_tally *tally, uint32_t node, uint32_t meta, uint64_t first)
{
    bool is_free = hw_state_of(meta) == HW_FREE;
    tally->used += !is_free;
    tally->owed += is_free ? (uint32_t)(first & 0xFFFF) - node : 0;
}
HW_INLINE bool hw_run_counts(const hw_run *run, const hw_run_tally *tally)
{
    return tally->used == run->used && tally->owed + run->head == 0;
}

#endif
#endif
