#define _GNU_SOURCE
#include "os/watchpoint.h"

#include "os/system.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What the kernel's headers call so, where they are new enough. */
enum { BREAKPOINT = 5, STORES = 2, CLOSE_ON_EXEC = 8, RAISED_BY_EVENT = 6, ATTRIBUTE_BYTES = 128 };
#define INHERIT (UINT64_C(1) << 1)
#define EXCLUDE_KERNEL (UINT64_C(1) << 5)
#define EXCLUDE_HYPERVISOR (UINT64_C(1) << 6)
#define INHERIT_THREADS (UINT64_C(1) << 35)
#define REMOVE_ON_EXEC (UINT64_C(1) << 36)
#define RAISE_SIGTRAP (UINT64_C(1) << 37)
enum { DISABLE = 0x2401, MOVE = 0x4008240b };
#define IDENTIFY 0x80082407L

/* struct perf_event_attr in its seventh version. */
typedef struct attribute {
    uint32_t type, size;
    uint64_t config, period, sample_type, read_format, flags;
    uint32_t wakeup, what;
    uint64_t address, length, unused[6], data;
} attribute;
_Static_assert(sizeof(attribute) == ATTRIBUTE_BYTES, "as the kernel has it");

/* FILES: threads that were there when a watchpoint was first set; those that come later have it from who makes them. */
enum { FILES = 512, NAMES = 4096 };
typedef struct watchpoint {
    uint32_t files;
    bool moves; /* its events can be moved: they are all there */
    struct {
        int file;
        uint32_t thread;
        uint64_t identity;
    } of[FILES];
} watchpoint;
static watchpoint *points[HW_WATCHPOINTS];
static _Atomic uint64_t mark; /* in what its signals carry */

/* Whether stores by the kernel count: not everybody may ask for that. */
static _Atomic bool without_kernel;

static uint64_t the_mark(void)
{
    uint64_t known = atomic_load(&mark), fresh = 0;
    if (known)
        return known;
    hw_random(&fresh, sizeof fresh);
    fresh = (fresh | 1u << 8) & ~UINT64_C(0xFF);
    return atomic_compare_exchange_strong(&mark, &known, fresh) ? fresh : known;
}

static attribute attribute_for(unsigned number, uintptr_t at, unsigned length)
{
    return (attribute){
        .type = BREAKPOINT,
        .size = ATTRIBUTE_BYTES,
        .period = 1,
        .flags = INHERIT | INHERIT_THREADS | REMOVE_ON_EXEC | RAISE_SIGTRAP | EXCLUDE_HYPERVISOR |
                 (atomic_load(&without_kernel) ? EXCLUDE_KERNEL : 0),
        .what = STORES,
        .address = at,
        .length = length,
        .data = the_mark() | number,
    };
}

/* --- descriptors --------------------------------------------------------------------------------- */

/* A number that programs hardly use. */
static long moved_up(long file)
{
    struct rlimit limit = {0};
    enum { HIGH = 3000 };
    hw_call(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, (long)&limit, 0, 0);
    long least = limit.rlim_cur > HIGH + FILES * HW_WATCHPOINTS ? HIGH : (long)(limit.rlim_cur / 2);
    long up = hw_call(SYS_fcntl, file, F_DUPFD_CLOEXEC, least, 0, 0, 0);
    hw_call(SYS_close, file, 0, 0, 0, 0, 0);
    return up;
}

static uint64_t identity_of(long file)
{
    uint64_t identity = 0;
    return hw_call(SYS_ioctl, file, IDENTIFY, (long)&identity, 0, 0, 0) == 0 ? identity : 0;
}

/* Whether it still is the one that was opened: a program may close whatever it finds. */
static bool is_there(const watchpoint *w, uint32_t i)
{
    return w->of[i].identity && identity_of(w->of[i].file) == w->of[i].identity;
}

static void close_all(watchpoint *w)
{
    for (uint32_t i = 0; i < w->files; i++)
        if (is_there(w, i))
            hw_call(SYS_close, w->of[i].file, 0, 0, 0, 0, 0);
    w->files = 0;
    w->moves = false;
}

/* For one thread. Returns 0 or an error number. */
static int open_for(watchpoint *w, uint32_t thread, unsigned number, uintptr_t at, unsigned length)
{
    if (w->files == FILES)
        return EMFILE;
    for (int attempt = 0; attempt < 2; attempt++) {
        attribute a = attribute_for(number, at, length);
        long file = hw_call(SYS_perf_event_open, (long)&a, (long)thread, -1, -1, CLOSE_ON_EXEC, 0);
        if ((file == -EACCES || file == -EPERM) && !(a.flags & EXCLUDE_KERNEL)) {
            atomic_store(&without_kernel, true);
            continue;
        }
        file = file < 0 ? file : moved_up(file);
        if (file < 0)
            return (int)-file;
        w->of[w->files].file = (int)file;
        w->of[w->files].thread = thread;
        w->of[w->files].identity = identity_of(file);
        w->files++;
        return 0;
    }
    return EACCES;
}

