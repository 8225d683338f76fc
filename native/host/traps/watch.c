#define _GNU_SOURCE
#include "traps/watch.h"

#include "os/room.h"
#include "os/watchpoint.h"
#include "stacks/named.h"
#include "stacks/numbers.h"
#include "tell/held.h"
#include "tell/watched.h"
#include "traps/beside.h"
#include "traps/fault.h"

#include <errno.h>
#include <link.h>
#include <string.h>
#include <ucontext.h>

/* FREELY: so often a block is watched, or the engine's own stores to such bytes are met, then so many times a
   millisecond: each costs as much as hundreds of allocations. MET_MOST: stores by the program to one block's bytes;
   then they are left alone. LOOKED: blocks after which it is seen whether all watchpoints are still there. NEAR: how
   far from the asked number a block may be one that is watched where nothing else is: a program may not repeat itself
   exactly. */
enum { FREELY = 3000, THEN_A_MILLISECOND = 1, MET_MOST = 512, LOOKED = 64, NEAR = 2, TOLD = 8 };
enum state { UNUSED, BUSY, ARMED };
/* How much a block is wanted. */
enum wanted { NOT, ANY, SURELY };

/* A block that something is watched for. */
typedef struct owner {
    enum wanted wanted;
    hw_block block;
    uint32_t site;
    uint64_t number;
} owner;

typedef struct watch {
    _Atomic uint32_t state, met;
    owner of, also; /* the blocks on both sides, if both are wanted: the second one where the first is gone */
    uintptr_t at;   /* what is watched: `length` bytes, which held `before` */
    uint64_t length;
    _Atomic uint64_t before;
    _Atomic uint64_t told[TOLD]; /* instructions */
} watch;
static watch watches[HW_WATCHPOINTS];
static _Atomic uint32_t to_be_had = HW_WATCHPOINTS;
static _Atomic uint64_t looks, candidates, since, spent;

static bool take(watch *w, uint32_t state)
{
    return atomic_load_explicit(&w->state, memory_order_relaxed) == state &&
           atomic_compare_exchange_strong(&w->state, &state, BUSY);
}

static void give(watch *w, uint32_t state)
{
    atomic_store_explicit(&w->state, state, memory_order_release);
}

static uint64_t content(const watch *w)
{
    uint64_t word = 0;
    memcpy(&word, (const void *)w->at, w->length);
    return word;
}

/* --- choosing ------------------------------------------------------------------------------------ */

static enum wanted how_wanted(const hw_watch_wish *wish, uint64_t number, uintptr_t payload)
{
    bool placed = wish->place != HW_ANY_PLACE, here = payload % HW_PLACES == wish->place;
    if (wish->number) {
        uint64_t away = number > wish->number ? number - wish->number : wish->number - number;
        return away == 0 || (placed && here) ? SURELY : away <= NEAR ? ANY : NOT;
    }
    return placed && here ? SURELY : ANY;
}

/* By who has the watch. It goes on for the other block where the first one's is gone. */
static bool is_live(watch *w)
{
    if (hw_block_is_live(&w->of.block))
        return true;
    if (w->also.wanted == NOT || !hw_block_is_live(&w->also.block))
        return false;
    w->of = w->also;
    w->also.wanted = NOT;
    return true;
}

/* If so, it is for this block, too. */
static bool is_watched(const watch *wanted)
{
    for (unsigned i = 0; i < HW_WATCHPOINTS; i++) {
        watch *w = &watches[i];
        if (atomic_load(&w->state) != ARMED || w->at != wanted->at || !take(w, ARMED))
            continue;
        bool live = w->at == wanted->at && is_live(w);
        if (live && w->of.block.payload != wanted->of.block.payload)
            w->also = wanted->of;
        give(w, ARMED);
        if (live)
            return true;
    }
    return false;
}

/* Another one in each run. */
static uint64_t by_chance(uint64_t number)
{
    static _Atomic uint64_t seed;
    uint64_t known = atomic_load(&seed);
    if (!known) {
        hw_random(&known, sizeof known);
        atomic_store(&seed, known |= 1);
    }
    known = (known ^ number) * UINT64_C(0x9E3779B97F4A7C15);
    return (known ^ known >> 29) * UINT64_C(0xBF58476D1CE4E5B9) >> 7;
}

/* One whose block is gone, or is wanted less. Of blocks that are wanted alike each that comes has the same chance, so
   that other tries watch others. NULL: none is free. */
