#define _GNU_SOURCE
#include "tell/channel.h"

#include "os/confined.h"
#include "os/record.h"
#include "stacks/named.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    MESSAGE = 128 << 10,
    RECORD = 24 << 20,
    WINDOW_MOST = 4 << 20,
    TOLD_FREELY = 1000,
    THEN_A_SECOND = 20,
    INSTRUCTION = 16,
    ANSWER = 256 /* words */
};

_Atomic uint64_t hw_findings, hw_repairs;
static _Atomic uint64_t dropped;
static __thread bool last_was_logged;
static hw_trap trapped;
static _Atomic bool is_trapped;

/* --- composing -------------------------------------------------------------------------------- */

typedef struct message {
    unsigned char *bytes;
    size_t used, room, most; /* `most` is what `room` may be raised to */
} message;

/* For messages that no memory can be had for: reserved from the start, and one at a time. */
enum { RESERVE = 256 << 10, RESERVE_MS = 2000 };
static _Alignas(16) unsigned char reserve[RESERVE];
static hw_lock reserve_lock;

/* Of `bytes`, as long as there are so many; false: there is none at all. */
static bool begin(message *m, size_t bytes)
{
    *m = (message){.bytes = hw_map(bytes), .room = MESSAGE, .most = bytes};
    if (!m->bytes && hw_lock_take_within(&reserve_lock, RESERVE_MS))
        *m = (message){.bytes = reserve, .room = MESSAGE, .most = RESERVE};
    return m->bytes != NULL;
}

static void end(const message *m)
{
    if (m->bytes == reserve)
        hw_lock_give(&reserve_lock);
    else
        hw_unmap(m->bytes, m->most);
}

static void put(message *m, const void *bytes, size_t length)
{
    if (length > m->room - m->used)
        return;
    memcpy(m->bytes + m->used, bytes, length);
    m->used += length;
}

static size_t open_section(message *m, enum hw_section_kind kind, uint64_t address)
{
    size_t at = m->used;
    hw_section s = {.kind = kind, .address = address};
    put(m, &s, sizeof s);
    return at;
}

static void close_section(message *m, size_t at)
{
    static const unsigned char padding[8];
    if (at + sizeof(hw_section) > m->room)
        return;
    uint64_t length = m->used - at - sizeof(hw_section);
    memcpy(m->bytes + at + offsetof(hw_section, length), &length, sizeof length);
    put(m, padding, (8 - length % 8) % 8);
}

static void put_section(message *m, enum hw_section_kind kind, uint64_t address, const void *bytes, size_t length)
{
    if (length + sizeof(hw_section) + 8 > m->room - m->used)
        return;
    size_t at = open_section(m, kind, address);
    put(m, bytes, length);
    close_section(m, at);
}

static void put_open_file(message *m, enum hw_section_kind kind, long file)
{
    size_t at = open_section(m, kind, 0), begin = m->used;
    long got = 1;
    while (got > 0 && m->room - m->used > 4096) {
        got = hw_call(SYS_pread64, file, (long)(m->bytes + m->used), (long)(m->room - m->used - 64),
                      (long)(m->used - begin), 0, 0);
        if (got > 0)
            m->used += (size_t)got;
    }
    close_section(m, at);
}

static void put_file(message *m, enum hw_section_kind kind, const char *path)
{
    long file = hw_call_for_file(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0);
    if (file < 0)
        return;
    put_open_file(m, kind, file);
    hw_call(SYS_close, file, 0, 0, 0, 0, 0);
}

/* Of a text, as many bytes of whole lines as there is room for with a section's head. */
static size_t whole_lines(const char *text, size_t length, size_t room)
{
    room = room > sizeof(hw_section) + 64 ? room - sizeof(hw_section) - 64 : 0;
    while (length > room || (length && text[length - 1] != '\n'))
        length--;
    return length;
}

