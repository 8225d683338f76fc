#define _GNU_SOURCE
#include "traps/blocks.h"

#include "arena/arena.h"
#include "arena/standstill.h"
#include "heap/damage.h"
#include "heap/release.h"
#include "os/process.h"
#include "stacks/named.h"
#include "stacks/numbers.h"
#include "traps/fault.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

/* Class k has slots of 2^k pages and a guard behind them. */
enum { CLASSES = 15, GUARD_PAGES = 16, SLOTS_LEAST = 16, PROBES = 64 };
#define ROOM_MOST ((size_t)4 << 30) /* address space of a class */
#define ROOM_LEAST ((size_t)1 << 20)
/* A slot that was used once takes two of the kernel's areas, even when its block is gone: of those that a process may
   have, slots take a quarter at most. */
enum { AREAS_OF_SLOTS = 4, AREAS_USUAL = 65530 };
/* So many blocks are trapped at once, then so many a millisecond: a site that allocates all the time must not make the
   program stand still. */
enum { SAMPLED_FREELY = 1000, THEN_A_MILLISECOND = 20, CHOSEN = 16, HALVINGS = 12 };
/* Bytes of a released block, and of all of them, that stay as they were for who still uses them. */
enum { KEPT_OF_ONE = 64 << 10, KEPT_OF_ALL = 64 << 20 };
/* How long who releases a block waits for another thread that looks at it. */
enum { HOLD_MS = 15000, ENGAGED_MS = 20 };

static char *region;
static size_t room; /* of a class */
static uint32_t region_number;
static hw_slot *slots[CLASSES];
static uint32_t slot_count[CLASSES];
static _Atomic uint32_t cursor[CLASSES], used[CLASSES];              /* slots from `used` on never had a block */
static _Atomic uint32_t live[CLASSES], live_of[CLASSES][HW_SHARING]; /* of each named site */
static _Atomic size_t live_bytes, kept_bytes;
static uint64_t began;

/* --- the region ---------------------------------------------------------------------------------- */

static size_t slot_bytes(unsigned class)
{
    return ((size_t)GUARD_PAGES + ((size_t)1 << class)) * hw_page();
}

static char *slot_start(unsigned class, uint32_t number)
{
    return region + class * room + GUARD_PAGES * hw_page() + number * slot_bytes(class);
}

/* vm.max_map_count, as of now. */
static uint32_t areas(void)
{
    char text[16];
    uint32_t number = 0;
    hw_read_text("/proc/sys/vm/max_map_count", text, sizeof text);
    for (const char *c = text; *c >= '0' && *c <= '9' && number < 100000000; c++)
        number = number * 10 + (uint32_t)(*c - '0');
    return number ? number : AREAS_USUAL;
}

static bool have_slots(void)
{
    size_t wanted = areas() / AREAS_OF_SLOTS / 2;
    for (unsigned class = 0; class < CLASSES; class++) {
        wanted = wanted / 2 > SLOTS_LEAST ? wanted / 2 : SLOTS_LEAST;
        size_t most = room / slot_bytes(class);
        most -= most && slot_bytes(class) * most + GUARD_PAGES * hw_page() > room;
        slot_count[class] = (uint32_t)(most < wanted ? most : wanted);
        if (slot_count[class] && !(slots[class] = hw_map(slot_count[class] * sizeof(hw_slot))))
            return false;
        hw_random(&cursor[class], sizeof cursor[class]);
        if (slot_count[class])
            cursor[class] %= slot_count[class];
    }
    return true;
}

bool hw_traps_init(void)
{
    size_t limit = hw_space_limit();
    for (room = ROOM_MOST; room > ROOM_LEAST && room > limit / 16 / CLASSES;)
        room /= 2;
    char *mapping = hw_reserve(CLASSES * room + HW_UNIT);
    region_number = mapping ? hw_region_claim() : 0;
    if (!region_number)
        return false;
    region = (char *)hw_round_up((uintptr_t)mapping, HW_UNIT);
    if (!have_slots() || !hw_map_units(region, CLASSES * room, region_number)) {
        region = NULL;
        return false;
    }
    hw_region_publish(region_number, region, CLASSES * room, HW_TRAPPED_BLOCKS, 0);
    began = hw_milliseconds();
    return true;
}

bool hw_trap_holds(const void *pointer)
{
    return region && (uintptr_t)pointer - (uintptr_t)region < CLASSES * room;
}

