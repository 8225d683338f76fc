#define _GNU_SOURCE
#include "os/record.h"

#include "os/confined.h"
#include "os/settings.h"
#include "os/system.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

/* A program that is damaged for ever must not fill the disk. */
enum { LOG_MOST = 256 << 20 };
/* Where programs do not expect their own descriptors. */
enum { HIGH = 500 };
/* A limit on descriptors that is lower leaves the engine none. */
enum { FEW = 64 };

/* An open file that the program may have closed, and its number be used for something else, meanwhile. */
typedef struct kept {
    _Atomic long file; /* descriptor + 1, 0 for none */
    _Atomic uint64_t device, inode;
} kept;
static kept log_file, maps_file, socket_file;

enum { TEXT_MOST = 1 << 20 };
typedef struct text {
    size_t length;
    char bytes[TEXT_MOST];
} text;
static text *_Atomic maps_then;

static bool identify(long file, struct stat *found)
{
    return hw_call(SYS_fstat, file, (long)found, 0, 0, 0, 0) == 0 ||
           hw_call(SYS_newfstatat, file, (long)"", (long)found, AT_EMPTY_PATH, 0, 0) == 0;
}

/* Negative: it is not there any more. */
static long still_open(kept *k)
{
    struct stat found;
    long file = atomic_load(&k->file) - 1;
    if (hw_confined && hw_is_strictly_confined()) /* then nobody can have closed it */
        return file;
    return file >= 0 && identify(file, &found) && found.st_dev == atomic_load(&k->device) &&
                   found.st_ino == atomic_load(&k->inode)
               ? file
               : -1;
}

static void keep(kept *k, long file)
{
    struct stat found;
    if (file < 0)
        return;
    long high = hw_call(SYS_fcntl, file, F_DUPFD_CLOEXEC, HIGH, 0, 0, 0);
    if (high >= 0) {
        hw_call(SYS_close, file, 0, 0, 0, 0, 0);
        file = high;
    }
    if (!identify(file, &found)) {
        hw_call(SYS_close, file, 0, 0, 0, 0, 0);
        return;
    }
    atomic_store(&k->device, found.st_dev);
    atomic_store(&k->inode, found.st_ino);
    atomic_store(&k->file, file + 1);
}

/* A file that was removed meanwhile takes what nobody will read. */
static bool was_removed(long file)
{
    struct stat found;
    return identify(file, &found) && found.st_nlink == 0;
}

static bool is_plain_file(long file)
{
    struct stat found;
    return identify(file, &found) && S_ISREG(found.st_mode);
}

/* A pipe or a terminal would hold the program up, and opening alone does something to a device: nothing but plain
   files, looked at before and after, and no waiting for a writer, a reader or the holder of a lease. */
static long open_log(void)
{
    struct stat before;
    if (hw_setting.log[0] == 0)
        return -1;
    if (hw_call(SYS_newfstatat, AT_FDCWD, (long)hw_setting.log, (long)&before, AT_SYMLINK_NOFOLLOW, 0, 0) == 0 &&
        !S_ISREG(before.st_mode))
        return -1;
    int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY;
    long file = hw_call_for_file(SYS_openat, AT_FDCWD, (long)hw_setting.log, flags, 0600);
    if (file < 0 || is_plain_file(file))
        return file;
    hw_call(SYS_close, file, 0, 0, 0, 0, 0);
    return -1;
}

static void read_maps(void)
{
    text *t = hw_map(sizeof *t), *none = NULL;
    long file = still_open(&maps_file), got = 1;
    if (!t)
        return;
    while (file >= 0 && got > 0 && t->length < TEXT_MOST) {
        got = hw_call(SYS_pread64, file, (long)(t->bytes + t->length), (long)(TEXT_MOST - t->length), (long)t->length,
                      0, 0);
        t->length += got > 0 ? (size_t)got : 0;
    }
    if (!atomic_compare_exchange_strong(&maps_then, &none, t))
        hw_unmap(t, sizeof *t);
}

