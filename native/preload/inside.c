/* What a program may ask of the engine in itself (src/heapwitness/inside.py). */
#include "heap/heap.h"
#include "python.h"
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

/* The calling thread heeds the settings at once, others with their next operation that is not the usual one, threads
   that begin from the start. */
static void heed(void)
{
    hw_visits_up();
    hw_visits_down();
}

/* As --poison, from now on; gives what it was. What is held back by then stays so. */
EXPORT int heapwitness_poison(int on)
{
    int before = atomic_exchange(&hw_setting.poison, on != 0);
    if (on)
        hw_python_free_lists_end();
    heed();
    return before;
}

/* As --check-every, from now on; gives what it was. */
EXPORT uint64_t heapwitness_check_every(uint64_t operations)
{
    uint64_t before = atomic_exchange(&hw_setting.check_every, operations);
    atomic_store_explicit(&hw_setting.unusual, operations || !atomic_load(&hw_fences_are_uneven), memory_order_release);
    heed();
    return before;
}

/* Where the supervisor listens; empty for nowhere. */
EXPORT const char *heapwitness_supervisor(void)
{
    return hw_setting.socket;
}