static bool protect(uintptr_t start, uintptr_t end, int rights)
{
    return hw_call(SYS_mprotect, (long)start, (long)(end - start), rights, 0, 0, 0) == 0;
}

/* --- allocating ---------------------------------------------------------------------------------- */

static uint64_t by_chance(void)
{
    static _Atomic uint64_t turn;
    return ((atomic_fetch_add(&turn, 1) ^ began << 32 ^ hw_process_id()) * UINT64_C(0x9E3779B97F4A7C15)) >> 32;
}

/* One of `of`. */
static bool is_chosen(uint64_t of)
{
    return by_chance() % of == 0;
}

/* After the first ones some are chosen, so that whichever block is the wrong one may be among those of some run. */
static bool is_too_often(void)
{
    uint64_t trapped = atomic_load_explicit(&hw_trap_counted.trapped, memory_order_relaxed);
    uint64_t most = HW_TRAPPED_FREELY + (hw_milliseconds() - began) * THEN_A_MILLISECOND;
    return hw_trap_is_enough() && (trapped >= most || !is_chosen(CHOSEN));
}

uint32_t hw_trap_gap(void)
{
    return 1 + (uint32_t)(by_chance() % (2 * (uint64_t)hw_traps_sample - 1));
}

/* Blocks by chance: a few at once, and few anew, so that they cost little whatever the program does; the fewer, the
   more of the site's blocks had their turn. */
static bool may_be_sampled(unsigned class, uint32_t site)
{
    enum { PART = 8, SITES = 4096, MANY = 4, MOST = UINT8_MAX };
    static _Atomic uint8_t turns[SITES]; /* of sites of one number modulo SITES */
    uint64_t trapped = atomic_load_explicit(&hw_trap_counted.trapped, memory_order_relaxed);
    if (atomic_load_explicit(&live[class], memory_order_relaxed) >= slot_count[class] / PART ||
        trapped >= SAMPLED_FREELY + hw_milliseconds() - began)
        return false;
    unsigned had = atomic_load_explicit(&turns[site % SITES], memory_order_relaxed);
    if (!is_chosen(1 + had / MANY))
        return false;
    if (had < MOST)
        atomic_store_explicit(&turns[site % SITES], (uint8_t)(had + 1), memory_order_relaxed);
    return true;
}

/* The fewer slots are left, the fewer blocks get one: some are left for what comes later. A named site has a share, so
   that one of those which allocate a lot does not keep another from its blocks. */
static bool are_too_many(unsigned class, uint32_t name)
{
    enum { SHARES = 8 };
    uint32_t sharing = name ? hw_trap_names() : 1, all = slot_count[class] / (sharing < SHARES ? sharing : SHARES),
             now = atomic_load_explicit(name ? &live_of[class][name] : &live[class], memory_order_relaxed),
             half = all / 2;
    return now > half && !is_chosen(UINT64_C(1) << (uint64_t)(now - half) * HALVINGS / (half + 1));
}

static bool take(hw_slot *slot, uint32_t state)
{
    return atomic_load_explicit(&slot->state, memory_order_relaxed) == state &&
           atomic_compare_exchange_strong(&slot->state, &state, HW_SLOT_BUSY);
}

/* Turn by turn, so that the slot that is taken is the one that was released longest ago. */
static hw_slot *find_slot(unsigned class, uint32_t *number)
{
    for (unsigned probe = 0; probe < PROBES; probe++) {
        *number = atomic_fetch_add(&cursor[class], 1) % slot_count[class];
        hw_slot *slot = &slots[class][*number];
        if (take(slot, HW_SLOT_UNUSED) || take(slot, HW_SLOT_GONE))
            return slot;
    }
    return NULL;
}

/* A power of two that divides the size, so that whatever can be of this size is aligned as it must be; not less than 8,
   since programs keep marks in the lowest bits of pointers. */
static size_t natural_alignment(size_t bytes)
{
    size_t align = bytes & -bytes;
    return align < 8 ? 8 : align < 16 ? align : 16;
}

static void descriptor(hw_slot *slot, char *start, unsigned class, size_t bytes, size_t align, unsigned how)
{
    uintptr_t low = (uintptr_t)start, end = low + (hw_page() << class);
    uintptr_t unit = align > 16 ? align : how == HW_TRAP_TIGHT ? 1 : natural_alignment(bytes);
    slot->address = how == HW_TRAP_START ? low : (end - (bytes ? bytes : 1)) & ~(unit - 1);
    slot->size = bytes ? bytes : 1;
}

