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

/* Inlined, so that no jump takes the frame of the function that the program called. */
static inline __attribute__((always_inline)) ssize_t give(void *to, char *room, size_t bytes, ssize_t got)
{
    if (got > 0)
        hw_copy(to, room, (size_t)got < bytes ? (size_t)got : bytes);
    hw_unmap(room, hw_round_up(bytes, hw_page()));
    return got;
}

/* A function that stores `bytes` at most at `to`, and returns how many: `call` with `to` as it should be. */
#define STORES(to, bytes, call)                                                                                        \
    do {                                                                                                               \
        char *room = hw_leaves(to, bytes) ? hw_room_for(bytes) : NULL;                                                 \
        if (HW_UNLIKELY(room != NULL)) {                                                                               \
            void *into = room;                                                                                         \
            return give(to, room, bytes, call);                                                                        \
        }                                                                                                              \
    } while (0)

/* The same of a function that reads. */
#define READS(from, bytes, call)                                                                                       \
    do {                                                                                                               \
        char *room = hw_leaves(from, bytes) ? hw_room_for(bytes) : NULL;                                               \
        if (HW_UNLIKELY(room != NULL)) {                                                                               \
            hw_copy(room, from, bytes);                                                                                \
            const void *into = room;                                                                                   \
            ssize_t done = call;                                                                                       \
            hw_unmap(room, hw_round_up(bytes, hw_page()));                                                             \
            return done;                                                                                               \
        }                                                                                                              \
    } while (0)

typedef ssize_t read_function(int, void *, size_t);
EXPORT ssize_t read(int file, void *to, size_t bytes)
{
    NEXT("read", read_function, -1);
    STORES(to, bytes, next(file, into, bytes));
    return next(file, to, bytes);
}

typedef ssize_t pread_function(int, void *, size_t, off_t);
EXPORT ssize_t pread(int file, void *to, size_t bytes, off_t at)
{
    NEXT("pread", pread_function, -1);
    STORES(to, bytes, next(file, into, bytes, at));
    return next(file, to, bytes, at);
}

EXPORT ssize_t pread64(int file, void *to, size_t bytes, off_t at)
{
    NEXT("pread64", pread_function, -1);
    STORES(to, bytes, next(file, into, bytes, at));
    return next(file, to, bytes, at);
}

typedef ssize_t recv_function(int, void *, size_t, int);
EXPORT ssize_t recv(int socket, void *to, size_t bytes, int flags)
{
    NEXT("recv", recv_function, -1);
    STORES(to, bytes, next(socket, into, bytes, flags));
    return next(socket, to, bytes, flags);
}

typedef ssize_t recvfrom_function(int, void *, size_t, int, struct sockaddr *, socklen_t *);
EXPORT ssize_t recvfrom(int socket, void *to, size_t bytes, int flags, struct sockaddr *restrict peer,
                        socklen_t *restrict length)
{
    NEXT("recvfrom", recvfrom_function, -1);
    STORES(to, bytes, next(socket, into, bytes, flags, peer, length));
    return next(socket, to, bytes, flags, peer, length);
}

typedef ssize_t readlink_function(const char *, char *, size_t);
EXPORT ssize_t readlink(const char *restrict path, char *restrict to, size_t bytes)
{
    NEXT("readlink", readlink_function, -1);
    STORES(to, bytes, next(path, into, bytes));
    return next(path, to, bytes);
}

typedef ssize_t readlinkat_function(int, const char *, char *, size_t);
EXPORT ssize_t readlinkat(int directory, const char *restrict path, char *restrict to, size_t bytes)
{
    NEXT("readlinkat", readlinkat_function, -1);
    STORES(to, bytes, next(directory, path, into, bytes));
    return next(directory, path, to, bytes);
}

typedef ssize_t getrandom_function(void *, size_t, unsigned);
EXPORT ssize_t getrandom(void *to, size_t bytes, unsigned flags)
{
    NEXT("getrandom", getrandom_function, -1);
    STORES(to, bytes, next(into, bytes, flags));
    return next(to, bytes, flags);
}

typedef char *getcwd_function(char *, size_t);
EXPORT char *getcwd(char *to, size_t bytes)
{
    NEXT("getcwd", getcwd_function, NULL);
    char *room = hw_leaves(to, bytes) ? hw_room_for(bytes) : NULL;
    if (HW_UNLIKELY(room != NULL)) {
        bool done = next(room, bytes) != NULL;
        give(to, room, bytes, done ? (ssize_t)strlen(room) + 1 : 0);
        return done ? to : NULL;
    }
    return next(to, bytes);
}

/* Of much at once libc lets the kernel store right there. */
typedef size_t fread_function(void *, size_t, size_t, FILE *);
EXPORT size_t fread(void *restrict to, size_t each, size_t count, FILE *restrict file)
{
    NEXT("fread", fread_function, 0);
    size_t bytes;
    bool sane = each && !__builtin_mul_overflow(each, count, &bytes);
    char *room = sane && hw_leaves(to, bytes) ? hw_room_for(bytes) : NULL;
    if (HW_UNLIKELY(room != NULL))
        return (size_t)give(to, room, bytes, (ssize_t)next(room, 1, bytes, file)) / each;
    return next(to, each, count, file);
}

typedef ssize_t write_function(int, const void *, size_t);
EXPORT ssize_t write(int file, const void *from, size_t bytes)
{
    NEXT("write", write_function, -1);
    READS(from, bytes, next(file, into, bytes));
    return next(file, from, bytes);
}

typedef ssize_t pwrite_function(int, const void *, size_t, off_t);
EXPORT ssize_t pwrite(int file, const void *from, size_t bytes, off_t at)
{
    NEXT("pwrite", pwrite_function, -1);
    READS(from, bytes, next(file, into, bytes, at));
    return next(file, from, bytes, at);
}

EXPORT ssize_t pwrite64(int file, const void *from, size_t bytes, off_t at)
{
    NEXT("pwrite64", pwrite_function, -1);
    READS(from, bytes, next(file, into, bytes, at));
    return next(file, from, bytes, at);
}

typedef ssize_t send_function(int, const void *, size_t, int);
EXPORT ssize_t send(int socket, const void *from, size_t bytes, int flags)
{
    NEXT("send", send_function, -1);
    READS(from, bytes, next(socket, into, bytes, flags));
    return next(socket, from, bytes, flags);
}