static watch *find_watch(enum wanted wanted)
{
    watch *less = NULL, *alike = NULL;
    uint32_t most = atomic_load(&to_be_had);
    for (unsigned i = 0; i < most; i++)
        if (take(&watches[i], UNUSED))
            return &watches[i];
    for (unsigned i = 0; i < most; i++) {
        if (!take(&watches[i], ARMED))
            continue;
        if (!is_live(&watches[i]))
            return &watches[i];
        less = watches[i].of.wanted < wanted ? &watches[i] : less;
        give(&watches[i], ARMED);
    }
    if (!less && wanted == ANY && most) {
        uint64_t count = atomic_fetch_add(&candidates, 1) + 1, chance = by_chance(count);
        alike = chance % count < most ? &watches[(chance >> 32) % most] : NULL;
        less = alike && alike->of.wanted == ANY ? alike : NULL;
    }
    return less && take(less, ARMED) ? less : NULL;
}

/* The clock costs as much as an allocation, so it is asked now and then. */
static bool is_too_often(void)
{
    enum { ASKED = 32 };
    static _Atomic uint64_t asked, most;
    uint64_t now, began = 0;
    if (atomic_load(&spent) < FREELY)
        return false;
    if (atomic_fetch_add(&asked, 1) % ASKED == 0) {
        now = hw_milliseconds();
        atomic_compare_exchange_strong(&since, &began, now);
        began = began ? began : now;
        atomic_store(&most, FREELY + (now - began) * THEN_A_MILLISECOND);
    }
    return atomic_load(&spent) >= atomic_load(&most);
}

/* --- setting ------------------------------------------------------------------------------------- */

#if defined(__x86_64__)

/* A debugger would stop the program at each watchpoint that is met. Asked once. */
static bool is_debugged(void)
{
    static _Atomic bool asked;
    static const char key[] = "TracerPid:\t";
    char text[2048];
    if (atomic_exchange(&asked, true) || !hw_read_text("/proc/self/status", text, sizeof text))
        return false;
    const char *tracer = strstr(text, key);
    return tracer && tracer[strlen(key)] != '0';
}

static int set(watch *w)
{
    return is_debugged() ? EBUSY : hw_watchpoint_set((unsigned)(w - watches), w->at, (unsigned)w->length);
}

#else

static int set(watch *w)
{
    (void)w;
    return ENOSYS;
}

#endif

/* Others may use some of the processor's: then there are fewer. */
static void say_that_not(int error)
{
    uint64_t none = 0;
    uint32_t most = atomic_load(&to_be_had);
    if (error != ENOSPC || most <= 1)
        atomic_compare_exchange_strong(&hw_trap_counted.unwatched, &none, (uint64_t)error);
    if (most && error != EBADF)
        atomic_compare_exchange_strong(&to_be_had, &most, error == ENOSPC ? most - 1 : 0);
}

static void put(const watch *wanted)
{
    if (is_watched(wanted))
        return;
    if (is_too_often()) {
        atomic_fetch_add(&hw_trap_counted.too_often, wanted->of.wanted == SURELY);
        return;
    }
    watch *w = find_watch(wanted->of.wanted);
    if (!w)
        return;
    if (!hw_trap_is_watched()) {
        give(w, ARMED);
        hw_watch_end();
        return;
    }
    atomic_fetch_add(&spent, 1);
    w->of = wanted->of;
    w->also.wanted = NOT;
    w->at = wanted->at;
    w->length = wanted->length;
    atomic_store(&w->met, 0);
    for (unsigned i = 0; i < TOLD; i++)
        atomic_store(&w->told[i], 0);
    atomic_store(&w->before, content(w));
    int error = set(w);
    if (error) {
        give(w, UNUSED);
        say_that_not(error);
        return;
    }
    atomic_fetch_add(&hw_trap_counted.watched, 1);
    give(w, ARMED);
}

void hw_watch_look(bool at_end)
{
    for (unsigned i = 0; i < HW_WATCHPOINTS; i++) {
        watch *w = &watches[i];
        if (!take(w, ARMED))
            continue;
        bool lasts = hw_watchpoint_lasts(i);
        int error = lasts || at_end || !is_live(w) ? 0 : set(w);
        give(w, error ? UNUSED : ARMED);
        if (error || !lasts)
            say_that_not(error ? error : EBADF);
    }
}

HW_COLD void hw_watch_allocated(const void *payload, const void *trapped, size_t bytes, uint32_t site, uint64_t number)
{
    watch wanted = {.of = {.site = site, .number = number}};
    uint32_t name = hw_site_trapped(site) == HW_TRAP_NOT ? 0 : hw_number_name(site);
    if (!name)
        return;
    if (trapped && number)
        hw_number_note(trapped, site, number);
    if (payload && number)
        hw_number_note(payload, site, number);
    const hw_watch_wish *wish = hw_trap_next_wish(name, NULL);
    if (!wish || !payload || !atomic_load(&to_be_had) || !hw_block_find(payload, bytes, &wanted.of.block))
        return;
    if (atomic_fetch_add(&looks, 1) % LOOKED == 0)
        hw_watch_look(false);
    for (; wish; wish = hw_trap_next_wish(name, wish)) {
        wanted.of.wanted = how_wanted(wish, number, wanted.of.block.payload);
        if (wanted.of.wanted != NOT && hw_block_beside(&wanted.of.block, wish->offset, &wanted.at, &wanted.length))
            put(&wanted);
    }
}

