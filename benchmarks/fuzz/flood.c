/* A program that attacks its supervisor while it has a bug of its own.

   Usage: flood ATTACK SECONDS. Two processes flood the supervisor's socket, as ATTACK says, for so long; meanwhile this
   one overruns a block by 3 bytes. With "releases" nothing is sent by hand: the engine itself meets a wrong release as
   often as this process can make one. On standard output: how many milliseconds the bug's release took, and how many
   times the attack was carried out. */
#define _GNU_SOURCE
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { FLOODERS = 2, LONGEST = 300 << 10, COMMAND = 120000, FRAMES = 250, LEAST = 8000 };

/* docs/format.md, "Events" */
struct event {
    uint32_t magic;
    uint16_t version, type;
    uint32_t length, pid, tid, ppid, when, reason;
    uint64_t process, pool, pool_bytes, pointer;
    uint32_t node, family;
    char thread[16];
    uint32_t windows, frames;
    uint64_t dropped;
};
static unsigned char message[LONGEST];
static uint64_t x = 88172645463325252u;
static _Atomic uint64_t *times;

static uint64_t some(void)
{
    x ^= x << 13;
    x ^= x >> 7;
    return x ^= x << 17;
}

static int connection(void)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    struct timeval most = {.tv_sec = 1};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    strcpy(to.sun_path, getenv("HEAPWITNESS_SOCKET"));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof most);
    if (connect(fd, (void *)&to, sizeof to) == 0)
        return fd;
    close(fd);
    return -1;
}

static size_t compose_garbage(void)
{
    size_t length = some() % 3 ? some() % 400 : some() % LONGEST;
    for (size_t i = 0; i + 8 <= length && i < 4096; i += 8)
        memcpy(message + i, &(uint64_t){some()}, 8);
    if (some() % 2 && length > 12) { /* something to go on reading for */
        struct event e = {
            .magic = 0x56455748, .version = 2, .type = (uint16_t)(some() % 5), .length = (uint32_t)length};
        memcpy(message, &e, 12);
    }
    return length;
}

static size_t compose(const char *what)
{
    if (strcmp(what, "garbage") == 0)
        return compose_garbage();
    struct event e = {.magic = 0x56455748,
                      .version = 2,
                      .type = 2,
                      .pid = (uint32_t)getpid(),
                      .tid = (uint32_t)getpid(),
                      .when = 1,
                      .thread = "\033]0;owned\a"};
    size_t length = sizeof e;
    some();
    e.reason = 1 + x % 8, e.process = x * 3, e.pool = x * 5, e.pool_bytes = x >> 20, e.pointer = x * 11;
    e.node = (uint32_t)x;
    if (strcmp(what, "frames") == 0)
        for (e.frames = FRAMES; length < sizeof e + 8 * FRAMES; length += 8)
            memcpy(message + length, &(uint64_t){x * length}, 8);
    if (strcmp(what, "commands") == 0) {
        uint64_t section[3] = {3, 0, COMMAND};
        e.type = 1, e.reason = 0, length += sizeof section + COMMAND;
        memcpy(message + sizeof e, section, sizeof section);
    }
    e.length = (uint32_t)length;
    memcpy(message, &e, sizeof e);
    return length;
}

static void send_once(const char *what)
{
    int fd = connection();
    if (fd < 0)
        return;
    if (strcmp(what, "silence") == 0) /* it stays open and says nothing */
        return;
    send(fd, message, compose(what), MSG_NOSIGNAL);
    close(fd);
}

static void attack(const char *what)
{
    if (strcmp(what, "forks") != 0) {
        send_once(what);
    } else if (fork() == 0) {
        send_once(what);
        _Exit(0);
    } else {
        wait(NULL);
    }
    atomic_fetch_add(times, 1);
}

static void release_wrongly(time_t end)
{
    char *volatile block = malloc(24);
    while (time(NULL) < end || atomic_load(times) < LEAST)
        for (int i = 0; i < 1000; i++) {
            free(block + 8);
            atomic_fetch_add(times, 1);
        }
}

int main(int count, char **words)
{
    if (count != 3)
        return 2;
    time_t end = time(NULL) + atol(words[2]);
    prctl(PR_SET_NAME, "\033[2Jowned");
    times = mmap(NULL, sizeof *times, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (times == MAP_FAILED)
        return 2;
    if (strcmp(words[1], "releases") == 0)
        release_wrongly(end);
    else
        for (uint64_t i = 0; i < FLOODERS; i++)
            if (fork() == 0) {
                x += i;
                while (time(NULL) < end || (words[1][0] == 'f' && words[1][1] != 'o' && atomic_load(times) < LEAST))
                    attack(words[1]);
                _Exit(0);
            }
    usleep(500000);
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    char *volatile block = malloc(24);
    memset(block, 'x', 27);
    free(block);
    clock_gettime(CLOCK_MONOTONIC, &after);
    while (wait(NULL) > 0)
        ;
    printf("%ld %lu\n", (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000, *times);
    return 0;
}
