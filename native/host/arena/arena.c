#define _GNU_SOURCE
#include "arena/arena.h"

#include "arena/runs.h"
#include "arena/standstill.h"
#include "os/inherited.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>

/* How far an arena's first pool may grow, for the program's first thread and for others; each further pool
   of an arena twice as far. */
#define FIRST_ROOM ((size_t)16 << 30)
#define OTHER_ROOM ((size_t)2 << 30)
#define MOST_ROOM ((size_t)31 << 30)
#define SPARE ((size_t)1 << 20) /* behind each pool, so that an overflow across its end does not fault */
/* With a limit on address space all is small, and only so many threads have arenas of their own; the others are
   guests in these. */
enum {
    LITTLE_SPARE = 4, /* pages */
    LITTLE_START = 16 << 10,
    LITTLE_STEP = 16 << 10,
    LIMIT_OF_ARENA = 1 << 20,
    MOST_AHEAD = 8 << 20
};
enum { START = 64 << 10, LEAST_STEP = 256 << 10, MOST_STEP = 64 << 20, TRIM_NODE = 1 << 20, TRIM_EVERY = 8 << 20 };
enum { SEIZE_MS = 15000 };
/* Of the kernel's areas (vm.max_map_count, 65,530 where nobody changed it) an arena takes three and a half: what they
   take must leave enough for stacks. Threads beyond are guests. No power of two, at which orphans are collected. */
enum { MOST_ARENAS = 4000 };

__thread hw_thread hw_this_thread = {.mark = HW_THREAD_MARK};

static hw_lock list_lock; /* `all`, `spare_arenas`, `count` */
static _Atomic(hw_arena *) all;
static hw_arena *spare_arenas;
static uint32_t count;
static _Atomic(hw_arena *) by_number[1 << 16];

/* --- owners and visitors ---------------------------------------------------------------------- */

HW_COLD void hw_enter_slowly(hw_arena *arena, const void *frame)
{
    uint64_t since = hw_milliseconds();
    atomic_store(&arena->waits, true);
    for (;;) {
        atomic_store_explicit(&arena->busy, 0, memory_order_release);
        uint32_t one = 1;
        atomic_compare_exchange_strong(&arena->wanted, &one, 2);
        bool too_long = hw_give_up_on_fork(since);
        if (!too_long && atomic_load(&arena->wanted) == 2)
            hw_wait_while(&arena->wanted, 2, 50);
        atomic_store(&arena->busy, (uint32_t)(uintptr_t)frame | 1);
        atomic_thread_fence(memory_order_seq_cst);
        if (atomic_load_explicit(&arena->wanted, memory_order_acquire) == 0)
            break;
        if (too_long)
            break;
    }
    atomic_store(&arena->waits, false);
}

bool hw_seize(hw_arena *arena, unsigned limit)
{
    uint64_t since = hw_milliseconds(), most = limit ? limit : hw_patience(SEIZE_MS);
    hw_visits_up();
    if (!hw_lock_take_within(&arena->visitors, (unsigned)most)) {
        hw_visits_down();
        return false;
    }
    /* An arena without an owner cannot get one while its visitors' lock is held. */
    hw_this_thread.visited = arena;
    if (atomic_load(&arena->owner) == 0)
        return true;
    /* Many visitors in a row must not keep the owner out. */
    for (unsigned turn = 0; turn < 20 && atomic_load(&arena->waits); turn++)
        hw_sleep(0);
    atomic_store(&arena->wanted, 1);
    hw_heavy_fence();
    for (unsigned turn = 0; atomic_load_explicit(&arena->busy, memory_order_acquire); turn++) {
        if (turn < 200) {
            atomic_signal_fence(memory_order_seq_cst);
            continue;
        }
        if (hw_milliseconds() - since > most) {
            hw_yield(arena);
            return false;
        }
        hw_sleep(turn < 400 ? 0 : 1);
    }
    return true;
}

void hw_yield(hw_arena *arena)
{
    if (atomic_exchange_explicit(&arena->wanted, 0, memory_order_release) == 2)
        hw_wake(&arena->wanted);
    hw_this_thread.visited = NULL;
    hw_lock_give(&arena->visitors);
    hw_visits_down();
}

