#define _GNU_SOURCE
#include "tell/message.h"

#include "os/confined.h"
#include "os/record.h"

#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

/* For messages that no memory can be had for: reserved from the start, and one at a time. */
enum { RESERVE = 256 << 10, RESERVE_MS = 2000 };
static _Alignas(16) unsigned char reserve[RESERVE];
static hw_lock reserve_lock;

/* Of `bytes`, as long as there are so many; false: there is none at all. */
bool hw_message_begin(hw_message *m, size_t bytes)
{
    *m = (hw_message){.bytes = hw_map(bytes), .room = HW_MESSAGE, .most = bytes};
    if (!m->bytes && hw_lock_take_within(&reserve_lock, RESERVE_MS))
        *m = (hw_message){.bytes = reserve, .room = HW_MESSAGE, .most = RESERVE};
    return m->bytes != NULL;
}

void hw_message_end(const hw_message *m)
{
    if (m->bytes == reserve)
        hw_lock_give(&reserve_lock);
    else
        hw_unmap(m->bytes, m->most);
}

void hw_put(hw_message *m, const void *bytes, size_t length)
{
    if (length > m->room - m->used)
        return;
    memcpy(m->bytes + m->used, bytes, length);
    m->used += length;
}

size_t hw_open_section(hw_message *m, enum hw_section_kind kind, uint64_t address)
{
    size_t at = m->used;
    hw_section s = {.kind = kind, .address = address};
    hw_put(m, &s, sizeof s);
    return at;
}

void hw_close_section(hw_message *m, size_t at)
{
    static const unsigned char padding[8];
    if (at + sizeof(hw_section) > m->room)
        return;
    uint64_t length = m->used - at - sizeof(hw_section);
    memcpy(m->bytes + at + offsetof(hw_section, length), &length, sizeof length);
    hw_put(m, padding, (8 - length % 8) % 8);
}

void hw_put_section(hw_message *m, enum hw_section_kind kind, uint64_t address, const void *bytes, size_t length)
{
    if (length + sizeof(hw_section) + 8 > m->room - m->used)
        return;
    size_t at = hw_open_section(m, kind, address);
    hw_put(m, bytes, length);
    hw_close_section(m, at);
}

/* False: there is nothing in it, and nothing was put. */
static bool put_open_file(hw_message *m, enum hw_section_kind kind, long file)
{
    size_t at = hw_open_section(m, kind, 0), begin = m->used;
    long got = 1;
    while (got > 0 && m->room - m->used > 4096) {
        got = hw_call(SYS_pread64, file, (long)(m->bytes + m->used), (long)(m->room - m->used - 64),
                      (long)(m->used - begin), 0, 0);
        if (got > 0)
            m->used += (size_t)got;
    }
    if (m->used == begin) {
        m->used = at;
        return false;
    }
    hw_close_section(m, at);
    return true;
}

static bool put_file(hw_message *m, enum hw_section_kind kind, const char *path)
{
    long file = hw_call_for_file(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0);
    if (file < 0)
        return false;
    bool there = put_open_file(m, kind, file);
    hw_call(SYS_close, file, 0, 0, 0, 0, 0);
    return there;
}

/* A process whose first thread has ended has them as those of another thread. That is second: emulators answer for the
   process alone. */
void hw_put_own_file(hw_message *m, enum hw_section_kind kind)
{
    bool maps = kind == HW_MAPS;
    if (!put_file(m, kind, maps ? "/proc/self/maps" : "/proc/self/cmdline"))
        put_file(m, kind, maps ? "/proc/thread-self/maps" : "/proc/thread-self/cmdline");
}

/* Of a text, as many bytes of whole lines as there is room for with a section's head. */
static size_t whole_lines(const char *text, size_t length, size_t room)
{
    room = room > sizeof(hw_section) + 64 ? room - sizeof(hw_section) - 64 : 0;
    while (length > room || (length && text[length - 1] != '\n'))
        length--;
    return length;
}

void hw_put_maps(hw_message *m)
{
    size_t length;
    const char *then = hw_record_maps_then(&length);
    long kept = hw_record_maps();
    if (kept >= 0)
        put_open_file(m, HW_MAPS, kept);
    else if (then)
        hw_put_section(m, HW_MAPS, 0, then, whole_lines(then, length, m->room - m->used));
    else
        hw_put_own_file(m, HW_MAPS);
}

/* The engine's own, or of a pool: it is there. The kernel copies it all the same, as far as it may be asked. */
void hw_put_memory(hw_message *m, uintptr_t start, size_t length)
{
    if (m->room - m->used < 128)
        return;
    size_t at = hw_open_section(m, HW_MEMORY, start), got;
    if (length > m->room - m->used - 64)
        length = m->room - m->used - 64;
    got = hw_peek(m->bytes + m->used, start, length);
    if (!got && hw_confined) {
        memcpy(m->bytes + m->used, (const void *)start, length);
        got = length;
    }
    m->used += got;
    hw_close_section(m, at);
}

void hw_message_start(hw_message *m, hw_event *event, enum hw_event_type type)
{
    *event = (hw_event){.magic = 0x56455748,
                        .version = HW_VERSION, /* which pools and messages share */
                        .type = (uint16_t)type,
                        .pid = hw_process_id(),
                        .tid = hw_thread_id(),
                        .ppid = hw_parent_id(),
                        .process = (uint64_t)(uintptr_t)&hw_this_process};
    hw_call(SYS_prctl, PR_GET_NAME, (long)event->thread, 0, 0, 0, 0);
    m->used = sizeof *event;
}

void hw_put_stack(hw_message *m, hw_event *event, const hw_caller *caller)
{
    uint64_t frames[HW_MOST_FRAMES];
    event->frames = hw_unwind_surely(frames, HW_MOST_FRAMES, caller);
    if (!event->frames) {
        frames[0] = hw_address_of((uint64_t)(uintptr_t)caller->pc);
        event->frames = 1;
    }
    hw_put(m, frames, event->frames * sizeof frames[0]);
}

void hw_message_finish(hw_message *m, hw_event *event)
{
    event->length = (uint32_t)m->used;
    memcpy(m->bytes, event, sizeof *event);
}
