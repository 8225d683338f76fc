/* What programs call that were compiled with _FORTIFY_SOURCE, in place of the functions by which the kernel stores.
   Where libc would not end the program it does no more than those. */
#define _GNU_SOURCE
#include "loan.h"

#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

/* `result name parameters`, the last of them `have`, the bytes that are there. */
#define FORTIFIED(result, name, failed, bytes, parameters, arguments, plain)                                           \
    EXPORT result name parameters;                                                                                     \
    EXPORT result name parameters                                                                                      \
    {                                                                                                                  \
        typedef result type parameters;                                                                                \
        if (HW_LIKELY((bytes) <= have))                                                                                \
            return plain;                                                                                              \
        NEXT(#name, type, failed);                                                                                     \
        return next arguments;                                                                                         \
    }

FORTIFIED(ssize_t, __read_chk, -1, bytes, (int file, void *to, size_t bytes, size_t have), (file, to, bytes, have),
          read(file, to, bytes))
FORTIFIED(ssize_t, __pread_chk, -1, bytes, (int file, void *to, size_t bytes, off_t at, size_t have),
          (file, to, bytes, at, have), pread(file, to, bytes, at))
FORTIFIED(ssize_t, __pread64_chk, -1, bytes, (int file, void *to, size_t bytes, off64_t at, size_t have),
          (file, to, bytes, at, have), pread64(file, to, bytes, at))
FORTIFIED(ssize_t, __recv_chk, -1, bytes, (int socket, void *to, size_t bytes, size_t have, int flags),
          (socket, to, bytes, have, flags), recv(socket, to, bytes, flags))
FORTIFIED(ssize_t, __readlink_chk, -1, bytes, (const char *path, char *to, size_t bytes, size_t have),
          (path, to, bytes, have), readlink(path, to, bytes))
FORTIFIED(char *, __getcwd_chk, NULL, bytes, (char *to, size_t bytes, size_t have), (to, bytes, have),
          getcwd(to, bytes))
FORTIFIED(int, __poll_chk, -1, n * sizeof *all, (struct pollfd * all, nfds_t n, int limit, size_t have),
          (all, n, limit, have), poll(all, n, limit))