static hw_arena *make(void)
{
    if (count >= MOST_ARENAS || count > hw_space_limit() / LIMIT_OF_ARENA)
        return NULL;
    hw_arena *arena = hw_map(sizeof *arena);
    if (!arena)
        return NULL;
    hw_process_key();
    hw_runs_init(arena);
    arena->first = &arena->descriptor[0];
    arena->number = ++count;
    arena->next = atomic_load(&all);
    atomic_store_explicit(&by_number[arena->number], arena, memory_order_release);
    atomic_store_explicit(&all, arena, memory_order_release);
    return arena;
}

hw_arena *hw_arena_numbered(uint32_t number)
{
    return atomic_load_explicit(&by_number[number & 0xFFFF], memory_order_acquire);
}

void hw_arenas_lock(void)
{
    hw_lock_take(&list_lock);
}

void hw_arenas_unlock(void)
{
    hw_lock_give(&list_lock);
}

/* A thread that wants an arena must not wait longer for a fork than any other. */
static bool lock_if_possible(void)
{
    uint64_t since = hw_milliseconds();
    while (!hw_lock_take_within(&list_lock, 50))
        if (hw_give_up_on_fork(since))
            return false;
    return true;
}

void hw_arena_orphan(hw_arena *arena)
{
    atomic_store(&arena->owner, 0);
    arena->next_free = spare_arenas;
    spare_arenas = arena;
}

/* Of a process that libc's fork did not make, and of a vfork's child, thread ids say nothing. */
static uint32_t known_process;
#define UNKNOWN_THREAD UINT32_MAX

/* Threads that ended without our hearing of it leave their arenas behind. Each time there are twice as many. */
static void collect_orphans(void)
{
    for (hw_arena *a = hw_arena_first(); a; a = a->next) {
        uint32_t owner = atomic_load(&a->owner);
        if (!owner || owner == UNKNOWN_THREAD || hw_thread_lives(known_process, owner))
            continue;
        atomic_thread_fence(memory_order_acquire); /* what it wrote came before it was gone */
        if (!atomic_load(&a->busy))
            hw_arena_orphan(a);
    }
}

hw_arena *hw_arena_first(void)
{
    return atomic_load_explicit(&all, memory_order_acquire);
}

static pthread_key_t key;
static bool have_key;

static void take_arena(void)
{
    hw_inherited_look();
    bool known = !known_process || known_process == hw_process_id();
    uint32_t thread = known ? hw_thread_id() : UNKNOWN_THREAD;
    hw_arena *arena = NULL;
    if (lock_if_possible()) {
        if (!spare_arenas && count >= 16 && (count & (count - 1)) == 0 && known)
            collect_orphans();
        arena = spare_arenas;
        if (arena)
            spare_arenas = arena->next_free;
        else
            arena = make();
        if (arena)
            atomic_store(&arena->owner, thread);
        hw_arenas_unlock();
    }
    if (arena) {
        hw_lock_take(&arena->visitors); /* a visitor who took it for an orphan leaves first */
        hw_lock_give(&arena->visitors);
        hw_sites_adopt(&arena->sites, thread);
        hw_this_thread.arena = arena;
        hw_ready_again();
        if (have_key && thread != known_process)
            pthread_setspecific(key, arena);
    }
}

HW_COLD hw_arena *hw_arena_own(void)
{
    if (hw_this_thread.arena || hw_this_thread.refused)
        return hw_this_thread.arena;
    int before = errno;
    uint64_t signals = hw_signals_wait();
    if (!hw_this_thread.arena) {       /* no handler was given one just now */
        hw_this_thread.refused = true; /* what this calls may allocate, too */
        take_arena();
        hw_this_thread.refused = false;
    }
    hw_signals_come(signals);
    errno = before;
    return hw_this_thread.arena;
}