static void put_maps(message *m)
{
    size_t length;
    const char *then = hw_record_maps_then(&length);
    long kept = hw_record_maps();
    if (kept >= 0)
        put_open_file(m, HW_MAPS, kept);
    else if (then)
        put_section(m, HW_MAPS, 0, then, whole_lines(then, length, m->room - m->used));
    else
        put_file(m, HW_MAPS, "/proc/self/maps");
}

/* The engine's own, or of a pool: it is there. The kernel copies it all the same, as far as it may be asked. */
static void put_memory(message *m, uintptr_t start, size_t length)
{
    if (m->room - m->used < 128)
        return;
    size_t at = open_section(m, HW_MEMORY, start), got;
    if (length > m->room - m->used - 64)
        length = m->room - m->used - 64;
    got = hw_peek(m->bytes + m->used, start, length);
    if (!got && hw_confined) {
        memcpy(m->bytes + m->used, (const void *)start, length);
        got = length;
    }
    m->used += got;
    close_section(m, at);
}

static void start(message *m, hw_event *event, enum hw_event_type type)
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

static void put_stack(message *m, hw_event *event, const hw_caller *caller)
{
    uint64_t frames[HW_MOST_FRAMES];
    event->frames = hw_unwind_surely(frames, HW_MOST_FRAMES, caller);
    if (!event->frames) {
        frames[0] = (uint64_t)(uintptr_t)caller->pc;
        event->frames = 1;
    }
    put(m, frames, event->frames * sizeof frames[0]);
}

static void finish(message *m, hw_event *event)
{
    event->length = (uint32_t)m->used;
    memcpy(m->bytes, event, sizeof *event);
}

/* --- sending ---------------------------------------------------------------------------------- */

static bool connects_by_path(long fd)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t length = strlen(hw_setting.socket);
    memcpy(to.sun_path, hw_setting.socket, length);
    return hw_call(SYS_connect, fd, (long)&to, (long)(offsetof(struct sockaddr_un, sun_path) + length + 1), 0, 0, 0) ==
           0;
}

/* Where the path leads nowhere, as in a sandbox with a /tmp of its own: the same as a name that needs no file. Anybody
   can take such a name, so it has to be this user's. */
static bool connects_by_name(long fd)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    struct ucred peer = {0};
    socklen_t size = sizeof peer;
    size_t length = strlen(hw_setting.socket);
    if (length + 1 > sizeof to.sun_path)
        return false;
    memcpy(to.sun_path + 1, hw_setting.socket, length);
    return hw_call(SYS_connect, fd, (long)&to, (long)(offsetof(struct sockaddr_un, sun_path) + length + 1), 0, 0, 0) ==
               0 &&
           hw_call(SYS_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, (long)&peer, (long)&size, 0) == 0 &&
           peer.uid == (uid_t)hw_call(SYS_geteuid, 0, 0, 0, 0, 0, 0);
}

/* A supervisor that was waited for in vain is not waited for again, but for a moment now and then. */
enum { ASK_AGAIN_MS = 1000, ASK_SHORTLY_MS = 20 };
static _Atomic uint64_t hung_at; /* 0: it answers */

static void note_hang(void)
{
    atomic_store(&hung_at, hw_milliseconds() | 1);
}

/* Milliseconds; 0: it is not worth asking. */
static unsigned wait_for_answer(void)
{
    uint64_t since = atomic_load(&hung_at);
    if (!since)
        return hw_setting.wait_ms ? hw_setting.wait_ms : 1;
    return hw_milliseconds() - since < ASK_AGAIN_MS ? 0 : ASK_SHORTLY_MS;
}

/* Returns the connection, or a negative number when nobody takes the message. */
static long send_message(const message *m)
{
    unsigned wait = hw_setting.socket[0] ? wait_for_answer() : 0;
    if (!wait)
        return -1;
    long fd = hw_call_for_file(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, 0);
    if (fd < 0)
        return -1;
    /* A supervisor that hangs must not hang the program: the send is bounded, too. */
    struct timeval most = {.tv_sec = wait / 1000, .tv_usec = wait % 1000 * 1000L};
    uint64_t until = hw_milliseconds() + wait;
    hw_call(SYS_setsockopt, fd, SOL_SOCKET, SO_SNDTIMEO, (long)&most, sizeof most, 0);
    if ((connects_by_path(fd) || connects_by_name(fd)) &&
        hw_call(SYS_sendto, fd, (long)m->bytes, (long)m->used, MSG_NOSIGNAL, 0, 0) == (long)m->used)
        return fd;
    if (hw_milliseconds() >= until)
        note_hang();
    hw_call(SYS_close, fd, 0, 0, 0, 0, 0);
    return -1;
}