/* How long files may become; where it may not be asked, what it was last. */
static uint64_t most_bytes(void)
{
    static _Atomic uint64_t last = LOG_MOST;
    uint64_t limit[2] = {0, 0}; /* soft, hard */
    if (hw_call(SYS_prlimit64, 0, RLIMIT_FSIZE, 0, (long)limit, 0, 0) == 0)
        atomic_store(&last, limit[0] < LOG_MOST ? limit[0] : LOG_MOST);
    return atomic_load(&last);
}

/* Then writing to a plain file cannot raise SIGXFSZ. */
static bool may_grow_freely(void)
{
    return most_bytes() == LOG_MOST;
}

/* The supervisor's socket lies where only its own user may go, but whoever has it open as a path may connect. */
static void keep_socket(void)
{
    if (hw_setting.socket[0] && still_open(&socket_file) < 0)
        keep(&socket_file, hw_call_for_file(SYS_openat, AT_FDCWD, (long)hw_setting.socket, O_PATH | O_CLOEXEC, 0));
}

long hw_record_socket(void)
{
    return still_open(&socket_file);
}

void hw_record_keep(void)
{
    keep_socket();
    if (hw_setting.log[0] == 0 || still_open(&log_file) >= 0)
        return;
    keep(&log_file, open_log());
    keep(&maps_file, hw_call_for_file(SYS_openat, AT_FDCWD, (long)"/proc/self/maps", O_RDONLY | O_CLOEXEC, 0));
    read_maps();
    most_bytes();
}

void hw_descriptors_limited(int process, int resource, const struct rlimit *limit)
{
    if (resource == RLIMIT_NOFILE && limit && limit->rlim_cur < FEW && hw_has_libcs_storage() &&
        (process == 0 || (uint32_t)process == hw_process_id()))
        hw_record_keep();
}

static void forget(kept *k)
{
    long file = still_open(k);
    if (file >= 0)
        hw_call(SYS_close, file, 0, 0, 0, 0, 0);
    atomic_store(&k->file, 0);
}

void hw_record_forget(void)
{
    int number = errno; /* of the call that failed */
    forget(&log_file);
    forget(&maps_file);
    forget(&socket_file);
    text *t = atomic_exchange(&maps_then, NULL);
    if (t)
        hw_unmap(t, sizeof *t);
    errno = number;
}

/* --- writing without being noticed -------------------------------------------------------------- */

/* What a write may be answered with; the default action of each ends or stops the process. */
static const int raised[] = {SIGPIPE, SIGXFSZ, SIGTTOU};
enum { MASK_BYTES = 8 };

static uint64_t bit(int number)
{
    return UINT64_C(1) << (number - 1);
}

/* A filter that forbids one of the two seldom thinks of the other. */
static long write_once(long file, const void *bytes, size_t length)
{
    const long asked[6] = {file, (long)bytes, (long)length};
    const struct iovec part = {(void *)bytes, length};
    if (hw_confined && hw_refusal(SYS_write, asked) != 0)
        return hw_call(SYS_writev, file, (long)&part, 1, 0, 0, 0);
    return hw_call(SYS_write, file, (long)bytes, (long)length, 0, 0, 0);
}

/* To a plain file, or to something else. None of these signals comes of it: the kernel sends them to the writing
 * thread, where they are blocked and taken away. */
static long write_quietly(long file, const void *bytes, size_t length, bool plain)
{
    uint64_t all = 0, before = 0, pending = 0;
    struct timespec none = {0, 0};
    for (unsigned i = 0; i < sizeof raised / sizeof raised[0]; i++)
        all |= bit(raised[i]);
    if (hw_call(SYS_rt_sigprocmask, SIG_BLOCK, (long)&all, (long)&before, MASK_BYTES, 0, 0) != 0)
        return plain && may_grow_freely() ? write_once(file, bytes, length) : -EPERM;
    hw_call(SYS_rt_sigpending, (long)&pending, MASK_BYTES, 0, 0, 0, 0);
    long wrote = write_once(file, bytes, length);
    int of = wrote == -EPIPE ? SIGPIPE : wrote == -EFBIG ? SIGXFSZ : 0;
    if (of && !(pending & bit(of))) {
        uint64_t only = bit(of);
        hw_call(SYS_rt_sigtimedwait, (long)&only, 0, (long)&none, MASK_BYTES, 0, 0);
    }
    hw_call(SYS_rt_sigprocmask, SIG_SETMASK, (long)&before, 0, MASK_BYTES, 0, 0);
    return wrote;
}