void hw_arena_disown(hw_arena *arena)
{
    hw_this_thread.refused = true; /* a signal handler that allocates now must not wait for the lock */
    hw_this_thread.ended = true;
    hw_this_thread.arena = NULL;
    hw_this_thread.ready = hw_this_thread.ready_to_allocate = hw_this_thread.ready_to_release = NULL;
    hw_arenas_lock();
    hw_arena_orphan(arena);
    hw_arenas_unlock();
    hw_this_thread.refused = false;
}

void hw_arenas_forget_trapped(void)
{
    for (hw_arena *arena = hw_arena_first(); arena; arena = arena->next)
        hw_sites_forget_trapped(&arena->sites);
}

void hw_arenas_see_process(void)
{
    known_process = hw_process_id();
}

void hw_arenas_init(void (*thread_ends)(void *arena))
{
    hw_arenas_see_process();
    have_key = pthread_key_create(&key, thread_ends) == 0;
    hw_standstill_init();
}

/* --- pools ------------------------------------------------------------------------------------ */

static size_t spare(void)
{
    return hw_space_limit() == SIZE_MAX ? SPARE : LITTLE_SPARE * hw_page();
}

/* The memory for a pool of `bytes`: some more at once where that is no matter. */
static bool provide(hw_descriptor *descriptor, size_t bytes)
{
    size_t now = descriptor->space.bytes, behind = spare(), least = hw_round_up(bytes, hw_page()) + behind;
    size_t ahead = behind < SPARE ? 0 : now / 8 < MOST_AHEAD ? now / 8 : MOST_AHEAD;
    if (least <= now)
        return true;
    return (ahead && hw_space_grow(&descriptor->space, hw_round_up(least + ahead, SPARE))) ||
           hw_space_grow(&descriptor->space, least);
}

void hw_arena_provide(size_t bytes)
{
    hw_arena *arena = hw_arena_own();
    if (!arena || hw_is_engaged() || !hw_seize(arena, 1000))
        return;
    if (arena->descriptors || hw_descriptor_add(arena, 1)) {
        hw_space *space = &arena->first->space;
        size_t wanted = hw_round_up(space->bytes + bytes, SPARE);
        if (hw_space_is_limited() || !hw_space_grow(space, wanted))
            hw_space_grow(space, hw_round_up(space->bytes + bytes / 64, hw_page()));
        hw_map_units(arena->first->pool, space->bytes, arena->first->region);
    }
    hw_yield(arena);
}

static void trust(hw_trusted *trusted, hw_pool *pool)
{
    hw_factors key = hw_factors_of(pool->secret);
    *trusted = (hw_trusted){.base = (char *)pool,
                            .end = hw_end(pool),
                            .key = key,
                            .links = HW_CACHED_PARENT * key.meta + HW_LINK_KEY * key.offset};
}

void hw_descriptor_note(hw_descriptor *descriptor)
{
    memcpy(descriptor->fixed, descriptor->pool, HW_FIXED);
    descriptor->bytes = (size_t)descriptor->pool->size << HW_FIXED_GRANULE_LOG2;
    if (descriptor->trusted)
        trust(descriptor->trusted, descriptor->pool);
    hw_region_resize(descriptor->region, descriptor->bytes);
}

hw_descriptor *hw_descriptor_add(hw_arena *arena, size_t bytes)
{
    if (arena->descriptors == HW_DESCRIPTORS || bytes > MOST_ROOM - 4 * SPARE)
        return NULL;
    hw_descriptor *descriptor = &arena->descriptor[arena->descriptors];
    size_t room = arena->number == 1 ? FIRST_ROOM : OTHER_ROOM, behind = spare();
    size_t first = hw_round_up(bytes + (behind < SPARE ? LITTLE_START : START), hw_page());
    for (uint32_t i = 0; i < arena->descriptors && room < MOST_ROOM / 2; i++)
        room *= 2;
    if (room < 2 * first)
        room = first < MOST_ROOM / 2 ? 2 * first : MOST_ROOM;
    hw_space space;
    if (!hw_space_take(&space, first + behind, room))
        return NULL;
    uint32_t region = hw_region_claim(), secret[4];
    *descriptor = (hw_descriptor){.pool = (hw_pool *)(void *)space.start,
                                  .space = space,
                                  .region = region,
                                  .trusted = arena->descriptors == 0 ? &arena->pool : NULL};
    hw_random(secret, sizeof secret);
    if (!region || !hw_map_units(descriptor->pool, first, region) ||
        !hw_pool_init(descriptor->pool, first, HW_FIXED_GRANULE_LOG2, secret)) {
        hw_map_units(descriptor->pool, first, 0);
        if (region)
            hw_region_free(region);
        hw_space_give(&space);
        descriptor->pool = NULL;
        return NULL;
    }
    hw_descriptor_note(descriptor);
    hw_region_publish(region, descriptor->pool, first, HW_ARENA_POOL, arena->number);
    arena->descriptors++;
    return descriptor;
}