/* Where Yama lets only ancestors read a process's memory (kernel.yama.ptrace_scope of 1), the supervisor of a daemon
   needs its leave. Given once, before the program can give its own to somebody else; elsewhere it has no effect. */
static void let_peer_read(long fd)
{
    struct ucred peer = {0};
    socklen_t length = sizeof peer;
    if (hw_call(SYS_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, (long)&peer, (long)&length, 0) == 0 && peer.pid > 0)
        hw_call(SYS_prctl, PR_SET_PTRACER, peer.pid, 0, 0, 0, 0);
}

static bool tell(const message *m, bool first)
{
    long fd = send_message(m);
    if (fd < 0)
        return false;
    if (first)
        let_peer_read(fd);
    hw_call(SYS_close, fd, 0, 0, 0, 0, 0);
    return true;
}

/* Wait for the answer, and end the connection. */
static char hear(long fd)
{
    char answer = 0;
    long ready = 0;
    uint64_t said[ANSWER] = {0};
    uint64_t end = hw_milliseconds() + wait_for_answer(), now;
    while ((now = hw_milliseconds()) < end) {
        struct pollfd wait = {.fd = (int)fd, .events = POLLIN};
        struct timespec span = {.tv_sec = (long)(end - now) / 1000, .tv_nsec = (long)((end - now) % 1000) * 1000000};
        ready = hw_call(SYS_ppoll, (long)&wait, 1, (long)&span, 0, 0, 0);
        if (ready == -EINTR)
            continue;
        long got = ready == 1 ? hw_call(SYS_recvfrom, fd, (long)said, sizeof said, 0, 0, 0) : 0;
        if (got > 0)
            memcpy(&answer, said, 1);
        if (got > (long)sizeof said[0]) {
            hw_traps_add(said + 1, (size_t)got / sizeof said[0] - 1);
            hw_arenas_forget_trapped();
        }
        break;
    }
    if (ready == 1)
        atomic_store(&hung_at, 0);
    else
        note_hang();
    hw_call(SYS_close, fd, 0, 0, 0, 0, 0);
    return answer == 'g' || answer == 'a' || answer == 's' ? answer : 0;
}

static char ask(const message *m)
{
    long fd = send_message(m);
    return fd < 0 ? 0 : hear(fd);
}

/* The first process of a log makes it, and later ones may be another user's. */
static void say_forbidden(void)
{
    static _Atomic uint32_t said; /* children of forks do not say it again */
    static const char text[] =
        "heapwitness: the log belongs to another user, and this process may not write to it: what is "
        "found here cannot be told; a log that all may write to (chmod a+w) takes it\n";
    if (atomic_exchange(&said, 1) == 0)
        hw_say(text, sizeof text - 1);
}

static bool append(const message *m)
{
    enum hw_appended result = hw_record_append(m->bytes, m->used);
    if (result == HW_FILE_IS_FULL)
        atomic_fetch_add(&dropped, 1);
    if (result == HW_FORBIDDEN_FILE)
        say_forbidden();
    return result == HW_APPENDED;
}

/* --- what a record needs of the memory -------------------------------------------------------- */

static void put_record(message *m, const hw_site_record *record)
{
    put_memory(m, (uintptr_t)record, sizeof *record + record->count * sizeof *record->word);
}

