#define _GNU_SOURCE
#include "tell/channel.h"

#include "os/copy.h"
#include "os/inherited.h"
#include "os/record.h"
#include "tell/evidence.h"
#include "tell/message.h"
#include "tell/send.h"
#include "tell/unheard.h"

#include <string.h>

enum { RECORD = 24 << 20, TOLD_FREELY = 1000, THEN_A_SECOND = 20, INSTRUCTION = 16 };

_Atomic uint64_t hw_findings, hw_repairs;
static __thread bool last_was_logged;
static hw_trap trapped;
static _Atomic bool is_trapped;

bool hw_tell_exceeds_budget(void)
{
    static _Atomic uint64_t second, in_second;
    uint64_t n = atomic_fetch_add(&hw_findings, 1);
    if (n < TOLD_FREELY)
        return false;
    uint64_t now = hw_milliseconds() / 1000;
    if (atomic_exchange(&second, now) != now)
        atomic_store(&in_second, 0);
    if (atomic_fetch_add(&in_second, 1) < THEN_A_SECOND)
        return false;
    atomic_fetch_add(&hw_dropped, 1);
    return true;
}

void hw_tell_with(const hw_trap *trap)
{
    if (!atomic_load(&is_trapped))
        trapped = *trap;
    atomic_store(&is_trapped, true);
}

typedef struct record {
    hw_message *m;
    hw_event *event;
    const hw_context *context;
    const hw_where *where;
    const hw_fault *fault;
    const hw_released *released;
    uint32_t noticed;
} record;

/* With all the memory that a diagnosis needs, since nobody can look at it later. */
static bool append_finding(void *argument)
{
    const record *r = argument;
    hw_message *m = r->m;
    m->room = m->most - m->most / 4;
    hw_put_evidence(m, r->where, r->fault);
    if (r->context->unpooled)
        hw_put_unpooled(m, r->context->unpooled);
    if (r->context->held)
        hw_put_memory(m, (uintptr_t)r->context->held->pc, INSTRUCTION);
    if (r->released)
        hw_put_site(m, (uint32_t)r->released->site);
    hw_put_site(m, r->noticed);
    m->room = m->most;
    hw_put_maps(m);
    hw_put_own_file(m, HW_COMMAND);
    hw_message_finish(m, r->event);
    return hw_append(m);
}

char hw_tell_finding(const hw_context *context, const hw_where *where, const hw_fault *fault,
                     const hw_released *released)
{
    hw_message m;
    if (!hw_message_begin(&m, RECORD))
        return hw_setting.on_error;
    hw_event event;
    hw_message_start(&m, &event, HW_FINDING);
    event.when = context->when;
    event.reason = fault->reason;
    event.pool = (uint64_t)(uintptr_t)where->pool;
    event.pool_bytes = where->pool ? where->bytes : 0;
    if (where->run) {
        event.pool = (uint64_t)(uintptr_t)where->run->base;
        event.pool_bytes = HW_RUN_BYTES;
    }
    event.pointer = (uint64_t)(uintptr_t)context->pointer;
    event.node = fault->node;
    event.family = context->family | hw_domain_of((uintptr_t)context->caller.pc) << HW_FAMILY_BITS;
    event.dropped = atomic_exchange(&hw_dropped, 0);
    if (fault->reason == HW_HEADERS) {
        uint32_t window[2] = {fault->low, fault->high};
        hw_put(&m, window, sizeof window);
        event.windows = 1;
    }
    hw_put_stack(&m, &event, &context->caller);
    hw_put_section(&m, HW_FRAME, (uint64_t)(uintptr_t)context->caller.frame, "", 0);
    uint32_t noticed = hw_noticed_at(&context->caller);
    if (noticed)
        hw_put_section(&m, HW_NOTICED, noticed, "", 0);
    if (context->left)
        hw_put_section(&m, HW_LEFT, 0, "", 0);
    if (released)
        hw_put_section(&m, HW_RELEASED, 0, released, sizeof *released);
    if (context->unpooled)
        hw_put_section(&m, HW_UNPOOLED, 0, context->unpooled, sizeof *context->unpooled);
    if (context->trap)
        hw_put_section(&m, HW_TRAPPED, 0, context->trap, sizeof *context->trap);
    else if (atomic_load(&is_trapped))
        hw_put_section(&m, HW_TRAPPED, 0, &trapped, sizeof trapped);
    if (context->held)
        hw_put_section(&m, HW_HELD, 0, context->held, sizeof *context->held);
    uint64_t run = (uint64_t)(uintptr_t)where->run;
    if (run)
        hw_put_section(&m, HW_RUN_AT, 0, &run, sizeof run);
    if (where->pool || where->run)
        hw_put_numbers(&m, where, fault);
    else if (context->unpooled || released)
        hw_put_number_of(&m, context->unpooled ? context->unpooled->address : released->address);
    hw_message_finish(&m, &event);
    char answer = hw_ask(&m);
    last_was_logged = false;
    if (!answer) {
        record r = {&m, &event, context, where, fault, released, noticed};
        answer = hw_setting.on_error;
        last_was_logged =
            hw_setting.log[0] && (hw_record_is_open() ? append_finding(&r) : hw_with_descriptor(append_finding, &r));
        if (last_was_logged)
            hw_say_unread();
        else
            hw_say_untold(&m, &event);
    }
    hw_message_end(&m);
    return answer;
}

