/* A process that becomes another user's may not open what its first user owns: the log, and its own /proc. */
#define _GNU_SOURCE
#include "os/next.h"
#include "os/record.h"
#include "os/system.h"

#include <sys/types.h>

#define EXPORT __attribute__((visibility("default")))

#define CHANGE(function, type, ...)                                                                                    \
    NEXT(#function, type, -1);                                                                                         \
    if (hw_has_libcs_storage())                                                                                        \
        hw_record_keep();                                                                                              \
    return next(__VA_ARGS__)

typedef int setter(uid_t);
typedef int setter_of_two(uid_t, uid_t);
typedef int setter_of_three(uid_t, uid_t, uid_t);

EXPORT int setuid(uid_t user)
{
    CHANGE(setuid, setter, user);
}

EXPORT int seteuid(uid_t effective)
{
    CHANGE(seteuid, setter, effective);
}

EXPORT int setreuid(uid_t real, uid_t effective)
{
    CHANGE(setreuid, setter_of_two, real, effective);
}

EXPORT int setresuid(uid_t real, uid_t effective, uid_t saved)
{
    CHANGE(setresuid, setter_of_three, real, effective, saved);
}