/* With what it names: the native site and the code of its frames, and the allocation's site. */
static void put_site(message *m, uint32_t site)
{
    const hw_site_record *record = hw_site_at(site);
    for (int depth = 0; depth < 2 && record; depth++) {
        put_record(m, record);
        for (unsigned i = 0; record->kind == HW_SITE_PYTHON && i < record->count; i++) {
            const hw_site_record *named = hw_site_at((uint32_t)record->word[i] & HW_SITE_NUMBER);
            if (named)
                put_record(m, named);
        }
        record = hw_site_at(record->prior);
    }
}

static void put_sites_of(message *m, const hw_pool *pool, uint32_t node)
{
    const hw_header *own = hw_own(pool, node), *kept = hw_backup_in(pool, node);
    if (hw_is_valid(pool, node, own))
        put_site(m, own->meta >> 8);
    put_site(m, kept->meta >> 8);
    const hw_links *links = hw_links_at(pool, node);
    if (links->parent == HW_PENDING_PARENT)
        put_site(m, links->right);
}

static void put_evidence(message *m, const hw_pool *pool, size_t bytes, uint32_t region, const hw_fault *fault)
{
    put_memory(m, (uintptr_t)&hw_this_process, sizeof hw_this_process);
    if (region)
        put_memory(m, (uintptr_t)hw_region_at(region), sizeof(hw_region));
    if (pool) {
        uintptr_t base = (uintptr_t)pool;
        put_memory(m, base, HW_CONTROL);
        put_memory(m, base + bytes - HW_END, HW_END);
        uint32_t end = (uint32_t)((bytes - HW_END) >> HW_FIXED_GRANULE_LOG2);
        uint32_t low = fault->low ? fault->low : fault->node, high = fault->high ? fault->high : fault->node;
        if (low >= end)
            low = hw_first(pool);
        if (low && low < end) {
            if (high < low || high > end)
                high = low;
            /* With the node before, for its backup, and the whole of the last node. */
            const hw_header *h = hw_own(pool, low);
            uint32_t from = hw_is_valid(pool, low, h) ? low - h->prev_size : low;
            h = hw_own(pool, high);
            uint32_t to = high < end && hw_is_valid(pool, high, h) ? high + h->size : end;
            size_t span = (size_t)(to - from) << HW_FIXED_GRANULE_LOG2;
            put_memory(m, base + ((size_t)from << HW_FIXED_GRANULE_LOG2), span < WINDOW_MOST ? span : WINDOW_MOST);
            if (span > WINDOW_MOST) {
                size_t at = (size_t)high << HW_FIXED_GRANULE_LOG2;
                size_t before = at < WINDOW_MOST ? at : WINDOW_MOST;
                put_memory(m, base + at - before, before + HW_OVERHEAD + 64);
            }
            put_sites_of(m, pool, from);
            put_sites_of(m, pool, low);
            if (high != low && high < end)
                put_sites_of(m, pool, high);
            if (to < end)
                put_sites_of(m, pool, to);
        }
    }
}

static void put_unpooled(message *m, const hw_unpooled *block)
{
    uintptr_t end = (uintptr_t)(block->address + block->size);
    put_memory(m, end - hw_page(), hw_round_up(end, hw_page()) - end + hw_page()); /* up to its guard */
    if (block->before)
        put_memory(m, (uintptr_t)(block->address - block->before), block->before + hw_page());
    put_site(m, (uint32_t)block->site);
}

/* --- the four events -------------------------------------------------------------------------- */

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
    atomic_fetch_add(&dropped, 1);
    return true;
}

/* Neither heard nor recorded. */
static void nobody_listens(void)
{
    static _Atomic uint32_t said;
    static const char alone[] = "heapwitness: heap damage was found and repaired; run under `heapwitness run`, or set "
                                "HEAPWITNESS_LOG=FILE, to see it\n";
    static const char shut_in[] = "heapwitness: heap damage was found and repaired, but cannot be told from in here: "
                                  "neither the socket nor the file for records can be reached; --log FILE with a file "
                                  "that can be makes a report of it\n";
    bool asked = hw_setting.log[0] || hw_setting.socket[0];
    if (atomic_exchange(&said, 1) == 0)
        hw_say(asked ? shut_in : alone, (asked ? sizeof shut_in : sizeof alone) - 1);
}

