#define _GNU_SOURCE
#include "traps/fault.h"

#include "heap/damage.h"
#include "os/guard.h"
#include "os/room.h"
#include "os/signals.h"
#include "stacks/named.h"
#include "tell/evidence.h"
#include "tell/held.h"
#include "traps/blocks.h"
#include "traps/watch.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>

/* WINDOW: bytes on each side of the accessed address that are told. */
enum { PAGES = 4, WINDOW = 64, MASK_BYTES = 8 };

static _Atomic bool watching;

void (*hw_trap_was_told)(void);

#if defined(__x86_64__)

enum { WRITES = 2, FETCHES = 16, STEPPING = 0x100 };

/* The step that a thread is in. */
typedef struct step {
    bool on, told;
    uint64_t mask; /* of signals, before it */
    uintptr_t page[PAGES];
    unsigned pages;
    uintptr_t address;
} step;
static __thread step here;

static bool set_rights(uintptr_t page, int rights)
{
    return hw_call(SYS_mprotect, (long)page, hw_page(), rights, 0, 0, 0) == 0;
}

static uintptr_t page_of(uintptr_t address)
{
    return address & ~(uintptr_t)(hw_page() - 1);
}

static bool is_in_use(const hw_slot *slot, uintptr_t address)
{
    uintptr_t start, end;
    bool live = hw_trap_state(slot) == HW_SLOT_LIVE;
    hw_trap_pages(slot, &start, &end);
    return live && address >= start && address < end;
}

/* --- telling ------------------------------------------------------------------------------------- */

typedef struct tale {
    hw_slot *slot;
    hw_trap trap;
    hw_crash held;
    bool near;
} tale;

static void tell(void *argument)
{
    const tale *t = argument;
    hw_caller caller = {(void *)(uintptr_t)t->held.pc, (void **)(uintptr_t)t->held.sp};
    hw_context context = {.when = HW_AT_TRAP, .caller = caller, .trap = &t->trap, .held = &t->held};
    hw_unpooled block = hw_trap_told(t->slot);
    hw_released gone = {t->slot->address, t->slot->size, t->slot->gone_site, t->slot->origin};
    if (hw_trap_state(t->slot) == HW_SLOT_LIVE) {
        hw_fault fault = {.reason = HW_GUARD};
        context.unpooled = &block;
        hw_tell_fault(&context, NULL, &fault);
    } else {
        hw_tell_wrong_release(&context, NULL, HW_GUARD, 0, &gone);
    }
}

typedef struct origin {
    hw_caller caller;
    uint32_t line;
} origin;

static void find_line(void *argument)
{
    origin *from = argument;
    from->line = hw_noticed_at(&from->caller);
}

/* What the memory around the access holds after it, for what was stored. */
static void tell_stored(void *argument)
{
    const step *s = argument;
    hw_tell_stored(s->address - WINDOW, 2 * WINDOW);
}

/* --- stepping ------------------------------------------------------------------------------------ */

static bool open_page(uintptr_t page)
{
    if (here.pages == PAGES || !set_rights(page, PROT_READ | PROT_WRITE))
        return false;
    here.page[here.pages++] = page;
    return true;
}

/* What became a block's in use meanwhile stays open. */
static void close_pages(void)
{
    for (unsigned i = 0; i < here.pages; i++) {
        bool near;
        const hw_slot *slot = hw_trap_slot_at(here.page[i], &near);
        if (!slot || !is_in_use(slot, here.page[i]))
            set_rights(here.page[i], PROT_NONE);
    }
    here.pages = 0;
}

static void begin_step(ucontext_t *context, uintptr_t address, bool told)
{
    /* A handler of another signal could leave by a jump, and the step would have no end. */
    static const uint64_t faults = UINT64_C(1) << (SIGSEGV - 1) | UINT64_C(1) << (SIGBUS - 1) |
                                   UINT64_C(1) << (SIGTRAP - 1) | UINT64_C(1) << (SIGILL - 1) |
                                   UINT64_C(1) << (SIGFPE - 1);
    uint64_t all = ~faults;
    here.on = true;
    here.told = told;
    here.address = address;
    memcpy(&here.mask, &context->uc_sigmask, MASK_BYTES);
    memcpy(&context->uc_sigmask, &all, MASK_BYTES);
    context->uc_mcontext.gregs[REG_EFL] |= STEPPING;
}

