/* A process that changes its root loses the way to the supervisor's socket and to the file of records. */
#define _GNU_SOURCE
#include "os/next.h"
#include "os/record.h"
#include "os/system.h"

#include <sys/syscall.h>
#include <unistd.h>

/* Another library's, such as fakechroot's, if there is one. */
static int (*next)(const char *);

HW_FOLLOWER follower = {"chroot", &next};

static int change_root(const char *path)
{
    return next ? next(path) : (int)syscall(SYS_chroot, path);
}

__attribute__((visibility("default"))) int chroot(const char *path)
{
    if (!hw_has_libcs_storage()) /* there is no errno either */
        return change_root(path);
    hw_record_keep();
    int result = change_root(path);
    if (result != 0)
        hw_record_forget();
    return result;
}