static void forget_kept(hw_slot *slot)
{
    atomic_fetch_sub(&kept_bytes, slot->kept);
    slot->kept = 0;
}

static bool open_pages(hw_slot *slot, char *start, unsigned class)
{
    uintptr_t first, last;
    if (atomic_exchange(&slot->stepped, 0)) /* what was let through is of no block any more */
        hw_call(SYS_madvise, (long)start, (long)slot_bytes(class), MADV_DONTNEED, 0, 0, 0);
    hw_trap_pages(slot, &first, &last);
    return protect(first, last, PROT_READ | PROT_WRITE);
}

static void *allocate(unsigned class, size_t bytes, size_t align, unsigned origin, uint32_t site, unsigned how,
                      uint32_t name)
{
    uint32_t number, most;
    hw_slot *slot = find_slot(class, &number);
    if (!slot)
        return NULL;
    char *start = slot_start(class, number);
    hw_slot_tell_ends(slot);
    forget_kept(slot);
    descriptor(slot, start, class, bytes, align, how);
    slot->site = site;
    slot->name = name;
    slot->origin = origin;
    slot->stand_in = NULL;
    hw_random(&slot->pattern, sizeof slot->pattern);
    slot->pattern = hw_pattern_of(slot->pattern);
    hw_slot_forget_told(slot);
    if (!open_pages(slot, start, class)) {
        slot->address = slot->size = 0;
        atomic_store(&slot->state, HW_SLOT_UNUSED);
        return NULL;
    }
    hw_slot_fill_slack(slot);
    most = atomic_load(&used[class]);
    while (most <= number && !atomic_compare_exchange_weak(&used[class], &most, number + 1))
        ;
    atomic_fetch_add(&live_bytes, slot->size);
    atomic_store_explicit(&slot->state, HW_SLOT_LIVE, memory_order_release);
    return (void *)(uintptr_t)slot->address;
}

static unsigned class_of(size_t bytes)
{
    unsigned class = 0;
    while (class < CLASSES && hw_page() << class < bytes)
        class++;
    return class;
}

static void is_one_less(unsigned class, uint32_t name)
{
    atomic_fetch_sub(&live[class], 1);
    atomic_fetch_sub(&live_of[class][name], 1);
}

static void *allocate_counted(unsigned class, size_t bytes, size_t align, unsigned origin, uint32_t site, unsigned how)
{
    uint32_t name = hw_number_name(site) % HW_SHARING;
    hw_change_begin();
    void *payload = NULL;
    atomic_fetch_add(&live_of[class][name], 1);
    if (atomic_fetch_add(&live[class], 1) < slot_count[class] && !are_too_many(class, name))
        payload = allocate(class, bytes, align, origin, site, how, name);
    hw_change_end();
    atomic_fetch_add(payload ? &hw_trap_counted.trapped : &hw_trap_counted.too_many, 1);
    if (!payload)
        is_one_less(class, name);
    return payload;
}

void *hw_trap_allocate(size_t bytes, size_t align, unsigned origin, uint32_t site, uint64_t number, bool sampled)
{
    unsigned how = hw_site_trapped(site), class = class_of(bytes);
    if (!region || class >= CLASSES || !slot_count[class] || align > hw_page())
        return NULL;
    if (how == HW_TRAP_NOT && sampled && may_be_sampled(class, site))
        how = HW_TRAP_END;
    uint32_t name = how == HW_TRAP_NOT ? 0 : hw_number_name(site);
    if (how == HW_TRAP_NOT || how == HW_TRAP_WATCH || (name && !hw_trap_is_meant(name, number)) ||
        !hw_trap_is_watched())
        return NULL;
    if (is_too_often()) {
        atomic_fetch_add(&hw_trap_counted.too_often, 1);
        return NULL;
    }
    return allocate_counted(class, bytes, align, origin, site, how);
}

void *hw_trap_fence(size_t bytes, uint32_t site, unsigned how)
{
    unsigned class = class_of(bytes);
    if (!region || class >= CLASSES || !slot_count[class] || !hw_trap_is_watched())
        return NULL;
    return allocate_counted(class, bytes, 0, HW_MALLOC, site, how);
}

