/* Functions by which the kernel answers into structures of the program, of a size that is known: what of them leaves a
   trapped block is lent (loan.h). Where no traps are the real function is jumped to. */
#define _GNU_SOURCE
#include "loan.h"

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/times.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

/* `result name parameters`, which stores `bytes` at `to` unless it returns -1: the real one is called with `arguments`,
   in which `into` stands for `to`. */
#define ANSWERS(result, name, to, bytes, parameters, arguments)                                                        \
    EXPORT result name parameters                                                                                      \
    {                                                                                                                  \
        typedef result type parameters;                                                                                \
        NEXT(#name, type, (result)(-1));                                                                               \
        void *into = (void *)(to);                                                                                     \
        if (HW_LIKELY(!hw_leaves(into, bytes)))                                                                        \
            return next arguments;                                                                                     \
        hw_loans loans = {0};                                                                                          \
        into = hw_lend(&loans, into, bytes, HW_EMPTY);                                                                 \
        result done = next arguments;                                                                                  \
        if (done != (result)(-1))                                                                                      \
            hw_settle(&loans, into, bytes);                                                                            \
        hw_end_loans(&loans);                                                                                          \
        return done;                                                                                                   \
    }

ANSWERS(int, stat, to, sizeof *to, (const char *restrict path, struct stat *restrict to), (path, into))
ANSWERS(int, lstat, to, sizeof *to, (const char *restrict path, struct stat *restrict to), (path, into))
ANSWERS(int, fstat, to, sizeof *to, (int file, struct stat *to), (file, into))
ANSWERS(int, fstatat, to, sizeof *to, (int directory, const char *restrict path, struct stat *restrict to, int flags),
        (directory, path, into, flags))
ANSWERS(int, stat64, to, sizeof *to, (const char *restrict path, struct stat64 *restrict to), (path, into))
ANSWERS(int, lstat64, to, sizeof *to, (const char *restrict path, struct stat64 *restrict to), (path, into))
ANSWERS(int, fstat64, to, sizeof *to, (int file, struct stat64 *to), (file, into))
ANSWERS(int, fstatat64, to, sizeof *to,
        (int directory, const char *restrict path, struct stat64 *restrict to, int flags),
        (directory, path, into, flags))
/* As programs call them that were linked with a glibc before 2.33. */
ANSWERS(int, __xstat, to, sizeof *to, (int version, const char *path, struct stat *to), (version, path, into))
ANSWERS(int, __lxstat, to, sizeof *to, (int version, const char *path, struct stat *to), (version, path, into))
ANSWERS(int, __fxstat, to, sizeof *to, (int version, int file, struct stat *to), (version, file, into))
ANSWERS(int, statfs, to, sizeof *to, (const char *path, struct statfs *to), (path, into))
ANSWERS(int, fstatfs, to, sizeof *to, (int file, struct statfs *to), (file, into))
ANSWERS(int, uname, to, sizeof *to, (struct utsname * to), (into))
ANSWERS(int, sysinfo, to, sizeof *to, (struct sysinfo * to), (into))
ANSWERS(clock_t, times, to, sizeof *to, (struct tms * to), (into))
ANSWERS(int, getrusage, to, sizeof *to, (__rusage_who_t who, struct rusage *to), (who, into))
ANSWERS(int, getrlimit, to, sizeof *to, (__rlimit_resource_t what, struct rlimit *to), (what, into))
ANSWERS(int, getrlimit64, to, sizeof *to, (__rlimit_resource_t what, struct rlimit64 *to), (what, into))
ANSWERS(int, getitimer, to, sizeof *to, (__itimer_which_t which, struct itimerval *to), (which, into))
ANSWERS(int, setitimer, to, sizeof *to,
        (__itimer_which_t which, const struct itimerval *restrict set, struct itimerval *restrict to),
        (which, set, into))
ANSWERS(int, timerfd_gettime, to, sizeof *to, (int file, struct itimerspec *to), (file, into))
ANSWERS(int, sigpending, to, sizeof(long), (sigset_t * to), (into))
ANSWERS(int, pipe, to, 2 * sizeof(int), (int to[2]), (into))
ANSWERS(int, pipe2, to, 2 * sizeof(int), (int to[2], int flags), (into, flags))
ANSWERS(int, socketpair, to, 2 * sizeof(int), (int domain, int type_, int protocol, int to[2]),
        (domain, type_, protocol, into))
ANSWERS(pid_t, wait, to, sizeof *to, (int *to), (into))
ANSWERS(pid_t, waitpid, to, sizeof *to, (pid_t child, int *to, int options), (child, into, options))
ANSWERS(int, waitid, to, sizeof *to, (idtype_t kind, id_t child, siginfo_t *to, int options),
        (kind, child, into, options))
ANSWERS(int, tcgetattr, to, sizeof *to, (int file, struct termios *to), (file, into))

/* As many as the result says, each of the size of one. */
COUNTS(int, getgroups, to, sizeof *to, count > 0 ? count : 0, (int count, gid_t to[]), (count, into))
COUNTS(int, epoll_wait, to, sizeof *to, most > 0 ? most : 0, (int poll, struct epoll_event *to, int most, int limit),
       (poll, into, most, limit))
COUNTS(int, epoll_pwait, to, sizeof *to, most > 0 ? most : 0,
       (int poll, struct epoll_event *to, int most, int limit, const sigset_t *mask), (poll, into, most, limit, mask))
COUNTS(ssize_t, getxattr, to, 1, bytes, (const char *path, const char *name, void *to, size_t bytes),
       (path, name, into, bytes))
COUNTS(ssize_t, lgetxattr, to, 1, bytes, (const char *path, const char *name, void *to, size_t bytes),
       (path, name, into, bytes))
COUNTS(ssize_t, fgetxattr, to, 1, bytes, (int file, const char *name, void *to, size_t bytes),
       (file, name, into, bytes))
COUNTS(ssize_t, listxattr, to, 1, bytes, (const char *path, char *to, size_t bytes), (path, into, bytes))
COUNTS(ssize_t, getdents64, to, 1, bytes, (int file, void *to, size_t bytes), (file, into, bytes))

/* --- addresses, whose length is asked for and told -------------------------------------------------- */

static inline __attribute__((always_inline)) void settle_sized(const hw_loans *loans, void *into, size_t most,
                                                               void *length)
{
    size_t told = *(socklen_t *)length;
    hw_settle(loans, into, told < most ? told : most);
    hw_settle(loans, length, sizeof(socklen_t));
}

#define SIZED(name, to, length, parameters, arguments)                                                                 \
    EXPORT int name parameters                                                                                         \
    {                                                                                                                  \
        typedef int type parameters;                                                                                   \
        NEXT(#name, type, -1);                                                                                         \
        void *into = (void *)(to), *len = (void *)(length);                                                            \
        if (HW_LIKELY(!hw_traps_on) || !len || !into)                                                                  \
            return next arguments;                                                                                     \
        hw_loans loans = {0};                                                                                          \
        len = hw_lend(&loans, len, sizeof(socklen_t), HW_FILLED);                                                      \
        size_t most = *(socklen_t *)len;                                                                               \
        into = hw_lend(&loans, into, most, HW_EMPTY);                                                                  \
        int done = next arguments;                                                                                     \
        if (done >= 0)                                                                                                 \
            settle_sized(&loans, into, most, len);                                                                     \
        hw_end_loans(&loans);                                                                                          \
        return done;                                                                                                   \
    }

SIZED(getsockname, to, length, (int socket, struct sockaddr *restrict to, socklen_t *restrict length),
      (socket, into, len))
SIZED(getpeername, to, length, (int socket, struct sockaddr *restrict to, socklen_t *restrict length),
      (socket, into, len))
SIZED(accept, to, length, (int socket, struct sockaddr *restrict to, socklen_t *restrict length), (socket, into, len))
SIZED(accept4, to, length, (int socket, struct sockaddr *restrict to, socklen_t *restrict length, int flags),
      (socket, into, len, flags))
SIZED(getsockopt, to, length, (int socket, int level, int name, void *restrict to, socklen_t *restrict length),
      (socket, level, name, into, len))

/* --- what is asked and answered in one place -------------------------------------------------------- */

static inline __attribute__((always_inline)) void settle_polled(struct pollfd *own, const struct pollfd *room, nfds_t n)
{
    for (nfds_t i = 0; own != room && i < n; i++)
        hw_copy(&own[i].revents, &room[i].revents, sizeof own[i].revents);
}

EXPORT int poll(struct pollfd *all, nfds_t n, int limit)
{
    typedef int type(struct pollfd *, nfds_t, int);
    NEXT("poll", type, -1);
    if (HW_LIKELY(!hw_leaves(all, n * sizeof *all)))
        return next(all, n, limit);
    hw_loans loans = {0};
    struct pollfd *into = hw_lend(&loans, all, n * sizeof *all, HW_FILLED);
    int done = next(into, n, limit);
    if (done >= 0)
        settle_polled(all, into, n);
    hw_end_loans(&loans);
    return done;
}

EXPORT int ppoll(struct pollfd *all, nfds_t n, const struct timespec *limit, const sigset_t *mask)
{
    typedef int type(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *);
    NEXT("ppoll", type, -1);
    if (HW_LIKELY(!hw_leaves(all, n * sizeof *all)))
        return next(all, n, limit, mask);
    hw_loans loans = {0};
    struct pollfd *into = hw_lend(&loans, all, n * sizeof *all, HW_FILLED);
    int done = next(into, n, limit, mask);
    if (done >= 0)
        settle_polled(all, into, n);
    hw_end_loans(&loans);
    return done;
}

/* The kernel looks at whole words of sets. */
static size_t bytes_of_sets(int n)
{
    enum { WORD = 8 * sizeof(long) };
    return n > 0 ? ((size_t)n + WORD - 1) / WORD * sizeof(long) : 0;
}

EXPORT int select(int n, fd_set *restrict in, fd_set *restrict out, fd_set *restrict odd, struct timeval *restrict left)
{
    typedef int type(int, fd_set *, fd_set *, fd_set *, struct timeval *);
    NEXT("select", type, -1);
    if (HW_LIKELY(!hw_traps_on))
        return next(n, in, out, odd, left);
    hw_loans loans = {0};
    size_t bytes = bytes_of_sets(n);
    fd_set *set[] = {hw_lend(&loans, in, bytes, HW_FILLED), hw_lend(&loans, out, bytes, HW_FILLED),
                     hw_lend(&loans, odd, bytes, HW_FILLED)};
    struct timeval *limit = hw_lend(&loans, left, sizeof *left, HW_FILLED);
    int done = next(n, set[0], set[1], set[2], limit);
    for (unsigned i = 0; done >= 0 && i < 3; i++)
        hw_settle(&loans, set[i], bytes);
    hw_settle(&loans, limit, sizeof *limit);
    hw_end_loans(&loans);
    return done;
}

EXPORT int nanosleep(const struct timespec *asked, struct timespec *left)
{
    typedef int type(const struct timespec *, struct timespec *);
    NEXT("nanosleep", type, -1);
    if (HW_LIKELY(!hw_leaves(left, sizeof *left)))
        return next(asked, left);
    hw_loans loans = {0};
    struct timespec *into = hw_lend(&loans, left, sizeof *left, HW_EMPTY);
    int done = next(asked, into);
    if (done < 0 && errno == EINTR)
        hw_settle(&loans, into, sizeof *into);
    hw_end_loans(&loans);
    return done;
}

/* Of requests that are older than those which tell it in their number. */
static size_t bytes_of_request(unsigned long request)
{
    switch (request) {
    case TCGETS:
        return 36; /* as the kernel has it, which is less than libc's struct termios */
    case TIOCGWINSZ:
        return sizeof(struct winsize);
    case FIONREAD:
    case TIOCOUTQ:
    case TIOCGPGRP:
    case TIOCGSID:
    case TIOCMGET:
    case TIOCGETD:
        return sizeof(int);
    default:
        return _IOC_DIR(request) & _IOC_READ ? _IOC_SIZE(request) : 0;
    }
}

EXPORT int ioctl(int file, unsigned long request, ...)
{
    typedef int type(int, unsigned long, void *);
    __builtin_va_list more;
    __builtin_va_start(more, request);
    void *argument = __builtin_va_arg(more, void *);
    __builtin_va_end(more);
    NEXT("ioctl", type, -1);
    size_t bytes = HW_LIKELY(!hw_traps_on) ? 0 : bytes_of_request(request);
    if (HW_LIKELY(!bytes || !hw_leaves(argument, bytes)))
        return next(file, request, argument);
    hw_loans loans = {0};
    void *into = hw_lend(&loans, argument, bytes, _IOC_DIR(request) & _IOC_WRITE ? HW_FILLED : HW_EMPTY);
    int done = next(file, request, into);
    if (done >= 0)
        hw_settle(&loans, into, bytes);
    hw_end_loans(&loans);
    return done;
}

/* By prctl and a file of /proc, which the kernel stores there. */
EXPORT int pthread_getname_np(pthread_t thread, char *to, size_t bytes)
{
    typedef int type(pthread_t, char *, size_t);
    NEXT("pthread_getname_np", type, ENOSYS);
    if (HW_LIKELY(!hw_leaves(to, bytes)))
        return next(thread, to, bytes);
    hw_loans loans = {0};
    char *into = hw_lend(&loans, to, bytes, HW_EMPTY);
    int done = next(thread, into, bytes);
    if (done == 0)
        hw_settle(&loans, into, strnlen(into, bytes) + 1);
    hw_end_loans(&loans);
    return done;
}
