#define _GNU_SOURCE
#include "os/space.h"

#include <linux/capability.h>
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
/* Guards: bytes on each side that nothing can touch, a page where little is allowed; and how many spaces have them.
   Each guarded one takes two of the kernel's areas, of which a process has 65,530 (vm.max_map_count) where nobody
   changed it: what guards take must leave the program enough. */
enum { GUARD = 64 << 10, MOST_GUARDED = 8192 };
static _Atomic uint32_t guarded;
/* Large pages: their bytes, where most kernels have them, and from how many bytes of a space on they are asked for, so
   that what is not used of the last one is little of the whole. */
enum { LARGE_PAGE = 2 << 20, LARGE_FROM = 16 << 20 };

static size_t limit_of(int resource)
{
    uint64_t limit[2]; /* soft, hard */
    if (hw_call(SYS_prlimit64, 0, resource, 0, (long)limit, 0, 0) != 0 || limit[0] > SIZE_MAX)
        return SIZE_MAX;
    return (size_t)limit[0];
}

static _Atomic bool all_is_locked;

void hw_space_is_locked(bool from_now_on)
{
    atomic_store(&all_is_locked, from_now_on);
}

static bool may_lock_at_will(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {0};
    return hw_call(SYS_capget, (long)&header, (long)sets, 0, 0, 0, 0) == 0 &&
           (sets[0].effective & CAP_TO_MASK(CAP_IPC_LOCK));
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t hw_space_limit(void)
{
    size_t limit = least(limit_of(RLIMIT_AS), limit_of(RLIMIT_DATA));
    if (HW_LIKELY(!atomic_load_explicit(&all_is_locked, memory_order_relaxed)) || may_lock_at_will())
        return limit;
    return least(limit, limit_of(RLIMIT_MEMLOCK));
}

bool hw_space_is_limited(void)
{
    return hw_space_limit() != SIZE_MAX;
}

/* Memory at exactly this address, if nothing is there. */
static bool map_at(uintptr_t at, size_t bytes, int protection)
{
    long got =
        hw_call(SYS_mmap, (long)at, (long)bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (got == (long)at)
        return true;
    if (got > 0 || got < -HW_LAST_ERROR) /* a kernel that does not know the flag */
        hw_unmap((void *)got, bytes);
    return false;
}

static uintptr_t next_descriptor(size_t room)
{
    static _Atomic uintptr_t cursor;
    uintptr_t none = 0, random;
    if (atomic_load_explicit(&cursor, memory_order_relaxed) == 0) {
        hw_random(&random, sizeof random);
        atomic_compare_exchange_strong(&cursor, &none, random % (HW_SPACE / STRIDE) * STRIDE + STRIDE);
    }
    return HW_SPACE_LOW + atomic_fetch_add(&cursor, hw_round_up(room + HW_UNIT, STRIDE)) % HW_SPACE;
}

/* Give back what lies before and behind `bytes` from the aligned start, but for `guard` bytes on each side. */
static void trim(hw_space *space, size_t bytes, size_t guard)
{
    char *mapping = space->mapping, *first = space->start - guard, *last = space->start + bytes + guard;
    if (first > mapping)
        hw_unmap(mapping, (size_t)(first - mapping));
    if (mapping + space->mapped > last)
        hw_unmap(last, (size_t)(mapping + space->mapped - last));
    space->mapping = first;
    space->mapped = bytes + 2 * guard;
}

static bool wrap(hw_space *space, void *mapping, size_t mapped, size_t guard, size_t align)
{
    char *start = (char *)hw_round_up((uintptr_t)mapping + guard, align);
    *space = (hw_space){.start = start, .mapping = mapping, .mapped = mapped};
    return mapping != NULL;
}

/* Where nothing can be placed: address space alone, if there is no limit on it. */
static bool take_in_advance(hw_space *space, size_t bytes, size_t room)
{
    bool limited = hw_space_is_limited();
    void *mapping = NULL;
    for (room = limited ? bytes : room; !(mapping = hw_reserve(room + HW_UNIT)) && room > bytes;)
        room = room / 2 < bytes ? bytes : hw_round_up(room / 2, hw_page());
    if (!wrap(space, mapping, room + HW_UNIT, 0, HW_UNIT))
        return false;
    if (limited)
        trim(space, bytes, 0);
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
        uintptr_t at = next_descriptor(room);
        if (map_at(at, bytes, PROT_READ | PROT_WRITE)) {
            *space =
                (hw_space){.start = (char *)at, .bytes = bytes, .room = room, .mapping = (void *)at, .mapped = bytes};
            return true;
        }
    }
    return take_in_advance(space, bytes, room);
}

/* A mapping in which `bytes` from where it is aligned on are to be used. */
static bool map_around(hw_space *space, size_t bytes, size_t align, size_t guard, int protection)
{
    size_t mapped = bytes + align + 2 * guard;
    long got = hw_call(SYS_mmap, 0, (long)mapped, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!wrap(space, got > 0 ? (void *)got : NULL, mapped, guard, align))
        return false;
    space->bytes = space->room = bytes;
    return true;
}

/* Mappings that are held as long as there are guards. When the kernel has no more of them these are given back, and no
   guards are made from then on: guards must not be what the program fails by. */
enum { HELD = 32 };
static void *_Atomic held;
static _Atomic bool without_guards;

static void hold_mappings(void)
{
    void *pages = atomic_load(&held) ? NULL : hw_reserve(HELD * hw_page()), *none = NULL;
    if (!pages)
        return;
    for (size_t i = 1; i < HELD; i += 2) /* neighbours with other rights */
        hw_call(SYS_mprotect, (long)pages + (long)(i * hw_page()), hw_page(), PROT_READ, 0, 0, 0);
    if (!atomic_compare_exchange_strong(&held, &none, pages))
        hw_unmap(pages, HELD * hw_page());
}

static void do_without_guards(bool without)
{
    void *pages = without ? atomic_exchange(&held, NULL) : NULL;
    if (pages)
        hw_unmap(pages, HELD * hw_page());
    atomic_store(&without_guards, without);
}

static void count_guarded(int more)
{
    atomic_fetch_add(&guarded, (uint32_t)more);
}

static bool may_be_guarded(void)
{
    if (atomic_load(&without_guards) || atomic_load(&guarded) >= MOST_GUARDED)
        return false;
    if (!atomic_load(&held))
        hold_mappings();
    return true;
}

/* Address space of which nothing can be touched yet, with a guard on each side. */
static bool reserve_guarded(hw_space *space, size_t bytes, size_t align, bool limited)
{
    if (!map_around(space, bytes, align, limited ? hw_page() : GUARD, PROT_NONE))
        return false;
    if (limited)
        trim(space, bytes, hw_page());
    space->guarded = true;
    count_guarded(1);
    return true;
}

static bool reserve_bare(hw_space *space, size_t bytes, size_t align, int protection, bool trimmed)
{
    if (!map_around(space, bytes, align, 0, protection))
        return false;
    if (trimmed)
        trim(space, bytes, 0);
    return true;
}

bool hw_space_reserve(hw_space *space, size_t bytes, size_t spare)
{
    bool limited = hw_space_is_limited();
    bytes += limited ? 0 : spare;
    return may_be_guarded() ? reserve_guarded(space, bytes, HW_UNIT, limited)
                            : reserve_bare(space, bytes, HW_UNIT, PROT_NONE, true);
}

static bool take_fixed(hw_space *space, size_t bytes, size_t align, bool limited)
{
    bool reserved = false;
    if (!may_be_guarded())
        return reserve_bare(space, bytes, align, PROT_READ | PROT_WRITE, limited);
    if ((reserved = reserve_guarded(space, bytes, align, limited)) && hw_commit(space->start, bytes))
        return true;
    do_without_guards(true);
    if (reserved)
        hw_space_give(space);
    if (reserve_bare(space, bytes, align, PROT_READ | PROT_WRITE, limited))
        return true;
    do_without_guards(false); /* it is memory that there is none of */
    return false;
}

bool hw_space_take_fixed(hw_space *space, size_t bytes, size_t spare)
{
    bool limited = hw_space_is_limited();
    return take_fixed(space, bytes + (limited ? 0 : spare), HW_UNIT, limited);
}

bool hw_space_take_aligned(hw_space *space, size_t bytes, size_t align)
{
    return take_fixed(space, bytes, align > HW_UNIT ? align : HW_UNIT, hw_space_is_limited());
}

bool hw_space_move(const hw_space *from, const hw_space *to, bool *left)
{
    hw_space rest = *from;
    if (hw_call(SYS_mremap, (long)from->start, (long)from->bytes, (long)to->bytes, MREMAP_MAYMOVE | MREMAP_FIXED,
                (long)to->start, 0) != (long)to->start)
        return false;
    if (left && (*left = map_at((uintptr_t)from->start, from->bytes, PROT_NONE)))
        return true;
    trim(&rest, rest.bytes, 0);
    if (from->guarded)
        count_guarded(-1);
    return true;
}

static inline __attribute__((always_inline)) bool grow(hw_space *space, size_t bytes)
{
    char *end = space->start + space->bytes, *mapped = (char *)space->mapping + space->mapped;
    if (end < mapped) {
        if (!hw_commit(end, bytes - space->bytes))
            return false;
    } else {
        if (!map_at((uintptr_t)end, bytes - space->bytes, PROT_READ | PROT_WRITE))
            return false;
        space->mapped += bytes - space->bytes;
    }
    space->bytes = bytes;
    return true;
}

/* Memory that is there, and of which the space knows nothing, would end its growth. */
bool hw_space_grow(hw_space *space, size_t bytes)
{
    if (bytes > space->room)
        return false;
    uint64_t signals = hw_signals_wait();
    bool grown = grow(space, bytes);
    hw_signals_come(signals);
    return grown;
}

static void ask_for_pages(const hw_space *space, size_t from, size_t to, int advice)
{
    hw_call(SYS_madvise, (long)(space->start + from), (long)(to - from), advice, 0, 0, 0);
}

bool hw_space_grow_ahead(hw_space *space, size_t least, size_t ahead)
{
    size_t before = space->bytes, unit = before < LARGE_FROM ? hw_page() : LARGE_PAGE;
    uintptr_t start = (uintptr_t)space->start;
    if (!hw_space_grow(space, hw_round_up(start + least + ahead, unit) - start))
        return false;
    if (before < LARGE_FROM)
        return true;
    /* What is there keeps its large pages; what of it is given back is not to come back by itself, as the kernel lets
       it where large pages are asked for. */
    if (space->large)
        ask_for_pages(space, space->large, before, MADV_NOHUGEPAGE);
    ask_for_pages(space, before, space->bytes, MADV_HUGEPAGE);
    space->large = before;
    return true;
}

bool hw_space_map(void *start, size_t bytes)
{
    return map_at((uintptr_t)start, bytes, PROT_READ | PROT_WRITE);
}

/* Nothing can touch these pages any more, and they hold no memory. */
static bool close_off(void *start, size_t bytes)
{
    return hw_call(SYS_mmap, (long)start, (long)bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
           (long)start;
}

void hw_space_shrink(hw_space *space, size_t bytes)
{
    if (space->guarded && close_off(space->start + bytes, space->bytes - bytes))
        space->bytes = space->room = bytes;
}

bool hw_space_seal(hw_space *space)
{
    if (!close_off(space->mapping, space->mapped))
        return false;
    if (space->guarded)
        count_guarded(-1);
    space->guarded = false;
    return true;
}

void hw_space_give(const hw_space *space)
{
    hw_unmap(space->mapping, space->mapped);
    if (space->guarded)
        count_guarded(-1);
}
