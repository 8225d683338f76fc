/* Calls by which the kernel stores past the end of a block; each line is marked with the call's name. The program
   prints what they returned and stored. Arguments: names of calls, without any all names. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

static int zeros, ends[2];

/* What lies behind is never released, so that without traps the store does no harm. */
static char *make(size_t bytes)
{
    char *block = malloc(bytes);
    memset(block, 0x11, bytes);
    memset(malloc(4096), 0, 4096);
    return block;
}

static void show(const char *name, long result, const void *block, size_t bytes)
{
    const unsigned char *at = block;
    printf("%s %ld %d", name, result, result < 0 ? errno : 0);
    for (size_t i = 0; i < bytes; i++)
        printf(" %02x", at[i]);
    puts("");
}

static void call_read(void)
{
    char *block = make(24);
    show("read", read(zeros, block, 40), block, 40); /* read */
}

static void call_pread(void)
{
    char *block = make(24);
    show("pread", pread(zeros, block, 40, 0), block, 40); /* pread */
}

static void call_readv(void)
{
    char *one = make(8), *other = make(24);
    struct iovec all[] = {{one, 8}, {other, 32}};
    show("readv", readv(zeros, all, 2), other, 32); /* readv */
}

static void call_preadv(void)
{
    char *block = make(24);
    struct iovec all[] = {{block, 32}};
    show("preadv", preadv(zeros, all, 1, 0), block, 32); /* preadv */
}

static void call_fread(void)
{
    char *block = make(24);
    FILE *file = fdopen(dup(zeros), "r");
    show("fread", (long)fread(block, 1, 40, file), block, 40); /* fread */
}

static void call_recv(void)
{
    char *block = make(24);
    write(ends[0], "a message that is longer than that", 35);
    show("recv", recv(ends[1], block, 64, 0), block, 35); /* recv */
}

static void call_recvfrom(void)
{
    char *block = make(24);
    write(ends[0], "a message that is longer than that", 35);
    show("recvfrom", recvfrom(ends[1], block, 64, 0, NULL, NULL), block, 35); /* recvfrom */
}

static void call_recvmsg(void)
{
    char *block = make(24);
    struct iovec all[] = {{block, 40}};
    struct msghdr message = {.msg_iov = all, .msg_iovlen = 1};
    write(ends[0], "a message that is longer than that", 35);
    show("recvmsg", recvmsg(ends[1], &message, 0), block, 35); /* recvmsg */
}

static void call_recvmmsg(void)
{
    char *block = make(24), *other = make(64);
    struct iovec all[] = {{other, 64}, {block, 40}};
    struct mmsghdr messages[3] = {{.msg_hdr = {.msg_iov = all, .msg_iovlen = 1}},
                                  {.msg_hdr = {.msg_iov = all + 1, .msg_iovlen = 1}},
                                  {.msg_hdr = {.msg_iov = all, .msg_iovlen = 1}}};
    write(ends[0], "short", 6);
    write(ends[0], "a message that is longer than that", 35);
    show("recvmmsg", recvmmsg(ends[1], messages, 3, MSG_DONTWAIT, NULL), block, 35); /* recvmmsg */
    show("recvmmsg", messages[0].msg_len, other, messages[1].msg_len);
}

static void call_getcwd(void)
{
    char *block = make(4);
    int same = getcwd(block, 64) == block; /* getcwd */
    show("getcwd", same, block, strlen(block) + 1);
}

static void call_readlink(void)
{
    char *block = make(4);
    show("readlink", readlink("/proc/self/cwd", block, 64), block, 8); /* readlink */
}

static void call_stat(void)
{
    struct stat *block = (void *)make(40);
    int result = stat("/dev/null", block); /* stat */
    show("stat", result, &block->st_rdev, sizeof block->st_rdev);
}

static void call_fstat(void)
{
    struct stat *block = (void *)make(40);
    int result = fstat(zeros, block); /* fstat */
    show("fstat", result, &block->st_rdev, sizeof block->st_rdev);
}

static void call_statfs(void)
{
    struct statfs *block = (void *)make(16);
    int result = statfs("/proc", block); /* statfs */
    show("statfs", result, block, 8);
}

static void call_uname(void)
{
    struct utsname *block = (void *)make(65);
    int result = uname(block); /* uname */
    show("uname", result, block->machine, strlen(block->machine));
}

static void call_sysinfo(void)
{
    struct sysinfo *block = (void *)make(16);
    int result = sysinfo(block); /* sysinfo */
    show("sysinfo", result, &block->totalram, 8);
}

static void call_getrusage(void)
{
    char *block = make(16);
    show("getrusage", getrusage(RUSAGE_SELF, (void *)block), NULL, 0); /* getrusage */
}

static void call_getrlimit(void)
{
    char *block = make(8);
    show("getrlimit", getrlimit(RLIMIT_CORE, (void *)block), block, 16); /* getrlimit */
}

