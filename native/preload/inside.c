/* What a program may ask of the engine in itself (src/heapwitness/inside.py). */
#include "heap/heap.h"
#include "tell/channel.h"

/* Check the whole heap now; how many findings there have been in this process. */
__attribute__((visibility("default"))) uint64_t heapwitness_check(void)
{
    hw_heap_check(HW_AT_CHECK, HW_HERE);
    return atomic_load(&hw_findings);
}
