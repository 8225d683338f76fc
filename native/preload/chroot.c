/* A process that changes its root loses the way to the supervisor's socket and to the file of records. */
#define _GNU_SOURCE
#include "record.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

__attribute__((visibility("default"))) int chroot(const char *path)
{
    hw_record_keep();
    int result = (int)syscall(SYS_chroot, path);
    int number = errno;
    if (result != 0)
        hw_record_forget();
    errno = number;
    return result;
}