/* --- a store ------------------------------------------------------------------------------------- */

#if defined(__x86_64__)

static uintptr_t code_start, code_end;

static int look_for_engine(struct dl_phdr_info *info, size_t size, void *argument)
{
    uintptr_t here = (uintptr_t)argument;
    (void)size;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        uintptr_t start = info->dlpi_addr + header->p_vaddr;
        if (header->p_type != PT_LOAD || here - start >= header->p_memsz)
            continue;
        code_start = start;
        code_end = start + header->p_memsz;
        return 1;
    }
    return 0;
}

__attribute__((constructor(102))) static void find_engine(void)
{
    if (hw_traps_on)
        dl_iterate_phdr(look_for_engine, (void *)(uintptr_t)find_engine);
}

/* Its instruction ends before `pc`; what the engine calls of libc's is its doing, too. */
static bool is_engines(uintptr_t pc)
{
    return (pc - 1 >= code_start && pc - 1 < code_end) || hw_is_engaged();
}

static bool is_told(watch *w, uint64_t pc)
{
    for (unsigned i = 0; i < TOLD; i++) {
        uint64_t known = 0;
        if (atomic_compare_exchange_strong(&w->told[i], &known, pc))
            return false;
        if (known == pc)
            return true;
    }
    return true;
}

typedef struct tale {
    hw_watched watched;
    hw_crash held;
} tale;

static void tell(void *argument)
{
    const tale *t = argument;
    hw_tell_watched(&t->watched, &t->held);
}

static void let_go(watch *w)
{
    hw_watchpoint_clear((unsigned)(w - watches));
    give(w, UNUSED);
}

/* By who has the watch. */
static uint32_t met(watch *w, const siginfo_t *information, const ucontext_t *context)
{
    uint64_t now = content(w), before = atomic_exchange(&w->before, now);
    tale t = {.held = hw_crash_words(information, context)};
    bool by_engine = is_engines((uintptr_t)t.held.pc), too_often = by_engine && is_too_often();
    atomic_fetch_add(&spent, by_engine);
    atomic_fetch_add(&hw_trap_counted.too_often, too_often);
    if (!is_live(w) || too_often || atomic_fetch_add(&w->met, !by_engine) >= MET_MOST) {
        let_go(w);
        return UNUSED;
    }
    for (unsigned i = 0; i < TOLD && by_engine && now != before; i++) /* it was put right: what comes now is new */
        atomic_store(&w->told[i], 0);
    if (by_engine || now == before || hw_watchpoint_was_late(information) || is_told(w, t.held.pc))
        return ARMED;
    t.watched =
        (hw_watched){w->at, w->length, before, now, w->of.block.payload, w->of.block.bytes, w->of.site, w->of.number};
    hw_with_room(tell, &t);
    return ARMED;
}

bool hw_watch_take(const siginfo_t *information, void *interrupted)
{
    const ucontext_t *context = interrupted;
    int number = hw_watchpoint_of(information);
    bool unsaid = number < 0 && hw_watchpoint_is_unsaid(information, (uintptr_t)context->uc_mcontext.gregs[REG_RIP]);
    if (number < 0 && !unsaid)
        return false;
    for (unsigned i = 0; i < HW_WATCHPOINTS; i++) {
        watch *w = &watches[i];
        /* Another thread may be telling of a store there; what has become of the watch meanwhile is not waited for. */
        if ((number != (int)i && !unsaid) || !take(w, ARMED))
            continue;
        bool quiet = unsaid && content(w) == atomic_load(&w->before);
        if (quiet || met(w, information, context) == ARMED)
            give(w, ARMED);
    }
    return true;
}

#else

bool hw_watch_take(const siginfo_t *information, void *interrupted)
{
    (void)information;
    (void)interrupted;
    return false;
}

#endif

/* --- fork, and the end --------------------------------------------------------------------------- */

void hw_watch_after_fork(void)
{
    for (unsigned i = 0; hw_traps_on && i < HW_WATCHPOINTS; i++) {
        watch *w = &watches[i];
        bool armed = atomic_load(&w->state) == ARMED;
        hw_watchpoint_forget(i);
        give(w, BUSY);
        give(w, armed && is_live(w) && set(w) == 0 ? ARMED : UNUSED);
    }
}

void hw_watch_end(void)
{
    for (unsigned i = 0; i < HW_WATCHPOINTS; i++)
        if (take(&watches[i], ARMED)) {
            hw_watchpoint_clear(i);
            give(&watches[i], UNUSED);
        }
    atomic_store(&to_be_had, 0);
}