int hw_descriptor_extend(hw_descriptor *descriptor, size_t bytes, hw_fault *fault)
{
    size_t step = descriptor->bytes / 8, least = spare() < SPARE ? LITTLE_STEP : LEAST_STEP;
    step = step < least ? least : step > MOST_STEP ? MOST_STEP : step;
    *fault = (hw_fault){0};
    for (;; step = 0) {
        size_t wanted = hw_round_up(descriptor->bytes + (bytes > step ? bytes : step), hw_page());
        if (provide(descriptor, wanted) && hw_map_units(descriptor->pool, wanted, descriptor->region)) {
            int status = hw_pool_extend(descriptor->pool, wanted, fault);
            if (status == HW_OK)
                hw_descriptor_note(descriptor);
            return status;
        }
        if (step == 0 || bytes >= step)
            return HW_NOMEM;
    }
}

static size_t discard(const hw_descriptor *descriptor, uint32_t node, uint32_t size)
{
    uintptr_t start = hw_round_up((uintptr_t)hw_at(descriptor->pool, node) + HW_MIN_NODE, hw_page());
    uintptr_t end = (uintptr_t)hw_at(descriptor->pool, node + size) & ~(uintptr_t)(hw_page() - 1);
    if (start >= end)
        return 0;
    hw_discard((void *)start, end - start);
    return end - start;
}

size_t hw_descriptor_trim(hw_descriptor *descriptor, size_t least)
{
    size_t given = 0;
    for (uint32_t node = hw_next(descriptor->pool, 0); node; node = hw_next(descriptor->pool, node)) {
        const hw_header *h = hw_own(descriptor->pool, node);
        if (hw_state_of(h->meta) == HW_FREE && (size_t)h->size << HW_FIXED_GRANULE_LOG2 >= least)
            given += discard(descriptor, node, h->size);
    }
    return given;
}

void hw_trim_after(hw_arena *arena, hw_descriptor *descriptor, uint32_t node, uint32_t prev_size, size_t released)
{
    arena->freed_since_trim += released;
    if (HW_LIKELY(arena->freed_since_trim < TRIM_EVERY || arena->freed_since_trim < descriptor->bytes / 4))
        return;
    const hw_header *h = hw_own(descriptor->pool, node);
    if (!hw_is_valid(descriptor->pool, node, h) || hw_state_of(h->meta) != HW_FREE) {
        node -= prev_size;
        h = hw_own(descriptor->pool, node);
        if (!hw_is_valid(descriptor->pool, node, h) || hw_state_of(h->meta) != HW_FREE)
            return;
    }
    if ((size_t)h->size << HW_FIXED_GRANULE_LOG2 < TRIM_NODE)
        return;
    arena->freed_since_trim = 0;
    discard(descriptor, node, h->size);
}

__attribute__((no_sanitize("thread"))) uint64_t hw_arena_nodes(const hw_arena *arena, uint64_t *backups)
{
    uint64_t small = 0, nodes = 0;
    for (size_t i = 0; i < arena->runs.reach >> HW_RUN_LOG2; i++)
        small += arena->runs.book[i].run.formatted;
    for (uint32_t i = 0; i < arena->descriptors; i++)
        nodes += arena->descriptor[i].pool->nodes;
    *backups += small * sizeof(uint64_t) + nodes * sizeof(hw_header);
    return small + nodes;
}