static void call_pipe(void)
{
    int *block = (void *)(make(8) + 4);
    show("pipe", pipe(block), block, 8); /* pipe */
}

static void call_socketpair(void)
{
    int *block = (void *)(make(8) + 4);
    show("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, block), block, 8); /* socketpair */
}

static void call_getsockname(void)
{
    struct sockaddr_in *block = (void *)make(8);
    socklen_t length = sizeof *block;
    int tcp = socket(AF_INET, SOCK_STREAM, 0), result = getsockname(tcp, (void *)block, &length); /* getsockname */
    show("getsockname", result, block, length);
    close(tcp);
}

static void call_getsockopt(void)
{
    char *block = make(8) + 4;
    socklen_t length = 16;
    show("getsockopt", getsockopt(ends[0], SOL_SOCKET, SO_LINGER, block, &length), block, 8); /* getsockopt */
}

static void call_poll(void)
{
    struct pollfd *block = (void *)make(8);
    memcpy(block + 1, &(struct pollfd){zeros, POLLIN, 0x55}, sizeof *block); /* set */
    block[0] = (struct pollfd){-1, 0, 0};
    show("poll", poll(block, 2, 0), block, 16); /* poll */
}

static void call_select(void)
{
    char *block = make(8) + 4;
    memset(block, 0, 8); /* set */
    block[zeros / 8] = (char)(1 << zeros % 8);
    struct timeval none = {0, 0};
    show("select", select(zeros + 1, (void *)block, NULL, NULL, &none), block, 8); /* select */
}

static void call_epoll_wait(void)
{
    char *block = make(8);
    int poller = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLOUT, .data = {.u64 = 0x1122334455667788}};
    epoll_ctl(poller, EPOLL_CTL_ADD, ends[0], &event);
    show("epoll_wait", epoll_wait(poller, (void *)block, 4, 0), block, 12); /* epoll_wait */
    close(poller);
}

static void nothing(int number)
{
    (void)number;
}

static void call_nanosleep(void)
{
    struct timespec *block = (void *)make(8), asked = {100, 0};
    struct itimerval soon = {.it_value = {0, 10000}};
    signal(SIGALRM, nothing);
    setitimer(ITIMER_REAL, &soon, NULL);
    int result = nanosleep(&asked, block); /* nanosleep */
    show("nanosleep", result, &block->tv_sec, 1);
}

static void call_ioctl(void)
{
    char *block = make(8) + 6;
    write(ends[0], "seven b", 7);
    show("ioctl", ioctl(ends[1], FIONREAD, block), block, 4); /* ioctl */
    char rest[16];
    recv(ends[1], rest, sizeof rest, 0);
}

static void call_pthread_getname_np(void)
{
    char *block = make(8) + 6;
    show("pthread_getname_np", pthread_getname_np(pthread_self(), block, 16), block, 6); /* pthread_getname_np */
}

static void call_waitpid(void)
{
    char *block = make(8) + 6;
    pid_t child = fork();
    if (child == 0)
        _exit(3);
    show("waitpid", waitpid(child, (void *)block, 0) == child, block, 4); /* waitpid */
}

static void call_sigprocmask(void)
{
    char *block = make(8) + 4;
    show("sigprocmask", sigprocmask(SIG_BLOCK, NULL, (void *)block), block, 8); /* sigprocmask */
}

#define CALL(name) {#name, call_##name}
static const struct {
    const char *name;
    void (*run)(void);
} calls[] = {
    CALL(read),
    CALL(pread),
    CALL(readv),
    CALL(preadv),
    CALL(fread),
    CALL(recv),
    CALL(recvfrom),
    CALL(recvmsg),
    CALL(recvmmsg),
    CALL(getcwd),
    CALL(readlink),
    CALL(stat),
    CALL(fstat),
    CALL(statfs),
    CALL(uname),
    CALL(sysinfo),
    CALL(getrusage),
    CALL(getrlimit),
    CALL(pipe),
    CALL(socketpair),
    CALL(getsockname),
    CALL(getsockopt),
    CALL(poll),
    CALL(select),
    CALL(epoll_wait),
    CALL(nanosleep),
    CALL(ioctl),
    CALL(waitpid),
    CALL(pthread_getname_np),
    CALL(sigprocmask),
};

int main(int count, char **words)
{
    static char output[1 << 16];
    setvbuf(stdout, output, _IOFBF, sizeof output);
    zeros = open("/dev/zero", O_RDONLY);
    socketpair(AF_UNIX, SOCK_DGRAM, 0, ends);
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        if (count == 1)
            puts(calls[i].name);
        for (int word = 1; word < count; word++)
            if (strcmp(words[word], calls[i].name) == 0)
                calls[i].run();
    }
    if (count > 1)
        puts("done");
    fflush(stdout);
    _exit(0);
}