static kept said_to;

void hw_say_init(void)
{
    struct stat found;
    if (!identify(2, &found))
        return;
    atomic_store(&said_to.device, found.st_dev);
    atomic_store(&said_to.inode, found.st_ino);
    atomic_store(&said_to.file, 2 + 1);
}

/* A full pipe or a stopped terminal has none. ppoll looks at no more files than RLIMIT_NOFILE lets one open; pselect6
   looks at those that are open. */
static bool has_room(void)
{
    struct pollfd room = {.fd = 2, .events = POLLOUT};
    struct timespec none = {0, 0};
    long ready = hw_call(SYS_ppoll, (long)&room, 1, (long)&none, 0, 0, 0);
    if (ready != -EINVAL)
        return ready == 1 && room.revents == POLLOUT;
    unsigned long writable[1024 / 8 / sizeof(long)] = {1UL << 2};
    return hw_call(SYS_pselect6, 2 + 1, 0, (long)writable, 0, (long)&none, 0) == 1;
}

void hw_say(const char *text, size_t length)
{
    if (still_open(&said_to) == 2 && has_room())
        write_quietly(2, text, length, false);
}

/* What cannot be written whole is taken back, unless somebody has gone on behind it: a reader finds the next message
   only where the one before ends. */
static bool write_all(long file, const unsigned char *bytes, size_t length)
{
    struct stat now;
    for (size_t done = 0; done < length;) {
        long wrote = write_quietly(file, bytes + done, length - done, true);
        if (wrote == -EINTR)
            continue;
        if (wrote <= 0) {
            long end = hw_call(SYS_lseek, file, 0, SEEK_CUR, 0, 0, 0);
            if (done && identify(file, &now) && now.st_size == end && (size_t)end >= done)
                hw_call(SYS_ftruncate, file, end - (long)done, 0, 0, 0, 0);
            return false;
        }
        done += (size_t)wrote;
    }
    return true;
}

bool hw_record_is_open(void)
{
    return still_open(&log_file) >= 0;
}

enum hw_appended hw_record_append(const void *bytes, size_t length)
{
    long own = still_open(&log_file), file = own >= 0 ? own : open_log();
    if (file < 0)
        return file == -EACCES || file == -EPERM ? HW_FORBIDDEN_FILE : HW_NO_FILE;
    if (was_removed(file))
        return HW_NO_FILE;
    enum hw_appended result = HW_FILE_IS_FULL;
    bool strictly = hw_confined && hw_is_strictly_confined();
    long end = strictly ? 0 : hw_call(SYS_lseek, file, 0, SEEK_END, 0, 0, 0);
    if (end < 0 && may_grow_freely())
        end = 0;
    if (end >= 0 && (uint64_t)end + length <= most_bytes())
        result = write_all(file, bytes, length) ? HW_APPENDED : HW_NO_FILE;
    if (file != own)
        hw_call(SYS_close, file, 0, 0, 0, 0, 0);
    return result;
}

long hw_record_maps(void)
{
    char first;
    long file = still_open(&maps_file);
    return file >= 0 && hw_call(SYS_pread64, file, (long)&first, 1, 0, 0, 0) == 1 ? file : -1;
}

const char *hw_record_maps_then(size_t *length)
{
    const text *t = atomic_load(&maps_then);
    *length = t ? t->length : 0;
    return t ? t->bytes : NULL;
}