void hw_tell_with(const hw_trap *trap)
{
    if (!atomic_load(&is_trapped))
        trapped = *trap;
    atomic_store(&is_trapped, true);
}

char hw_tell_finding(const hw_context *context, const hw_pool *pool, size_t bytes, uint32_t region,
                     const hw_fault *fault, const hw_released *released)
{
    message m;
    if (!begin(&m, RECORD))
        return hw_setting.on_error;
    hw_event event;
    start(&m, &event, HW_FINDING);
    event.when = context->when;
    event.reason = fault->reason;
    event.pool = (uint64_t)(uintptr_t)pool;
    event.pool_bytes = pool ? bytes : 0;
    event.pointer = (uint64_t)(uintptr_t)context->pointer;
    event.node = fault->node;
    event.family = context->family;
    event.dropped = atomic_exchange(&dropped, 0);
    if (fault->reason == HW_HEADERS) {
        uint32_t window[2] = {fault->low, fault->high};
        put(&m, window, sizeof window);
        event.windows = 1;
    }
    put_stack(&m, &event, &context->caller);
    if (context->left)
        put_section(&m, HW_LEFT, 0, "", 0);
    if (released)
        put_section(&m, HW_RELEASED, 0, released, sizeof *released);
    if (context->unpooled)
        put_section(&m, HW_UNPOOLED, 0, context->unpooled, sizeof *context->unpooled);
    if (context->trap)
        put_section(&m, HW_TRAPPED, 0, context->trap, sizeof *context->trap);
    else if (atomic_load(&is_trapped))
        put_section(&m, HW_TRAPPED, 0, &trapped, sizeof trapped);
    if (context->held)
        put_section(&m, HW_HELD, 0, context->held, sizeof *context->held);
    finish(&m, &event);
    char answer = ask(&m);
    last_was_logged = false;
    if (!answer) {
        answer = hw_setting.on_error;
        if (hw_setting.log[0]) {
            m.room = m.most - m.most / 4;
            put_evidence(&m, pool, bytes, region, fault);
            if (context->unpooled)
                put_unpooled(&m, context->unpooled);
            if (context->held)
                put_memory(&m, (uintptr_t)context->held->pc, INSTRUCTION);
            if (released)
                put_site(&m, (uint32_t)released->site);
            m.room = m.most;
            put_maps(&m);
            put_file(&m, HW_COMMAND, "/proc/self/cmdline");
            finish(&m, &event);
            last_was_logged = append(&m);
        }
        if (!last_was_logged)
            nobody_listens();
    }
    end(&m);
    return answer;
}

void hw_tell_outcome(const hw_outcome *outcome)
{
    unsigned char bytes[512];
    message m = {.bytes = bytes, .room = sizeof bytes};
    hw_event event;
    uint64_t words[8] = {outcome->headers, outcome->backups,  outcome->slacks,     outcome->links,
                         outcome->poisons, outcome->controls, outcome->quarantined};
    start(&m, &event, HW_OUTCOME);
    put_section(&m, HW_MENDED, 0, words, sizeof words);
    finish(&m, &event);
    if (last_was_logged)
        append(&m);
    else
        tell(&m, false);
}

void hw_tell_stored(uintptr_t address, size_t length)
{
    unsigned char bytes[1024];
    message m = {.bytes = bytes, .room = sizeof bytes};
    hw_event event;
    uint64_t words[8] = {0};
    start(&m, &event, HW_OUTCOME);
    put_section(&m, HW_MENDED, 0, words, sizeof words);
    size_t at = open_section(&m, HW_STORED, address);
    m.used += hw_peek(m.bytes + m.used, address, length);
    close_section(&m, at);
    finish(&m, &event);
    if (last_was_logged)
        append(&m);
    else
        tell(&m, false);
}