/* --- blocks by pointers -------------------------------------------------------------------------- */

static hw_slot *slot_of(uintptr_t address, unsigned *class, uint32_t *number)
{
    size_t offset = address - (uintptr_t)region, within;
    *class = (unsigned)(offset / room);
    within = offset % room;
    if (within < GUARD_PAGES * hw_page()) /* before the first: that one's */
        within = GUARD_PAGES * hw_page();
    *number = (uint32_t)((within - GUARD_PAGES * hw_page()) / slot_bytes(*class));
    return *number < slot_count[*class] ? &slots[*class][*number] : NULL;
}

uint32_t hw_trap_state(const hw_slot *slot)
{
    uint64_t since = 0, most = hw_is_engaged() ? ENGAGED_MS : hw_patience(HOLD_MS);
    for (;;) {
        uint32_t state = atomic_load(&slot->state);
        if (state != HW_SLOT_BUSY || (since && hw_milliseconds() - since > most))
            return state;
        since = since ? since : hw_milliseconds();
        hw_sleep(0);
    }
}

/* Taken if it has the state; returns the one that it had. */
static uint32_t take_in_time(hw_slot *slot, uint32_t wanted)
{
    uint32_t state;
    do
        if (take(slot, wanted))
            return wanted;
    while ((state = hw_trap_state(slot)) == wanted);
    return state;
}

/* The slot of a block in use that begins at the pointer, taken. NULL: there is none, which was told. */
static hw_slot *take_live(void *pointer, unsigned *class, const hw_context *context)
{
    uint32_t number;
    hw_slot *slot = slot_of((uintptr_t)pointer, class, &number);
    bool begins = slot && slot->address == (uint64_t)(uintptr_t)pointer;
    uint32_t state = begins ? take_in_time(slot, HW_SLOT_LIVE) : slot ? atomic_load(&slot->state) : HW_SLOT_UNUSED;
    if (begins && state == HW_SLOT_LIVE)
        return slot;
    if (begins && state == HW_SLOT_BUSY) {
        hw_release_not();
        return NULL;
    }
    if (begins && state == HW_SLOT_GONE) {
        hw_released gone = {slot->address, slot->size, slot->gone_site, slot->origin};
        hw_tell_wrong_release(context, NULL, HW_DOUBLE, 0, &gone);
    } else if (slot && state == HW_SLOT_LIVE) {
        hw_unpooled block = hw_trap_told(slot);
        hw_context with = *context;
        with.unpooled = &block;
        hw_tell_wrong_release(&with, NULL, HW_INVALID, 0, NULL);
    } else {
        hw_tell_wrong_release(context, NULL, HW_INVALID, 0, NULL);
    }
    return NULL;
}

static void tell_mismatch(const hw_slot *slot, const hw_context *context)
{
    hw_unpooled block = hw_trap_told(slot);
    hw_context with = *context;
    with.unpooled = &block;
    hw_tell_wrong_release(&with, NULL, HW_MISMATCH, 0, NULL);
}

static void keep_content(hw_slot *slot, uintptr_t start, uintptr_t end)
{
    size_t bytes = end - start;
    if (bytes <= KEPT_OF_ONE && atomic_fetch_add(&kept_bytes, bytes) + bytes <= KEPT_OF_ALL) {
        slot->kept = (uint32_t)bytes;
        return;
    }
    if (bytes <= KEPT_OF_ONE)
        atomic_fetch_sub(&kept_bytes, bytes);
    hw_call(SYS_madvise, (long)start, (long)bytes, MADV_DONTNEED, 0, 0, 0);
}

void hw_trap_keep(const void *pointer, void *stand_in)
{
    unsigned class;
    uint32_t number;
    slot_of((uintptr_t)pointer, &class, &number)->stand_in = stand_in;
}

void *hw_trap_release(void *pointer, const hw_context *context)
{
    uintptr_t start, end;
    unsigned class;
    hw_slot *slot = take_live(pointer, &class, context);
    if (!slot)
        return NULL;
    void *stand_in = slot->stand_in;
    hw_slot_inspect(slot, context);
    hw_slot_tell_ends(slot);
    if (hw_is_mismatch(slot->origin << 6, context->family) || hw_domain_differs(slot->site, &context->caller))
        tell_mismatch(slot, context);
    hw_change_begin();
    slot->gone_site = hw_site_here(slot->site, context);
    hw_slot_forget_told(slot);
    hw_trap_pages(slot, &start, &end);
    if (protect(start, end, PROT_NONE))
        keep_content(slot, start, end);
    atomic_fetch_sub(&live_bytes, slot->size);
    is_one_less(class, slot->name);
    atomic_store_explicit(&slot->state, HW_SLOT_GONE, memory_order_release);
    hw_change_end();
    return stand_in;
}

