/* A process that allows itself hardly any descriptors: what the engine needs of files is opened before. One that locks
   all of its memory, which the kernel limits: the engine takes as little address space as can be. */
#define _GNU_SOURCE
#include "os/next.h"
#include "os/record.h"
#include "os/space.h"
#include "os/system.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/types.h>

#define EXPORT __attribute__((visibility("default")))

typedef int setter(int, const struct rlimit *);
typedef int setter64(int, const struct rlimit64 *);
typedef int changer(pid_t, int, const struct rlimit *, struct rlimit *);
typedef int changer64(pid_t, int, const struct rlimit64 *, struct rlimit64 *);
typedef int locker(int);
typedef int unlocker(void);

#define GO(function, type, ...)                                                                                        \
    NEXT(#function, type, -1);                                                                                         \
    return next(__VA_ARGS__)

EXPORT int setrlimit(__rlimit_resource_t resource, const struct rlimit *limit)
{
    hw_descriptors_limited(0, (int)resource, limit);
    GO(setrlimit, setter, (int)resource, limit);
}

EXPORT int setrlimit64(__rlimit_resource_t resource, const struct rlimit64 *limit)
{
    hw_descriptors_limited(0, (int)resource, (const struct rlimit *)limit); /* the same, where `long` has 64 bits */
    GO(setrlimit64, setter64, (int)resource, limit);
}

EXPORT int prlimit(pid_t process, enum __rlimit_resource resource, const struct rlimit *limit, struct rlimit *old)
{
    hw_descriptors_limited(process, (int)resource, limit);
    GO(prlimit, changer, process, (int)resource, limit, old);
}

EXPORT int prlimit64(pid_t process, enum __rlimit_resource resource, const struct rlimit64 *limit, struct rlimit64 *old)
{
    hw_descriptors_limited(process, (int)resource, (const struct rlimit *)limit);
    GO(prlimit64, changer64, process, (int)resource, limit, old);
}

static int lock_all(int flags)
{
    GO(mlockall, locker, flags);
}

EXPORT int mlockall(int flags)
{
    int result = lock_all(flags);
    if (result == 0)
        hw_space_is_locked(flags & MCL_FUTURE);
    return result;
}

EXPORT int munlockall(void)
{
    hw_space_is_locked(false);
    GO(munlockall, unlocker);
}
