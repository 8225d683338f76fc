#include "heap/graves.h"

/* At most so many, with so much address space together. */
enum { GRAVES = 1024 };
#define MOST ((size_t)128 << 30)
#define LARGEST (MOST / 4)

static struct {
    hw_space space;
    hw_released block;
} ring[GRAVES];
static uint32_t first, count;
static size_t all_bytes;
/* Only tried: a signal handler may release a block in the middle of this. */
static hw_lock digging;

static void clear_oldest(void)
{
    hw_space oldest = ring[first % GRAVES].space;
    first++;
    count--;
    all_bytes -= oldest.mapped;
    hw_space_give(&oldest);
}

static bool make(const hw_space *space, const hw_released *block)
{
    if (space->mapped > LARGEST || hw_space_is_limited() || !hw_lock_try(&digging))
        return false;
    hw_space grave = *space;
    bool sealed = hw_space_seal(&grave);
    if (sealed) {
        while (count == GRAVES || (count && all_bytes + space->mapped > MOST))
            clear_oldest();
        uint32_t at = (first + count++) % GRAVES;
        ring[at].space = grave;
        ring[at].block = *block;
        all_bytes += space->mapped;
    }
    hw_lock_give(&digging);
    return sealed;
}

void hw_make_grave(const hw_space *space, const hw_released *block)
{
    if (!make(space, block))
        hw_space_give(space);
}

void hw_graves_after_fork(void)
{
    if (atomic_exchange(&digging, 0))
        count = 0;
}

bool hw_grave_at(uint64_t address, hw_released *block)
{
    if (!hw_lock_take_within(&digging, 100))
        return false;
    bool found = false;
    for (uint32_t i = count; i-- > 0 && !found;) {
        uint32_t at = (first + i) % GRAVES;
        found = address - (uint64_t)(uintptr_t)ring[at].space.start < ring[at].space.bytes;
        if (found)
            *block = ring[at].block;
    }
    hw_lock_give(&digging);
    return found;
}
