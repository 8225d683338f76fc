#define _GNU_SOURCE
#include "tell/send.h"

#include "os/confined.h"
#include "os/copy.h"
#include "os/record.h"
#include "stacks/named.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

enum { ANSWER = 256 /* words */ };

_Atomic uint64_t hw_dropped;

static long connect_to(long fd, const char *path, size_t length)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    memcpy(to.sun_path, path, length);
    return hw_call(SYS_connect, fd, (long)&to, (long)(offsetof(struct sockaddr_un, sun_path) + length + 1), 0, 0, 0);
}

static long connect_by_path(long fd)
{
    return connect_to(fd, hw_setting.socket, strlen(hw_setting.socket));
}

/* By what was kept of the path before the process became another user's. */
static long connect_by_descriptor(long fd)
{
    char path[sizeof "/proc/self/fd/" + 20] = "/proc/self/fd/", digits[24];
    long kept = hw_record_socket();
    if (kept < 0)
        return -ENOENT;
    strcat(path, hw_decimal(digits + sizeof digits, (unsigned long)kept));
    return connect_to(fd, path, strlen(path));
}

/* Where the path leads nowhere, as in a sandbox with a /tmp of its own: the same as a name that needs no file. Anybody
   can take such a name, so it has to be this user's. */
static bool connects_by_name(long fd)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    struct ucred peer = {0};
    socklen_t size = sizeof peer;
    size_t length = strlen(hw_setting.socket);
    if (length + 1 > sizeof to.sun_path)
        return false;
    memcpy(to.sun_path + 1, hw_setting.socket, length);
    return hw_call(SYS_connect, fd, (long)&to, (long)(offsetof(struct sockaddr_un, sun_path) + length + 1), 0, 0, 0) ==
               0 &&
           hw_call(SYS_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, (long)&peer, (long)&size, 0) == 0 &&
           peer.uid == (uid_t)hw_call(SYS_geteuid, 0, 0, 0, 0, 0, 0);
}

/* A supervisor that was waited for in vain is not waited for again, but for a moment now and then. */
enum { ASK_AGAIN_MS = 1000, ASK_SHORTLY_MS = 20 };
static _Atomic uint64_t hung_at; /* 0: it answers */

static void note_hang(void)
{
    atomic_store(&hung_at, hw_milliseconds() | 1);
}

/* Milliseconds; 0: it is not worth asking. */
static unsigned wait_for_answer(void)
{
    uint64_t since = atomic_load(&hung_at);
    if (!since)
        return hw_setting.wait_ms ? hw_setting.wait_ms : 1;
    return hw_milliseconds() - since < ASK_AGAIN_MS ? 0 : ASK_SHORTLY_MS;
}

/* Returns the connection, or a negative number when nobody takes the message. */
long hw_send(const hw_message *m)
{
    unsigned wait = hw_setting.socket[0] ? wait_for_answer() : 0;
    if (!wait)
        return -1;
    long fd = hw_call_for_file(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, 0);
    if (fd < 0)
        return -1;
    /* A supervisor that hangs must not hang the program: the send is bounded, too. */
    struct timeval most = {.tv_sec = wait / 1000, .tv_usec = wait % 1000 * 1000L};
    uint64_t until = hw_milliseconds() + wait;
    hw_call(SYS_setsockopt, fd, SOL_SOCKET, SO_SNDTIMEO, (long)&most, sizeof most, 0);
    if ((connect_by_path(fd) == 0 || connect_by_descriptor(fd) == 0 || connects_by_name(fd)) &&
        hw_call(SYS_sendto, fd, (long)m->bytes, (long)m->used, MSG_NOSIGNAL, 0, 0) == (long)m->used)
        return fd;
    if (hw_milliseconds() >= until)
        note_hang();
    hw_call(SYS_close, fd, 0, 0, 0, 0, 0);
    return -1;
}

/* Where Yama lets only ancestors read a process's memory (kernel.yama.ptrace_scope of 1), the supervisor of a daemon
   needs its leave. Given once, before the program can give its own to somebody else; elsewhere it has no effect. */
static void let_peer_read(long fd)
{
    struct ucred peer = {0};
    socklen_t length = sizeof peer;
    if (hw_call(SYS_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, (long)&peer, (long)&length, 0) == 0 && peer.pid > 0)
        hw_call(SYS_prctl, PR_SET_PTRACER, peer.pid, 0, 0, 0, 0);
}

bool hw_send_only(const hw_message *m, bool first)
{
    long fd = hw_send(m);
    if (fd < 0)
        return false;
    if (first)
        let_peer_read(fd);
    hw_call(SYS_close, fd, 0, 0, 0, 0, 0);
    return true;
}

/* Wait for the answer, and end the connection. */
char hw_hear(long fd)
{
    char answer = 0;
    long ready = 0;
    uint64_t said[ANSWER] = {0};
    uint64_t end = hw_milliseconds() + wait_for_answer(), now;
    while ((now = hw_milliseconds()) < end) {
        struct pollfd wait = {.fd = (int)fd, .events = POLLIN};
        struct timespec span = {.tv_sec = (long)(end - now) / 1000, .tv_nsec = (long)((end - now) % 1000) * 1000000};
        ready = hw_call(SYS_ppoll, (long)&wait, 1, (long)&span, 0, 0, 0);
        if (ready == -EINTR)
            continue;
        long got = ready == 1 ? hw_call(SYS_recvfrom, fd, (long)said, sizeof said, 0, 0, 0) : 0;
        if (got > 0)
            memcpy(&answer, said, 1);
        if (got > (long)sizeof said[0]) {
            hw_traps_add(said + 1, (size_t)got / sizeof said[0] - 1);
            hw_arenas_forget_trapped();
        }
        break;
    }
    if (ready == 1)
        atomic_store(&hung_at, 0);
    else
        note_hang();
    hw_call(SYS_close, fd, 0, 0, 0, 0, 0);
    return answer == 'g' || answer == 'a' || answer == 's' ? answer : 0;
}

char hw_ask(const hw_message *m)
{
    long fd = hw_send(m);
    return fd < 0 ? 0 : hw_hear(fd);
}

/* By a socket of another type, which who listens never sees: where nobody does, that is said first. */
bool hw_supervisor_is_gone(void)
{
    if (!hw_setting.socket[0])
        return false;
    long fd = hw_call_for_file(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, 0);
    if (fd < 0)
        return false;
    bool gone = connect_by_path(fd) == -ECONNREFUSED || connect_by_descriptor(fd) == -ECONNREFUSED;
    hw_call(SYS_close, fd, 0, 0, 0, 0, 0);
    return gone;
}

/* The first process of a log makes it, and later ones may be another user's. */
static void say_forbidden(void)
{
    static _Atomic uint32_t said; /* children of forks do not say it again */
    static const char text[] = "heapwitness: the log belongs to another user, or is denied to this process, which may "
                               "not write to it: what is found here cannot be told; a log that all may write to "
                               "(chmod a+w) takes it\n";
    if (atomic_exchange(&said, 1) == 0)
        hw_say(text, sizeof text - 1);
}

static bool append(void *argument)
{
    const hw_message *m = argument;
    enum hw_appended result = hw_record_append(m->bytes, m->used);
    if (result == HW_FILE_IS_FULL)
        atomic_fetch_add(&hw_dropped, 1);
    if (result == HW_FORBIDDEN_FILE)
        say_forbidden();
    return result == HW_APPENDED;
}

bool hw_append(const hw_message *m)
{
    return hw_setting.log[0] && (hw_record_is_open() ? append((void *)m) : hw_with_descriptor(append, (void *)m));
}
