/* Functions by which the kernel stores into several buffers at once, or reads them (loan.h). */
#define _GNU_SOURCE
#include "loan.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* As many buffers as are looked at; where there are more the kernel is asked as it is. */
enum { BUFFERS = 64 };

typedef struct vector {
    hw_loans loans;
    struct iovec all[BUFFERS];
    unsigned count;
} vector;

/* False: none leaves a trapped block, or there are too many, and `v` says nothing. */
static inline __attribute__((always_inline)) bool lend_all(vector *v, const struct iovec *own, size_t count,
                                                           enum hw_lending how)
{
    v->loans.count = 0;
    v->count = (unsigned)count;
    if (!own || count > BUFFERS)
        return false;
    for (unsigned i = 0; i < count; i++)
        v->all[i] = (struct iovec){hw_lend(&v->loans, own[i].iov_base, own[i].iov_len, how), own[i].iov_len};
    return v->loans.count != 0;
}

/* So many bytes were stored, from the first buffer on. */
static inline __attribute__((always_inline)) void settle_all(const vector *v, ssize_t stored)
{
    size_t left = stored > 0 ? (size_t)stored : 0;
    for (unsigned i = 0; i < v->count && left; i++) {
        size_t here = left < v->all[i].iov_len ? left : v->all[i].iov_len;
        hw_settle(&v->loans, v->all[i].iov_base, here);
        left -= here;
    }
}

/* `name parameters` has the buffers `own`, `count` of them; the real one is called with `arguments`, in which `all`
   stands for `own`. */
#define VECTOR(name, how, parameters, arguments)                                                                       \
    EXPORT ssize_t name parameters                                                                                     \
    {                                                                                                                  \
        typedef ssize_t type parameters;                                                                               \
        NEXT(#name, type, -1);                                                                                         \
        const struct iovec *all = own;                                                                                 \
        if (HW_LIKELY(!hw_traps_on))                                                                                   \
            return next arguments;                                                                                     \
        vector v;                                                                                                      \
        if (lend_all(&v, own, count > 0 ? (size_t)count : 0, how))                                                     \
            all = v.all;                                                                                               \
        ssize_t done = next arguments;                                                                                 \
        if (how == HW_EMPTY)                                                                                           \
            settle_all(&v, done);                                                                                      \
        hw_end_loans(&v.loans);                                                                                        \
        return done;                                                                                                   \
    }

VECTOR(readv, HW_EMPTY, (int file, const struct iovec *own, int count), (file, all, count))
VECTOR(preadv, HW_EMPTY, (int file, const struct iovec *own, int count, off_t at), (file, all, count, at))
VECTOR(preadv64, HW_EMPTY, (int file, const struct iovec *own, int count, off64_t at), (file, all, count, at))
VECTOR(writev, HW_FILLED, (int file, const struct iovec *own, int count), (file, all, count))
VECTOR(pwritev, HW_FILLED, (int file, const struct iovec *own, int count, off_t at), (file, all, count, at))
VECTOR(pwritev64, HW_FILLED, (int file, const struct iovec *own, int count, off64_t at), (file, all, count, at))

/* A message whose buffers are lent; the name of its sender, too. */
typedef struct letter {
    vector v;
    struct msghdr header;
} letter;

static inline __attribute__((always_inline)) bool open_letter(letter *l, const struct msghdr *own, enum hw_lending how)
{
    l->header = *own;
    bool lent = lend_all(&l->v, own->msg_iov, own->msg_iovlen, how);
    if (lent)
        l->header.msg_iov = l->v.all;
    if (how == HW_EMPTY && own->msg_iovlen <= BUFFERS) {
        l->header.msg_name = hw_lend(&l->v.loans, own->msg_name, own->msg_namelen, how);
        l->header.msg_control = hw_lend(&l->v.loans, own->msg_control, own->msg_controllen, how);
    }
    return l->v.loans.count != 0;
}

static inline __attribute__((always_inline)) void close_letter(letter *l, struct msghdr *own, ssize_t stored)
{
    settle_all(&l->v, stored);
    if (stored >= 0) {
        hw_settle(&l->v.loans, l->header.msg_name, l->header.msg_namelen);
        hw_settle(&l->v.loans, l->header.msg_control, l->header.msg_controllen);
        own->msg_namelen = l->header.msg_namelen;
        own->msg_controllen = l->header.msg_controllen;
        own->msg_flags = l->header.msg_flags;
    }
    hw_end_loans(&l->v.loans);
}

EXPORT ssize_t recvmsg(int socket, struct msghdr *own, int flags)
{
    typedef ssize_t type(int, struct msghdr *, int);
    NEXT("recvmsg", type, -1);
    letter l;
    if (HW_LIKELY(!hw_traps_on) || !own || !open_letter(&l, own, HW_EMPTY))
        return next(socket, own, flags);
    ssize_t got = next(socket, &l.header, flags);
    close_letter(&l, own, got);
    return got;
}

EXPORT ssize_t sendmsg(int socket, const struct msghdr *own, int flags)
{
    typedef ssize_t type(int, const struct msghdr *, int);
    NEXT("sendmsg", type, -1);
    letter l;
    if (HW_LIKELY(!hw_traps_on) || !own || !open_letter(&l, own, HW_FILLED))
        return next(socket, own, flags);
    ssize_t sent = next(socket, &l.header, flags);
    hw_end_loans(&l.v.loans);
    return sent;
}

/* Messages one by one, where one of them leaves a trapped block; as recvmmsg does after the first with MSG_WAITFORONE.
 */
static inline __attribute__((always_inline)) bool any_leaves(const struct mmsghdr *all, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        for (size_t k = 0; k < all[i].msg_hdr.msg_iovlen; k++)
            if (hw_leaves(all[i].msg_hdr.msg_iov[k].iov_base, all[i].msg_hdr.msg_iov[k].iov_len))
                return true;
    return false;
}

EXPORT int recvmmsg(int socket, struct mmsghdr *all, unsigned count, int flags, struct timespec *limit)
{
    typedef int type(int, struct mmsghdr *, unsigned, int, struct timespec *);
    NEXT("recvmmsg", type, -1);
    if (HW_LIKELY(!hw_traps_on) || !all || limit || !any_leaves(all, count))
        return next(socket, all, count, flags, limit);
    unsigned got = 0;
    for (int with = flags & ~MSG_WAITFORONE; got < count; got++) {
        letter l;
        open_letter(&l, &all[got].msg_hdr, HW_EMPTY);
        struct mmsghdr one = {.msg_hdr = l.header};
        if (next(socket, &one, 1, with, NULL) != 1) {
            hw_end_loans(&l.v.loans);
            break;
        }
        l.header = one.msg_hdr;
        all[got].msg_len = one.msg_len;
        close_letter(&l, &all[got].msg_hdr, (ssize_t)one.msg_len);
        with |= flags & MSG_WAITFORONE ? MSG_DONTWAIT : 0;
    }
    return got ? (int)got : -1;
}