void hw_tell_outcome(const hw_outcome *outcome)
{
    unsigned char bytes[512];
    hw_message m = {.bytes = bytes, .room = sizeof bytes};
    hw_event event;
    uint64_t words[8] = {outcome->headers, outcome->backups,  outcome->slacks,     outcome->links,
                         outcome->poisons, outcome->controls, outcome->quarantined};
    hw_message_start(&m, &event, HW_OUTCOME);
    hw_put_section(&m, HW_MENDED, 0, words, sizeof words);
    hw_message_finish(&m, &event);
    if (last_was_logged)
        hw_append(&m);
    else
        hw_send_only(&m, false);
}

void hw_tell_stored(uintptr_t address, size_t length)
{
    unsigned char bytes[1024];
    hw_message m = {.bytes = bytes, .room = sizeof bytes};
    hw_event event;
    uint64_t words[8] = {0};
    hw_message_start(&m, &event, HW_OUTCOME);
    hw_put_section(&m, HW_MENDED, 0, words, sizeof words);
    size_t at = hw_open_section(&m, HW_STORED, address);
    m.used += hw_peek(m.bytes + m.used, address, length);
    hw_close_section(&m, at);
    hw_message_finish(&m, &event);
    if (last_was_logged)
        hw_append(&m);
    else
        hw_send_only(&m, false);
}

void hw_tell_end_of_access(uintptr_t block, uint64_t pc, uint64_t farthest, uint64_t times)
{
    unsigned char bytes[512];
    hw_message m = {.bytes = bytes, .room = sizeof bytes};
    hw_event event;
    uint64_t words[3] = {pc, farthest, times};
    hw_message_start(&m, &event, HW_OUTCOME);
    hw_put_section(&m, HW_WENT_ON, block, words, sizeof words);
    hw_message_finish(&m, &event);
    if (!hw_send_only(&m, false) && hw_setting.log[0])
        hw_append(&m);
}

