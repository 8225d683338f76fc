/* What a program may ask of the engine in itself (src/heapwitness/inside.py). */
#include "heap/heap.h"
#include "tell/channel.h"

#define EXPORT __attribute__((visibility("default")))

/* Check the whole heap now; how many findings there have been in this process. */
EXPORT uint64_t heapwitness_check(void)
{
    hw_heap_check(HW_AT_CHECK, HW_HERE);
    return atomic_load(&hw_findings);
}

/* Operations that were checked, nodes that there are, findings and repairs so far. */
EXPORT void heapwitness_count(uint64_t counts[4])
{
    hw_heap_sums sums = hw_heap_sum();
    counts[0] = sums.operations;
    counts[1] = sums.nodes;
    counts[2] = atomic_load(&hw_findings);
    counts[3] = atomic_load(&hw_repairs);
}

/* Where the supervisor listens; empty for nowhere. */
EXPORT const char *heapwitness_supervisor(void)
{
    return hw_setting.socket;
}
