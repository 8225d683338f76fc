#define _GNU_SOURCE
#include "space.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

/* Above what starts low in memory, below programs and what the kernel places from the top down. */
#ifndef HW_SPACE_LOW
#define HW_SPACE_LOW ((uintptr_t)0x11 << 40)
#define HW_SPACE ((uintptr_t)1 << 46)
#endif
#define STRIDE ((size_t)1 << 30)
enum { TRIES = 4 };

static size_t limit_of(int resource)
{
    uint64_t limit[2]; /* soft, hard */
    if (hw_call(SYS_prlimit64, 0, resource, 0, (long)limit, 0, 0) != 0 || limit[0] > SIZE_MAX)
        return SIZE_MAX;
    return (size_t)limit[0];
}

size_t hw_space_limit(void)
{
    size_t space = limit_of(RLIMIT_AS), data = limit_of(RLIMIT_DATA);
    return space < data ? space : data;
}

/* Memory at exactly this address, if nothing is there. */
static bool map_at(uintptr_t at, size_t bytes)
{
    long got = hw_call(SYS_mmap, (long)at, (long)bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (got == (long)at)
        return true;
    if (got > 0 || got <= -HW_PAGE) /* a kernel that does not know the flag */
        hw_unmap((void *)got, bytes);
    return false;
}

static uintptr_t next_place(size_t room)
{
    static _Atomic uintptr_t cursor;
    uintptr_t none = 0, random;
    if (atomic_load_explicit(&cursor, memory_order_relaxed) == 0) {
        hw_random(&random, sizeof random);
        atomic_compare_exchange_strong(&cursor, &none, random % (HW_SPACE / STRIDE) * STRIDE + STRIDE);
    }
    return HW_SPACE_LOW + atomic_fetch_add(&cursor, hw_round_up(room + HW_UNIT, STRIDE)) % HW_SPACE;
}

/* Give back what lies before and behind `bytes` from the aligned start. */
static void trim(hw_space *space, size_t bytes)
{
    char *mapping = space->mapping;
    if (space->start > mapping)
        hw_unmap(mapping, (size_t)(space->start - mapping));
    if (mapping + space->mapped > space->start + bytes)
        hw_unmap(space->start + bytes, (size_t)(mapping + space->mapped - space->start) - bytes);
    space->mapping = space->start;
    space->mapped = bytes;
}

static bool wrap(hw_space *space, void *mapping, size_t mapped)
{
    char *start = (char *)hw_round_up((uintptr_t)mapping, HW_UNIT);
    *space = (hw_space){.start = start, .mapping = mapping, .mapped = mapped};
    return mapping != NULL;
}

/* Where nothing can be placed: address space alone, if there is no limit on it. */
static bool take_in_advance(hw_space *space, size_t bytes, size_t room)
{
    bool limited = hw_space_limit() != SIZE_MAX;
    void *mapping = NULL;
    for (room = limited ? bytes : room; !(mapping = hw_reserve(room + HW_UNIT)) && room > bytes;)
        room = room / 2 < bytes ? bytes : hw_round_up(room / 2, HW_PAGE);
    if (!wrap(space, mapping, room + HW_UNIT))
        return false;
    if (limited)
        trim(space, bytes);
    space->room = room;
    if (hw_commit(space->start, bytes)) {
        space->bytes = bytes;
        return true;
    }
    hw_space_give(space);
    return false;
}

bool hw_space_take(hw_space *space, size_t bytes, size_t room)
{
    for (int i = 0; i < TRIES; i++) {
        uintptr_t at = next_place(room);
        if (map_at(at, bytes)) {
            *space =
                (hw_space){.start = (char *)at, .bytes = bytes, .room = room, .mapping = (void *)at, .mapped = bytes};
            return true;
        }
    }
    return take_in_advance(space, bytes, room);
}

/* All of a mapping with HW_UNIT more than `bytes`, from where it is aligned on. */
static bool take_all(hw_space *space, void *mapping, size_t bytes)
{
    if (!wrap(space, mapping, bytes + HW_UNIT))
        return false;
    space->bytes = space->room = bytes;
    if (hw_space_limit() != SIZE_MAX)
        trim(space, bytes);
    return true;
}

bool hw_space_reserve(hw_space *space, size_t bytes)
{
    return take_all(space, hw_reserve(bytes + HW_UNIT), bytes);
}

bool hw_space_take_fixed(hw_space *space, size_t bytes)
{
    long got =
        hw_call(SYS_mmap, 0, (long)(bytes + HW_UNIT), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return take_all(space, got > 0 ? (void *)got : NULL, bytes);
}

bool hw_space_move(const hw_space *from, const hw_space *to)
{
    hw_space rest = *from;
    if (hw_call(SYS_mremap, (long)from->start, (long)from->bytes, (long)to->bytes, MREMAP_MAYMOVE | MREMAP_FIXED,
                (long)to->start, 0) != (long)to->start)
        return false;
    trim(&rest, rest.bytes);
    return true;
}

bool hw_space_grow(hw_space *space, size_t bytes)
{
    if (bytes > space->room)
        return false;
    char *end = space->start + space->bytes, *mapped = (char *)space->mapping + space->mapped;
    if (end < mapped) {
        if (!hw_commit(end, bytes - space->bytes))
            return false;
    } else {
        if (!map_at((uintptr_t)end, bytes - space->bytes))
            return false;
        space->mapped += bytes - space->bytes;
    }
    space->bytes = bytes;
    return true;
}

void hw_space_give(const hw_space *space)
{
    hw_unmap(space->mapping, space->mapped);
}
