/* A process that becomes another user's may not open what its first user owns: the log, and its own /proc. */
#define _GNU_SOURCE
#include "os/record.h"
#include "os/system.h"

#include <dlfcn.h>
#include <errno.h>
#include <sys/types.h>

#define EXPORT __attribute__((visibility("default")))

static struct {
    int (*setuid)(uid_t);
    int (*seteuid)(uid_t);
    int (*setreuid)(uid_t, uid_t);
    int (*setresuid)(uid_t, uid_t, uid_t);
} next;

/* Early: looking them up needs libc's thread storage. */
__attribute__((constructor(102))) static void find_next(void)
{
    *(void **)&next.setuid = dlsym(RTLD_NEXT, "setuid");
    *(void **)&next.seteuid = dlsym(RTLD_NEXT, "seteuid");
    *(void **)&next.setreuid = dlsym(RTLD_NEXT, "setreuid");
    *(void **)&next.setresuid = dlsym(RTLD_NEXT, "setresuid");
}

#define CHANGE(function, ...)                                                                                          \
    if (HW_UNLIKELY(!next.function))                                                                                   \
        find_next();                                                                                                   \
    if (HW_UNLIKELY(!next.function)) {                                                                                 \
        errno = ENOSYS;                                                                                                \
        return -1;                                                                                                     \
    }                                                                                                                  \
    if (hw_has_libcs_storage())                                                                                        \
        hw_record_keep();                                                                                              \
    return next.function(__VA_ARGS__)

EXPORT int setuid(uid_t user)
{
    CHANGE(setuid, user);
}

EXPORT int seteuid(uid_t effective)
{
    CHANGE(seteuid, effective);
}

EXPORT int setreuid(uid_t real, uid_t effective)
{
    CHANGE(setreuid, real, effective);
}

EXPORT int setresuid(uid_t real, uid_t effective, uid_t saved)
{
    CHANGE(setresuid, real, effective, saved);
}