static void end_step(ucontext_t *context)
{
    context->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)STEPPING;
    memcpy(&context->uc_sigmask, &here.mask, MASK_BYTES);
    if (here.told)
        hw_with_room(tell_stored, &here);
    here.on = false;
    close_pages();
}

/* A step that was begun was left: its instruction is another one than where the thread is now. */
static void forget_step(void)
{
    here.on = false;
    close_pages();
}

static bool is_ours(const siginfo_t *information, const ucontext_t *context)
{
    return information->si_signo == SIGSEGV && information->si_code > 0 && hw_trap_holds(information->si_addr) &&
           !(context->uc_mcontext.gregs[REG_ERR] & FETCHES);
}

static bool let_through(ucontext_t *context, hw_slot *slot, uintptr_t address, bool told)
{
    if (here.on && !open_page(page_of(address)))
        return false;
    if (here.on)
        return true; /* an instruction that touches several pages */
    if (slot && atomic_fetch_add(&slot->stepped, 1) >= HW_STEPS_MOST)
        return set_rights(page_of(address), PROT_READ | PROT_WRITE);
    if (!open_page(page_of(address)))
        return false;
    begin_step(context, address, told);
    return true;
}

/* Whether the fault was a trap's. */
static bool take_fault(siginfo_t *information, void *interrupted)
{
    ucontext_t *context = interrupted;
    hw_guard_caught(information->si_code, (uintptr_t)context->uc_mcontext.gregs[REG_RIP],
                    (uintptr_t)context->uc_mcontext.gregs[REG_RSP]);
    bool ours = is_ours(information, context);
    if (here.on && !(context->uc_mcontext.gregs[REG_EFL] & STEPPING))
        forget_step();
    if (!ours) {
        if (here.on)
            end_step(context);
        return false;
    }
    uintptr_t address = (uintptr_t)information->si_addr;
    tale t = {.held = hw_crash_words(information, context)};
    t.slot = hw_trap_slot_at(address, &t.near);
    if (t.slot && is_in_use(t.slot, address)) /* another thread's step ended there just now */
        return set_rights(page_of(address), PROT_READ | PROT_WRITE);
    /* A loop that goes on is told once; an interpreter's instruction is one for all lines of its programs. */
    origin from = {{(void *)(uintptr_t)t.held.pc, (void **)(uintptr_t)t.held.sp}, 0};
    if (t.slot && !here.on)
        hw_with_room(find_line, &from);
    bool first = t.slot && !here.on && !hw_trap_is_told(t.slot, t.held.pc, from.line, address);
    if (first) {
        bool writes = context->uc_mcontext.gregs[REG_ERR] & WRITES;
        t.trap = (hw_trap){.address = address,
                           .pc = t.held.pc,
                           .access = writes ? HW_WRITES : HW_READS,
                           .state = HW_TRAP_GOES_ON | (t.near ? HW_TRAP_IS_NEAR : 0)};
        hw_with_room(tell, &t);
        if (hw_trap_was_told)
            hw_trap_was_told();
    }
    return let_through(context, t.slot, address, first);
}

static bool take_step(siginfo_t *information, void *interrupted)
{
    ucontext_t *context = interrupted;
    if (hw_watch_take(information, interrupted))
        return true;
    if (!here.on || information->si_code <= 0)
        return false;
    end_step(context);
    return true;
}

#else

static bool take_fault(siginfo_t *information, void *interrupted)
{
    (void)information;
    (void)interrupted;
    return false;
}

static bool take_step(siginfo_t *information, void *interrupted)
{
    (void)information;
    (void)interrupted;
    return false;
}

#endif

/* --- watching ------------------------------------------------------------------------------------ */

void hw_traps_watch(void)
{
#if defined(__x86_64__)
    if (!hw_traps_on || !hw_traps_init())
        return;
    hw_signal_front(SIGTRAP, take_step);
    hw_signal_front(SIGBUS, take_fault);
    hw_signal_front(SIGSEGV, take_fault);
    hw_guard_handler((uintptr_t)hw_front_entry());
    atomic_store(&watching, true);
#else
    (void)take_fault;
    (void)take_step;
#endif
}

void hw_traps_end(void)
{
    if (!atomic_exchange(&watching, false))
        return;
    hw_watch_end();
    hw_traps_open();
}

bool hw_trap_is_watched(void)
{
    if (!atomic_load_explicit(&watching, memory_order_relaxed))
        return false;
    if (hw_signal_is_fronted(SIGSEGV) && hw_signal_is_fronted(SIGTRAP))
        return true;
    atomic_store(&watching, false);
    return false;
}