void hw_tell_end_of_access(uintptr_t block, uint64_t pc, uint64_t farthest, uint64_t times)
{
    unsigned char bytes[512];
    message m = {.bytes = bytes, .room = sizeof bytes};
    hw_event event;
    uint64_t words[3] = {pc, farthest, times};
    start(&m, &event, HW_OUTCOME);
    put_section(&m, HW_WENT_ON, block, words, sizeof words);
    finish(&m, &event);
    if (!tell(&m, false) && hw_setting.log[0])
        append(&m);
}

static void tell_or_log(enum hw_event_type type, const uint64_t *stats)
{
    if (hw_setting.socket[0] == 0 && hw_setting.log[0] == 0)
        return;
    message m;
    if (!begin(&m, MESSAGE))
        return;
    hw_event event;
    start(&m, &event, type);
    event.when = type == HW_EXIT ? HW_AT_EXIT : HW_AT_MALLOC;
    event.dropped = type == HW_EXIT ? atomic_exchange(&dropped, 0) : 0;
    if (stats)
        put_section(&m, HW_STATS, 0, stats, HW_STATS_WORDS * sizeof stats[0]);
    put_file(&m, HW_COMMAND, "/proc/self/cmdline");
    finish(&m, &event);
    bool told = true;
    if (hw_setting.map && type == HW_EXIT) {
        long fd = send_message(&m);
        told = fd >= 0;
        if (told)
            hear(fd);
    } else {
        told = tell(&m, type == HW_HELLO);
    }
    if (!told)
        append(&m);
    end(&m);
}

/* A call that led to no code has left its return address, from which nothing leads on. */
static void put_crashed_stack(message *m, hw_event *event, const hw_crash *crash, const hw_caller *caller)
{
    put_stack(m, event, caller);
    uint64_t from = 0;
    if (event->frames > 1)
        return;
#if defined(__x86_64__)
    hw_peek(&from, crash->sp, sizeof from);
#elif defined(__aarch64__)
    from = hw_unsigned_address(crash->registers[30]);
#endif
    if (from) {
        put(m, &from, sizeof from);
        event->frames++;
    }
}

void hw_tell_crash(const hw_crash *crash, const hw_caller *caller)
{
    bool last = crash->state & HW_CRASH_LOOKED;
    message m;
    if (!begin(&m, RECORD))
        return;
    hw_event event;
    start(&m, &event, HW_CRASHED);
    event.when = HW_AT_CRASH;
    if (last)
        put_crashed_stack(&m, &event, crash, caller);
    put_section(&m, HW_CRASH, 0, crash, sizeof *crash);
    finish(&m, &event);
    if (!(last ? ask(&m) : (char)tell(&m, false)) && hw_setting.log[0]) {
        m.room = m.most;
        put_maps(&m);
        put_file(&m, HW_COMMAND, "/proc/self/cmdline");
        finish(&m, &event);
        append(&m);
    }
    end(&m);
}

void hw_tell_hello(void)
{
    tell_or_log(HW_HELLO, NULL);
}

/* On the stack: the child of a vfork tells it, too, in its parent's memory. */
void hw_tell_stranger(const char *file, unsigned why, bool replaces)
{
    unsigned char bytes[1536];
    message m = {.bytes = bytes, .room = sizeof bytes};
    hw_event event;
    size_t length = strlen(file), most = 1024;
    start(&m, &event, HW_STRANGER);
    event.node = why | (replaces ? 0x100 : 0);
    put_section(&m, HW_COMMAND, 0, length > most ? file + length - most : file, length > most ? most : length);
    finish(&m, &event);
    tell(&m, false);
}

void hw_tell_exit(const uint64_t stats[HW_STATS_WORDS])
{
    tell_or_log(HW_EXIT, stats);
}

void hw_tell_checked(void)
{
    if (!hw_setting.map || !hw_setting.check_signal || hw_setting.socket[0] == 0)
        return;
    message m = {.bytes = hw_map(MESSAGE), .room = MESSAGE};
    if (!m.bytes)
        return;
    hw_event event;
    start(&m, &event, HW_CHECKED);
    event.when = HW_AT_CHECK;
    finish(&m, &event);
    ask(&m);
    hw_unmap(m.bytes, MESSAGE);
}
