#define _GNU_SOURCE
#include "tell/watched.h"

#include "os/record.h"
#include "tell/evidence.h"
#include "tell/message.h"
#include "tell/send.h"
#include "tell/unheard.h"

/* Bytes of code before and behind where the thread is, and of memory around what is watched. */
enum { BEFORE = 64, BEHIND = 16, AROUND = 64 };

void hw_tell_watched(const hw_watched *watched, const hw_crash *held)
{
    hw_message m;
    if (!hw_message_begin(&m, HW_MESSAGE))
        return;
    hw_event event;
    hw_caller caller = {(void *)(uintptr_t)held->pc, (void **)(uintptr_t)held->sp};
    hw_message_start(&m, &event, HW_WATCHED_STORE);
    event.when = HW_AT_TRAP;
    hw_put_stack(&m, &event, &caller);
    hw_put_section(&m, HW_WATCHED, 0, watched, sizeof *watched);
    hw_put_section(&m, HW_HELD, 0, held, sizeof *held);
    hw_put_memory(&m, (uintptr_t)held->pc - BEFORE, BEFORE + BEHIND);
    size_t at = hw_open_section(&m, HW_STORED, watched->at - AROUND);
    m.used += hw_peek(m.bytes + m.used, (uintptr_t)watched->at - AROUND, 2 * (size_t)AROUND);
    hw_close_section(&m, at);
    hw_message_finish(&m, &event);
    if (!hw_ask(&m) && hw_setting.log[0] && hw_append(&m))
        hw_say_unread();
    hw_message_end(&m);
}
