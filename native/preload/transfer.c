/* Functions by which the kernel stores into a program's memory, or reads it. At a trapped block's guard the kernel does
   not fault: the call fails, or does less than it would have. So where the bytes that are asked for leave such a block,
   others are given to the kernel, and what it did is copied here, where a trap catches it.

   All else goes on to the real function by a jump, so that it is what the program called. */
#define _GNU_SOURCE
#include "loan.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>

COUNTS(ssize_t, read, to, 1, bytes, (int file, void *to, size_t bytes), (file, into, bytes))
COUNTS(ssize_t, pread, to, 1, bytes, (int file, void *to, size_t bytes, off_t at), (file, into, bytes, at))
COUNTS(ssize_t, pread64, to, 1, bytes, (int file, void *to, size_t bytes, off64_t at), (file, into, bytes, at))
COUNTS(ssize_t, recv, to, 1, bytes, (int socket, void *to, size_t bytes, int flags), (socket, into, bytes, flags))
COUNTS(ssize_t, recvfrom, to, 1, bytes,
       (int socket, void *to, size_t bytes, int flags, struct sockaddr *restrict peer, socklen_t *restrict length),
       (socket, into, bytes, flags, peer, length))
COUNTS(ssize_t, readlink, to, 1, bytes, (const char *restrict path, char *restrict to, size_t bytes),
       (path, into, bytes))
COUNTS(ssize_t, readlinkat, to, 1, bytes, (int directory, const char *restrict path, char *restrict to, size_t bytes),
       (directory, path, into, bytes))
COUNTS(ssize_t, getrandom, to, 1, bytes, (void *to, size_t bytes, unsigned flags), (into, bytes, flags))

EXPORT char *getcwd(char *to, size_t bytes)
{
    typedef char *type(char *, size_t);
    NEXT("getcwd", type, NULL);
    if (HW_LIKELY(!hw_leaves(to, bytes)))
        return next(to, bytes);
    hw_loans loans = {0};
    char *into = hw_lend(&loans, to, bytes, HW_EMPTY);
    bool done = next(into, bytes) != NULL;
    if (done)
        hw_settle(&loans, into, strlen(into) + 1);
    hw_end_loans(&loans);
    return done ? to : NULL;
}

/* Of much at once libc lets the kernel store right there. */
EXPORT size_t fread(void *restrict to, size_t each, size_t count, FILE *restrict file)
{
    typedef size_t type(void *, size_t, size_t, FILE *);
    NEXT("fread", type, 0);
    size_t bytes;
    bool sane = each && !__builtin_mul_overflow(each, count, &bytes);
    if (HW_LIKELY(!sane || !hw_leaves(to, bytes)))
        return next(to, each, count, file);
    hw_loans loans = {0};
    void *into = hw_lend(&loans, to, bytes, HW_EMPTY);
    size_t got = next(into, 1, bytes, file);
    hw_settle(&loans, into, got);
    hw_end_loans(&loans);
    return got / each;
}

/* `ssize_t name parameters`, which reads `bytes` at most from `from`: the real one is called with `arguments`, in which
   `into` stands for `from`. */
#define READS(name, from, bytes, parameters, arguments)                                                                \
    EXPORT ssize_t name parameters                                                                                     \
    {                                                                                                                  \
        typedef ssize_t type parameters;                                                                               \
        NEXT(#name, type, -1);                                                                                         \
        const void *into = from;                                                                                       \
        if (HW_LIKELY(!hw_leaves(into, bytes)))                                                                        \
            return next arguments;                                                                                     \
        hw_loans loans = {0};                                                                                          \
        into = hw_lend(&loans, (void *)(uintptr_t)into, bytes, HW_FILLED);                                             \
        ssize_t done = next arguments;                                                                                 \
        hw_end_loans(&loans);                                                                                          \
        return done;                                                                                                   \
    }

READS(write, from, bytes, (int file, const void *from, size_t bytes), (file, into, bytes))
READS(pwrite, from, bytes, (int file, const void *from, size_t bytes, off_t at), (file, into, bytes, at))
READS(pwrite64, from, bytes, (int file, const void *from, size_t bytes, off64_t at), (file, into, bytes, at))
READS(send, from, bytes, (int socket, const void *from, size_t bytes, int flags), (socket, into, bytes, flags))