size_t hw_trap_size(const void *pointer)
{
    unsigned class;
    uint32_t number;
    const hw_slot *slot = slot_of((uintptr_t)pointer, &class, &number);
    uint32_t state = slot ? atomic_load(&slot->state) : HW_SLOT_UNUSED;
    bool is = slot && slot->address == (uint64_t)(uintptr_t)pointer;
    /* A block in use is busy while a check looks at it. */
    return is && (state == HW_SLOT_LIVE || state == HW_SLOT_BUSY) ? (size_t)slot->size : 0;
}

size_t hw_trap_judge_resize(void *pointer, const hw_context *context)
{
    unsigned class;
    hw_slot *slot = take_live(pointer, &class, context);
    if (!slot)
        return 0;
    size_t size = (size_t)slot->size;
    hw_slot_inspect(slot, context);
    if (hw_is_mismatch(slot->origin << 6, HW_MALLOC)) {
        tell_mismatch(slot, context);
        slot->origin = HW_MALLOC; /* told once */
    }
    atomic_store_explicit(&slot->state, HW_SLOT_LIVE, memory_order_release);
    return size;
}

bool hw_trap_leaves(const void *start, size_t bytes)
{
    unsigned class;
    uint32_t number;
    uintptr_t from = (uintptr_t)start, first, last;
    const hw_slot *slot = hw_trap_holds(start) ? slot_of(from, &class, &number) : NULL;
    if (!slot || bytes == 0)
        return false;
    hw_trap_pages(slot, &first, &last);
    return atomic_load(&slot->state) != HW_SLOT_LIVE || from < first || from > last || bytes > last - from;
}

void hw_trap_check(const hw_context *context)
{
    for (unsigned class = 0; region && class < CLASSES; class++)
        for (uint32_t number = 0; number < atomic_load(&used[class]); number++) {
            hw_slot *slot = &slots[class][number];
            if (context->when == HW_AT_EXIT || context->when == HW_AT_CRASH)
                hw_slot_tell_ends(slot);
            if (!take(slot, HW_SLOT_LIVE))
                continue;
            hw_slot_inspect(slot, context);
            atomic_store_explicit(&slot->state, HW_SLOT_LIVE, memory_order_release);
        }
}

void hw_traps_open(void)
{
    for (unsigned class = 0; region && class < CLASSES; class++)
        if (atomic_load(&used[class]))
            protect((uintptr_t)region + class * room, (uintptr_t)slot_start(class, atomic_load(&used[class])),
                    PROT_READ | PROT_WRITE);
}

void hw_trap_measure(size_t *bytes, size_t *blocks)
{
    *bytes = atomic_load(&live_bytes);
    *blocks = 0;
    for (unsigned class = 0; class < CLASSES; class++)
        *blocks += atomic_load(&live[class]);
}

/* --- blocks by faults ---------------------------------------------------------------------------- */

static bool has_block(const hw_slot *slot)
{
    return slot && slot->size && atomic_load_explicit(&slot->state, memory_order_acquire) != HW_SLOT_UNUSED;
}

hw_slot *hw_trap_slot_at(uintptr_t address, bool *near)
{
    enum { FAR = 8 }; /* so much further away makes another block unlikely */
    unsigned class;
    uint32_t number;
    hw_slot *best = NULL, *slot = hw_trap_holds((const void *)address) ? slot_of(address, &class, &number) : NULL;
    size_t nearest = SIZE_MAX, second = SIZE_MAX;
    for (int side = -1; slot && side <= 1; side++) {
        if ((side < 0 && number == 0) || (side > 0 && number + 1 == slot_count[class]) || !has_block(slot + side))
            continue;
        size_t distance = hw_slot_distance(slot + side, address);
        if (distance < nearest) {
            second = nearest;
            nearest = distance;
            best = slot + side;
        } else if (distance < second) {
            second = distance;
        }
    }
    *near = nearest < hw_page() && second / FAR >= nearest;
    return best;
}