/* --- all threads --------------------------------------------------------------------------------- */

static bool is_open_for(const watchpoint *w, uint32_t thread)
{
    for (uint32_t i = 0; i < w->files; i++)
        if (w->of[i].thread == thread)
            return true;
    return false;
}

static uint32_t number_in(const char *name)
{
    uint32_t number = 0;
    for (; *name >= '0' && *name <= '9'; name++)
        number = number * 10 + (uint32_t)(*name - '0');
    return number;
}

/* Those of a listing that have none yet; *more: there were some. */
static int open_for_listed(watchpoint *w, long directory, unsigned number, uintptr_t at, unsigned length, bool *more)
{
    enum { HEAD = 19, LENGTH_AT = 16 }; /* of struct linux_dirent64 */
    _Alignas(8) char names[NAMES];
    long got;
    while ((got = hw_call(SYS_getdents64, directory, (long)names, sizeof names, 0, 0, 0)) > 0)
        for (long place = 0; place < got;) {
            uint16_t step;
            memcpy(&step, names + place + LENGTH_AT, sizeof step);
            uint32_t thread = number_in(names + place + HEAD);
            place += step;
            if (!thread || is_open_for(w, thread))
                continue;
            int error = open_for(w, thread, number, at, length);
            if (error && error != ESRCH)
                return error;
            *more |= !error;
        }
    return 0;
}

/* Threads that are made meanwhile are found by looking again. One may have it twice then, which does no harm. */
static int open_for_all(watchpoint *w, unsigned number, uintptr_t at, unsigned length)
{
    int error = open_for(w, hw_thread_id(), number, at, length);
    for (bool more = true; more && !error;) {
        more = false;
        long directory =
            hw_call(SYS_openat, AT_FDCWD, (long)"/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0, 0, 0);
        if (directory < 0)
            break;
        error = open_for_listed(w, directory, number, at, length, &more);
        hw_call(SYS_close, directory, 0, 0, 0, 0, 0);
    }
    if (error)
        close_all(w);
    w->moves = !error;
    return error;
}

static bool move_all(watchpoint *w, unsigned number, uintptr_t at, unsigned length)
{
    attribute a = attribute_for(number, at, length);
    for (uint32_t i = 0; i < w->files; i++) {
        if (!is_there(w, i))
            return false;
        long result = hw_call(SYS_ioctl, w->of[i].file, MOVE, (long)&a, 0, 0, 0);
        if (result != 0 && result != -ESRCH)
            return false;
    }
    return w->files != 0;
}

int hw_watchpoint_set(unsigned number, uintptr_t at, unsigned length)
{
    watchpoint *w = points[number];
    if (!w && !(w = points[number] = hw_map(sizeof *w)))
        return ENOMEM;
    if (w->moves && move_all(w, number, at, length))
        return 0;
    close_all(w);
    return open_for_all(w, number, at, length);
}

void hw_watchpoint_clear(unsigned number)
{
    watchpoint *w = points[number];
    for (uint32_t i = 0; w && i < w->files; i++)
        if (is_there(w, i))
            hw_call(SYS_ioctl, w->of[i].file, DISABLE, 0, 0, 0, 0);
}

bool hw_watchpoint_lasts(unsigned number)
{
    const watchpoint *w = points[number];
    for (uint32_t i = 0; w && i < w->files; i++)
        if (!is_there(w, i))
            return false;
    return true;
}

void hw_watchpoint_forget(unsigned number)
{
    if (points[number])
        close_all(points[number]);
}

/* Of siginfo_t what older headers do not know: si_perf_data, si_perf_flags. */
enum { DATA_AT = 24, FLAGS_AT = 36, LATE = 1 };

bool hw_watchpoint_was_late(const siginfo_t *information)
{
    uint32_t flags;
    memcpy(&flags, (const char *)information + FLAGS_AT, sizeof flags);
    return flags & LATE;
}

bool hw_watchpoint_is_unsaid(const siginfo_t *information, uintptr_t pc)
{
    enum { ICEBP = 0xF1, BREAKPOINT_TRAP = 1 }; /* what the kernel takes it for */
    unsigned char before;
    return information->si_signo == SIGTRAP && information->si_code == BREAKPOINT_TRAP && atomic_load(&mark) &&
           hw_peek(&before, pc - 1, 1) == 1 && before != ICEBP;
}

int hw_watchpoint_of(const siginfo_t *information)
{
    uint64_t data, known = atomic_load(&mark);
    memcpy(&data, (const char *)information + DATA_AT, sizeof data);
    bool ours = information->si_signo == SIGTRAP && information->si_code == RAISED_BY_EVENT && known &&
                (data & ~UINT64_C(0xFF)) == known && (data & 0xFF) < HW_WATCHPOINTS;
    return ours ? (int)(data & 0xFF) : -1;
}
