#include "stacks/past.h"

#include "heapwitness/run.h"
#include "os/process.h"

#include <string.h>

hw_past hw_this_past;

void hw_past_begin(void)
{
    atomic_store_explicit(&hw_this_process.past, (uint64_t)(uintptr_t)&hw_this_past, memory_order_relaxed);
}

bool hw_past_is_on(void)
{
    return atomic_load_explicit(&hw_this_process.past, memory_order_relaxed) != 0;
}

void hw_past_learn(const void *payload, uint32_t site)
{
    unsigned slot = hw_past_slot(site);
    uintptr_t left = HW_RUN_BYTES - (uintptr_t)payload % HW_RUN_BYTES;
    if (hw_this_past.learnt[slot].site == site)
        return;
    hw_this_past.learnt[slot].site = site;
    for (unsigned i = 0; i < HW_PAST_HEADS; i++) {
        size_t at = HW_PAST_TYPE + i * HW_PAST_STEP;
        uint64_t word = 0;
        if (at + sizeof word <= left)
            memcpy(&word, (const char *)payload + at, sizeof word);
        hw_this_past.learnt[slot].word[i] = word;
    }
}