static void tell_or_log(enum hw_event_type type, const uint64_t *stats)
{
    if ((hw_setting.socket[0] == 0 && hw_setting.log[0] == 0) || hw_is_quiet())
        return;
    hw_message m;
    if (!hw_message_begin(&m, HW_MESSAGE))
        return;
    hw_event event;
    hw_message_start(&m, &event, type);
    event.when = type == HW_EXIT ? HW_AT_EXIT : HW_AT_MALLOC;
    event.dropped = type == HW_EXIT ? atomic_exchange(&hw_dropped, 0) : 0;
    if (stats)
        hw_put_section(&m, HW_STATS, 0, stats, HW_STATS_WORDS * sizeof stats[0]);
    hw_put_own_file(&m, HW_COMMAND);
    hw_message_finish(&m, &event);
    bool told = true;
    if (hw_setting.map && type == HW_EXIT) {
        long fd = hw_send(&m);
        told = fd >= 0;
        if (told)
            hw_hear(fd);
    } else {
        told = hw_send_only(&m, type == HW_HELLO);
    }
    if (!told)
        hw_append(&m);
    if (type == HW_EXIT)
        hw_say_unread_at_end();
    hw_message_end(&m);
}

/* A call that led to no code has left its return address, from which nothing leads on. */
static void put_crashed_stack(hw_message *m, hw_event *event, const hw_crash *crash, const hw_caller *caller)
{
    hw_put_stack(m, event, caller);
    uint64_t from = 0;
    if (event->frames > 1)
        return;
#if defined(__x86_64__)
    hw_peek(&from, crash->sp, sizeof from);
#elif defined(__aarch64__)
    from = hw_unsigned_address(crash->registers[30]);
#endif
    if (from) {
        hw_put(m, &from, sizeof from);
        event->frames++;
    }
}

void hw_tell_crash(const hw_crash *crash, const hw_caller *caller, uint32_t site)
{
    bool last = crash->state & HW_CRASH_LOOKED;
    hw_message m;
    if (!hw_message_begin(&m, RECORD))
        return;
    hw_event event;
    hw_message_start(&m, &event, HW_CRASHED);
    event.when = HW_AT_CRASH;
    if (last)
        put_crashed_stack(&m, &event, crash, caller);
    hw_put_section(&m, HW_CRASH, 0, crash, sizeof *crash);
    if (site)
        hw_put_section(&m, HW_NOTICED, site, "", 0);
    hw_message_finish(&m, &event);
    if (!(last ? hw_ask(&m) : (char)hw_send_only(&m, false)) && hw_setting.log[0]) {
        m.room = m.most;
        hw_put_memory(&m, (uintptr_t)&hw_this_process, sizeof hw_this_process);
        hw_put_site(&m, site);
        hw_put_maps(&m);
        hw_put_own_file(&m, HW_COMMAND);
        hw_message_finish(&m, &event);
        if (hw_append(&m))
            hw_say_unread();
    }
    hw_message_end(&m);
}

void hw_tell_hello(void)
{
    tell_or_log(HW_HELLO, NULL);
}

/* On the stack: the child of a vfork tells it, too, in its parent's memory. */
void hw_tell_stranger(const char *file, unsigned why, bool replaces)
{
    unsigned char bytes[1536];
    hw_message m = {.bytes = bytes, .room = sizeof bytes};
    hw_event event;
    size_t length = strlen(file), most = 1024;
    hw_message_start(&m, &event, HW_STRANGER);
    event.node = why | (replaces ? 0x100 : 0);
    hw_put_section(&m, HW_COMMAND, 0, length > most ? file + length - most : file, length > most ? most : length);
    hw_message_finish(&m, &event);
    hw_send_only(&m, false);
}

void hw_tell_exit(const uint64_t stats[HW_STATS_WORDS])
{
    tell_or_log(HW_EXIT, stats);
}

void hw_tell_checked(void)
{
    if (!hw_setting.map || !hw_setting.check_signal || hw_setting.socket[0] == 0)
        return;
    hw_message m = {.bytes = hw_map(HW_MESSAGE), .room = HW_MESSAGE};
    if (!m.bytes)
        return;
    hw_event event;
    hw_message_start(&m, &event, HW_CHECKED);
    event.when = HW_AT_CHECK;
    hw_message_finish(&m, &event);
    hw_ask(&m);
    hw_unmap(m.bytes, HW_MESSAGE);
}
