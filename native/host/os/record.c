#define _GNU_SOURCE
#include "os/record.h"

#include "os/settings.h"
#include "os/system.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* A program that is damaged for ever must not fill the disk. */
enum { LOG_MOST = 256 << 20 };
/* Where programs do not expect their own descriptors. */
enum { HIGH = 500 };

/* An open file that the program may have closed, and its number be used for something else, meanwhile. */
typedef struct kept {
    _Atomic long file; /* descriptor + 1, 0 for none */
    _Atomic uint64_t device, inode;
} kept;
static kept log_file, maps_file;

enum { TEXT_MOST = 1 << 20 };
typedef struct text {
    size_t length;
    char bytes[TEXT_MOST];
} text;
static text *_Atomic maps_then;

static bool identify(long file, struct stat *found)
{
    return hw_call(SYS_fstat, file, (long)found, 0, 0, 0, 0) == 0;
}

/* Negative: it is not there any more. */
static long still_open(kept *k)
{
    struct stat found;
    long file = atomic_load(&k->file) - 1;
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

static long open_log(void)
{
    if (hw_set.log[0] == 0)
        return -1;
    return hw_call(SYS_openat, AT_FDCWD, (long)hw_set.log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600, 0, 0);
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

void hw_record_keep(void)
{
    if (hw_set.log[0] == 0 || still_open(&log_file) >= 0)
        return;
    keep(&log_file, open_log());
    keep(&maps_file, hw_call(SYS_openat, AT_FDCWD, (long)"/proc/self/maps", O_RDONLY | O_CLOEXEC, 0, 0, 0));
    read_maps();
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
    forget(&log_file);
    forget(&maps_file);
    text *t = atomic_exchange(&maps_then, NULL);
    if (t)
        hw_unmap(t, sizeof *t);
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

void hw_say(const char *text, size_t length)
{
    if (still_open(&said_to) == 2)
        hw_call(SYS_write, 2, (long)text, (long)length, 0, 0, 0);
}

static bool write_all(long file, const unsigned char *bytes, size_t length)
{
    for (size_t done = 0; done < length;) {
        long wrote = hw_call(SYS_write, file, (long)(bytes + done), (long)(length - done), 0, 0, 0);
        if (wrote == -EINTR)
            continue;
        if (wrote <= 0)
            return false;
        done += (size_t)wrote;
    }
    return true;
}

enum hw_appended hw_record_append(const void *bytes, size_t length)
{
    long own = still_open(&log_file), file = own >= 0 ? own : open_log();
    if (file < 0)
        return HW_NO_FILE;
    enum hw_appended result = HW_FILE_IS_FULL;
    if (hw_call(SYS_lseek, file, 0, SEEK_END, 0, 0, 0) <= LOG_MOST)
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
